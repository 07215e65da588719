"""Whole revisions out of watch responses, which may be cut anywhere between two events."""

from __future__ import annotations

from typing import Any

from herz.errors import HistoryBroken
from herz.store.base import Changes
from herz.store.etcd.translate import key_event

Group = list[Any]
"""The events of one whole revision, as they came."""


def changes(group: Group) -> Changes:
    """The store's value for them, made when it is wanted: it takes ten times the room."""
    events = tuple(map(key_event, group))
    return Changes(events[0].entry.mod_revision, events)


class WholeRevisions:
    """Puts the fragments of a watch together; hands on a revision when its last event is there.

    Events come in the order of their revisions. A response that is not fragmented, or the last fragment of one,
    ends with a whole revision; a fragment before that may end inside one, which is held back. `cursor` is
    the last whole revision handed on.
    """

    def __init__(self, after: int) -> None:
        self.cursor = after
        self.partial = False
        """Whether fragments are still to come."""
        self._held: Group = []

    def restart(self) -> None:
        """Forget the fragments of a stream that has ended; the next one begins behind `cursor`."""
        self.partial, self._held = False, []

    def feed(self, response: Any) -> list[Group]:
        """The revisions that `response` completes. `HistoryBroken` when one comes that was there already."""
        groups: list[Group] = [self._held] if self._held else []
        revision = self._held[0].kv.mod_revision if self._held else self.cursor
        for event in response.events:
            at = event.kv.mod_revision
            if groups and at == revision:
                groups[-1].append(event)
                continue
            if at <= revision:
                raise HistoryBroken(
                    f"revision {at} of a watch came after revision {revision}",
                    where=event.kv.key.decode("utf-8", "replace"),
                    remedy="read everything again and go on from there",
                )
            groups.append([event])
            revision = at
        self.partial = response.fragment
        self._held = groups.pop() if self.partial and groups else []
        if groups:
            self.cursor = groups[-1][0].kv.mod_revision
        return groups
