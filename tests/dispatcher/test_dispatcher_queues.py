"""Listeners with a queue: on a thread of their own, or on an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from herz.errors import NotRunning, UsageError
from herz.live.delivery import BACKLOG_WARNING
from herz.live.dispatcher import Dispatcher


def log() -> list[Any]:
    return []


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.001)


class Blocked:
    """A listener that hangs until `leave` is set."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, event: object) -> None:
        self.heard.append(event)
        self.entered.set()
        assert self.leave.wait(10)


# --- on a thread of its own ---------------------------------------------------------------------


def test_a_queued_listener_that_hangs_holds_up_neither_firing_nor_the_others() -> None:
    dispatcher, inline, queued, blocked = Dispatcher(), log(), log(), Blocked()
    slow = dispatcher.register("config", blocked, queue=True)
    dispatcher.register("config", queued.append, queue=True)
    dispatcher.register("config", inline.append)
    for number in range(100):
        dispatcher.fire("config", number)
    assert inline == list(range(100))
    until(lambda: len(queued) == 100)
    assert queued == list(range(100))
    assert blocked.heard == [0]
    assert slow.backlog == 99
    blocked.leave.set()
    assert dispatcher.close(10)
    assert blocked.heard == list(range(100))


def test_a_queued_listener_keeps_the_order_of_each_firing_thread_and_is_called_one_at_a_time() -> None:
    dispatcher = Dispatcher()
    heard: list[tuple[int, int]] = []
    inside: list[int] = []
    overlaps: list[int] = []

    def listener(event: tuple[int, int]) -> None:
        inside.append(1)
        overlaps.append(len(inside))
        heard.append(event)
        inside.pop()

    dispatcher.register("config", listener, queue=True)

    def fire(me: int) -> None:
        for number in range(500):
            dispatcher.fire("config", (me, number))

    threads = [threading.Thread(target=fire, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert dispatcher.close(10)
    assert len(heard) == 4_000
    assert set(overlaps) == {1}
    for me in range(8):
        assert [number for who, number in heard if who == me] == list(range(500))


def test_a_queued_listener_is_given_the_state_first() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    dispatcher.register("config", heard.append, queue=True, replay=True)
    dispatcher.fire("config", 3)
    assert dispatcher.close(10)
    assert heard == [2, 3]


def test_a_failing_queued_listener_is_reported_and_goes_on() -> None:
    reports: list[tuple[object, ...]] = []
    dispatcher = Dispatcher(on_error=lambda *report: reports.append(report))

    def fails(event: int) -> None:
        if event == 1:
            raise ValueError
        raise SystemExit

    dispatcher.register("config", fails, queue=True)
    dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    assert dispatcher.close(10)
    assert [(name, listener, event, type(error)) for name, listener, event, error in reports] == [
        ("config", fails, 1, ValueError),
        ("config", fails, 2, SystemExit),
    ]


def test_cancelling_drops_what_waits_and_wait_tells_when_the_last_call_is_over() -> None:
    dispatcher, blocked = Dispatcher(), Blocked()
    registration = dispatcher.register("config", blocked, queue=True)
    dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    assert blocked.entered.wait(10)
    registration.cancel()
    assert not registration.wait(0.01)
    blocked.leave.set()
    assert registration.wait(10)
    assert blocked.heard == [1]


def test_a_growing_queue_says_so_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher, blocked = Dispatcher(), Blocked()
    dispatcher.register("config", blocked, queue=True)
    with caplog.at_level(logging.WARNING):
        for number in range(2 * BACKLOG_WARNING + 10):
            dispatcher.fire("config", number)
    assert len([record for record in caplog.records if "behind" in record.message]) == 2
    blocked.leave.set()
    assert dispatcher.close(10)
    assert blocked.heard == list(range(2 * BACKLOG_WARNING + 10))


def test_close_reports_what_it_could_not_deliver() -> None:
    reports: list[tuple[object, ...]] = []
    dispatcher = Dispatcher(on_error=lambda *report: reports.append(report))
    blocked = Blocked()
    dispatcher.register("config", blocked, queue=True)
    for number in range(3):
        dispatcher.fire("config", number)
    assert blocked.entered.wait(10)
    assert not dispatcher.close(0.01)
    assert [(report[2], type(report[3])) for report in reports] == [(1, NotRunning), (2, NotRunning)]
    blocked.leave.set()


def test_threads_end_with_their_registration_and_with_a_forgotten_dispatcher() -> None:
    def threads() -> int:
        return sum(thread.name == "herz listener leak" for thread in threading.enumerate())

    dispatcher, heard = Dispatcher(), log()
    registration = dispatcher.register("leak", heard.append, queue=True)
    dispatcher.register("leak", heard.append, queue=True)
    dispatcher.fire("leak", 1)
    until(lambda: len(heard) == 2)
    assert threads() == 2
    registration.cancel()
    until(lambda: threads() == 1)
    del dispatcher, registration
    gc.collect()
    until(lambda: threads() == 0)


def test_a_listener_sees_the_context_of_its_registration() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    dispatcher, heard = Dispatcher(), log()
    variable.set("registering")
    dispatcher.register("config", lambda _: heard.append(variable.get()), queue=True)
    variable.set("firing")
    dispatcher.fire("config", 1)
    assert dispatcher.close(10)
    assert heard == ["registering"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_delivers_on_its_own_thread_even_if_the_lock_was_held() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.register("config", heard.append, queue=True)
    dispatcher.fire("config", 1)
    until(lambda: heard == [1])
    with dispatcher._lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                dispatcher.register("config", heard.append, replay=True)
                dispatcher.fire("config", 2)
                status = 0 if dispatcher.close(10) and sorted(heard) == [1, 1, 2, 2] else 2
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert dispatcher.close(10)


# --- on an event loop ---------------------------------------------------------------------------


async def test_an_async_listener_hears_everything_in_order_one_at_a_time() -> None:
    dispatcher, heard, inside = Dispatcher(), log(), log()

    async def listener(event: int) -> None:
        inside.append(event)
        assert inside == [event]
        await asyncio.sleep(0)
        heard.append(event)
        inside.clear()

    dispatcher.fire("config", 0)
    dispatcher.register("config", listener, replay=True)
    for number in range(1, 100):
        dispatcher.fire("config", number)
    assert heard == []
    assert await dispatcher.drain(10)
    assert heard == list(range(100))


async def test_an_async_listener_that_hangs_holds_up_no_other() -> None:
    dispatcher, heard, leave = Dispatcher(), log(), asyncio.Event()

    async def hangs(event: int) -> None:
        await leave.wait()

    async def listener(event: int) -> None:
        heard.append(event)

    dispatcher.register("config", hangs)
    other = dispatcher.register("config", listener)
    for number in range(10):
        dispatcher.fire("config", number)
    assert not await dispatcher.drain(0.05)
    assert heard == list(range(10))
    assert other.backlog == 0
    leave.set()
    assert await dispatcher.aclose(10)


async def test_a_drain_that_is_cancelled_harms_no_delivery() -> None:
    dispatcher, blocked = Dispatcher(), Blocked()
    dispatcher.register("config", blocked, queue=True)
    dispatcher.fire("config", 1)
    assert await asyncio.to_thread(blocked.entered.wait, 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dispatcher.drain(), 0.01)
    dispatcher.fire("config", 2)
    blocked.leave.set()
    assert await dispatcher.aclose(10)
    assert blocked.heard == [1, 2]


async def test_events_fired_on_other_threads_are_heard_on_the_loop() -> None:
    dispatcher, heard = Dispatcher(loop=asyncio.get_running_loop()), log()
    here = threading.get_ident()

    async def listener(event: tuple[int, int]) -> None:
        assert threading.get_ident() == here
        heard.append(event)

    def fire(me: int) -> None:
        for number in range(300):
            dispatcher.fire("config", (me, number))

    # registered on a thread without a loop: the dispatcher's is taken
    await asyncio.to_thread(dispatcher.register, "config", listener)
    await asyncio.gather(*[asyncio.to_thread(fire, me) for me in range(4)])
    assert await dispatcher.drain(10)
    assert len(heard) == 1_200
    for me in range(4):
        assert [number for who, number in heard if who == me] == list(range(300))


async def test_a_failing_async_listener_is_reported_and_goes_on() -> None:
    reports: list[tuple[object, ...]] = []
    dispatcher, heard = Dispatcher(on_error=lambda *report: reports.append(report)), log()

    async def fails(event: int) -> None:
        heard.append(event)
        if event == 1:
            raise asyncio.CancelledError
        raise ValueError

    dispatcher.register("config", fails)
    dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    assert await dispatcher.drain(10)
    assert heard == [1, 2]
    assert [(report[2], type(report[3])) for report in reports] == [(1, asyncio.CancelledError), (2, ValueError)]


async def test_a_partial_and_an_async_call_method_are_taken_as_async() -> None:
    dispatcher, heard = Dispatcher(), log()

    async def listener(prefix: str, event: int) -> None:
        heard.append((prefix, event))

    class Callable_:
        async def __call__(self, event: int) -> None:
            heard.append(("object", event))

    dispatcher.register("config", functools.partial(listener, "partial"))
    dispatcher.register("config", Callable_())
    dispatcher.fire("config", 1)
    assert await dispatcher.drain(10)
    assert sorted(heard) == [("object", 1), ("partial", 1)]


async def test_a_plain_listener_with_a_loop_is_called_on_that_loop() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.register("config", lambda _: heard.append(threading.get_ident()), loop=asyncio.get_running_loop())
    await asyncio.to_thread(dispatcher.fire, "config", 1)
    assert await dispatcher.drain(10)
    assert heard == [threading.get_ident()]


def test_an_async_listener_without_a_loop_is_refused_with_the_way_out() -> None:
    async def listener(event: int) -> None: ...

    with pytest.raises(UsageError, match="pass loop="):
        Dispatcher().register("config", listener)


async def test_close_on_the_loop_that_its_listeners_need_is_refused() -> None:
    dispatcher, heard = Dispatcher(), log()

    async def listener(event: int) -> None:
        heard.append(event)

    dispatcher.register("config", listener)
    dispatcher.fire("config", 1)
    with pytest.raises(UsageError, match="aclose"):
        dispatcher.close()
    assert await dispatcher.aclose(10)
    assert heard == [1]


def test_what_a_closed_loop_leaves_behind_is_reported_event_by_event() -> None:
    reports: list[tuple[object, type]] = []
    dispatcher = Dispatcher(on_error=lambda name, listener, event, error: reports.append((event, type(error))))

    async def main() -> None:
        entered = asyncio.Event()

        async def hangs(event: int) -> None:
            entered.set()
            await asyncio.Event().wait()

        dispatcher.register("config", hangs)
        dispatcher.fire("config", 1)
        dispatcher.fire("config", 2)
        await entered.wait()

    asyncio.run(main())
    assert reports == [(1, NotRunning), (2, NotRunning)]
    dispatcher.fire("config", 3)
    assert reports[2:] == [(3, NotRunning)]
    assert dispatcher.close(1)


def test_an_event_put_while_the_loop_is_ending_is_reported_with_the_next() -> None:
    reports: list[object] = []
    dispatcher = Dispatcher(on_error=lambda name, listener, event, error: reports.append(event))
    loop = asyncio.new_event_loop()

    async def listener(event: int) -> None: ...

    dispatcher.register("config", listener, loop=loop)
    dispatcher.fire("config", 1)  # the loop takes the wake-up and never runs it
    loop.close()
    assert reports == []
    dispatcher.fire("config", 2)
    assert reports == [1, 2]


def test_cancelled_async_listener_is_not_called_for_what_waits() -> None:
    heard: list[int] = []

    async def main() -> None:
        dispatcher = Dispatcher()

        async def listener(event: int) -> None:
            heard.append(event)

        registration = dispatcher.register("config", listener)
        dispatcher.fire("config", 1)
        registration.cancel()
        assert await dispatcher.drain(1)
        assert await asyncio.to_thread(registration.wait, 10)

    asyncio.run(main())
    assert heard == []


def test_queued_events_are_each_handled_once_under_fast_switching() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(200):
            dispatcher, heard = Dispatcher(), log()
            dispatcher.register("config", heard.append, queue=True, replay=True)
            for number in range(5):
                dispatcher.fire("config", number)
            assert dispatcher.close(10)
            assert heard == list(range(5))
    finally:
        sys.setswitchinterval(before)
