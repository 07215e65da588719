"""A listener that falls far behind is told the state, marked as a reset, instead of everything in between."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from herz import ConfigChangeEvent, ConfigLoadedEvent, ConfigManager, Herz, Snapshot
from herz.model.change import ChangeSet
from herz.sources.mapping import MappingSource


def counted(count: int) -> Callable[[Snapshot], bool]:
    return lambda snapshot: bool(snapshot["count"] == count)


def test_a_listener_that_is_too_slow_gets_a_reset_and_then_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herz.live.delivery.MOST", 20)
    source = MappingSource({"count": 0, "name": "pay"})
    herz = Herz(source, environment={})
    began, go_on, heard = threading.Event(), threading.Event(), list[ChangeSet]()

    @herz.on_change()
    def slow(changes: ChangeSet) -> None:
        began.set()
        go_on.wait(10)
        heard.append(changes)

    with herz:
        source.update({"count": 1})
        assert began.wait(10)
        for count in range(2, 60):
            source.update({"count": count})
            herz.wait_for(counted(count), timeout=10)
        go_on.set()
        source.update({"count": 60})
        herz.wait_for(lambda _: bool(heard) and heard[-1].changes[0].after == 60, timeout=10)
    resets = [changes for changes in heard if changes.reset]
    assert resets
    assert {change.key for change in resets[0]} == {"count", "name"}
    assert resets[0].source == heard[0].source
    revisions = [changes.revision for changes in heard]
    assert revisions == sorted(set(revisions))
    for before, after in itertools.pairwise(heard):
        assert after.reset or after.revision == before.revision + 1


def test_two_listeners_that_are_too_slow_both_get_the_whole_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herz.live.delivery.COMPACT_FROM", 5)
    monkeypatch.setattr("herz.live.delivery.MOST", 20)
    source = MappingSource({"count": 0, "name": "pay"})
    herz = Herz(source, environment={})
    go_on = threading.Event()
    heard: dict[str, list[ChangeSet]] = {"first": [], "second": []}

    def slow(name: str) -> None:
        def listener(changes: ChangeSet) -> None:
            go_on.wait(10)
            heard[name].append(changes)

        herz.on_change()(listener)

    slow("first")
    slow("second")
    with herz:
        for count in range(1, 61):
            source.update({"count": count, f"key{count}": count})
            herz.wait_for(counted(count), timeout=10)
        go_on.set()
    for told in heard.values():
        state: dict[str, object] = {"count": 0, "name": "pay"}
        for changes in told:
            if changes.reset:
                state.clear()
            state |= {change.key: change.after for change in changes}
        assert any(changes.reset for changes in told)
        assert state == {"count": 60, "name": "pay", **{f"key{count}": count for count in range(1, 61)}}


def test_a_manager_tells_a_slow_listener_that_it_was_loaded_and_then_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herz.live.delivery.MOST", 20)
    source = MappingSource({"count": 0})
    manager = ConfigManager(source, environment={})
    go_on, heard = threading.Event(), list[object]()

    def listener(event: object) -> None:
        go_on.wait(10)
        heard.append(event)

    manager.add_listener(listener)
    with manager:
        for count in range(1, 61):
            source.update({"count": count})
            manager.herz.wait_for(counted(count), timeout=10)
        go_on.set()
    assert isinstance(heard[0], ConfigLoadedEvent)
    assert heard[0].snapshot["count"] == 0
    changes = [event for event in heard if isinstance(event, ConfigChangeEvent)]
    assert len(changes) == len(heard) - 1
    assert any(event.reset for event in changes)
    assert changes[-1].changes.changes[0].after == 60
