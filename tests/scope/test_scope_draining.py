"""Old objects are closed once, when nobody can be using them any more."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from herz.errors import UsageError


@dataclass
class Db:
    url: str = "db"


class Pool:
    def __init__(self, config: Db) -> None:
        self.url = config.url
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Client:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.closed = 0
        self.pool_was_open = False

    async def aclose(self) -> None:
        self.pool_was_open = not self.pool.closed
        self.closed += 1


@pytest.fixture
def scope(timed: Any) -> Any:
    timed.scope.declare_properties(Db, "db")
    timed.scope.declare(Pool, grace_s=1.0, drain_s=10.0)
    timed.scope.declare(Client, grace_s=1.0, drain_s=10.0)
    return timed.scope


def config(url: Any) -> dict[str, Any]:
    return {"db": {"url": str(url)}}


async def test_an_old_object_stays_open_for_its_grace(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    pool = scope.get(Pool)
    await timed.refresh(config(2))
    await timed.advance(0.9)
    assert not pool.closed
    await timed.advance(0.2)
    await until(lambda: pool.closed == 1)


async def test_a_leased_object_is_not_closed_nor_what_it_was_built_from(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    with scope.lease(Client) as client:
        pool = client.pool
        await timed.refresh(config(2))
        await timed.advance(5)
        assert (client.closed, pool.closed) == (0, 0)
    await until(lambda: pool.closed)
    assert (client.closed, client.pool_was_open, pool.closed) == (1, True, 1)


async def test_an_async_lease_holds_as_well(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    async with scope.lease(Client) as client:
        await timed.refresh(config(2))
        await timed.advance(5)
        assert not client.closed
    await until(lambda: client.closed == 1)


async def test_a_pin_sees_one_generation_and_keeps_it_open(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    old = scope.get(Client)
    with scope.pin() as pin:
        await timed.refresh(config(2))
        await timed.advance(5)
        assert scope.get(Client) is pin.get(Client) is old
        assert scope.snapshot["db.url"] == pin.snapshot["db.url"] == "1"
        assert pin.generation == 1
        assert scope.handle(Db).current.url == "2"
        assert not old.closed
    assert scope.get(Client) is not old
    await until(lambda: old.closed == 1)


async def test_a_lazy_object_of_a_pinned_generation_is_built_from_its_values(
    timed: Any, scope: Any, until: Any
) -> None:
    await timed.open(config(1))
    with scope.pin():
        await timed.refresh(config(2))
        old = scope.get(Pool)
        assert old.url == "1"
    assert scope.get(Pool).url == "2"
    await timed.advance(2)
    await until(lambda: old.closed == 1)


async def test_a_pin_inside_a_pin_sees_the_same_generation(timed: Any, scope: Any) -> None:
    await timed.open(config(1))
    with scope.pin():
        await timed.refresh(config(2))
        with scope.pin() as inner:
            assert inner.generation == 1
        assert scope.get(Db).url == "1"


async def test_a_pin_that_has_ended_counts_as_none_in_tasks_that_inherited_it(timed: Any, scope: Any) -> None:
    await timed.open(config(1))
    with scope.pin() as pin:
        inherited = contextvars.copy_context()
    await timed.refresh(config(2))
    assert inherited.run(scope.get, Db).url == "2"
    with pytest.raises(UsageError, match="this pin has ended"):
        pin.get(Db)


async def test_a_thread_does_not_inherit_a_pin(timed: Any, scope: Any) -> None:
    await timed.open(config(1))
    with scope.pin():
        await timed.refresh(config(2))
        assert await asyncio.to_thread(scope.get, Db) is scope.get(Db)  # asyncio copies the context
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(scope.get(Db).url))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert seen == ["2"]


async def test_a_pin_left_in_another_context_is_released(timed: Any, scope: Any) -> None:
    await timed.open(config(1))
    pin = scope.pin()
    contextvars.copy_context().run(pin.__enter__)
    pin.__exit__(None, None, None)
    assert scope.current.objects.pins == set()


async def test_a_lease_that_overruns_is_named_and_the_object_closed(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    with scope.lease(Pool) as pool:
        await timed.refresh(config(2))
        await timed.advance(11)
        await until(lambda: pool.closed == 1)
    (notice,) = timed.notices
    assert notice.kind == "overrun"
    assert notice.provides == "Pool"
    assert "test_scope_draining.py:" in notice.message
    assert "test_a_lease_that_overruns" in notice.holders[0]
    await timed.advance(100)
    assert pool.closed == 1


async def test_a_pin_that_overruns_is_named(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    pool = scope.get(Pool)
    with scope.pin():
        await timed.refresh(config(2))
        await timed.advance(11)
        await until(lambda: pool.closed == 1)
        with pytest.raises(UsageError, match="the pin outlived its limit"), scope.lease(Pool):
            pass
    assert "a pin taken in" in timed.notices[0].message


async def test_an_overrun_may_be_waited_for(timed: Any, until: Any) -> None:
    scope = timed.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool, overrun="defer", drain_s=10)
    await timed.open(config(1))
    with scope.lease(Pool) as pool:
        await timed.refresh(config(2))
        await timed.advance(100)
        assert not pool.closed
        assert [notice.kind for notice in timed.notices] == ["overrun"]
    await until(lambda: pool.closed == 1)


async def test_the_oldest_generation_is_given_up_when_too_many_are_alive(timed: Any, scope: Any, until: Any) -> None:
    await timed.open(config(1))
    pools, pins = [], []
    for number in range(2, 6):
        pools.append(scope.get(Pool))
        pin = scope.pin()
        contextvars.copy_context().run(pin.__enter__)
        pins.append(pin)
        await timed.refresh(config(number))
    await timed.advance(2)
    await until(lambda: pools[0].closed == 1 and pools[1].closed == 1)
    assert [pool.closed for pool in pools] == [1, 1, 0, 0]
    assert [notice.kind for notice in timed.notices] == ["given-up", "given-up"]
    for pin in pins:
        pin.__exit__(None, None, None)


async def test_a_shared_object_outlives_every_generation_but_its_last(timed: Any, scope: Any, until: Any) -> None:
    class Cache:
        def __init__(self) -> None:
            self.closed = 0

        def close(self) -> None:
            self.closed += 1

    scope.declare(Cache, grace_s=0)
    await timed.open(config(1))
    cache = scope.get(Cache)
    for number in range(2, 6):
        scope.get(Pool)
        await timed.refresh(config(number))
        await timed.advance(2)
    assert scope.get(Cache) is cache
    assert not cache.closed
    await scope.close()
    assert cache.closed == 1


async def test_a_close_that_raises_is_reported_and_the_rest_closed(timed: Any, until: Any) -> None:
    scope = timed.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool)

    def refuse(client: Client) -> None:
        raise OSError("no")

    scope.declare(Client, close=refuse)
    await timed.open(config(1))
    pool = scope.get(Client).pool
    await timed.refresh(config(2))
    await timed.advance(2)
    await until(lambda: pool.closed == 1)
    (notice,) = timed.notices
    assert notice.kind == "close-failed"
    assert "OSError: no" in notice.message


async def test_a_close_that_hangs_is_abandoned_after_its_limit(timed: Any, until: Any) -> None:
    scope = timed.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool)
    gate = threading.Event()
    scope.declare(Client, close=lambda client: gate.wait(), close_s=0.05)
    await timed.open(config(1))
    pool = scope.get(Client).pool
    await timed.refresh(config(2))
    await timed.advance(2)
    await until(lambda: pool.closed == 1)
    assert "took longer than 0.05 s" in timed.notices[0].message
    gate.set()


async def test_an_object_that_a_factory_returns_again_is_closed_once_at_last(timed: Any, until: Any) -> None:
    scope = timed.scope
    scope.declare_properties(Db, "db")
    single = Pool(Db())

    def always(config: Db) -> Pool:
        return single

    scope.declare(always, grace_s=0)
    await timed.open(config(1))
    scope.get(Pool)
    await timed.refresh(config(2))
    await timed.advance(1)
    assert single.closed == 0
    await scope.close()
    assert single.closed == 1


async def test_the_stop_closes_everything_in_reverse_order(timed: Any) -> None:
    scope = timed.scope
    scope.declare_properties(Db, "db")
    order: list[str] = []
    scope.declare(Pool, close=lambda one: order.append("pool"))
    scope.declare(Client, close=lambda one: order.append("client"))
    await timed.open(config(1))
    scope.get(Client)
    await scope.close()
    assert order == ["client", "pool"]


async def test_the_stop_waits_for_a_lease_up_to_its_limit(driver: Any, until: Any) -> None:
    scope = driver.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool)
    await driver.open(config(1))
    with scope.lease(Pool) as pool:
        stopping = asyncio.create_task(scope.close(30))
        await asyncio.sleep(0.02)
        assert not pool.closed
    await stopping
    assert pool.closed == 1


async def test_the_stop_closes_what_is_held_beyond_its_limit(driver: Any) -> None:
    scope = driver.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool, overrun="defer")
    await driver.open(config(1))
    with scope.lease(Pool) as pool, scope.pin():
        await scope.close(0.02)
        assert pool.closed == 1
    assert "at the stop" in driver.notices[0].message
