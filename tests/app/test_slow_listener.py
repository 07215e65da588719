"""A listener that falls far behind is told the state, marked as a reset, instead of everything in between."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from herz import Herz, Snapshot
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
