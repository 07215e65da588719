"""Cutting YAML into pieces, between lines that start a member of a block table.

From a place known to be between two members: when the lines up to another one of the same indentation decode
by themselves as a table, every scalar, list and table in them is complete or ends at that indentation, so the
cut is between two members again. A member too large for a piece is cut inside, at its own indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from herz.formats.fault import Limits
from herz.formats.pieces import LARGE, Piece, Uncut
from herz.formats.settle import Unsettled, settle
from herz.formats.yaml import members, without_header

PIECE: Final = 3 * 1024
"""Bytes of a piece, about: 250 µs."""

_FIRST: Final = rb"[A-Za-z0-9_\"'/$]"  # how a key begins here; others are read with the whole document
_BLANK: Final = rb"(?:[ ]*+(?:#[^\n]*+)?+\r?+\n)*+"
_HEADER: Final = re.compile(
    rb"[ ]*([A-Za-z_][A-Za-z0-9_-]*):[ ]*+(?:#[^\n]*+)?+\r?+\n" + _BLANK + rb"([ ]*)(?=%b)" % _FIRST
)
_ATTEMPTS: Final = 4
_LEAD: Final = re.compile(_BLANK)


@lru_cache(maxsize=64)
def _line(indent: int) -> re.Pattern[bytes]:
    """The start of a line that starts a member at `indent`."""
    return re.compile(rb"\n(?= {%d}%b)" % (indent, _FIRST))


@lru_cache(maxsize=64)
def _start(indent: int) -> re.Pattern[bytes]:
    return re.compile(rb" {%d}%b" % (indent, _FIRST))


def cut(data: bytes, limits: Limits) -> Iterator[Piece]:
    """The pieces of a YAML document, in order. `Uncut` when it is not a block table of what is read alike."""
    data = without_header(data)
    lead = _LEAD.match(data)
    if lead is None or not _start(0).match(data, lead.end()):
        raise Uncut
    yield from _table(data, 0, len(data), (), 0, limits)


def _table(data: bytes, start: int, end: int, names: tuple[str, ...], indent: int, limits: Limits) -> Iterator[Piece]:
    """The pieces of the table whose members start at `indent` between `start` and `end`, both starts of lines."""
    if len(names) >= limits.max_depth:
        raise Uncut
    position = start
    while position < end:
        stop = _line_after(data, position + PIECE, end, indent)
        if stop - position > LARGE:
            # One of the members is large: what is before it makes a piece, and it is cut inside.
            large = _last_line(data, position, position + PIECE + indent + 2, indent)
            if position < large and (position or not _LEAD.fullmatch(data, position, large)):
                yield _piece(data, position, large, names, indent, limits)
                position = large
            header = _HEADER.match(data, large, stop)
            if header is not None and len(header[2]) > indent:
                inside = (*names, header[1].decode())
                yield from _table(data, header.start(2), stop, inside, len(header[2]), limits)
            else:
                yield _piece(data, position, stop, names, indent, limits)
            position = stop
            continue
        for _ in range(_ATTEMPTS):
            try:
                yield _piece(data, position, stop, names, indent, limits)
                break
            except Uncut:
                if stop >= end:
                    raise
                stop = _line_after(data, stop, end, indent)
        else:
            raise Uncut
        position = stop


def _line_after(data: bytes, position: int, end: int, indent: int) -> int:
    """The start of the first line behind `position` that starts a member; `end` when there is none."""
    match = _line(indent).search(data, position, end)
    return end if match is None else match.end()


def _last_line(data: bytes, start: int, stop: int, indent: int) -> int:
    """The start of the last member that starts between the two."""
    last = start
    lead = _LEAD.match(data, start) if start == 0 else None
    if lead is not None:
        last = lead.end()
    for match in _line(indent).finditer(data, start, stop):
        last = match.end()
    return last


def _piece(data: bytes, start: int, stop: int, names: tuple[str, ...], indent: int, limits: Limits) -> Piece:
    inner = members(data[start:stop], limits)
    if not inner:
        raise Uncut
    return Piece(start, stop, names, inner, indent=indent)


def piece(
    data: bytes, limits: Limits, depth: int, *, indent: int, first: bool, last: bool
) -> tuple[dict[str, Any], list[str]]:
    """The members of a table at `depth` that the lines of `data` hold, settled, and their names as written.

    `Uncut` when that is not sure. `first` and `last` say whether they are at the document's begin and end.
    """
    if first:
        data = without_header(data)
    lead = _LEAD.match(data) if first else None
    if not _start(indent).match(data, lead.end() if lead else 0) or not (last or data.endswith(b"\n")):
        raise Uncut
    found = members(data, limits)
    if not found:
        raise Uncut
    names = list(found)
    try:
        settle(found, limits, depth)
    except Unsettled:
        raise Uncut from None
    return found, names
