"""Every place where a thread can be interrupted, one after the other.

The interpreter's opcode trace runs the other operation in the middle of the first, at its first, its second,
... its last instruction. Unlike a race of threads it leaves no place out and always gives the same result.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from herz.live.delivery import ThreadMailbox
from herz.live.dispatcher import Dispatcher


def log() -> list[Any]:
    return []


INNER = tuple(f"live/{module}.py" for module in ("dispatcher", "registration", "audience", "delivery"))


Prepared = tuple[Callable[[], Any], Callable[[], Any], Callable[[int], None]]


def run_interrupted(action: Callable[[], Any], place: int, interruption: Callable[[], Any]) -> bool:
    """Run `action`, and `interruption` before its instruction number `place`. False when it has fewer."""
    seen = 0

    def trace(frame: FrameType, kind: str, _: Any) -> Any:
        nonlocal seen
        inner = frame.f_code.co_filename.replace("\\", "/").endswith(INNER)
        if not inner and frame.f_code is not Unsafe.fire.__code__:
            return None
        frame.f_trace_opcodes = True
        if kind == "opcode":
            seen += 1
            if seen == place + 1:
                interruption()
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 looks at it here only: cpython#114480
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return seen > place


def interrupt_everywhere(prepare: Callable[[], Prepared]) -> int:
    """For each instruction of `first`: prepare anew, run `second` just before it, then check. Returns how many."""
    place = 0
    while True:
        first, second, check = prepare()
        if not run_interrupted(first, place, second):
            return place
        check(place)
        place += 1


def test_a_registration_within_a_fire_hears_the_event_exactly_once() -> None:
    counts: dict[bool, list[int]] = {True: [], False: []}
    for distinct in (True, False):

        def prepare(distinct: bool = distinct) -> Any:
            dispatcher, heard, others = Dispatcher(), log(), log()
            old = object()
            new = object() if distinct else old
            last = object()
            dispatcher.register("config", others.append)
            dispatcher.fire("config", old)

            def check(place: int) -> None:
                dispatcher.fire("config", last)
                counts[distinct].append(len(heard))
                if distinct:
                    assert heard in ([old, new, last], [new, last]), place
                assert others == [old, new, last]
                assert dispatcher.current("config") is last

            return (
                lambda: dispatcher.fire("config", new),
                lambda: dispatcher.register("config", heard.append, replay=True),
                check,
            )

        assert interrupt_everywhere(prepare) > 10
    # The same object fired twice is not taken for one event.
    assert counts[True] == counts[False]
    assert set(counts[True]) == {2, 3}


def test_events_within_a_registration_are_heard_exactly_once_after_the_state() -> None:
    def prepare() -> Any:
        dispatcher, heard, others = Dispatcher(), log(), log()
        dispatcher.register("config", others.append)
        dispatcher.fire("config", "old")

        def fire() -> None:
            dispatcher.fire("config", "one")
            assert dispatcher.current("config") == "one"
            dispatcher.fire("config", "two")
            assert dispatcher.current("config") == "two"

        def check(place: int) -> None:
            assert dispatcher.current("config") == "two"
            dispatcher.fire("config", "last")
            assert heard in (["old", "one", "two", "last"], ["one", "two", "last"], ["two", "last"]), place
            assert others == ["old", "one", "two", "last"], place

        return lambda: dispatcher.register("config", heard.append, replay=True), fire, check

    assert interrupt_everywhere(prepare) > 100


def test_the_first_event_ever_within_a_registration_is_heard_exactly_once() -> None:
    def prepare() -> Any:
        dispatcher, heard = Dispatcher(), log()

        def check(place: int) -> None:
            assert heard == ["first"], place
            assert dispatcher.current("config") == "first"

        return (
            lambda: dispatcher.register("config", heard.append, replay=True),
            lambda: dispatcher.fire("config", "first"),
            check,
        )

    assert interrupt_everywhere(prepare) > 100


def test_a_registration_within_the_first_fire_ever_hears_it_exactly_once() -> None:
    def prepare() -> Any:
        dispatcher, heard = Dispatcher(), log()

        def check(place: int) -> None:
            assert heard == ["first"], place

        return (
            lambda: dispatcher.fire("config", "first"),
            lambda: dispatcher.register("config", heard.append, replay=True),
            check,
        )

    assert interrupt_everywhere(prepare) > 10


def test_many_registrations_and_fires_within_a_fire_lose_and_repeat_nothing() -> None:
    def prepare() -> Any:
        dispatcher = Dispatcher()
        logs: list[list[str]] = [[] for _ in range(4)]
        kept, gone = log(), log()
        victim = dispatcher.register("config", gone.append)
        dispatcher.register("config", kept.append)
        dispatcher.fire("config", "old")

        def change() -> None:
            dispatcher.register("config", logs[0].append, replay=True)
            victim.cancel()
            dispatcher.register("config", logs[1].append)
            dispatcher.fire("config", "inner")
            dispatcher.register("config", logs[2].append, replay=True)
            dispatcher.register("config", logs[3].append, replay=True).cancel()
            gone.append("cancelled")

        def check(place: int) -> None:
            assert sorted(kept) == ["inner", "new", "old"], place
            # "new" comes last only where the interruption lies between picking the listener and calling it
            assert gone in (["old", "new", "cancelled"], ["old", "cancelled"], ["old", "cancelled", "new"]), place
            assert logs[0].count("new") == 1, place
            assert logs[0].count("inner") == 1, place
            assert logs[0][0] in ("old", "new"), place
            assert logs[1] in (["inner"], ["inner", "new"]), place
            assert logs[2] in (["inner"], ["inner", "new"]), place
            assert logs[3] in (["inner"], []), place
            # Whoever was asked for the state agrees with it in the end.
            assert dispatcher.current("config") == logs[2][-1] == logs[0][-1], place

        return lambda: dispatcher.fire("config", "new"), change, check

    assert interrupt_everywhere(prepare) > 10


def test_a_thousand_changes_of_registration_within_one_fire_exhaust_no_stack() -> None:
    def prepare() -> Any:
        dispatcher, heard = Dispatcher(), log()
        dispatcher.fire("config", "old")

        def register() -> None:
            dispatcher.register("config", heard.append, replay=True)
            for _ in range(600):
                dispatcher.register("config", lambda _: None).cancel()

        def check(place: int) -> None:
            assert heard in (["old", "new"], ["new"]), place
            assert dispatcher.current("config") == "new"

        return lambda: dispatcher.fire("config", "new"), register, check

    interrupt_everywhere(prepare)


def test_a_cancellation_within_a_fire_and_a_fire_within_a_cancellation_call_nothing_afterwards() -> None:
    def within_fire() -> Any:
        dispatcher, heard, others = Dispatcher(), log(), log()
        dispatcher.register("config", others.append)
        registration = dispatcher.register("config", heard.append)
        dispatcher.register("config", others.append)

        def cancel() -> None:
            registration.cancel()
            heard.append("cancelled")

        def check(place: int) -> None:
            # The call itself is one instruction: what has not been called is not called any more,
            # unless the interruption lies between picking the listener and calling it.
            dispatcher.fire("config", 2)
            assert others == [1, 1, 2, 2], place
            assert heard in ([1, "cancelled"], ["cancelled"], ["cancelled", 1]), place
            picked[0] += heard == ["cancelled", 1]

        return lambda: dispatcher.fire("config", 1), cancel, check

    picked = [0]
    interrupt_everywhere(within_fire)
    assert picked[0] <= 8  # a few instructions, from storing the loop variable to the call itself

    def within_cancel() -> Any:
        dispatcher, heard, others = Dispatcher(), log(), log()
        registration = dispatcher.register("config", heard.append)
        dispatcher.register("config", others.append)

        def check(place: int) -> None:
            assert heard in ([1], []), place
            assert others == [1], place
            dispatcher.fire("config", 2)
            assert heard in ([1], []), place
            assert others == [1, 2], place

        return registration.cancel, lambda: dispatcher.fire("config", 1), check

    assert interrupt_everywhere(within_cancel) > 50


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="CPython 3.12.1 crashes when two threads set an opcode trace"
)
def test_a_fire_stopped_anywhere_and_ended_anywhere_in_a_registration_is_heard_exactly_once() -> None:
    """A fire runs up to its instruction i, a registration up to its instruction j, then the fire ends."""

    def together(stop: int, resume: int) -> tuple[bool, bool]:
        dispatcher, heard, others = Dispatcher(), log(), log()
        dispatcher.register("config", others.append)
        dispatcher.fire("config", "old")
        stopped, resumed = threading.Event(), threading.Event()
        reached: list[bool] = []

        def pause() -> None:
            stopped.set()
            assert resumed.wait(10)

        def fire() -> None:
            reached.append(run_interrupted(lambda: dispatcher.fire("config", "new"), stop, pause))
            stopped.set()

        def end_fire() -> None:
            resumed.set()
            thread.join(10)

        thread = threading.Thread(target=fire)
        thread.start()
        assert stopped.wait(10)
        longer = run_interrupted(lambda: dispatcher.register("config", heard.append, replay=True), resume, end_fire)
        end_fire()
        dispatcher.fire("config", "last")
        assert heard in (["old", "new", "last"], ["new", "last"]), (stop, resume)
        assert others == ["old", "new", "last"], (stop, resume)
        assert dispatcher.current("config") == "last"
        return reached[0], longer

    stop, more = 0, True
    while more:
        resume, longer = stop % 4, True
        while longer and more:
            more, longer = together(stop, resume)
            resume += 4
        stop += 1
    assert stop > 20


@pytest.mark.parametrize("replay", [False, True])
def test_a_fire_never_waits_for_a_registration(replay: bool) -> None:
    """A fire at each instruction of a registration, also those that hold the registration's lock, returns."""

    def prepare() -> Any:
        dispatcher, held = Dispatcher(), log()

        def fire() -> None:
            held.append(dispatcher._lock.locked())
            dispatcher.fire("config", 1)
            places.append(held[-1])

        return lambda: dispatcher.register("config", lambda _: None, replay=replay), fire, lambda _: None

    places: list[bool] = []
    interrupt_everywhere(prepare)
    assert True in places
    assert False in places


class Woken(ThreadMailbox):
    """Counts its wake-ups; the test is the thread."""

    wakes = 0

    def _wake(self) -> None:
        self.wakes += 1


def test_an_event_put_while_a_queue_comes_to_rest_is_handled_or_wakes_it_again() -> None:
    def prepare(puts_first: bool) -> Any:
        heard: list[int] = []
        mailbox = Woken("config", heard.append, lambda *report: None)
        mailbox.put(1)
        mailbox.wakes = 0

        def check(place: int) -> None:
            assert 2 in heard or mailbox.wakes > 0, place
            mailbox.handle()
            assert heard == [1, 2], place
            mailbox.put(3)
            assert mailbox.wakes > 0, place

        actions = (lambda: mailbox.put(2), mailbox.handle)
        return (*(actions if puts_first else reversed(actions)), check)

    assert interrupt_everywhere(lambda: prepare(False)) > 50
    assert interrupt_everywhere(lambda: prepare(True)) > 10


class Unsafe(Dispatcher):
    """The dispatcher with its safety removed: nothing is retired, nothing is kept back."""

    def register(self, name: str, listener: Any, *, replay: bool = False) -> None:  # type: ignore[override]
        audience = self._open(name)
        if replay:
            listener(audience.state)
        audience.listeners = [*audience.listeners, listener]

    def fire(self, name: str, event: Any) -> None:
        """As in the class above: a docstring is a constant and shifts the indices of the others."""
        try:
            audience = self._audiences[name]
        except KeyError:
            audience = self._open(name)
        audience.state = event
        for listener in audience.listeners:
            try:
                listener(event)
            except BaseException as error:
                self._contain(name, listener, event, error)


def test_the_firing_path_is_the_bytecode_of_the_dispatcher_with_its_safety_removed() -> None:
    safe, unsafe = Dispatcher.fire.__code__, Unsafe.fire.__code__
    assert safe.co_code == unsafe.co_code
    assert safe.co_names == unsafe.co_names
    assert safe.co_varnames == unsafe.co_varnames
    assert safe.co_consts[1:] == unsafe.co_consts[1:]  # the first one is the docstring


def test_these_interleavings_find_the_faults_of_the_dispatcher_with_its_safety_removed() -> None:
    results = set()

    def prepare() -> Any:
        dispatcher, heard = Unsafe(), log()
        dispatcher.fire("config", "old")

        def check(place: int) -> None:
            results.add(tuple(heard))

        return (
            lambda: dispatcher.fire("config", "new"),
            lambda: dispatcher.register("config", heard.append, replay=True),
            check,
        )

    interrupt_everywhere(prepare)
    assert ("new", "new") in results  # both
