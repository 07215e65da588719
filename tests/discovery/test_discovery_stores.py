"""The registry on real stores: the embedded one, and a real etcd; processes that are killed and stopped."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from herz.discovery import (
    ConsistentHash,
    Happened,
    LeastPending,
    Registered,
    RoundRobin,
    Says,
    ServiceRegistry,
    WeightedRoundRobin,
)
from herz.errors import Conflict, SourceUnavailable
from herz.store.base import Store
from herz.store.sqlite import SqliteStore

SOURCES = Path(__file__).parents[2] / "src"
ETCD = pytest.mark.skipif(
    shutil.which("etcd") is None or importlib.util.find_spec("grpc") is None,
    reason="needs the program etcd and the extra etcd",
)

CHILD = """
import asyncio, json, sys, time
from herz.discovery import ServiceRegistry
kind, place, root, name, ttl_s = sys.argv[1:]
def say(event):
    print(json.dumps([event.state, event.reason]), flush=True)
async def main():
    if kind == "sqlite":
        from herz.store.sqlite import SqliteStore
        store = SqliteStore(place)
    else:
        from herz.store.etcd.store import EtcdStore
        store = EtcdStore([place])
    registry = ServiceRegistry(store, root=root)
    async with registry.register("pay", name, "a:1", ttl_s=float(ttl_s), changed=say):
        await asyncio.Event().wait()
asyncio.run(main())
"""


class Ground:
    """One real place, and clients of it."""

    def __init__(self, kind: str, place: str) -> None:
        self.kind, self.place = kind, place
        self.root = f"/herz/services/test-{uuid.uuid4().hex[:8]}/"
        self.open: list[Store] = []

    def store(self) -> Store:
        store: Store
        if self.kind == "sqlite":
            store = SqliteStore(self.place, progress_s=0.1)
        else:
            from herz.store.etcd.store import EtcdStore

            store = EtcdStore([self.place])
        self.open.append(store)
        return store

    def registry(self, store: Store | None = None, **options: Any) -> ServiceRegistry:
        return ServiceRegistry(self.store() if store is None else store, root=self.root, **options)

    async def child(self, name: str, ttl_s: float) -> asyncio.subprocess.Process:
        """Another process that registers `name`, and has done so."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD, self.kind, self.place, self.root, name, str(ttl_s)),
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert await said(child, "REGISTERED") == "REGISTERED"
        return child


async def said(child: asyncio.subprocess.Process, *states: str) -> str:
    """Read what the child tells until it is in one of `states`."""
    assert child.stdout is not None
    async with asyncio.timeout(20):
        while True:
            state = json.loads(await child.stdout.readline())[0]
            if state in states:
                return str(state)


@pytest.fixture(scope="module")
def etcd() -> Iterator[Any]:
    from herz.testing.etcd_cluster import EtcdServer

    with EtcdServer() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=ETCD)])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    kind = request.param
    place = str(tmp_path / "herz.db") if kind == "sqlite" else request.getfixturevalue("etcd").endpoint
    ground = Ground(kind, place)
    yield ground
    for store in ground.open:
        await store.close()


def names(cache) -> list[str]:
    return [instance.name for instance in cache.instances("pay")]


async def test_joins_and_leaves_of_one_client_are_seen_by_another(ground: Ground, eventually) -> None:
    async with ground.registry().watch("pay") as cache:
        events: list = []
        cache.subscribe(lambda event: events.append(f"{event.what} {event.instance.name}"))
        mine = ground.registry()
        async with mine.register("pay", "a", "a:1"), mine.register("pay", "b", "b:1", weight=2) as b:
            await b.update(weight=0)
            await eventually(lambda: len(events) == 3)
            assert cache.freshness.current
        await eventually(lambda: len(events) == 5)
        assert events == ["JOINED a", "JOINED b", "CHANGED b", "LEFT b", "LEFT a"]


async def test_a_lease_revoked_from_outside_is_granted_anew(ground: Ground, eventually) -> None:
    registry, outside = ground.registry(), ground.store()
    async with registry.watch("pay") as cache, registry.register("pay", "a", "a:1", ttl_s=2) as registration:
        events: list = []
        cache.subscribe(lambda event: events.append(str(event.what)))
        await eventually(lambda: names(cache) == ["a"])
        lease = registration.health().lease
        assert lease is not None
        await outside.revoke(lease)
        await eventually(lambda: events[-2:] == ["LEFT", "JOINED"])
        await eventually(lambda: registration.state is Registered.REGISTERED)
        assert registration.health().lease != lease


async def test_one_of_many_registrars_wins(ground: Ground) -> None:
    registries = [ground.registry() for _ in range(3)]

    async def attempt(number: int) -> Any:
        registration = registries[number % 3].register("pay", "a", f"a:{number}", ttl_s=20)
        try:
            await registration.start()
        except Conflict:
            return None
        return registration

    won = [registration for registration in await asyncio.gather(*map(attempt, range(12))) if registration]
    assert len(won) == 1
    await won[0].deregister()
    async with registries[0].register("pay", "a", "again:1"):
        pass


async def test_a_process_that_was_killed_leaves_when_its_lease_ends(ground: Ground, eventually) -> None:
    async with ground.registry().watch("pay") as cache:
        child = await ground.child("a", 1.0)
        await eventually(lambda: names(cache) == ["a"])
        child.kill()
        await child.wait()
        begin = time.monotonic()
        await eventually(lambda: names(cache) == [])
        assert time.monotonic() - begin < 6


async def test_a_process_that_was_stopped_says_lost_and_registers_again(ground: Ground, eventually) -> None:
    async with ground.registry().watch("pay") as cache:
        child = await ground.child("a", 1.0)
        try:
            await eventually(lambda: names(cache) == ["a"])
            child.send_signal(signal.SIGSTOP)
            await eventually(lambda: names(cache) == [])
            child.send_signal(signal.SIGCONT)
            assert await said(child, "LOST") == "LOST"
            assert await said(child, "REGISTERED") == "REGISTERED"
            await eventually(lambda: names(cache) == ["a"])
        finally:
            child.kill()
            await child.wait()


async def test_a_store_closed_underneath_is_lost_and_stale_and_the_last_set_is_served(
    ground: Ground, eventually
) -> None:
    store = ground.store()
    registry = ground.registry(store)
    async with (
        registry.watch("pay", proof_s=0.3) as cache,
        registry.register("pay", "a", "a:1", ttl_s=1.5) as registration,
    ):
        balancer = RoundRobin(cache)
        await eventually(lambda: names(cache) == ["a"])
        await store.close()
        await eventually(lambda: registration.state is Registered.LOST)
        await eventually(lambda: cache.freshness.says is Says.STALE)
        assert cache.freshness.reason
        assert balancer.choose().name == "a"


async def test_it_resumes_where_history_was_compacted(ground: Ground, eventually) -> None:
    store = ground.store()
    async with ground.registry(store).watch("pay") as cache:
        other = ground.registry()
        async with other.register("pay", "a", "a:1"):
            await eventually(lambda: names(cache) == ["a"])
            await store.compact((await store.status()).revision)
            async with other.register("pay", "b", "b:1"):
                await eventually(lambda: names(cache) == ["a", "b"])


async def storm(ground: Ground, eventually: Callable[..., Any], count: int) -> int:
    """`count` instances join and leave at once, while four threads pick; how often they picked."""
    left: dict[tuple[str, int], int] = {}
    registry = ground.registry()
    async with registry.watch("pay") as cache:
        balancers = [balancer(cache) for balancer in (RoundRobin, WeightedRoundRobin, LeastPending, ConsistentHash)]
        joined = 0

        def heard(event) -> None:
            nonlocal joined
            joined += event.what is Happened.JOINED
            if event.what is Happened.LEFT:
                left[event.instance.name, event.instance.joined] = len(left)

        cache.subscribe(heard)
        stop = threading.Event()
        faults: list[str] = []
        picked = [0] * 4

        def pick(number: int) -> None:
            while not stop.is_set():
                for balancer in balancers:
                    known = len(left)  # whoever is among these had left before we asked
                    try:
                        with balancer.pick(str(picked[number])) as instance:
                            gone = left.get((instance.name, instance.joined), known)
                    except SourceUnavailable:
                        continue
                    if gone < known:
                        faults.append(f"{type(balancer).__name__} handed out {instance.name}, which had left")
                    picked[number] += 1
                time.sleep(0.001)  # let the event loop have the interpreter

        threads = [threading.Thread(target=pick, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            many = [registry.register("pay", f"i{number:03}", f"a:{number}", ttl_s=60) for number in range(count)]
            await asyncio.gather(*(registration.start() for registration in many))
            await eventually(lambda: joined == count, 30)
            assert len(cache.instances()) == count
            await asyncio.gather(*(registration.deregister() for registration in many))
            await eventually(lambda: len(left) == count, 30)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert faults == []
        assert cache.instances() == ()
        assert all(balancer._pending == {} for balancer in balancers)
        return sum(picked)


async def test_no_thread_is_handed_an_instance_that_has_left_while_many_come_and_go(ground: Ground, eventually) -> None:
    assert await storm(ground, eventually, 40) > 20


@pytest.mark.slow
async def test_no_thread_is_handed_an_instance_that_has_left_while_200_come_and_go(ground: Ground, eventually) -> None:
    assert await storm(ground, eventually, 200) > 100


@ETCD
async def test_a_member_that_is_killed_and_comes_back_loses_nobody(eventually) -> None:
    from herz.testing.etcd_cluster import EtcdServer

    async with EtcdServer() as server:
        ground = Ground("etcd", server.endpoint)
        registry = ground.registry(chance=lambda: 0.0)
        try:
            async with (
                registry.watch("pay") as cache,
                registry.register("pay", "a", "a:1", ttl_s=20) as registration,
            ):
                events: list = []
                cache.subscribe(lambda event: events.append(str(event.what)))
                await eventually(lambda: names(cache) == ["a"])
                before = registration.health().lease
                server.member.kill()
                await eventually(lambda: cache.freshness.reason is not None)
                assert names(cache) == ["a"]
                await server.member.start()
                async with ground.registry().register("pay", "b", "b:1"):
                    await eventually(lambda: names(cache) == ["a", "b"], 20)
                    await eventually(lambda: cache.freshness.current)
                    await registration.check()
                    assert registration.health().lease == before
                    assert "LEFT" not in events
        finally:
            for store in ground.open:
                await store.close()
