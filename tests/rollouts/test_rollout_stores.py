"""Rollouts on the stores that servers really use, and with two servers over one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from herz.release.rollout import Phase
from herz.store.base import Store
from herz.store.etcd.store import EtcdStore
from herz.store.sqlite import SqliteStore
from herz.testing.etcd_cluster import EtcdCluster, EtcdPrograms

OLD, NEW = "timeout: 1000ms\n", "timeout: 3000ms\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    if not EtcdPrograms.available("3.4"):
        pytest.skip("no etcd 3.4: tools/servers installs it")
    with EtcdCluster(1, version="3.4") as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "etcd"])
async def stores(request, tmp_path) -> AsyncIterator[list[Store]]:
    """Three that share nothing but the place."""
    if request.param == "sqlite":
        found: list[Store] = [SqliteStore(tmp_path / "herz.db") for _ in range(3)]
    else:
        cluster = request.getfixturevalue("cluster")
        found = [EtcdStore(cluster.endpoints, proof_s=0.5) for _ in range(3)]
        await found[0].delete_prefix("/herz/")
    yield found
    for store in found:
        await store.close()


async def test_a_good_release_is_promoted_and_a_bad_one_rolled_back(stores, running, plan):
    async with running(stores[0]) as world:
        await world.release(OLD, publish=True)
        release = await world.release(NEW)
        instances = await world.join("a", "b", "c", "d", store=stores[2])
        over = await world.until(await world.start(release))
        assert over.phase is Phase.PROMOTED
        assert [batch.verified for batch in over.batches] == [True, True]
        bad = await world.release("timeout: 9s\n")
        instances[2].faults.lies = True
        over = await world.until(await world.start(bad, plan=plan(100.0)))
        assert over.phase is Phase.ROLLED_BACK
        assert all(instance.running == release.ref for instance in instances)
        assert (await world.plane.audit.verify()).ok


@pytest.mark.slow
async def test_another_server_goes_on_where_the_first_one_stopped(stores, running, plan):
    async with running(stores[1]) as second:
        async with running(stores[0]) as first:
            await first.release(OLD, publish=True)
            release = await first.release(NEW)
            await second.join("a", "b", "c", "d", store=stores[2])
            rollout = await first.start(release, plan=plan(50.0, 100.0, bake_s=1.0))
            await second.until(rollout, Phase.BAKING, batch=1)
            assert sorted(len(world.driver.driven) for world in (first, second)) == [0, 1]
        over = await second.until(rollout)
        assert over.phase is Phase.PROMOTED
        assert [batch.verified for batch in over.batches] == [True, True]


async def test_a_driver_that_lost_its_lease_writes_nothing(stores, running, plan, eventually):
    async with running(stores[0]) as world:
        await world.release(OLD, publish=True)
        release = await world.release(NEW)
        (instance,) = await world.join("a", store=stores[2])
        instance.faults.slow_s = 0.5
        rollout = await world.start(release, plan=plan(100.0))
        await world.until(rollout, Phase.PREPARING)
        await stores[1].delete("/herz/duties/rollouts")  # as if it had expired, and somebody else's came
        await stores[1].put("/herz/duties/rollouts", b"somebody else")
        reports = world.hub.namespace("pay", "default").reports
        await eventually(lambda: reports["a"].value.rehearsed)  # what it would go on with
        await asyncio.sleep(0.2)
        assert (await world.found(rollout)).phase is Phase.PREPARING
        assert instance.ran == [1]
        await stores[1].delete("/herz/duties/rollouts")
        assert (await world.until(rollout)).phase is Phase.PROMOTED
