"""Rollouts where a layer demands approval: the start needs it, the promotion does not again, and going back never."""

from __future__ import annotations

import pytest

from herz.release.approval import Policy
from herz.release.rollout import Phase
from herz.server.audit import By
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.rollouts.book import Book, Wish
from herz.store.base import Put
from herz.store.plane import rollout_key
from herz.testing.memory_store import MemoryStore

AT = ("pay", "default")


async def guard(world, **facts):
    await world.plane.desk.policies.put(*AT, Policy(layers=("main",), **facts), by=By("root"))


async def approve(world, release, name="cat"):
    await world.plane.desk.approvals.give(*AT, release.number, digest=release.digest, by=By(name))


async def refused(call):
    with pytest.raises(Problem) as caught:
        await call
    assert (caught.value.status, caught.value.kind) == (409, "approval-needed")


async def test_a_rollout_of_what_is_not_approved_does_not_begin(world, two):
    await guard(world)
    await refused(world.start(two[1]))
    assert await world.book.newest(*AT) is None


async def test_an_approved_release_is_promoted_and_the_proof_says_so(world, two):
    await world.join("a", "b")
    await guard(world)
    await approve(world, two[1])
    rollout = await world.start(two[1], by="ann")
    assert rollout.approved_by == ("cat",)
    assert (await world.until(rollout)).phase is Phase.PROMOTED
    [live] = await world.plane.desk.approvals.publications(*AT, two[1].number)
    assert (live.by, live.approved_by, live.rollout, live.forced) == ("ann", ("cat",), rollout.id, False)


async def test_its_promotion_needs_no_approval_again(world, two, plan):
    await world.join("a", "b")
    await guard(world)
    await approve(world, two[1])
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    await world.plane.desk.approvals.withdraw(*AT, two[1].digest, by=By("cat"))
    assert (await world.order(rollout, "promote", all_batches=True)).status_code == 200
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_what_a_rollout_made_stable_is_gone_back_to_without_approval(world, two):
    await world.join("a")
    assert (await world.until(await world.start(two[1]))).phase is Phase.PROMOTED
    await world.plane.desk.rollback(*AT, two[0].number, by=By("ann"), message="back")
    await guard(world)
    rollout = await world.start(two[1])
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_what_a_rollout_only_tried_was_never_live(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    await world.order(rollout, "abort")
    assert (await world.until(rollout)).phase is Phase.ROLLED_BACK
    await guard(world)
    assert await world.plane.desk.approvals.publications(*AT, two[1].number) == ()
    await refused(world.start(two[1]))


async def test_a_rollout_that_was_forced_is_proof_that_says_so(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    await world.order(rollout, "force", message="now")
    await world.until(rollout)
    [live] = await world.plane.desk.approvals.publications(*AT, two[1].number)
    assert (live.forced, live.rollout) == (True, rollout.id)


@pytest.mark.parametrize("act", ["withdraw", "ask for more", "move stable"])
async def test_what_happens_at_the_same_moment_as_the_start_counts(world, two, act):
    await guard(world)
    await approve(world, two[1])
    third = await world.release("timeout: 9s\n")
    desk = world.plane.desk

    class Meanwhile(MemoryStore):
        waits = True

        async def txn(self, txn):
            starts = any(isinstance(one, Put) and one.key == rollout_key(*AT, "r1") for one in txn.then)
            if self.waits and starts:
                self.waits = False
                if act == "withdraw":
                    await desk.approvals.withdraw(*AT, two[1].digest, by=By("cat"))
                elif act == "ask for more":
                    await guard(world, approvals=2)
                else:
                    await desk.publish(*AT, third.number, by=By("bob"), message="quicker", force=True)
            return await super().txn(txn)

    beside = Plane.over(Meanwhile(world.store.place), world.plane.settings, world.plane.clock)
    book = Book(beside.store, beside.audit, beside.clock, beside.desk.approvals)
    await refused(book.start(*AT, Wish(release=two[1].number), By("ann")))
