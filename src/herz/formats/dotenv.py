"""dotenv files: `APP__DB__HOST=x` is the key `app.db.host`, as an environment variable would be. Every value is text.

Quoting, `export` and comments are python-dotenv's; `${…}` is left for the references of Herz.
"""

from __future__ import annotations

import io
from typing import Any, Final

from dotenv.parser import parse_stream

from herz.formats.fault import Fault, Limits
from herz.formats.written import LineTable, Member, Table, build, segments
from herz.model.key import Path

SEPARATOR: Final = "__"


def decode(data: bytes, limits: Limits) -> dict[str, Any]:
    """The tree of a dotenv document. Raises `Fault`."""
    return build(_written(data.decode()), limits)[0]


def lines(data: bytes, limits: Limits) -> LineTable:
    """The line of every key of a document that `decode` took."""
    return build(_written(data.decode()), limits)[1]


def _written(text: str) -> Table:
    table = Table()
    for binding in parse_stream(io.StringIO(text, newline="")):
        original = binding.original.string
        leading = original[: len(original) - len(original.lstrip())]
        line = binding.original.line + leading.count("\n")
        if binding.error:
            raise Fault("a line that is no NAME=value", line, remedy="write NAME=value, quote what holds spaces")
        if binding.key is None:
            continue
        if binding.value is None:
            raise Fault("a name without a value", line, remedy="write NAME= for an empty text, or remove it")
        table.append(Member(binding.key, line, binding.value, _path(binding.key, line)))
    return table


def _path(name: str, line: int) -> Path:
    parts = name.lower().split(SEPARATOR)
    if "" in parts:
        raise Fault(f"name {name!r} has an empty segment", line, remedy="write A__B__C, two underscores between names")
    return tuple(segment for part in parts for segment in segments(part, line))
