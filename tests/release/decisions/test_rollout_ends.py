"""How rollouts end, who is named and told, and what their records hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from herz.release.channel import Channel, Pointer, ReleaseRef
from herz.release.member import Member
from herz.release.plan import Plan, PlanKind
from herz.release.record import decode, encode
from herz.release.rollout import Act, Check, Phase, Rollout, Seen, abort, decide, force, told

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OLD = ReleaseRef(number=12, digest="sha256:old", fingerprint="sha256:f-old")
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")


def test_rollback_takes_every_batch_back_in_one_write(stage):
    scene = stage("a", "b").until(Phase.BAKING)
    scene.until(Phase.PENDING).until(Phase.BAKING)
    assert set(scene.channel.cohorts) == {"r1-b1", "r1-b2"}
    scene.rollout = abort(scene.rollout, "bob", T0, "enough")
    decision = scene.go()
    assert decision.channel == Channel(stable=Pointer(release=OLD))
    assert decision.rollout.reason == "bob aborted it: enough"


def test_a_rollback_ends_without_the_dead_and_names_them(stage):
    scene = stage("a").until(Phase.BAKING)
    scene.rollout = abort(scene.rollout, "bob", T0)
    scene.go()
    scene.says("a", None)
    assert scene.decide(29).look_again_s == pytest.approx(1)
    scene.go(30)
    decision = scene.go(30)
    assert decision.rollout.phase is Phase.ROLLED_BACK
    assert decision.rollout.unconfirmed == ("a",)
    assert decision.rollout.notices[0].text == "rolled back: bob aborted it; not confirmed by a"
    assert scene.instances["a"].rollout is None


def test_what_somebody_else_put_in_place_of_a_cohort_stays(stage):
    scene = stage("a").until(Phase.BAKING)
    foreign = Pointer(release=OLD, rollout=None)
    scene.channel = replace(scene.channel, cohorts={"r1-b1": foreign})
    decision = scene.go()
    assert decision.rollout.reason == "somebody else moved r1-b1"
    assert scene.channel.cohorts == {"r1-b1": foreign}


def test_a_forced_release_is_stable_without_proof_and_the_record_says_so(stage):
    scene = stage("a", "b").until(Phase.PREPARING)
    scene.rollout = force(scene.rollout, "bob", T0, "prod burns")
    decision = scene.go()
    assert decision.channel == Channel(stable=Pointer(release=NEW))
    assert decision.rollout.notices[0].kind == "forced"
    assert decision.rollout.notices[0].text == "bob forced release 13 without proof: prod burns"
    scene.until(Phase.PROMOTED)
    assert scene.rollout.forced is not None


def test_even_force_does_not_overwrite_what_somebody_else_released(stage):
    scene = stage("a").until(Phase.BAKING)
    scene.channel = replace(scene.channel, stable=Pointer(release=replace(OLD, number=14)))
    scene.rollout = force(scene.rollout, "bob", T0, "prod burns")
    scene.go()
    assert scene.rollout.reason == "somebody else moved stable to 14"
    assert scene.channel.stable.release == replace(OLD, number=14)


def test_promotion_names_who_does_not_follow(stage):
    scene = stage("a", "b", plan=Plan(kind=PlanKind.EXPLICIT, bake_s=10)).until(Phase.PROMOTING)
    scene.go()
    scene.instances["c"] = Member("c", report=stage.report("c"))
    assert not scene.decide(29).writes(scene.rollout)
    decision = scene.go(30)
    assert decision.rollout.phase is Phase.PROMOTED
    assert decision.rollout.unconfirmed == ("c",)


def test_a_notice_is_there_until_it_was_told(stage):
    scene = stage("a").until(Phase.BAKING)
    rollout = abort(scene.rollout, "bob", T0)
    scene.rollout = decide(rollout, Seen(T0, scene.channel, tuple(scene.instances.values()))).rollout
    assert Act.ALERT in scene.decide().act
    scene.rollout = told(scene.rollout, scene.rollout.noticed)
    assert Act.ALERT not in scene.decide().act


def test_notices_are_sent_when_it_is_over_too(stage):
    scene = stage("a").until(Phase.PROMOTING)
    scene.go()
    over = scene.decide(30).rollout
    decision = decide(over, Seen(T0, scene.channel, tuple(scene.instances.values())))
    assert (over.over, decision.act, decision.writes(over)) == (True, (Act.ALERT,), False)


def test_a_rollout_is_read_as_it_was_written(stage):
    scene = (
        stage("a", "b", deployer={"command": ["x"]}, checks=(Check(name="errors", kind="prometheus"),))
        .until(Phase.PENDING)
        .until(Phase.BAKING)
    )
    assert decode(encode(scene.rollout), Rollout, "test") == scene.rollout


def test_a_rollout_to_many_in_many_batches_is_a_small_record(stage):
    scene = stage(*stage.fleet(300), plan=Plan(kind=PlanKind.LINEAR, step=1, bake_s=10)).until(Phase.PROMOTED)
    assert len(scene.rollout.batches) == 100
    assert len(encode(scene.rollout)) < 100_000
