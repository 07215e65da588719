"""Eight threads at once. `benchmarks/dispatcher.py` runs the same race a million times."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from herz.live.dispatcher import Dispatcher


def log() -> list[Any]:
    return []


THREADS = 8


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let the interpreter change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def on_threads(*jobs: Callable[[], None]) -> None:
    """Run each job on its thread, started together; fail with the first error of any."""
    start = threading.Barrier(len(jobs))
    errors: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            start.wait(10)
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def test_no_event_is_missed_in_a_hundred_thousand_registrations_on_eight_threads() -> None:
    dispatcher = Dispatcher()
    missed: list[object] = []

    def race() -> None:
        for _ in range(100_000 // THREADS):
            heard: list[object] = []
            event = object()
            with dispatcher.register("config", heard.append):
                dispatcher.fire("config", event)
                if event not in heard:
                    missed.append(event)

    on_threads(*[race] * THREADS)
    assert missed == []
    assert dispatcher._audiences["config"].listeners == []


def test_replay_and_live_events_of_one_firing_thread_leave_no_gap_and_no_repeat(fast_switching: None) -> None:
    dispatcher = Dispatcher()
    done = threading.Event()
    logs: list[list[int]] = []

    def fire() -> None:
        number = 0
        while not done.is_set():
            number += 1
            dispatcher.fire("config", number)

    def register() -> None:
        for _ in range(400):
            heard: list[int] = []
            with dispatcher.register("config", heard.append, replay=True):
                deadline = time.monotonic() + 10
                while len(heard) < 4 and time.monotonic() < deadline:
                    time.sleep(0)  # the others' turn: seven threads that only look would leave the firing one none
            logs.append(heard)

    def registering() -> None:
        on_threads(*[register] * (THREADS - 1))
        done.set()

    on_threads(fire, registering)
    assert len(logs) == 400 * (THREADS - 1)
    for heard in logs:
        assert heard == list(range(heard[0], heard[0] + len(heard)))
        assert len(heard) >= 4


def test_replay_under_eight_firing_and_registering_threads_repeats_and_loses_nothing(fast_switching: None) -> None:
    dispatcher = Dispatcher()
    ends: list[tuple[list[tuple[int, int]], dict[int, int], dict[int, int]]] = []
    fired = [0] * THREADS  # by thread: the number of the last event whose fire has returned

    def work(me: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(250):
                heard: list[tuple[int, int]] = []
                with dispatcher.register("config", heard.append, replay=True):
                    registered = dict(enumerate(fired))
                    for _ in range(3):
                        dispatcher.fire("config", (me, fired[me] + 1))
                        fired[me] += 1
                    until = dict(enumerate(fired))
                    ends.append((list(heard), registered, until))

        return run

    on_threads(*[work(me) for me in range(THREADS)])
    assert len(ends) == 250 * THREADS
    for heard, registered, until in ends:
        assert max(Counter(heard).values()) == 1
        for thread in range(THREADS):
            numbers = [number for who, number in heard if who == thread]
            # An event whose fire began after `register` had returned, and ended before we looked:
            # `registered` may be behind by the fire that was under way.
            due = set(range(registered[thread] + 2, until[thread] + 1))
            assert due <= set(numbers)
            live = [number for who, number in heard[1:] if who == thread]
            assert live == sorted(live)


def test_no_fire_that_begins_after_cancel_has_returned_calls_the_listener(fast_switching: None) -> None:
    dispatcher = Dispatcher()
    done = threading.Event()
    late: list[object] = []
    began = [0] * 4

    def fire(me: int) -> Callable[[], None]:
        def run() -> None:
            while not done.is_set():
                began[me] += 1
                dispatcher.fire("config", (me, began[me]))

        return run

    def cancel() -> None:
        for _ in range(1_000):
            limit: list[tuple[int, ...]] = []

            def listener(event: tuple[int, int], limit: list[tuple[int, ...]] = limit) -> None:
                if limit and event[1] > limit[0][event[0]]:
                    late.append(event)

            registration = dispatcher.register("config", listener)
            registration.cancel()
            limit.append(tuple(began))
        done.set()

    on_threads(*[fire(me) for me in range(4)], cancel)
    assert late == []


def test_after_wait_no_call_is_running_and_none_starts(fast_switching: None) -> None:
    dispatcher = Dispatcher()
    done = threading.Event()
    late: list[object] = []

    def fire() -> None:
        while not done.is_set():
            dispatcher.fire("config", object())

    def cancel() -> None:
        for _ in range(300):
            closed: list[bool] = []

            def listener(event: object, closed: list[bool] = closed) -> None:
                if closed:
                    late.append(event)
                for _ in range(20):
                    len(closed)
                if closed:
                    late.append(event)

            registration = dispatcher.register("config", listener)
            registration.cancel()
            assert registration.wait(10)
            closed.append(True)
        done.set()

    on_threads(*[fire] * 4, cancel)
    assert late == []


def test_wait_lasts_until_the_call_on_another_thread_is_over() -> None:
    dispatcher = Dispatcher()
    entered, leave = threading.Event(), threading.Event()

    def listener(event: object) -> None:
        entered.set()
        assert leave.wait(10)

    registration = dispatcher.register("config", listener)
    thread = threading.Thread(target=dispatcher.fire, args=("config", 1))
    thread.start()
    assert entered.wait(10)
    registration.cancel()
    assert not registration.wait(0.01)
    leave.set()
    assert registration.wait(10)
    thread.join(10)


def test_a_listener_that_is_given_the_state_slowly_holds_up_no_firing_thread() -> None:
    dispatcher, heard = Dispatcher(), log()
    entered, leave = threading.Event(), threading.Event()

    def slow(event: int) -> None:
        heard.append(event)
        entered.set()
        assert leave.wait(10)

    dispatcher.fire("config", 0)
    thread = threading.Thread(target=dispatcher.register, args=("config", slow), kwargs={"replay": True})
    thread.start()
    assert entered.wait(10)
    for number in range(1, 100):
        dispatcher.fire("config", number)
    assert heard == [0]
    leave.set()
    thread.join(10)
    assert heard == list(range(100))
