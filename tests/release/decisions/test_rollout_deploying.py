"""The patch comes before the release."""

from __future__ import annotations

from herz.release.channel import STABLE
from herz.release.member import Member
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Act, Phase


def test_the_deployer_is_told_whom_the_patch_is_missing_at(stage):
    scene = stage("a", "b", patch_id="p7", deployer={"command": ["x"]}, plan=Plan(kind=PlanKind.EXPLICIT))
    scene.until(Phase.DEPLOYING)
    scene.says("a", stage.report("a", patch_id="p7"))
    scene.says("b", stage.report("b", patch_id="p6"))
    decision = scene.decide()
    assert (decision.act, decision.members) == ((Act.DEPLOY,), ("b",))
    scene.says("b", stage.report("b", patch_id="p7"))
    assert scene.go().rollout.phase is Phase.PREPARING


def test_a_process_that_the_deployer_replaced_is_replaced_in_the_batch(stage):
    scene = stage("a", patch_id="p7", deployer={"command": ["x"]}).until(Phase.DEPLOYING)
    scene.says("a", None)
    scene.instances["a2"] = Member("a2", report=stage.report("a2", patch_id="p7"))
    assert scene.go().assign == (("a", STABLE), ("a2", "r1-b1"))
    assert scene.go().rollout.phase is Phase.PREPARING


def test_a_patch_that_is_not_installed_in_time_rolls_back(stage):
    scene = stage("a", patch_id="p7", deployer={"command": ["x"]}).until(Phase.DEPLOYING)
    scene.says("a", stage.report("a"))
    assert scene.go(600).rollout.reason == "patch p7 was not installed within 600 s at a"
