"""Pieces: runs of complete members, that can be decoded by themselves.

A large document is cut into pieces of some kilobytes, so that no call holds the GIL long, and so that a
change in one piece costs that piece and not the document. A format's `cut` proves each cut by decoding: from
a place known to lie between two members, a piece that decodes by itself ends between two members again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from herz.formats.settle import Unsettled
from herz.formats.written import segments
from herz.model.key import Path

PIECE: Final = 8 * 1024
"""Bytes of a piece, about: 60 µs of JSON, 300 µs of YAML."""

LARGE: Final = 8 * PIECE
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


def assembled(pieces: Iterable[Piece]) -> tuple[dict[str, Any], list[Run]]:
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
    return root, runs
