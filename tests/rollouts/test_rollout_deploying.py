"""A rollout installs the patch first: the release stays dormant until every member runs it; and who is told of what."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import pytest

from herz.release.rollout import Phase
from herz.server.audit import By
from herz.server.rollouts.deployer import Hook
from herz.server.rollouts.standing import RolloutSettings
from herz.testing.memory_store import MemoryStore

COPY = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


@pytest.fixture
def deployers(tmp_path):
    return {
        "copy": Hook(command=(sys.executable, "-c", COPY, str(tmp_path / "orders"))),
        "broken": Hook(command=(sys.executable, "-c", "import sys; sys.exit('no such image')")),
    }


@pytest.fixture
async def site(running, deployers, place):
    store = MemoryStore()
    yield lambda: running(store, RolloutSettings(deployers=deployers, alerts=(place.url,)))
    await store.close()


async def installing(world, tmp_path) -> None:
    """What the deployer has begun: whoever is named in an order runs the patch a moment later."""
    done = 0
    while True:
        await asyncio.sleep(0.02)
        with suppress(FileNotFoundError):
            orders = [json.loads(line) for line in (tmp_path / "orders").read_text().splitlines()]
            for order in orders[done:]:
                for member in order["members"]:
                    follower = world.instances[member["instance"]]
                    follower.patch_id = order["patch_id"]
                    await follower.report()
            done = len(orders)


async def test_the_patch_is_installed_batch_by_batch_before_the_release(site, plan, tmp_path):
    async with site() as world:
        old = await world.release("timeout: 1s\n", publish=True)
        release = await world.release("timeout: 3s\n", patch_id="P1")
        instances = await world.join("a", "b", "c", "d", patch_id="P0")
        with_patch = []
        for instance in instances:
            instance._flipped = lambda one: with_patch.append((one.running.number, one.patch_id))
        task = asyncio.create_task(installing(world, tmp_path))
        over = await world.until(await world.start(release, deployer="copy"))
        task.cancel()
        assert over.phase is Phase.PROMOTED
        assert (over.patch_id, [batch.verified for batch in over.batches]) == ("P1", [True, True])
        assert with_patch == [(release.number, "P1")] * 4
        orders = [json.loads(line) for line in (tmp_path / "orders").read_text().splitlines()]
        assert [(order["batch"], len(order["members"])) for order in orders] == [(1, 2), (2, 2)]
        assert {order["key"] for order in orders} == {"pay/default/r1/1", "pay/default/r1/2"}
        assert old.number == 1


async def test_a_deployer_that_fails_takes_everything_back_and_says_what_it_said(site, plan, eventually, place):
    async with site() as world:
        old = await world.release("timeout: 1s\n", publish=True)
        release = await world.release("timeout: 3s\n")
        instances = await world.join("a", "b", patch_id="P0")
        over = await world.until(await world.start(release, deployer="broken", patch_id="P1"))
        assert over.phase is Phase.ROLLED_BACK
        assert "deployer 'broken': exit code 1: no such image" in (over.reason or "")
        assert all(instance.ran == [old.number] for instance in instances)
        await eventually(lambda: place.asked)
        assert "no such image" in json.loads(place.asked[0][2])["text"]


async def test_a_patch_that_never_arrives_takes_everything_back(site, plan):
    async with site() as world:
        old = await world.release("timeout: 1s\n", publish=True)
        release = await world.release("timeout: 3s\n")
        instances = await world.join("a", "b", patch_id="P0")
        begun = await world.start(release, deployer="copy", patch_id="P1", plan=plan(100.0, deploy_s=0.5))
        over = await world.until(begun)
        assert over.phase is Phase.ROLLED_BACK
        assert "patch P1 was not installed within 0.5 s at a, b" in (over.reason or "")
        assert all(instance.ran == [old.number] for instance in instances)


async def test_people_are_told_when_somebody_publishes_past_a_rollout(site, plan, eventually, place):
    async with site() as world:
        await world.release("timeout: 1s\n", publish=True)
        release = await world.release("timeout: 3s\n")
        await world.join("a", "b")
        rollout = await world.start(release, plan=plan(50.0, 100.0, bake_s=30))
        await world.until(rollout, Phase.BAKING)
        await world.plane.desk.publish("pay", "default", release.number, by=By("bob"), message="now", force=True)
        await world.until(rollout)
        await eventually(lambda: any(json.loads(body)["kind"] == "forced" for _, _, body in place.asked))
