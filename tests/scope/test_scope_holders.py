"""Whoever still uses what has been replaced is named."""

from __future__ import annotations

import asyncio
import gc
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from herz.live.holders import StaleHolder


@dataclass
class Db:
    url: str = "db"
    size: int = 1


@dataclass(slots=True)
class Slotted:
    port: int = 1


class Pool:
    def __init__(self, config: Db) -> None:
        self.config = config

    def close(self) -> None: ...


class PaymentClient:
    def __init__(self, config: Any) -> None:
        self.config = config


class SlottedHolder:
    __slots__ = ("config",)


class Registry:
    known: Any = None


KEPT: Any = None


@pytest.fixture
def small_heap() -> Iterator[None]:
    """What stood before the test is not searched: in a process with all tests that takes a second each time.

    For tests whose holder is made by themselves; an older one would not be found.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
async def opened(timed: Any) -> Any:
    timed.scope.declare_properties(Db, "db")
    timed.scope.declare_properties(Slotted, "slotted")
    timed.scope.declare(Pool, grace_s=1)
    await timed.open({"db": {"url": "1"}, "slotted": {"port": 1}})
    return timed


async def found(timed: Any) -> list[StaleHolder]:
    """What is found after a change of everything."""
    await timed.refresh({"db": {"url": "2"}, "slotted": {"port": 2}})
    await timed.advance(2)
    return list(timed.scope.holders.find())


@pytest.mark.usefixtures("small_heap")
async def test_an_instance_attribute_is_named_with_key_and_both_origins(opened: Any) -> None:
    client = PaymentClient(opened.scope.get(Db))
    (one,) = await found(opened)
    assert one.holder == "attribute PaymentClient.config"
    assert one.place.startswith("tests/scope/test_scope_holders.py:")
    assert (one.provides, one.at) == ("Db", "db")
    assert [tuple(change) for change in one.changed] == [("db.url", "app.yml:1", "app.yml:2")]
    assert "put PaymentClient into a refresh scope, or have it read through a handle" in one.remedy
    assert "db.url (app.yml:1 -> app.yml:2)" in str(one)
    del client


async def test_nobody_is_named_who_reads_what_is_current(opened: Any) -> None:
    client = PaymentClient(opened.scope.handle(Db))
    pool = opened.scope.handle(Pool)
    assert pool.current
    assert await found(opened) == []
    del client


async def test_within_the_grace_nobody_is_named(opened: Any) -> None:
    client = PaymentClient(opened.scope.get(Db))
    await opened.refresh({"db": {"url": "2"}})
    assert opened.scope.holders.find() == ()
    del client


@pytest.mark.usefixtures("small_heap")
async def test_a_module_global_is_named(opened: Any) -> None:
    module = types.ModuleType("payments_of_this_test")
    sys.modules[module.__name__] = module
    module.POOL = opened.scope.get(Pool)  # type: ignore[attr-defined]
    try:
        (one,) = await found(opened)
    finally:
        del sys.modules[module.__name__]
    assert one.holder == "global payments_of_this_test.POOL"
    assert one.provides == "Pool"
    assert [change.key for change in one.changed] == ["db.url"]


@pytest.mark.usefixtures("small_heap")
async def test_an_element_of_a_container_is_named_by_its_path(opened: Any) -> None:
    client = PaymentClient({"eu": [None, opened.scope.get(Db)]})
    (one,) = await found(opened)
    assert one.holder == "attribute PaymentClient.config['eu'][1]"
    del client


async def test_a_class_attribute_is_named(opened: Any) -> None:
    Registry.known = opened.scope.get(Db)
    try:
        (one,) = await found(opened)
    finally:
        Registry.known = None
    assert one.holder == "class attribute Registry.known"


@pytest.mark.usefixtures("small_heap")
async def test_a_slot_is_named(opened: Any) -> None:
    holder = SlottedHolder()
    holder.config = opened.scope.get(Db)  # type: ignore[attr-defined]
    (one,) = await found(opened)
    assert one.holder == "attribute SlottedHolder.config"


@pytest.mark.usefixtures("small_heap")
async def test_a_closure_variable_is_named(opened: Any) -> None:
    def make(config: Any) -> Any:
        def handler() -> Any:
            return config

        return handler

    handlers = [make(opened.scope.get(Db))]
    (one,) = await found(opened)
    assert one.holder == "closure variable 'config' of handler"
    del handlers


@pytest.mark.usefixtures("small_heap")
async def test_a_default_argument_is_named(opened: Any) -> None:
    def handler(config: Any = opened.scope.get(Db)) -> Any:  # noqa: B008  the fault that is to be found
        return config

    (one,) = await found(opened)
    assert one.holder.startswith("default of handler")
    del handler


@pytest.mark.usefixtures("small_heap")
async def test_a_local_variable_of_a_running_function_is_named(opened: Any) -> None:
    config = opened.scope.get(Db)
    (one,) = await found(opened)
    assert one.holder.startswith("local variable 'config' of test_a_local_variable")
    del config


@pytest.mark.usefixtures("small_heap")
async def test_a_local_variable_of_a_waiting_coroutine_is_named(opened: Any) -> None:
    done = asyncio.Event()

    async def worker() -> None:
        config = opened.scope.get(Db)
        await done.wait()
        del config

    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    holders = await found(opened)
    done.set()
    await task
    assert [one.holder.partition(" of ")[0] for one in holders] == ["local variable 'config'"]


async def test_what_a_pin_or_lease_keeps_is_in_order(opened: Any) -> None:
    with opened.scope.pin(), opened.scope.lease(Pool) as pool:
        config = opened.scope.get(Db)
        assert await found(opened) == []
        del config
    del pool


@pytest.mark.usefixtures("small_heap")
async def test_a_replaced_object_that_holds_another_is_told_once(opened: Any) -> None:
    pool = opened.scope.get(Pool)
    holders = await found(opened)
    assert [(one.provides, one.holder.partition(" of ")[0]) for one in holders] == [("Pool", "local variable 'pool'")]
    del pool


@pytest.mark.usefixtures("small_heap")
async def test_a_model_that_cannot_be_referred_to_weakly_is_found_too(opened: Any) -> None:
    client = PaymentClient(opened.scope.get(Slotted))
    (one,) = await found(opened)
    assert (one.provides, one.changed[0].key) == ("Slotted", "slotted.port")
    del client


@pytest.mark.usefixtures("small_heap")
async def test_a_current_scoped_object_that_took_a_value_past_the_graph_is_told_how(opened: Any) -> None:
    class Sneaky:
        pass

    opened.scope.declare(Sneaky)
    opened.scope.get(Sneaky).db = opened.scope.get(Db)
    (one,) = await found(opened)
    assert "take Db as a constructor parameter of Sneaky" in one.remedy
