"""Difference by meaning: which of the leaves that differ count, against the value that is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from immutables import Map

from herz.model.change import Change
from herz.model.document import Event
from herz.model.key import Path, join
from herz.model.meaning import Kind, same
from herz.model.tree import ABSENT, thaw

KindOf: TypeAlias = Callable[[Path], Kind | None]
"""What schemas say of a key."""

Drift: TypeAlias = Map[Path, Any]
"""Leaves whose current value means the same as, but is not, the value last announced; with that value.

Tolerance is not transitive: 20,000 steps of 1e-10 are a change, so each is compared with what was
announced, not with its neighbour.
"""


def counted(
    events: Sequence[Event], kind_of: KindOf, drift: Drift, pause: Callable[[], None] | None = None
) -> tuple[list[Event], Drift]:
    """The events that change a meaning, their `before` the value last announced; and the drift after them.

    `pause` is called now and then, for whoever lets other threads go first.
    """
    counting: list[Event] = []
    for number, event in enumerate(events):
        if pause is not None and number % 64 == 63:
            pause()
        path, before, after = event
        if drift:
            before = drift.get(path, before)
        if same(before, after, kind_of(path)):
            if before is not after:
                drift = drift.set(path, before)
            continue
        if drift and path in drift:
            drift = drift.delete(path)
        counting.append(event if before is event.before else Event(path, before, after))
    return counting, drift


def changes(
    events: Sequence[Event], hidden: Callable[[Path, Any], Any], locate: Callable[[Path], str], origin: str
) -> tuple[Change, ...]:
    """`events` as people and listeners see them: in key order, secrets wrapped, each with where it was written.

    A key that went was written nowhere: its cause is `origin`, the place that changed.
    """
    return tuple(
        Change(
            join(path),
            hidden(path, thaw(before)),
            hidden(path, thaw(after)),
            origin if after is ABSENT else locate(path),
        )
        for path, before, after in sorted(events, key=lambda event: event.path)
    )
