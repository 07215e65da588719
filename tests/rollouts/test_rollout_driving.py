"""A rollout is driven batch by batch, each proved whole, and back by itself when anything is wrong."""

from __future__ import annotations

import asyncio

import pytest

from herz.errors import Conflict
from herz.release.rollout import Phase


async def test_a_good_release_is_promoted_batch_by_batch(world, two):
    stable, release = two
    instances = await world.join(*(f"i{number}" for number in range(8)))
    over = await world.until(await world.start(release))
    assert over.phase is Phase.PROMOTED
    assert [(batch.size, batch.verified) for batch in over.batches] == [(4, True), (4, True)]
    assert all(instance.ran == [stable.number, release.number] for instance in instances)
    channel = await world.channel()
    assert channel.stable.release == release.ref
    assert not channel.cohorts
    assert await world.mailboxes() == {}


async def test_every_step_is_in_the_audit_log_once(world, two):
    await world.join("a", "b")
    await world.until(await world.start(two[1]))
    steps = [entry.action for entry in await world.audit() if entry.action.startswith("rollout.")]
    batch = ["rollout.preparing", "rollout.committing", "rollout.verifying", "rollout.baking"]
    assert steps == ["rollout.start", *batch, "rollout.pending", *batch, "rollout.promoting", "rollout.promoted"]
    assert (await world.plane.audit.verify()).ok


async def test_no_instance_runs_a_batch_before_all_of_it_is_prepared(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    instances[2].faults.slow_s = 0.3
    rollout = await world.start(two[1], plan=plan(100.0))
    await world.until(rollout, Phase.PREPARING)
    assert all(instance.running == two[0].ref for instance in instances)
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_a_build_that_fails_in_prepare_flips_nobody(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    for instance in instances:
        instance.faults.build_fails = instance.instance == "c"
    over = await world.until(await world.start(two[1], plan=plan(100.0)))
    assert over.phase is Phase.ROLLED_BACK
    assert "c cannot build the release: there is no such driver" in (over.reason or "")
    assert all(instance.ran == [two[0].number] for instance in instances)
    assert (await world.channel()).stable.release == two[0].ref
    assert await world.mailboxes() == {}


async def test_a_member_that_fails_to_apply_takes_its_batch_back(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    for instance in instances:
        instance.faults.apply_fails = instance.instance == "b"
    over = await world.until(await world.start(two[1], plan=plan(100.0)))
    assert over.phase is Phase.ROLLED_BACK
    assert "b failed: it cannot be applied here" in (over.reason or "")
    assert all(instance.running == two[0].ref for instance in instances)


async def test_a_member_that_does_not_answer_is_not_verified(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    instances[1].faults.mute = True
    over = await world.until(await world.start(two[1], plan=plan(100.0, verify_s=0.6)))
    assert over.phase is Phase.ROLLED_BACK
    verdict = over.batches[0].verdict
    assert verdict is not None
    assert (verdict.members, verdict.answered, verdict.differing) == (4, 3, 1)
    assert "b" in (over.reason or "")
    assert all(instance.running == two[0].ref for instance in instances)


async def test_a_member_that_lies_in_its_report_is_refused_by_its_answer(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    instances[3].faults.lies = True
    over = await world.until(await world.start(two[1], plan=plan(100.0)))
    assert over.phase is Phase.ROLLED_BACK
    verdict = over.batches[0].verdict
    assert verdict is not None
    assert [(one.instance, one.what) for one in verdict.differences] == [("d", "fingerprint")]
    assert all(instance.running == two[0].ref for instance in instances)


async def test_a_replayed_answer_proves_nothing(world, two, plan):
    instances = await world.join("a", "b")
    assert (await world.verify(two[0])).verified
    instances[0].faults.replays = True  # from now on it sends that answer again
    over = await world.until(await world.start(two[1], plan=plan(100.0, verify_s=0.6)))
    assert over.phase is Phase.ROLLED_BACK
    assert "a" in (over.reason or "")


async def test_one_rollout_is_in_flight_at_most(world, two, plan):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=60))
    with pytest.raises(Conflict, match="rollout r1 of release 2 is in flight"):
        await world.start(two[1])
    await world.order(rollout, "abort", message="no")
    await world.until(rollout)
    assert (await world.start(two[1])).id == "r2"


async def test_a_failing_member_is_back_within_a_second(world, two, plan):
    instances = await world.join(*(f"i{number}" for number in range(20)))
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=60))
    await world.until(rollout, Phase.BAKING)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    instances[7].faults.runs_wrong = True
    await instances[7].report()
    over = await world.until(rollout)
    assert over.phase is Phase.ROLLED_BACK
    assert all(instance.running == two[0].ref for instance in instances)
    assert loop.time() - begin < 1.0
