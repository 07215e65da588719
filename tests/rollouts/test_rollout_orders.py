"""People and instances interfere with a rollout in flight: orders, joiners, restarts, labels, foreign hands."""

from __future__ import annotations

import asyncio

import pytest

from herz.release.channel import Channel, Mailbox, Pointer
from herz.release.record import encode
from herz.release.rollout import Phase
from herz.server.audit import By
from herz.store.plane import channel_key, mailbox_key


async def test_a_paused_rollout_goes_on_when_it_is_resumed(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    assert (await world.order(rollout, "pause", message="let me look")).json()["paused"]["message"] == "let me look"
    assert (await world.order(rollout, "resume")).status_code == 200
    assert (await world.order(rollout, "promote", all_batches=True)).status_code == 200
    over = await world.until(rollout)
    assert over.phase is Phase.PROMOTED
    assert all(batch.verified for batch in over.batches)


async def test_a_batch_that_is_prepared_while_paused_is_not_committed(world, two, plan, eventually):
    (instance,) = await world.join("a")
    instance.faults.slow_s = 0.2
    rollout = await world.start(two[1], plan=plan(100.0))
    await world.until(rollout, Phase.PREPARING)
    await world.order(rollout, "pause")
    await eventually(lambda: world.hub.namespace("pay", "default").reports["a"].value.rehearsed)
    assert instance.running == two[0].ref
    assert (await world.found(rollout)).phase is Phase.PREPARING
    await world.order(rollout, "resume")
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_an_aborted_rollout_takes_every_batch_back(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    assert sum(instance.running == two[1].ref for instance in instances) == 2
    await world.order(rollout, "abort", message="not today")
    over = await world.until(rollout)
    assert (over.phase, over.reason) == (Phase.ROLLED_BACK, "local aborted it: not today")
    assert all(instance.running == two[0].ref for instance in instances)
    assert await world.mailboxes() == {}


async def test_orders_to_a_rollout_that_is_over_are_refused(world, two, plan):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0))
    await world.until(rollout)
    for order in ("pause", "resume", "promote", "abort"):
        refused = await world.order(rollout, order)
        assert refused.status_code == 409, refused.text
        assert refused.json()["phase"] == "PROMOTED"


async def test_breaking_the_glass_promotes_without_proof_and_says_so_loudly(world, two, plan):
    instances = await world.join("a", "b")
    for instance in instances:
        instance.faults.slow_s = 0.4
    rollout = await world.start(two[1], plan=plan(100.0, prepare_s=30))
    await world.until(rollout, Phase.PREPARING)
    assert (await world.order(rollout, "force", message="")).status_code == 400
    assert (await world.order(rollout, "force", message="the site is down")).status_code == 200
    over = await world.until(rollout)
    assert (over.phase, over.forced.by) == (Phase.PROMOTED, "local")
    loud = [entry.action for entry in await world.audit() if entry.forced]
    assert loud == ["rollout.force", "rollout.promoting"]


async def test_who_joins_during_a_batch_stays_stable_until_the_next_one(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    (joiner,) = await world.join("joiner")
    assert joiner.running == two[0].ref
    assert (await world.mailboxes()).get("joiner") is None
    await world.order(rollout, "promote", all_batches=True)
    over = await world.until(rollout)
    assert over.phase is Phase.PROMOTED
    assert joiner.ran == [two[0].number, two[1].number]
    assert over.batches[1].size == 2


async def test_who_restarts_reads_the_stored_decision(world, two, plan, eventually):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    (member,) = await world.mailboxes()
    (again,) = await world.join(member)  # a new process of that name
    assert await eventually(lambda: again.ran) == [two[1].number]


async def test_a_label_that_changes_during_a_rollout_moves_nobody(world, two, plan, eventually):
    instances = await world.join("a", "b", "c", "d", labels={"zone": "eu"})
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30), selector={"zone": "eu"})
    await world.until(rollout, Phase.BAKING)
    placed = await world.mailboxes()
    member = next(one for one in instances if one.instance in placed)
    member.labels["zone"] = "us"
    await member.report()
    reports = world.hub.namespace("pay", "default").reports
    await eventually(lambda: reports[member.instance].value.labels["zone"] == "us")
    assert await world.mailboxes() == placed
    assert member.running == two[1].ref
    await world.order(rollout, "promote", all_batches=True)
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_a_member_that_flaps_while_its_batch_is_verified_is_still_verified_or_taken_back(world, two, plan):
    instances = await world.join(*(f"i{number}" for number in range(6)))

    async def flap() -> None:
        while True:
            instances[0].faults.silent = not instances[0].faults.silent
            if not instances[0].faults.silent:
                await instances[0].report()
            await asyncio.sleep(0.03)

    flapping = asyncio.create_task(flap())
    over = await world.until(await world.start(two[1], plan=plan(100.0, verify_s=1.0, commit_s=2.0, prepare_s=2.0)))
    flapping.cancel()
    if over.phase is Phase.PROMOTED:
        assert all(batch.verified for batch in over.batches)
    else:
        assert all(instance.running == two[0].ref for instance in instances)
    assert not (await world.channel()).cohorts


async def test_a_channel_that_somebody_else_moves_ends_the_rollout(world, two, plan):
    await world.join("a", "b")
    third = await world.release("timeout: 9s\n")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    await world.plane.desk.publish("pay", "default", third.number, by=By("bob"), message="now", force=True)
    over = await world.until(rollout)
    assert over.phase is Phase.ROLLED_BACK
    assert "somebody else moved stable to 3" in (over.reason or "")
    assert (await world.channel()).stable.release == third.ref


async def test_mailboxes_that_somebody_else_changes_take_the_batch_back(world, two, plan):
    instances = await world.join("a", "b", "c", "d")
    for instance in instances:
        instance.faults.slow_s = 0.5
    rollout = await world.start(two[1], plan=plan(50.0, 100.0))
    await world.until(rollout, Phase.PREPARING)
    placed = await world.mailboxes()
    outsider = next(one.instance for one in instances if one.instance not in placed)
    box = Mailbox(cohort=f"{rollout.id}-b1", rollout=rollout.id)
    await world.store.put(mailbox_key("pay", "default", outsider), encode(box))
    over = await world.until(rollout)
    assert over.phase is Phase.ROLLED_BACK
    assert "are not those that were frozen" in (over.reason or "")
    assert all(instance.running == two[0].ref for instance in instances)


async def test_a_forged_channel_is_not_followed_into_promotion(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    channel = await world.channel()
    forged = Channel(
        stable=channel.stable, cohorts={name: Pointer(release=two[0].ref, rollout="r1") for name in channel.cohorts}
    )
    await world.store.put(channel_key("pay", "default"), encode(forged))
    over = await world.until(rollout)
    assert over.phase is Phase.ROLLED_BACK
    assert "somebody else moved r1-b1" in (over.reason or "")


@pytest.mark.parametrize("bad", [{"release": 9}, {"release": 2, "plan": {"kind": "linear", "step": 0}}])
async def test_a_wish_that_makes_no_sense_begins_nothing(world, two, bad):
    refused = await world.http.post("/apps/pay/namespaces/default/rollouts", json=bad)
    assert refused.status_code in (400, 404)
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await world.http.get("/apps/pay/namespaces/default/rollouts")).json() == []
