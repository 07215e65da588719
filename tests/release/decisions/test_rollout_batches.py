"""Who is in which batch, and what happens when nobody is."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from herz.release.channel import STABLE, Channel, Pointer, ReleaseRef
from herz.release.member import Member
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import ASSIGN_MAX, Phase, abort

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OLD = ReleaseRef(number=12, digest="sha256:old", fingerprint="sha256:f-old")
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")
HALVES = Plan(kind=PlanKind.EXPLICIT, percent=(50,), bake_s=10, bake_max_s=40, prepare_s=60, commit_s=30)


def test_a_large_batch_is_formed_in_several_transactions(stage):
    scene = stage(*stage.fleet(5 * ASSIGN_MAX))
    written = [len(scene.go().assign) for _ in range(4)]
    assert written == [ASSIGN_MAX, ASSIGN_MAX, ASSIGN_MAX // 2, 0]
    assert scene.rollout.phase is Phase.PREPARING
    assert scene.rollout.batches[0].size == 5 * ASSIGN_MAX // 2
    assert scene.rollout.total == 5 * ASSIGN_MAX


def test_only_who_matches_is_in_a_batch_and_promotion_is_for_everybody(stage):
    scene = stage("a", "b", "c", selector={"zone": "eu"})
    scene.says("b", stage.report("b", labels={"zone": "eu"}))
    scene.until(Phase.PREPARING)
    assert scene.members == ["b"]
    scene.until(Phase.PROMOTED)
    assert scene.channel == Channel(stable=Pointer(release=NEW))


def test_a_label_that_changes_moves_nobody(stage):
    scene = stage("a", selector={"zone": "eu"})
    scene.says("a", stage.report("a", labels={"zone": "eu"}))
    scene.until(Phase.PREPARING)
    scene.says("a", stage.report("a", labels={"zone": "us"}, rehearsed=stage.rehearsed()))
    assert scene.go().rollout.phase is Phase.COMMITTING


def test_who_is_in_a_cohort_of_another_rollout_is_left_there(stage):
    scene = stage("a", "b")
    scene.channel = replace(scene.channel, cohorts={"r0-b1": Pointer(release=OLD, rollout="r0")})
    scene.instances["a"] = scene.instances["a"]._replace(cohort="r0-b1", rollout="r0")
    scene.until(Phase.PROMOTED)
    assert scene.rollout.batches[0].size == 1
    assert set(scene.channel.cohorts) == {"r0-b1"}


def test_a_mailbox_of_a_rollout_long_over_does_not_count(stage):
    scene = stage("a")
    scene.instances["a"] = scene.instances["a"]._replace(cohort="r0-b1", rollout="r0")
    scene.until(Phase.PREPARING)
    assert scene.members == ["a"]


def test_who_joins_a_rollout_is_in_the_next_batch(stage):
    scene = stage("a", "b").until(Phase.BAKING)
    scene.instances["c"] = Member("c", report=stage.report("c"))
    scene.until(Phase.PENDING)
    scene.until(Phase.PREPARING)
    assert scene.rollout.batches[1].size == 2


def test_without_a_deployer_those_with_the_patch_come_first(stage):
    scene = stage(*stage.fleet(10), patch_id="p7", plan=replace(HALVES, percent=(10,)))
    scene.says("pay-7", stage.report("pay-7", patch_id="p7"))
    scene.go()
    assert scene.members == ["pay-7"]


def test_one_that_vanishes_while_its_batch_is_formed_is_replaced(stage):
    scene = stage("a", "b")
    scene.go()
    (gone,) = scene.members
    scene.says(gone, None)
    assert scene.go().assign == ((gone, STABLE),)
    scene.go()
    assert len(scene.members) == 1
    assert scene.members != [gone]


def test_a_fleet_that_shrank_is_waited_for(stage):
    scene = stage("a", "b", "c", "d").until(Phase.BAKING)
    outside = [name for name in scene.instances if name not in scene.members]
    for name in outside:
        scene.says(name, None)
    scene.until(Phase.PENDING)
    assert scene.go().rollout.waiting == "4 instances matched before, fewer report now"
    scene.go(after_s=60)
    assert scene.rollout.paused is not None
    assert scene.rollout.phase is Phase.PENDING


def test_nobody_who_matches_is_waited_for_and_then_a_person_is_asked(stage):
    scene = stage("a", selector={"zone": "eu", "tenant": "x"})
    assert scene.go().rollout.waiting == "no instance matches tenant=x, zone=eu"
    decision = scene.go(after_s=60)
    assert decision.rollout.paused is not None
    assert [notice.kind for notice in decision.rollout.notices] == ["paused"]
    assert scene.decide(after_s=1000).writes(scene.rollout) is False


def test_an_empty_rollout_is_promoted_when_that_is_allowed(stage):
    scene = stage(allow_empty=True)
    scene.until(Phase.PROMOTED)
    assert scene.channel.stable.release == NEW


def test_the_first_release_of_all_is_rolled_out_and_rolled_back_to_nothing(stage):
    scene = stage("a", stable=None)
    scene.channel = Channel()
    scene.says("a", stage.report("a", config_version=None, digest=None, fingerprint=None))
    scene.until(Phase.PREPARING)
    assert scene.channel.cohorts["r1-b1"] == Pointer(prepare=NEW, rollout="r1")
    scene.rollout = abort(scene.rollout, "bob", T0)
    scene.until(Phase.ROLLED_BACK)
    assert scene.channel == Channel()
    assert scene.rollout.unconfirmed == ()
