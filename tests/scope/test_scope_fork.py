"""A forked child builds its own objects, and leaves the parent's alone."""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@dataclass
class Db:
    url: str = "db"


class Pool:
    def __init__(self, config: Db) -> None:
        self.url, self.pid, self.closed = config.url, os.getpid(), 0

    def close(self) -> None:
        assert self.pid == os.getpid(), "closed in another process than built in"
        self.closed += 1

    def __del__(self) -> None:
        assert self.pid == os.getpid(), "finalised in another process than built in"


class Eager(Pool):
    pass


def in_child(work: Callable[[], None]) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(writing, b"ok")
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    assert said == "ok", said


def on_new_loop(coroutine: Any) -> Any:
    """Run in a thread, whose loop is none of the parent's."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert outcome
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def test_a_child_builds_its_own_objects(driver: Any) -> None:
    scope = driver.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool)
    scope.declare(Eager, eager=True)
    handle = scope.handle(Pool)
    await driver.open({"db": {"url": "1"}})
    parent = scope.get(Pool)

    def child() -> None:
        scope.forked()
        assert scope.get(Db).url == "1"
        own = scope.get(Pool)
        assert own is handle.current
        assert own is not parent
        assert own.pid == os.getpid()

        async def go_on() -> None:
            snapshot, _ = driver.next({"db": {"url": "2"}})
            report = await scope.after_fork(snapshot)
            assert set(report.rebuilt) == {"Pool", "Eager"}, report
            assert scope.get(Eager).pid == os.getpid()
            assert handle.current.url == "2"
            await scope.close()
            assert own.closed == 1

        on_new_loop(go_on())
        assert parent.closed == 0

    in_child(child)
    assert scope.get(Pool) is parent
    assert handle.current is parent
    assert parent.closed == 0


async def test_a_pin_of_the_parent_does_not_hold_in_the_child(driver: Any) -> None:
    scope = driver.scope
    scope.declare_properties(Db, "db")
    scope.declare(Pool)
    await driver.open({})
    with scope.pin(), scope.lease(Pool) as parent:

        def child() -> None:
            scope.forked()
            assert scope.get(Pool) is not parent
            with scope.pin() as pin:
                assert pin.get(Pool) is scope.get(Pool)

        in_child(child)
        assert scope.get(Pool) is parent


async def test_a_fork_while_another_thread_builds_does_not_hang_the_child(driver: Any, until: Any) -> None:
    scope = driver.scope
    gate = threading.Event()

    class Slow:
        def __init__(self, config: Db) -> None:
            if os.getpid() == here:
                gate.wait(10)

    here = os.getpid()
    scope.declare_properties(Db, "db")
    scope.declare(Slow)
    await driver.open({})
    building = asyncio.create_task(asyncio.to_thread(scope.get, Slow))
    await until(lambda: scope.current.objects.building)

    def child() -> None:
        scope.forked()
        assert isinstance(scope.get(Slow), Slow)

    in_child(child)
    gate.set()
    await building
