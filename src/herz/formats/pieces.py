"""Pieces: runs of complete members, that can be decoded by themselves.

A large document is cut into pieces of some kilobytes, so that no call holds the GIL long, and so that a
change in one piece costs that piece and not the document. A format's `cut` proves each cut by decoding: from
a place known to lie between two members, a piece that decodes by itself ends between two members again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from herz.formats.pace import Pause, onward
from herz.formats.settle import Unsettled
from herz.formats.written import segments
from herz.model.key import Path

PIECE: Final = 4 * 1024
"""Bytes of a piece of JSON, about: 30 µs to decode. A change decodes it twice and compares the two."""

LARGE: Final = 64 * 1024
"""Bytes above which a member is cut inside itself, and a changed piece is not worth decoding by itself."""


class Uncut(Exception):
    """The document, or this piece of it, cannot be cut or judged by itself."""


class Piece(NamedTuple):
    """Members from byte `start` to `end` of the table that is reached by `names`.

    `ordinary` members need no look at their values; lines start at `indent`, where that counts.
    """

    start: int
    end: int
    names: tuple[str, ...]
    members: dict[str, Any]
    ordinary: bool = False
    indent: int = 0


class Run(NamedTuple):
    """Where a piece is, without what it holds; `path` is the table's place in the tree."""

    start: int
    end: int
    path: Path
    indent: int = 0


class Runs:
    """Where all pieces of a document are, in order. Never changed.

    Kept as numbers in arrays: hundreds of documents of the past, each with hundreds of runs as objects,
    made a full collection take 40 ms.
    """

    __slots__ = ("_ends", "_starts", "_tables", "_which")

    def __init__(
        self, starts: array[int], ends: array[int], tables: tuple[tuple[Path, int], ...], which: array[int]
    ) -> None:
        self._starts, self._ends, self._tables, self._which = starts, ends, tables, which

    @classmethod
    def of(cls, runs: Iterable[Run]) -> Runs:
        """The `runs`, which are in order."""
        starts, ends, which = array("q"), array("q"), array("l")
        tables: dict[tuple[Path, int], int] = {}
        for start, end, path, indent in runs:
            starts.append(start)
            ends.append(end)
            which.append(tables.setdefault((path, indent), len(tables)))
        return cls(starts, ends, tuple(tables), which)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Run:
        return Run(self._starts[index], self._ends[index], *self._tables[self._which[index]])

    def depth(self) -> int:
        """How many names lead to the deepest table that was cut."""
        return max((len(path) for path, _ in self._tables), default=0)

    def around(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and the last of the runs that hold the bytes from `start` to `end`.

        None when some are in no run, or their runs are not all of one table.
        """
        first = last = max(bisect_right(self._starts, start) - 1, 0)
        while last < len(self) and self._ends[last] < end:
            last += 1
        if last >= len(self) or self._starts[first] > start or len(set(self._which[first : last + 1])) > 1:
            return None
        return first, last

    def joined(self, first: int, last: int, growth: int) -> Runs:
        """These with one run in place of those from `first` to `last`, longer by `growth`, and the others moved."""
        if first == last and not growth:
            return self
        starts, ends, which = self._starts[: first + 1], self._ends[:first], self._which
        starts.extend([start + growth for start in self._starts[last + 1 :]])
        ends.extend([end + growth for end in self._ends[last:]])
        if first != last:
            which = which[: first + 1] + which[last + 1 :]
        return Runs(starts, ends, self._tables, which)


def assembled(pieces: Iterable[Piece], pause: Pause = onward) -> tuple[dict[str, Any], Runs]:
    """The root table that `pieces` make, not yet settled, and where they are. `Unsettled` when a key comes twice."""
    root: dict[str, Any] = {}
    tables: dict[tuple[str, ...], tuple[dict[str, Any], Path]] = {(): (root, ())}
    runs: list[Run] = []
    for start, end, names, members, _, indent in pieces:
        if names not in tables:
            for length in range(1, len(names) + 1):
                if names[:length] in tables:
                    continue
                parent, path = tables[names[: length - 1]]
                name = names[length - 1]
                if name in parent:
                    raise Unsettled("twice")
                inner: dict[str, Any] = {}
                parent[name] = inner
                tables[names[:length]] = (inner, (*path, *segments(name)))
        table, path = tables[names]
        expected = len(table) + len(members)
        table.update(members)
        if len(table) != expected:
            raise Unsettled("twice")
        runs.append(Run(start, end, path, indent))
        pause()
    return root, Runs.of(runs)
