"""Cutting JSON into pieces.

Within a table, a comma is taken for the end of a piece when brackets are balanced up to it, a string follows
it, and what lies before it decodes as the members of an object. Where members are larger than that (a
document with few, large tables) msgspec tells their extents, undecoded, and large tables are cut inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from herz.formats.fault import Limits
from herz.formats.json import members
from herz.formats.pieces import LARGE, PIECE, Piece, Uncut

_RAW: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NAME: Final = msgspec.json.Decoder(str)
_OPENING: Final = re.compile(rb"[ \t\r\n]*\{")
_STRING_NEXT: Final = re.compile(rb'[ \t\r\n]*"')
_MEMBER: Final = re.compile(rb'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_SEPARATOR: Final = re.compile(rb"[ \t\r\n]*,")
_CANDIDATES: Final = 512
_ATTEMPTS: Final = 4


def cut(data: bytes, limits: Limits) -> Iterator[Piece]:
    """The pieces of a JSON document, in order. `Uncut` when it has no root table or is not well formed."""
    opening = _OPENING.match(data)
    end = len(data) - 1
    while end > 0 and data[end] in b" \t\r\n":
        end -= 1
    if opening is None or data[end : end + 1] != b"}":
        raise Uncut
    yield from _table(data, opening.end(), end, (), limits)


def _table(data: bytes, start: int, end: int, names: tuple[str, ...], limits: Limits) -> Iterator[Piece]:
    """The pieces of the table whose members lie between `start` and `end`."""
    if len(names) >= limits.max_depth:
        raise Uncut
    position = start
    while end - position > 2 * PIECE:
        found = _next(data, position, end)
        if found is None:
            yield from _large_members(data, position, end, names, limits)
            return
        stop, inner = found
        yield Piece(position, stop, names, *inner)
        position = stop + 1
    inner = members(data[position:end])
    if not inner[0] and position > start:
        raise Uncut  # a comma and nothing behind it
    yield Piece(position, end, names, *inner)


def _next(data: bytes, start: int, end: int) -> tuple[int, tuple[dict[str, Any], bool]] | None:
    """The comma that ends a piece from `start`, and the piece's members."""
    attempts, counted, depth = 0, start, 0
    comma = data.find(b",", start + PIECE, end)
    for _ in range(_CANDIDATES):
        if comma < 0:
            return None
        depth += data.count(b"{", counted, comma) + data.count(b"[", counted, comma)
        depth -= data.count(b"}", counted, comma) + data.count(b"]", counted, comma)
        counted = comma
        if depth == 0 and _STRING_NEXT.match(data, comma + 1):
            try:
                inner = members(data[start:comma])
            except Uncut:
                attempts += 1
                if attempts == _ATTEMPTS:
                    return None
            else:
                return (comma, inner) if inner[0] else None
        comma = data.find(b",", comma + 1, end)
    return None


def _large_members(data: bytes, start: int, end: int, names: tuple[str, ...], limits: Limits) -> Iterator[Piece]:
    try:
        table = _RAW.decode(b"{%b}" % data[start:end])
    except (msgspec.MsgspecError, RecursionError):
        raise Uncut from None
    begin = position = start
    last = len(table) - 1
    for index, (name, raw) in enumerate(table.items()):
        match = _MEMBER.match(data, position, end)
        value = bytes(raw)
        if match is None or _NAME.decode(match[1]) != name or not data.startswith(value, match.end()):
            raise Uncut  # msgspec dropped a key that came twice
        stop = match.end() + len(value)
        if len(value) > LARGE and value[:1] == b"{":
            if begin < position:
                # up to the comma before this member, which is the byte before `position`
                yield Piece(begin, position - 1, names, *members(data[begin : position - 1]))
            yield from _table(data, match.end() + 1, stop - 1, (*names, name), limits)
            begin = _after(data, stop, end, last=index == last)
        elif stop - begin > PIECE:
            yield Piece(begin, stop, names, *members(data[begin:stop]))
            begin = _after(data, stop, end, last=index == last)
        position = _after(data, stop, end, last=index == last)
    if data[position:end].strip():
        raise Uncut
    if begin < position:
        yield Piece(begin, end, names, *members(data[begin:end]))


def _after(data: bytes, stop: int, end: int, *, last: bool) -> int:
    """The place behind the comma that follows a member; the end behind the last one."""
    if last:
        return end if not data[stop:end].strip() else stop
    match = _SEPARATOR.match(data, stop, end)
    if match is None:
        raise Uncut
    return match.end()
