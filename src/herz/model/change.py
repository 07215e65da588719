"""Changes: what differs, by meaning, between two snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from herz.model.key import relaxed, split


class Change(NamedTuple):
    """One key whose value means something else now.

    `before` and `after` are plain values, `Secret` under secret keys, `ABSENT` where there is none.
    `cause` is where the new value (or its absence) was written: `config/app.yml:12`, `key@revision`.
    """

    key: str
    before: Any
    after: Any
    cause: str


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Every change of one applied revision, in key order.

    `source` is who changed, `revision` that source's revision, `generation` the snapshot's. `reset` is
    True when the source was read again as a whole, so that values in between may have been missed. `epoch` is
    higher than before once a source was caught going back in time (a restored backup, say).
    """

    source: str
    revision: int
    changes: tuple[Change, ...]
    reset: bool = False
    generation: int = 0
    epoch: int = 0

    def under(self, prefix: str) -> ChangeSet:
        """The same revision with only the keys that are `prefix`, in any spelling, or lie under it."""
        if not prefix:
            return self
        wanted = tuple(map(relaxed, split(prefix)))
        depth = len(wanted)
        return replace(
            self,
            changes=tuple(
                change for change in self.changes if tuple(map(relaxed, split(change.key)[:depth])) == wanted
            ),
        )

    def inverted(self) -> ChangeSet:
        """The changes that take these back."""
        return replace(
            self,
            changes=tuple(Change(change.key, change.after, change.before, change.cause) for change in self.changes),
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """The changed keys, in order."""
        return tuple(change.key for change in self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)
