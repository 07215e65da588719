"""Counting: the writer's own log against what a follower was handed.

Four numbers, all of which must be 0: revisions *lost* (neither handed on nor covered by a reset that says so),
handed on *twice*, handed on out of order (*reordered*), and stores that went back in time *unnoticed*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Heard(NamedTuple):
    """What a follower was handed: one revision, or a reset that stands for all up to it. `epoch` counts its rewinds."""

    revision: int
    reset: bool = False
    epoch: int = 0


class Count(NamedTuple):
    """What went wrong."""

    lost: int = 0
    twice: int = 0
    reordered: int = 0
    unnoticed: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing did."""
        return not any(self)

    def __add__(self, other: object) -> Count:
        assert isinstance(other, Count)  # noqa: S101  nothing else is added
        return Count(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass
class Log:
    """What the writer was told was written. A restore begins a new lineage, which keeps what the backup holds."""

    start: int
    """The revision at which followers began."""
    lineages: list[set[int]] = field(default_factory=lambda: [set()])
    refused: set[int] = field(default_factory=set)
    """Revisions that Herz is right to refuse, or that only take such back."""
    state: dict[str, str] = field(default_factory=dict)
    rewinds: int = 0

    @property
    def written(self) -> set[int]:
        """The revisions of the lineage that is there now."""
        return self.lineages[-1]

    def wrote(self, revision: int) -> None:
        """A write was acknowledged."""
        self.written.add(revision)

    def restored(self, revision: int, state: Mapping[str, str]) -> None:
        """The store is back at `revision`, with `state`; the next write starts from there."""
        self.lineages.append({written for written in self.written if written <= revision})
        self.state = dict(state)
        self.rewinds += 1


def count(log: Log, heard: Iterable[Heard], *, rewinds: int = 0) -> Count:
    """What went wrong for a follower that heard `heard`, in that order, since the log began.

    `rewinds` says how many restores put the store behind what the follower had heard: it should have noticed those.
    """
    twice = reordered = 0
    newest = covered = log.start
    epoch, got = 0, set[int]()
    for revision, reset, at in heard:
        if at > epoch:
            epoch, newest, covered, got = at, 0, 0, set()
        if reset:
            covered = max(covered, revision)
        elif revision in got:
            twice += 1
        elif revision <= newest:
            reordered += 1
        got.add(revision)
        newest = max(newest, revision)
    lost = sum(1 for revision in log.written - log.refused if revision > covered and revision not in got)
    return Count(lost, twice, reordered, max(0, rewinds - epoch))
