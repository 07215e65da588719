"""What takes a batch on, what takes it back, and what is only doubt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from herz.release.atomicity import Difference, Verdict, What
from herz.release.channel import ReleaseRef
from herz.release.member import membership
from herz.release.plan import Plan, PlanKind
from herz.release.report import Status
from herz.release.rollout import Act, Check, CheckResult, Phase
from herz.release.statistics import Outcome

T0 = datetime(2026, 1, 1, tzinfo=UTC)
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        ({"error": "no database"}, "a cannot build the release: no database"),
        ({"fingerprint": "sha256:x"}, "a built sha256:x, released was sha256:f-new"),
    ],
)
def test_a_rehearsal_that_is_not_good_rolls_back(stage, done, reason):
    scene = stage("a").until(Phase.PREPARING)
    scene.says("a", stage.report("a", rehearsed=stage.rehearsed(**done)))
    assert scene.go().rollout.reason == reason


@pytest.mark.parametrize(
    "other",
    [None, {"number": 11}, {"digest": "sha256:x"}, {"rollout": "r0", "error": "earlier"}],
    ids=["none", "of another release", "of another content", "for another rollout"],
)
def test_a_rehearsal_of_something_else_is_none(stage, other):
    scene = stage("a").until(Phase.PREPARING)
    scene.says("a", stage.report("a", rehearsed=other and stage.rehearsed(**other)))
    decision = scene.decide(after_s=59)
    assert not decision.writes(scene.rollout)
    assert decision.look_again_s == pytest.approx(1)
    assert scene.go(after_s=60).rollout.reason == "a did not build the release within 60 s"


def test_who_did_not_build_is_named_and_of_many_some(stage):
    scene = stage(*stage.fleet(20), plan=Plan(kind=PlanKind.EXPLICIT)).until(Phase.PREPARING)
    for name in scene.instances:
        scene.says(name, stage.report(name))
    reason = scene.go(after_s=60).rollout.reason
    assert reason == "pay-0, pay-1, pay-2, pay-3, pay-4 and 15 more did not build the release within 60 s"


def test_an_older_failure_is_not_one_of_this_release(stage):
    scene = stage("a").until(Phase.COMMITTING)
    scene.says("a", stage.report("a", status=Status.FAILED, error="older", target=12))
    assert not scene.decide().writes(scene.rollout)
    scene.says("a", stage.report("a", status=Status.FAILED, error="no database", target=13))
    assert scene.go().rollout.reason == "a failed: no database"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"fingerprint": "sha256:x"}, "a runs sha256:x, released was sha256:f-new"),
        ({"digest": "sha256:x"}, "a runs sha256:x as 13, released was sha256:new"),
    ],
)
@pytest.mark.parametrize("phase", [Phase.COMMITTING, Phase.BAKING])
def test_something_else_under_the_number_of_the_release_rolls_back(stage, phase, wrong, reason):
    scene = stage("a").until(phase)
    scene.says("a", stage.report("a", NEW, **wrong))
    assert scene.go().rollout.reason == reason


def test_a_mailbox_that_somebody_changed_rolls_back(stage):
    scene = stage("a", "b").until(Phase.PREPARING)
    (outside,) = [name for name in scene.instances if name not in scene.members]
    scene.instances[outside] = scene.instances[outside]._replace(cohort="r1-b1", rollout="r1")
    scene.follow()
    assert "somebody changed mailboxes" in (scene.go().rollout.reason or "")


def asked(scene, **fields: Any) -> Verdict:
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


def test_the_members_of_the_batch_are_asked(stage):
    scene = stage("a", "b").until(Phase.VERIFYING)
    decision = scene.decide()
    assert decision.act == (Act.ASK,)
    assert list(decision.members) == scene.members


@pytest.mark.parametrize(
    "other",
    [{"membership": membership(["x"])}, {"config_version": 12}, {"patch_id": "p"}],
    ids=["members", "release", "patch"],
)
def test_a_verdict_about_something_else_proves_nothing(stage, other):
    scene = stage("a").until(Phase.VERIFYING)
    decision = scene.go(verdict=asked(scene, **other), verdict_step=scene.rollout.step)
    assert decision.rollout.phase is Phase.ROLLING_BACK


def test_a_verdict_of_another_step_is_none(stage):
    scene = stage("a").until(Phase.VERIFYING)
    decision = scene.decide(verdict=asked(scene), verdict_step=scene.rollout.step - 1)
    assert decision.act == (Act.ASK,)


def test_a_refusal_is_the_reason_and_stays_as_evidence(stage):
    scene = stage("a").until(Phase.VERIFYING)
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


def test_a_member_that_restarts_before_it_is_asked_is_waited_for(stage):
    scene = stage("a").until(Phase.VERIFYING)
    came_back = scene.instances["a"].report
    scene.says("a", None)
    assert scene.go().rollout.phase is Phase.COMMITTING
    scene.says("a", came_back)
    assert scene.go().rollout.phase is Phase.VERIFYING


def test_a_member_that_does_not_come_back_rolls_back(stage):
    scene = stage("a").until(Phase.VERIFYING)
    scene.says("a", None)
    scene.go()
    assert scene.go(after_s=30).rollout.reason == "a did not apply the release within 30 s"


def result(scene, outcome: Outcome, **fields: Any) -> list[CheckResult]:
    return [replace(CheckResult(name="errors", outcome=outcome, step=scene.rollout.step, detail="p 0.2"), **fields)]


CHECKED = {"checks": (Check(name="errors", kind="prometheus"),)}


def test_a_check_that_fails_rolls_back_at_once(stage):
    scene = stage("a", **CHECKED).until(Phase.BAKING)
    assert scene.go(checks=result(scene, Outcome.FAIL)).rollout.reason == "check errors failed: p 0.2"


def test_the_record_keeps_what_each_check_said_last_while_it_bakes(stage):
    scene = stage("a", **CHECKED).until(Phase.BAKING)
    said = result(scene, Outcome.INCONCLUSIVE)
    scene.go(1, checks=said)
    assert scene.rollout.batches[-1].checks == tuple(said)
    assert scene.go(2).rollout.batches[-1].checks == tuple(said), "another driver has not looked yet"
    later = result(scene, Outcome.PASS)
    assert scene.go(3, checks=later).rollout.batches[-1].checks == tuple(later)


def test_a_check_that_passes_does_not_shorten_baking(stage):
    scene = stage("a", **CHECKED).until(Phase.BAKING)
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
def test_what_does_not_pass_bakes_on_and_then_a_person_is_asked(stage, doubt, says):
    scene = stage("a", **CHECKED).until(Phase.BAKING)
    scene.rollout = replace(scene.rollout, since=T0 + timedelta(hours=1))
    checks = result(scene, **{"outcome": Outcome.PASS, **doubt})
    assert scene.go(10, checks=checks).rollout.waiting == says
    decision = scene.go(40, checks=checks)
    assert decision.rollout.paused is not None
    assert says in decision.rollout.notices[0].text
    assert scene.decide(41, checks=checks).act == (Act.CHECK,)


def test_a_member_that_is_away_is_doubt(stage):
    scene = stage("a").until(Phase.BAKING)
    scene.says("a", None)
    assert scene.go(10).rollout.waiting == "a does not report the release in force"


def test_time_in_which_nobody_drove_does_not_close_a_window(stage):
    scene = stage("a").until(Phase.PREPARING)
    scene.says("a", stage.report("a"))
    decision = scene.decide(3600, attended=T0 + timedelta(seconds=3590))
    assert decision.rollout.phase is Phase.PREPARING
    assert decision.look_again_s == pytest.approx(50)


@pytest.mark.parametrize(("attended_s", "left_s"), [(None, 60), (-7200 - 5, 55)])
def test_a_phase_that_begins_in_the_future_of_another_clock_is_not_waited_for(stage, attended_s, left_s):
    scene = stage("a").until(Phase.PREPARING)
    scene.says("a", stage.report("a"))
    attended = None if attended_s is None else T0 + timedelta(seconds=attended_s)
    assert scene.decide(-7200, attended=attended).look_again_s == pytest.approx(left_s)
