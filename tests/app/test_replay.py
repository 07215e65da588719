"""A listener that asks for it hears the present state first: once, with nothing missing or twice after it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from herz import ABSENT, ChangeSet, Herz, MappingSource, Secret

LIMIT_S = 10


class Heard:
    """A listener that keeps what it hears, and puts it together to what it knows."""

    def __init__(self) -> None:
        self.sets: list[ChangeSet] = []
        self.known: dict[str, Any] = {}
        self.torn: list[str] = []
        self.moved = threading.Condition()

    def __call__(self, changes: ChangeSet) -> None:
        with self.moved:
            for change in changes:
                if self.known.get(change.key, ABSENT) != change.before:
                    self.torn.append(f"{change.key}: {self.known.get(change.key, ABSENT)} is not {change.before}")
                if change.after is ABSENT:
                    del self.known[change.key]
                else:
                    self.known[change.key] = change.after
            self.sets.append(changes)
            self.moved.notify_all()

    def until(self, condition: Any) -> None:
        with self.moved:
            assert self.moved.wait_for(lambda: condition(self), LIMIT_S), self.sets


def test_the_state_comes_first_as_one_change_set_from_nothing() -> None:
    source = MappingSource({"a": {"n": 1, "password": "p", "list": [1, 2]}, "b": 2}, "memory")
    herz, heard = Herz(source, environment={}), Heard()
    herz.on_change("a", replay=True)(heard)
    with herz:
        source.update({"a.n": 2})
        heard.until(lambda it: len(it.sets) == 2)
    state, live = heard.sets
    assert [(one.key, one.before, one.after) for one in state] == [
        ("a.list", ABSENT, [1, 2]),
        ("a.n", ABSENT, 1),
        ("a.password", ABSENT, Secret("p")),
    ]
    assert state.reset
    assert state.source == ""
    assert state.generation == 1
    assert {one.cause for one in state} == {"memory"}
    assert not live.reset
    assert [tuple(one)[:3] for one in live] == [("a.n", 1, 2)]


def test_a_listener_declared_while_running_hears_the_state_of_now() -> None:
    source = MappingSource({"n": 1}, "memory")
    heard = Heard()
    with Herz(source, environment={}) as herz:
        source.update({"n": 2})
        herz.wait_for(lambda snapshot: snapshot["n"] == 2, LIMIT_S)
        herz.on_change(replay=True)(heard)
        heard.until(lambda it: it.known == {"n": 2})
        source.update({"n": 3})
        heard.until(lambda it: it.known == {"n": 3})
    assert len(heard.sets) == 2


def test_without_replay_nothing_is_heard_of_the_state() -> None:
    source = MappingSource({"n": 1}, "memory")
    herz, heard = Herz(source, environment={}), Heard()
    herz.on_change()(heard)
    with herz:
        source.update({"n": 2})
        heard.until(lambda it: it.sets)
    assert [one.before for one in heard.sets[0]] == [1]


def test_a_state_without_keys_is_told_as_well() -> None:
    herz, heard = Herz({"n": 1}, environment={}), Heard()
    herz.on_change("nowhere", replay=True)(heard)
    with herz:
        heard.until(lambda it: it.sets)
    assert [one.changes for one in heard.sets] == [()]


def test_each_life_begins_with_its_state_and_no_listener_is_doubled() -> None:
    source = MappingSource({"n": 1}, "memory")
    herz, heard, plain = Herz(source, environment={}), Heard(), Heard()
    herz.on_change(replay=True)(heard)
    herz.on_change()(plain)
    with herz:
        heard.until(lambda it: len(it.sets) == 1)
    source.update({"n": 2})
    heard.known.clear()
    with herz:
        heard.until(lambda it: len(it.sets) == 2)
        source.update({"n": 3})
        heard.until(lambda it: it.known == {"n": 3})
        plain.until(lambda it: it.sets)
    assert [(one.reset, [tuple(change)[1:3] for change in one]) for one in heard.sets] == [
        (True, [(ABSENT, 1)]),
        (True, [(ABSENT, 2)]),
        (False, [(2, 3)]),
    ]
    assert [[tuple(change)[1:3] for change in one] for one in plain.sets] == [[(2, 3)]]


async def test_an_async_listener_hears_the_state_on_the_applications_loop_in_each_life() -> None:
    source = MappingSource({"n": 1}, "memory")
    herz = Herz(source, environment={})
    told: asyncio.Queue[tuple[Any, list[Any]]] = asyncio.Queue()

    @herz.on_change(replay=True)
    async def hear(changes: ChangeSet) -> None:
        told.put_nowait((asyncio.get_running_loop(), [change.after for change in changes]))

    here = asyncio.get_running_loop()
    for first in (1, 2):
        async with asyncio.timeout(LIMIT_S), herz:
            assert await told.get() == (here, [first])
            source.update({"n": first + 1})
            assert await told.get() == (here, [first + 1])
    assert told.empty()


def test_a_listener_of_a_listener_hears_the_state() -> None:
    """Declared on Herz's own thread, in the middle of an announcement, where waiting would never end."""
    source = MappingSource({"n": 1}, "memory")
    herz, heard, once = Herz(source, environment={}), Heard(), threading.Event()

    def declare(_: object) -> None:
        if not once.is_set():
            once.set()
            herz.on_change(replay=True)(heard)

    herz.events.register("applied", declare)
    with herz:
        for n in range(2, 50):
            source.update({"n": n})
        heard.until(lambda it: it.known == {"n": 49})
    assert not heard.torn
    assert heard.sets[0].reset
    assert not any(one.reset for one in heard.sets[1:])


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_no_gap_and_no_repeat_while_changes_pour_in(restless: None) -> None:
    """Two keys that move together are written again and again while 300 listeners are declared from three threads."""
    source = MappingSource({"left": 0, "right": 0, "still": 1}, "memory")
    listeners: list[Heard] = []
    done = threading.Event()
    count = 0

    def write(herz: Herz) -> None:
        nonlocal count
        while not done.is_set():
            count += 1
            revision = source.update({"left": count, "right": -count})
            herz.wait_for(revision, LIMIT_S)

    def declare(herz: Herz) -> None:
        for _ in range(100):
            heard = Heard()
            herz.on_change(replay=True)(heard)
            listeners.append(heard)

    with Herz(source, environment={}) as herz:
        writer = threading.Thread(target=write, args=(herz,))
        declarers = [threading.Thread(target=declare, args=(herz,)) for _ in range(3)]
        writer.start()
        for thread in declarers:
            thread.start()
        for thread in declarers:
            thread.join(LIMIT_S * 3)
        done.set()
        writer.join(LIMIT_S)
        assert len(listeners) == 300
        for heard in listeners:
            heard.until(lambda it: it.known.get("left") == count)
    assert count > 10
    for heard in listeners:
        state, *live = heard.sets
        assert state.reset
        assert state.keys == ("left", "right", "still")
        assert not heard.torn
        assert not any(one.reset for one in live)
        revisions = [one.revision for one in live]
        assert revisions == sorted(set(revisions))
        generations = [one.generation for one in heard.sets]
        assert generations == list(range(state.generation, state.generation + len(heard.sets)))
        for one in heard.sets:
            values = {change.key: change.after for change in one}
            assert values["left"] == -values["right"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_hears_its_own_state_and_each_change_once() -> None:
    source = MappingSource({"n": 1}, "memory")
    herz, heard = Herz(source, environment={}), Heard()
    herz.on_change(replay=True)(heard)
    with herz:
        heard.until(lambda it: len(it.sets) == 1)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = b"?"
            try:
                heard.sets.clear()
                heard.known.clear()
                heard.moved = threading.Condition()
                herz.wait_for(lambda snapshot: True, LIMIT_S)
                heard.until(lambda it: len(it.sets) == 1)
                source.update({"n": 2})
                heard.until(lambda it: it.known == {"n": 2})
                source.update({"n": 3})
                heard.until(lambda it: it.known == {"n": 3})
                status = b"!" if len(heard.sets) == 3 and not heard.torn else str(heard.sets).encode()
            except BaseException as error:
                status = repr(error).encode()
            finally:
                os.write(writing, status)
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            assert answer.read() == b"!"
        os.waitpid(child, 0)
