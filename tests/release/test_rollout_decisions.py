"""What is decided where the walk through all runs does not look: large fleets, clocks, reasons, and who is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from herz.release.atomicity import Difference, Verdict, What
from herz.release.channel import STABLE, Channel, Pointer, ReleaseRef
from herz.release.member import Member, membership
from herz.release.plan import Plan, PlanKind
from herz.release.record import decode, encode
from herz.release.report import Rehearsed, Report, Status
from herz.release.rollout import (
    ASSIGN_MAX,
    Act,
    Check,
    CheckResult,
    Decision,
    Phase,
    Rollout,
    Seen,
    abort,
    decide,
    force,
    told,
)
from herz.release.statistics import Outcome

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OLD = ReleaseRef(number=12, digest="sha256:old", fingerprint="sha256:f-old")
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")
HALVES = Plan(kind=PlanKind.EXPLICIT, percent=(50,), bake_s=10, bake_max_s=40, prepare_s=60, commit_s=30)


def report(instance: str, release: ReleaseRef = OLD, **fields: Any) -> Report:
    return Report(
        **{
            "instance": instance,
            "app": "pay",
            "namespace": "default",
            "status": Status.APPLIED,
            "time": T0,
            "config_version": release.number,
            "digest": release.digest,
            "fingerprint": release.fingerprint,
            **fields,
        }
    )


def rehearsed(**fields: Any) -> Rehearsed:
    return replace(Rehearsed(number=NEW.number, digest=NEW.digest, fingerprint=NEW.fingerprint), **fields)


class Scene:
    """A rollout, its channel and its fleet: `go` decides and applies, as a driver would."""

    def __init__(self, *instances: str, **fields: Any) -> None:
        self.rollout = Rollout(
            **{
                "id": "r1",
                "app": "pay",
                "namespace": "default",
                "release": NEW,
                "stable": OLD,
                "plan": HALVES,
                "author": "ann",
                "created": T0,
                "since": T0,
                **fields,
            }
        )
        self.channel = Channel(stable=Pointer(release=OLD))
        self.fleet = {instance: Member(instance, report=report(instance)) for instance in instances}
        self.seen = Seen(T0, self.channel, ())

    def decide(self, after_s: float = 0.0, **seen: Any) -> Decision:
        fields = {"now": self.rollout.since + timedelta(seconds=after_s), "channel": self.channel, **seen}
        return decide(self.rollout, self.seen._replace(members=tuple(self.fleet.values()), **fields))

    def go(self, after_s: float = 0.0, **seen: Any) -> Decision:
        decision = self.decide(after_s, **seen)
        self.rollout = told(decision.rollout, decision.rollout.noticed)
        self.channel = decision.channel or self.channel
        for instance, cohort in decision.assign:
            rollout = None if cohort == STABLE else self.rollout.id
            self.fleet[instance] = self.fleet[instance]._replace(cohort=cohort, rollout=rollout)
        return decision

    def until(self, phase: Phase) -> Scene:
        """Everybody does what it should until `phase` begins."""
        for _ in range(1000):
            if self.rollout.phase is phase:
                return self
            verdict = Verdict(
                verified=True,
                config_version=NEW.number,
                nonce="n",
                members=1,
                answered=1,
                patch_id=self.rollout.patch_id,
                membership=membership(self.members),
            )
            checks = [
                CheckResult(name=check.name, outcome=Outcome.PASS, step=self.rollout.step)
                for check in self.rollout.checks
            ]
            baked = 10.0 if self.rollout.phase is Phase.BAKING else 0.0
            self.go(baked, verdict=verdict, verdict_step=self.rollout.step, checks=checks)
            self.follow()
        raise AssertionError(f"it stays {self.rollout.phase}: {self.rollout.waiting}")

    @property
    def members(self) -> list[str]:
        return [member.instance for member in self.fleet.values() if member.cohort == self.rollout.cohort]

    def says(self, instance: str, of: Report | None) -> None:
        self.fleet[instance] = self.fleet[instance]._replace(report=of)

    def follow(self) -> None:
        for name, member in self.fleet.items():
            pointer = self.channel.of(member.cohort)
            if member.report is not None and pointer.release is not None:
                built = rehearsed() if pointer.prepare else None
                patch = self.rollout.patch_id
                labels = member.report.labels
                self.says(name, report(name, pointer.release, rehearsed=built, patch_id=patch, labels=labels))


def fleet(count: int) -> tuple[str, ...]:
    return tuple(f"pay-{number}" for number in range(count))


# --- batches ---------------------------------------------------------------------------------------------


def test_a_large_batch_is_formed_in_several_transactions():
    scene = Scene(*fleet(5 * ASSIGN_MAX))
    written = [len(scene.go().assign) for _ in range(4)]
    assert written == [ASSIGN_MAX, ASSIGN_MAX, ASSIGN_MAX // 2, 0]
    assert scene.rollout.phase is Phase.PREPARING
    assert scene.rollout.batches[0].size == 5 * ASSIGN_MAX // 2
    assert scene.rollout.total == 5 * ASSIGN_MAX


def test_only_who_matches_is_in_a_batch_and_promotion_is_for_everybody():
    scene = Scene("a", "b", "c", selector={"zone": "eu"})
    scene.says("b", report("b", labels={"zone": "eu"}))
    scene.until(Phase.PREPARING)
    assert scene.members == ["b"]
    scene.until(Phase.PROMOTED)
    assert scene.channel == Channel(stable=Pointer(release=NEW))


def test_a_label_that_changes_moves_nobody():
    scene = Scene("a", selector={"zone": "eu"})
    scene.says("a", report("a", labels={"zone": "eu"}))
    scene.until(Phase.PREPARING)
    scene.says("a", report("a", labels={"zone": "us"}, rehearsed=rehearsed()))
    assert scene.go().rollout.phase is Phase.COMMITTING


def test_who_is_in_a_cohort_of_another_rollout_is_left_there():
    scene = Scene("a", "b")
    scene.channel = replace(scene.channel, cohorts={"r0-b1": Pointer(release=OLD, rollout="r0")})
    scene.fleet["a"] = scene.fleet["a"]._replace(cohort="r0-b1", rollout="r0")
    scene.until(Phase.PROMOTED)
    assert scene.rollout.batches[0].size == 1
    assert set(scene.channel.cohorts) == {"r0-b1"}


def test_a_mailbox_of_a_rollout_long_over_does_not_count():
    scene = Scene("a")
    scene.fleet["a"] = scene.fleet["a"]._replace(cohort="r0-b1", rollout="r0")
    scene.until(Phase.PREPARING)
    assert scene.members == ["a"]


def test_who_joins_a_rollout_is_in_the_next_batch():
    scene = Scene("a", "b").until(Phase.BAKING)
    scene.fleet["c"] = Member("c", report=report("c"))
    scene.until(Phase.PENDING)
    scene.until(Phase.PREPARING)
    assert scene.rollout.batches[1].size == 2


def test_without_a_deployer_those_with_the_patch_come_first():
    scene = Scene(*fleet(10), patch_id="p7", plan=replace(HALVES, percent=(10,)))
    scene.says("pay-7", report("pay-7", patch_id="p7"))
    scene.go()
    assert scene.members == ["pay-7"]


def test_one_that_vanishes_while_its_batch_is_formed_is_replaced():
    scene = Scene("a", "b")
    scene.go()
    (gone,) = scene.members
    scene.says(gone, None)
    assert scene.go().assign == ((gone, STABLE),)
    scene.go()
    assert len(scene.members) == 1
    assert scene.members != [gone]


def test_a_fleet_that_shrank_is_waited_for():
    scene = Scene("a", "b", "c", "d").until(Phase.BAKING)
    outside = [name for name in scene.fleet if name not in scene.members]
    for name in outside:
        scene.says(name, None)
    scene.until(Phase.PENDING)
    assert scene.go().rollout.waiting == "4 instances matched before, fewer report now"
    scene.go(after_s=60)
    assert scene.rollout.paused is not None
    assert scene.rollout.phase is Phase.PENDING


# --- nobody ----------------------------------------------------------------------------------------------


def test_nobody_who_matches_is_waited_for_and_then_a_person_is_asked():
    scene = Scene("a", selector={"zone": "eu", "tenant": "x"})
    assert scene.go().rollout.waiting == "no instance matches tenant=x, zone=eu"
    decision = scene.go(after_s=60)
    assert decision.rollout.paused is not None
    assert [notice.kind for notice in decision.rollout.notices] == ["paused"]
    assert scene.decide(after_s=1000).writes(scene.rollout) is False


def test_an_empty_rollout_is_promoted_when_that_is_allowed():
    scene = Scene(allow_empty=True)
    scene.until(Phase.PROMOTED)
    assert scene.channel.stable.release == NEW


def test_the_first_release_of_all_is_rolled_out_and_rolled_back_to_nothing():
    scene = Scene("a", stable=None)
    scene.channel = Channel()
    scene.says("a", report("a", config_version=None, digest=None, fingerprint=None))
    scene.until(Phase.PREPARING)
    assert scene.channel.cohorts["r1-b1"] == Pointer(prepare=NEW, rollout="r1")
    scene.rollout = abort(scene.rollout, "bob", T0)
    scene.until(Phase.ROLLED_BACK)
    assert scene.channel == Channel()
    assert scene.rollout.unconfirmed == ()


# --- preparing and committing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (rehearsed(error="no database"), "a cannot build the release: no database"),
        (rehearsed(fingerprint="sha256:x"), "a built sha256:x, released was sha256:f-new"),
    ],
)
def test_a_rehearsal_that_is_not_good_rolls_back(done, reason):
    scene = Scene("a").until(Phase.PREPARING)
    scene.says("a", report("a", rehearsed=done))
    assert scene.go().rollout.reason == reason


@pytest.mark.parametrize(
    "other",
    [None, rehearsed(number=11), rehearsed(digest="sha256:x"), rehearsed(rollout="r0", error="earlier")],
    ids=["none", "of another release", "of another content", "for another rollout"],
)
def test_a_rehearsal_of_something_else_is_none(other):
    scene = Scene("a").until(Phase.PREPARING)
    scene.says("a", report("a", rehearsed=other))
    decision = scene.decide(after_s=59)
    assert not decision.writes(scene.rollout)
    assert decision.look_again_s == pytest.approx(1)
    assert scene.go(after_s=60).rollout.reason == "a did not build the release within 60 s"


def test_who_did_not_build_is_named_and_of_many_some():
    scene = Scene(*fleet(20), plan=Plan(kind=PlanKind.EXPLICIT)).until(Phase.PREPARING)
    for name in scene.fleet:
        scene.says(name, report(name))
    reason = scene.go(after_s=60).rollout.reason
    assert reason == "pay-0, pay-1, pay-2, pay-3, pay-4 and 15 more did not build the release within 60 s"


def test_an_older_failure_is_not_one_of_this_release():
    scene = Scene("a").until(Phase.COMMITTING)
    scene.says("a", report("a", status=Status.FAILED, error="older", target=12))
    assert not scene.decide().writes(scene.rollout)
    scene.says("a", report("a", status=Status.FAILED, error="no database", target=13))
    assert scene.go().rollout.reason == "a failed: no database"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"fingerprint": "sha256:x"}, "a runs sha256:x, released was sha256:f-new"),
        ({"digest": "sha256:x"}, "a runs sha256:x as 13, released was sha256:new"),
    ],
)
@pytest.mark.parametrize("phase", [Phase.COMMITTING, Phase.BAKING])
def test_something_else_under_the_number_of_the_release_rolls_back(phase, wrong, reason):
    scene = Scene("a").until(phase)
    scene.says("a", report("a", NEW, **wrong))
    assert scene.go().rollout.reason == reason


def test_a_mailbox_that_somebody_changed_rolls_back():
    scene = Scene("a", "b").until(Phase.PREPARING)
    (outside,) = [name for name in scene.fleet if name not in scene.members]
    scene.fleet[outside] = scene.fleet[outside]._replace(cohort="r1-b1", rollout="r1")
    scene.follow()
    assert "somebody changed mailboxes" in (scene.go().rollout.reason or "")


# --- verifying -----------------------------------------------------------------------------------------------


def asked(scene: Scene, **fields: Any) -> Verdict:
    return replace(
        Verdict(
            verified=True,
            config_version=13,
            nonce="n",
            members=1,
            answered=1,
            membership=membership(scene.members),
        ),
        **fields,
    )


def test_the_members_of_the_batch_are_asked():
    scene = Scene("a", "b").until(Phase.VERIFYING)
    decision = scene.decide()
    assert decision.act == (Act.ASK,)
    assert list(decision.members) == scene.members


@pytest.mark.parametrize(
    "other",
    [{"membership": membership(["x"])}, {"config_version": 12}, {"patch_id": "p"}],
    ids=["members", "release", "patch"],
)
def test_a_verdict_about_something_else_proves_nothing(other):
    scene = Scene("a").until(Phase.VERIFYING)
    decision = scene.go(verdict=asked(scene, **other), verdict_step=scene.rollout.step)
    assert decision.rollout.phase is Phase.ROLLING_BACK


def test_a_verdict_of_another_step_is_none():
    scene = Scene("a").until(Phase.VERIFYING)
    decision = scene.decide(verdict=asked(scene), verdict_step=scene.rollout.step - 1)
    assert decision.act == (Act.ASK,)


def test_a_refusal_is_the_reason_and_stays_as_evidence():
    scene = Scene("a").until(Phase.VERIFYING)
    wrong = Difference(
        instance="a",
        what=What.OVERRIDE,
        expected="'5s'",
        actual="'3000ms'",
        labels={"container": "sidecar"},
        key="timeout",
        values=("5s", "3000ms"),
        origins=("app.yml:2", "side.yml:4"),
    )
    refusal = asked(scene, verified=False, differing=1, found=50, differences=(wrong,) * 50)
    decision = scene.go(verdict=refusal, verdict_step=scene.rollout.step)
    assert decision.rollout.reason == (
        "batch 1: not verified: 1 of 1 instances do not run release 13; "
        "a (container=sidecar): timeout is '3000ms' (side.yml:4), released is '5s' (app.yml:2)"
    )
    evidence = decision.rollout.batches[0].verdict
    assert evidence is not None
    assert (len(evidence.differences), evidence.found) == (20, 50)


def test_a_member_that_restarts_before_it_is_asked_is_waited_for():
    scene = Scene("a").until(Phase.VERIFYING)
    came_back = scene.fleet["a"].report
    scene.says("a", None)
    assert scene.go().rollout.phase is Phase.COMMITTING
    scene.says("a", came_back)
    assert scene.go().rollout.phase is Phase.VERIFYING


def test_a_member_that_does_not_come_back_rolls_back():
    scene = Scene("a").until(Phase.VERIFYING)
    scene.says("a", None)
    scene.go()
    assert scene.go(after_s=30).rollout.reason == "a did not apply the release within 30 s"


# --- baking --------------------------------------------------------------------------------------------------


def result(scene: Scene, outcome: Outcome, **fields: Any) -> list[CheckResult]:
    return [replace(CheckResult(name="errors", outcome=outcome, step=scene.rollout.step, detail="p 0.2"), **fields)]


CHECKED = {"checks": (Check(name="errors", kind="prometheus"),)}


def test_a_check_that_fails_rolls_back_at_once():
    scene = Scene("a", **CHECKED).until(Phase.BAKING)
    assert scene.go(checks=result(scene, Outcome.FAIL)).rollout.reason == "check errors failed: p 0.2"


def test_a_check_that_passes_does_not_shorten_baking():
    scene = Scene("a", **CHECKED).until(Phase.BAKING)
    decision = scene.decide(4, checks=result(scene, Outcome.PASS))
    assert (decision.rollout.phase, decision.act, decision.look_again_s) == (Phase.BAKING, (Act.CHECK,), 6)
    assert scene.go(10, checks=result(scene, Outcome.PASS)).rollout.phase is Phase.PROMOTING


@pytest.mark.parametrize(
    ("doubt", "says"),
    [
        ({"outcome": Outcome.INCONCLUSIVE}, "check errors: p 0.2"),
        ({"step": 0}, "check errors has no result"),
        ({"time": T0}, "check errors has no result"),
        ({"name": "other"}, "check errors has no result"),
    ],
    ids=["inconclusive", "of another step", "too old", "of another check"],
)
def test_what_does_not_pass_bakes_on_and_then_a_person_is_asked(doubt, says):
    scene = Scene("a", **CHECKED).until(Phase.BAKING)
    scene.rollout = replace(scene.rollout, since=T0 + timedelta(hours=1))
    checks = result(scene, **{"outcome": Outcome.PASS, **doubt})
    assert scene.go(10, checks=checks).rollout.waiting == says
    decision = scene.go(40, checks=checks)
    assert decision.rollout.paused is not None
    assert says in decision.rollout.notices[0].text
    assert scene.decide(41, checks=checks).act == (Act.CHECK,)


def test_a_member_that_is_away_is_doubt():
    scene = Scene("a").until(Phase.BAKING)
    scene.says("a", None)
    assert scene.go(10).rollout.waiting == "a does not report the release in force"


# --- clocks ----------------------------------------------------------------------------------------------------


def test_time_in_which_nobody_drove_does_not_close_a_window():
    scene = Scene("a").until(Phase.PREPARING)
    scene.says("a", report("a"))
    decision = scene.decide(3600, attended=T0 + timedelta(seconds=3590))
    assert decision.rollout.phase is Phase.PREPARING
    assert decision.look_again_s == pytest.approx(50)


@pytest.mark.parametrize(("attended_s", "left_s"), [(None, 60), (-7200 - 5, 55)])
def test_a_phase_that_begins_in_the_future_of_another_clock_is_not_waited_for(attended_s, left_s):
    scene = Scene("a").until(Phase.PREPARING)
    scene.says("a", report("a"))
    attended = None if attended_s is None else T0 + timedelta(seconds=attended_s)
    assert scene.decide(-7200, attended=attended).look_again_s == pytest.approx(left_s)


# --- ends ------------------------------------------------------------------------------------------------------


def test_rollback_takes_every_batch_back_in_one_write():
    scene = Scene("a", "b").until(Phase.BAKING)
    scene.until(Phase.PENDING).until(Phase.BAKING)
    assert set(scene.channel.cohorts) == {"r1-b1", "r1-b2"}
    scene.rollout = abort(scene.rollout, "bob", T0, "enough")
    decision = scene.go()
    assert decision.channel == Channel(stable=Pointer(release=OLD))
    assert decision.rollout.reason == "bob aborted it: enough"


def test_a_rollback_ends_without_the_dead_and_names_them():
    scene = Scene("a").until(Phase.BAKING)
    scene.rollout = abort(scene.rollout, "bob", T0)
    scene.go()
    scene.says("a", None)
    assert scene.decide(29).look_again_s == pytest.approx(1)
    scene.go(30)
    decision = scene.go(30)
    assert decision.rollout.phase is Phase.ROLLED_BACK
    assert decision.rollout.unconfirmed == ("a",)
    assert decision.rollout.notices[0].text == "rolled back: bob aborted it; not confirmed by a"
    assert scene.fleet["a"].rollout is None


def test_what_somebody_else_put_in_place_of_a_cohort_stays():
    scene = Scene("a").until(Phase.BAKING)
    foreign = Pointer(release=OLD, rollout=None)
    scene.channel = replace(scene.channel, cohorts={"r1-b1": foreign})
    decision = scene.go()
    assert decision.rollout.reason == "somebody else moved r1-b1"
    assert scene.channel.cohorts == {"r1-b1": foreign}


def test_a_forced_release_is_stable_without_proof_and_the_record_says_so():
    scene = Scene("a", "b").until(Phase.PREPARING)
    scene.rollout = force(scene.rollout, "bob", T0, "prod burns")
    decision = scene.go()
    assert decision.channel == Channel(stable=Pointer(release=NEW))
    assert decision.rollout.notices[0].kind == "forced"
    assert decision.rollout.notices[0].text == "bob forced release 13 without proof: prod burns"
    scene.until(Phase.PROMOTED)
    assert scene.rollout.forced is not None


def test_even_force_does_not_overwrite_what_somebody_else_released():
    scene = Scene("a").until(Phase.BAKING)
    scene.channel = replace(scene.channel, stable=Pointer(release=replace(OLD, number=14)))
    scene.rollout = force(scene.rollout, "bob", T0, "prod burns")
    scene.go()
    assert scene.rollout.reason == "somebody else moved stable to 14"
    assert scene.channel.stable.release == replace(OLD, number=14)


def test_promotion_names_who_does_not_follow():
    scene = Scene("a", "b", plan=Plan(kind=PlanKind.EXPLICIT, bake_s=10)).until(Phase.PROMOTING)
    scene.go()
    scene.fleet["c"] = Member("c", report=report("c"))
    assert not scene.decide(29).writes(scene.rollout)
    decision = scene.go(30)
    assert decision.rollout.phase is Phase.PROMOTED
    assert decision.rollout.unconfirmed == ("c",)


# --- notices and the record --------------------------------------------------------------------------------------


def test_a_notice_is_there_until_it_was_told():
    scene = Scene("a").until(Phase.BAKING)
    rollout = abort(scene.rollout, "bob", T0)
    scene.rollout = decide(rollout, Seen(T0, scene.channel, tuple(scene.fleet.values()))).rollout
    assert Act.ALERT in scene.decide().act
    scene.rollout = told(scene.rollout, scene.rollout.noticed)
    assert Act.ALERT not in scene.decide().act


def test_notices_are_sent_when_it_is_over_too():
    scene = Scene("a").until(Phase.PROMOTING)
    scene.go()
    over = scene.decide(30).rollout
    decision = decide(over, Seen(T0, scene.channel, tuple(scene.fleet.values())))
    assert (over.over, decision.act, decision.writes(over)) == (True, (Act.ALERT,), False)


def test_a_rollout_is_read_as_it_was_written():
    scene = Scene("a", "b", deployer={"command": ["x"]}, **CHECKED).until(Phase.PENDING).until(Phase.BAKING)
    assert decode(encode(scene.rollout), Rollout, "test") == scene.rollout


def test_a_rollout_to_many_in_many_batches_is_a_small_record():
    scene = Scene(*fleet(300), plan=Plan(kind=PlanKind.LINEAR, step=1, bake_s=10)).until(Phase.PROMOTED)
    assert len(scene.rollout.batches) == 100
    assert len(encode(scene.rollout)) < 100_000


def test_the_deployer_is_told_whom_the_patch_is_missing_at():
    scene = Scene("a", "b", patch_id="p7", deployer={"command": ["x"]}, plan=Plan(kind=PlanKind.EXPLICIT))
    scene.until(Phase.DEPLOYING)
    scene.says("a", report("a", patch_id="p7"))
    scene.says("b", report("b", patch_id="p6"))
    decision = scene.decide()
    assert (decision.act, decision.members) == ((Act.DEPLOY,), ("b",))
    scene.says("b", report("b", patch_id="p7"))
    assert scene.go().rollout.phase is Phase.PREPARING


def test_a_process_that_the_deployer_replaced_is_replaced_in_the_batch():
    scene = Scene("a", patch_id="p7", deployer={"command": ["x"]}).until(Phase.DEPLOYING)
    scene.says("a", None)
    scene.fleet["a2"] = Member("a2", report=report("a2", patch_id="p7"))
    assert scene.go().assign == (("a", STABLE), ("a2", "r1-b1"))
    assert scene.go().rollout.phase is Phase.PREPARING


def test_a_patch_that_is_not_installed_in_time_rolls_back():
    scene = Scene("a", patch_id="p7", deployer={"command": ["x"]}).until(Phase.DEPLOYING)
    scene.says("a", report("a"))
    assert scene.go(600).rollout.reason == "patch p7 was not installed within 600 s at a"
