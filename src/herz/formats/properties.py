"""Java properties: dotted keys, every value text. UTF-8, with Java's Unicode escapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import javaproperties

from herz.formats.fault import Fault, Limits
from herz.formats.written import LineTable, Member, Table, build

_REMEDY: Final = r"write \\ for a backslash, \u and four hexadecimal digits for a letter"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_ENTRY: Final = re.compile(r"((?:[^\\=: \t\f]|\\.)*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_BLANK: Final = " \t\f"


def decode(data: bytes, limits: Limits) -> dict[str, Any]:
    """The tree of a properties document. Raises `Fault`."""
    return build(_written(data.decode()), limits)[0]


def lines(data: bytes, limits: Limits) -> LineTable:
    """The line of every key of a document that `decode` took."""
    return build(_written(data.decode()), limits)[1]


def _written(text: str) -> Table:
    table = Table()
    for logical, line in _logical_lines(text):
        match = _ENTRY.fullmatch(logical)
        if match is not None:  # it matches every line
            table.append(Member(_unescaped(match[1], line), line, _unescaped(match[2], line)))
    return table


def _logical_lines(text: str) -> Iterator[tuple[str, int]]:
    """The lines with what continues them, comments and blank ones left out, each with its number.

    javaproperties has this too, in time that grows with the square of the continuations.
    """
    parts: list[str] = []
    first = number = 1
    position = 0
    while position <= len(text):
        end = _LINE_END.search(text, position)
        line = text[position : end.start() if end else len(text)].lstrip(_BLANK)
        if parts or (line and line[0] not in "#!"):
            first = first if parts else number
            continues = (len(line) - len(line.rstrip("\\"))) % 2 == 1
            parts.append(line[:-1] if continues else line)
            if not continues or not end:
                if any(parts):
                    yield "".join(parts), first
                parts = []
        if end is None:
            break
        position = end.end()
        number += end[0] != "\r"  # an editor's line numbers count LF


def _unescaped(text: str, line: int) -> str:
    try:
        text = javaproperties.unescape(text)
    except javaproperties.InvalidUEscapeError as error:
        raise Fault(r"a \u escape without four hexadecimal digits", line, remedy=_REMEDY) from error
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Fault(r"a \u escape that is half of a surrogate pair", line, remedy="write both halves") from None
    return text
