"""Objects are built once, within a limit, where they belong; and failures leave nothing behind."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from herz.errors import BuildError, HerzError, NotRunning, UsageError
from herz.live.handle import Handle


@dataclass
class Db:
    url: str = "db"
    password: str = ""


class Thing:
    def __init__(self, url: str = "") -> None:
        self.url = url
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Pool(Thing):
    pass


class Client(Thing):
    pass


def config(url: Any, **more: Any) -> dict[str, Any]:
    return {"db": {"url": str(url), **more}}


async def test_concurrent_first_uses_build_once(driver: Any) -> None:
    built = []
    begin, go = threading.Barrier(8), threading.Event()

    def make() -> Pool:
        go.wait(5)
        built.append(1)
        return Pool()

    driver.scope.declare(make)
    await driver.open({})

    def use() -> Pool:
        begin.wait(5)
        go.set()
        return driver.scope.get(Pool)

    with ThreadPoolExecutor(8) as threads:
        found = await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(threads, use) for _ in range(8)))
    assert len(built) == 1
    assert len(set(map(id, found))) == 1


async def test_a_failed_first_use_is_told_and_tried_again(driver: Any) -> None:
    fails = [True]

    def make() -> Pool:
        if fails.pop() if fails else False:
            raise OSError("database is starting")
        return Pool()

    driver.scope.declare(make)
    await driver.open({})
    with pytest.raises(BuildError, match="OSError: database is starting") as raised:
        driver.scope.get(Pool)
    assert isinstance(raised.value.__cause__, OSError)
    assert "test_scope_construction.py" in str(raised.value.where)
    assert isinstance(driver.scope.get(Pool), Pool)


async def test_what_was_built_for_a_failed_candidate_is_closed(driver: Any) -> None:
    pools: list[Pool] = []

    def make_pool(config: Db) -> Pool:
        pools.append(Pool(config.url))
        return pools[-1]

    def make_client(config: Db, pool: Pool) -> Client:
        if config.url == "bad":
            raise ValueError("no")
        return Client()

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make_pool)
    driver.scope.declare(make_client)
    await driver.open(config("good"))
    client = driver.scope.get(Client)
    with pytest.raises(BuildError):
        await driver.refresh(config("bad"))
    assert [pool.closed for pool in pools] == [0, 1]
    assert driver.scope.get(Client) is client
    report = await driver.refresh(config("better"))
    assert report.rebuilt == ("Pool", "Client")


async def test_a_secret_in_a_factorys_error_is_masked(driver: Any) -> None:
    def make(config: Db) -> Pool:
        raise ValueError(f"cannot log in with {config.password}")

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make)
    await driver.open(config(1, password="geheim123"))
    with pytest.raises(BuildError) as raised:
        driver.scope.get(Pool)
    assert "geheim123" not in str(raised.value)
    assert "••••" in str(raised.value)


async def test_a_factory_that_hangs_is_given_up_and_not_begun_again(driver: Any, until: Any) -> None:
    gate = threading.Event()
    late: list[Pool] = []
    began = []

    def make(config: Db) -> Pool:
        began.append(config.url)
        if config.url == "slow":
            gate.wait(10)
            late.append(Pool())
            return late[0]
        return Pool()

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make, build_s=0.05)
    await driver.open(config(1))
    pool = driver.scope.get(Pool)
    started = time.monotonic()
    with pytest.raises(BuildError, match=r"took longer than 0.05 s and was given up in thread 'herz build Pool'"):
        await driver.refresh(config("slow"))
    assert time.monotonic() - started < 2
    assert driver.scope.get(Pool) is pool
    with pytest.raises(BuildError, match="is not built again while herz build Pool hangs"):
        await driver.refresh(config(2))
    assert began == ["1", "slow"]
    assert driver.scope.describe()["hanging"]
    gate.set()
    await until(lambda: late and late[0].closed == 1)
    report = await driver.refresh(config(3))
    assert report.rebuilt == ("Pool",)
    assert [notice.kind for notice in driver.notices] == ["late"]


async def test_an_async_factory_that_hangs_is_cancelled(driver: Any) -> None:
    cancelled = asyncio.Event()

    async def make(config: Db) -> Pool:
        if config.url == "slow":
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.set()
        return Pool()

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make, build_s=0.05)
    await driver.open(config(1))
    pool = await driver.scope.aget(Pool)
    with pytest.raises(BuildError, match="took longer than"):
        await driver.refresh(config("slow"))
    await asyncio.wait_for(cancelled.wait(), 2)
    assert driver.scope.get(Pool) is pool


async def test_an_async_object_cannot_be_had_synchronously_on_its_loop(driver: Any) -> None:
    async def make() -> Pool:
        return Pool()

    def make_client(pool: Pool) -> Client:
        return Client()

    driver.scope.declare(make)
    driver.scope.declare(make_client)
    await driver.open({})
    with pytest.raises(UsageError, match=r"await herz.aget\(Client\)"):
        driver.scope.get(Client)
    client = await driver.scope.aget(Client)
    assert driver.scope.get(Client) is client


async def test_an_async_object_can_be_waited_for_in_another_thread(driver: Any) -> None:
    loops = []

    async def make() -> Pool:
        loops.append(asyncio.get_running_loop())
        return Pool()

    driver.scope.declare(make)
    await driver.open({})
    pool = await asyncio.to_thread(driver.scope.get, Pool)
    assert driver.scope.get(Pool) is pool
    assert loops == [asyncio.get_running_loop()]


async def test_a_refresh_from_inside_a_factory_is_refused(driver: Any) -> None:
    seen: list[BaseException] = []

    class Meddler:
        def __init__(self, config: Db) -> None:
            for meddle in (
                lambda: driver.scope.refuse_inside_factory("refresh"),
                lambda: driver.scope.get(Db),
                lambda: driver.scope.pin().__enter__(),
                lambda: driver.scope.lease(Db).__enter__(),
                lambda: driver.scope.handle(Pool).current,
            ):
                try:
                    meddle()
                except HerzError as error:
                    seen.append(error)
            self.url = driver.scope.snapshot["db.url"]

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(Pool)
    driver.scope.declare(Meddler)
    await driver.open(config(1))
    driver.scope.get(Meddler)
    assert [type(error) for error in seen] == [UsageError] * 5
    assert "refresh was asked for while Meddler is being built" in str(seen[0])
    await driver.refresh(config(2))
    assert driver.scope.get(Meddler).url == "2"


async def test_a_task_that_an_async_factory_started_may_use_the_scope_later(driver: Any) -> None:
    go, seen = asyncio.Event(), []

    async def later() -> None:
        await go.wait()
        seen.append(driver.scope.get(Db).url)

    tasks = []

    async def make() -> Pool:
        tasks.append(asyncio.create_task(later()))
        return Pool()

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make)
    await driver.open(config(1))
    await driver.scope.aget(Pool)
    go.set()
    await tasks[0]
    assert seen == ["1"]


async def test_a_second_candidate_is_refused_while_one_is_open(driver: Any) -> None:
    driver.scope.declare_properties(Db, "db")
    await driver.open(config(1))
    snapshot, events = driver.next(config(2))
    prepared = await driver.scope.prepare(snapshot, events)
    with pytest.raises(UsageError, match="another candidate"):
        await driver.scope.prepare(*driver.next(config(3)))
    assert driver.scope.get(Db).url == "1"
    await prepared.discard()
    with pytest.raises(UsageError, match="committed or discarded"):
        await prepared.commit()
    await driver.refresh(config(4))
    assert driver.scope.get(Db).url == "4"


async def test_an_object_first_used_while_a_candidate_waits_is_built_for_it_as_well(driver: Any) -> None:
    class Unrelated(Thing):
        pass

    driver.scope.declare_properties(Db, "db")

    def make(config: Db) -> Pool:
        return Pool(config.url)

    driver.scope.declare(make)
    driver.scope.declare(Unrelated)
    handle = driver.scope.handle(Pool)
    await driver.open(config(1))
    snapshot, events = driver.next(config(2))
    prepared = await driver.scope.prepare(snapshot, events)
    old, unrelated = driver.scope.get(Pool), driver.scope.get(Unrelated)
    report = await prepared.commit()
    assert old.url == "1"
    assert report.rebuilt == ("Pool",)
    assert driver.scope.current.values[Pool].url == "2"
    assert handle.current is driver.scope.get(Pool)
    assert driver.scope.get(Unrelated) is unrelated


async def test_a_construction_under_way_at_the_swap_serves_both_generations(driver: Any, until: Any) -> None:
    go = threading.Event()

    class Slow(Thing):
        def __init__(self) -> None:
            super().__init__()
            go.wait(5)

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(Slow)
    await driver.open(config(1))
    first = asyncio.create_task(asyncio.to_thread(driver.scope.get, Slow))
    await until(lambda: driver.scope.current.objects.building)
    await driver.refresh(config(2))
    second = asyncio.create_task(driver.scope.aget(Slow))
    await asyncio.sleep(0.01)
    go.set()
    assert await first is await second is driver.scope.get(Slow)


async def test_an_affected_construction_under_way_at_the_swap_serves_the_old_generation_only(
    driver: Any, until: Any
) -> None:
    go = threading.Event()

    def make(config: Db) -> Pool:
        if config.url == "1":
            go.wait(5)
        return Pool(config.url)

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make, grace_s=0)
    handle = driver.scope.handle(Pool)
    await driver.open(config(1))
    first = asyncio.create_task(asyncio.to_thread(driver.scope.get, Pool))
    await until(lambda: driver.scope.current.objects.building)
    await driver.refresh(config(2))
    assert driver.scope.get(Pool).url == handle.current.url == "2"
    go.set()
    old = await first
    assert old.url == "1"
    await until(lambda: old.closed == 1)
    assert handle.current.url == "2"


async def test_a_stop_during_a_reload_discards_the_candidate(driver: Any, until: Any) -> None:
    gate, built = threading.Event(), []

    def make_pool(config: Db) -> Pool:
        built.append(Pool(config.url))
        return built[-1]

    def make_client(config: Db, pool: Pool) -> Client:
        if config.url == "2":
            gate.wait(10)
        built.append(Client(config.url))
        return built[-1]

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make_pool)
    driver.scope.declare(make_client)
    await driver.open(config(1))
    driver.scope.get(Client)
    refresh = asyncio.create_task(driver.refresh(config(2)))
    await until(lambda: len(built) == 3)
    await driver.scope.close()
    with pytest.raises(NotRunning):
        await refresh
    assert [one.closed for one in built] == [1, 1, 1]
    gate.set()
    await until(lambda: len(built) == 4 and built[3].closed == 1)


async def test_a_candidate_that_waits_is_discarded_by_the_stop(driver: Any) -> None:
    driver.scope.declare_properties(Db, "db")
    pools = []

    def make(config: Db) -> Pool:
        pools.append(Pool(config.url))
        return pools[-1]

    driver.scope.declare(make)
    await driver.open(config(1))
    driver.scope.get(Pool)
    prepared = await driver.scope.prepare(*driver.next(config(2)))
    await driver.scope.close()
    assert [pool.closed for pool in pools] == [1, 1]
    with pytest.raises(NotRunning):
        await prepared.commit()


async def test_a_cancelled_refresh_is_discarded(driver: Any, until: Any) -> None:
    gate, pools = threading.Event(), []

    def make(config: Db) -> Pool:
        if config.url == "2":
            gate.wait(10)
        pools.append(Pool(config.url))
        return pools[-1]

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make)
    await driver.open(config(1))
    pool = driver.scope.get(Pool)
    refresh = asyncio.create_task(driver.refresh(config(2)))
    await until(lambda: threading.active_count() > 1 and driver.scope._candidate is not None)
    refresh.cancel()
    with pytest.raises(asyncio.CancelledError):
        await refresh
    gate.set()
    await until(lambda: len(pools) == 2 and pools[1].closed == 1)
    assert driver.scope.get(Pool) is pool
    await driver.refresh(config(3))
    assert driver.scope.get(Pool).url == "3"


async def test_eager_objects_are_built_at_the_start(driver: Any) -> None:
    built = []

    class Eager:
        def __init__(self, pool: Pool) -> None:
            built.append("eager")

    def make() -> Pool:
        built.append("pool")
        return Pool()

    driver.scope.declare(make)
    driver.scope.declare(Eager, eager=True)
    report = await driver.open({})
    assert built == ["pool", "eager"]
    assert report.rebuilt == ("Pool", "Eager")


async def test_a_start_that_fails_closes_what_it_built_and_may_be_tried_again(driver: Any) -> None:
    fails, pools = [True], []

    def make() -> Pool:
        pools.append(Pool())
        return pools[-1]

    class Eager:
        def __init__(self, pool: Pool) -> None:
            if fails:
                fails.clear()
                raise OSError("not yet")

    driver.scope.declare(make)
    driver.scope.declare(Eager, eager=True)
    with pytest.raises(BuildError):
        await driver.open({})
    assert [pool.closed for pool in pools] == [1]
    await driver.open({})
    assert driver.scope.get(Pool) is pools[1]


async def test_an_object_is_validated_before_it_is_used(driver: Any) -> None:
    async def ping(pool: Pool) -> None:
        await asyncio.sleep(0)
        if pool.url == "unreachable":
            raise ConnectionError("no answer")

    pools = []

    def make(config: Db) -> Pool:
        pools.append(Pool(config.url))
        return pools[-1]

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make, validate=ping)
    await driver.open(config(1))
    await driver.scope.aget(Pool)
    with pytest.raises(BuildError, match="no answer"):
        await driver.refresh(config("unreachable"))
    assert [pool.closed for pool in pools] == [0, 1]


async def test_a_factory_that_returns_nothing_is_told(driver: Any) -> None:
    driver.scope.declare(lambda: None, provides=Pool)
    await driver.open({})
    with pytest.raises(BuildError, match="returned None"):
        driver.scope.get(Pool)


async def test_a_handle_spares_its_owner_from_being_rebuilt(driver: Any) -> None:
    def make(config: Db) -> Pool:
        return Pool(config.url)

    class Owner:
        def __init__(self, pool: Handle[Pool]) -> None:
            self.pool = pool

    driver.scope.declare_properties(Db, "db")
    driver.scope.declare(make)
    driver.scope.declare(Owner)
    await driver.open(config(1))
    owner = driver.scope.get(Owner)
    assert owner.pool.current.url == "1"
    await driver.refresh(config(2))
    assert driver.scope.get(Owner) is owner
    assert owner.pool.current.url == "2"
