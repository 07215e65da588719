"""TOML 1.0 by the standard library, with exact large numbers and lines. Dates and times become ISO 8601 text.

A quoted key is one segment, as TOML means it: `"a.b" = 1` is the key `[a.b]`.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, time
from typing import Any, Final

from herz.errors import DuplicateKey
from herz.formats import toml_positions
from herz.formats.fault import Fault, Limits, line_at, too_deep
from herz.formats.written import LineTable, build
from herz.model.key import Path, join, relaxed
from herz.model.number import number

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_ABOUT_KEYS: Final = ("Cannot overwrite", "Cannot declare", "Cannot mutate", "Cannot redefine", "Duplicate")
_REMEDY: Final = "correct the document; until then the last good one keeps serving"


def decode(data: bytes, limits: Limits) -> dict[str, Any]:
    """The tree of a TOML document. Raises `Fault`."""
    text = data.decode()
    failed: list[str] = []

    def exact(digits: str) -> float:
        try:
            return number(digits)
        except ValueError:
            failed.append(digits)
            raise

    try:
        raw = tomllib.loads(text, parse_float=exact)
    except tomllib.TOMLDecodeError as error:
        raise _malformed(text, error, limits) from error
    except RecursionError:
        raise too_deep(limits) from None
    except ValueError as error:
        line = line_at(data, data.find(failed[-1].encode())) if failed else None
        raise Fault("a number is out of range", line, remedy="write it as text, in quotes") from error
    try:
        return _table(raw, (), limits)
    except _Respelled:
        build(toml_positions.written(text), limits)
        raise


def lines(data: bytes, limits: Limits) -> LineTable:
    """The line of every key of a document that `decode` took."""
    return build(toml_positions.written(data.decode()), limits)[1]


class _Respelled(Fault):
    """Two spellings of one key; the positions give the lines."""


def _table(raw: dict[str, Any], at: Path, limits: Limits) -> dict[str, Any]:
    if len(at) >= limits.max_depth:
        raise too_deep(limits)
    spellings: dict[str, str] = {}
    for name in raw:
        first = spellings.setdefault(relaxed(name), name)
        if first != name:
            what = f"{join((*at, first))!r} and {join((*at, name))!r} are two spellings of one key"
            raise _Respelled(what, remedy="keep one", kind=DuplicateKey)
    for name, value in raw.items():
        if type(value) is dict:
            _table(value, (*at, name), limits)
        elif type(value) not in (str, int, float, bool):
            raw[name] = _value(value, len(at) + 2, limits)
    return raw


def _value(value: Any, depth: int, limits: Limits) -> Any:
    """A value that is no table; inside of lists tables keep their keys as they are."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (list, dict)):
        if depth > limits.max_depth:
            raise too_deep(limits)
        if isinstance(value, list):
            return [_value(inner, depth + 1, limits) for inner in value]
        return {name: _value(inner, depth + 1, limits) for name, inner in value.items()}
    return value


def _malformed(text: str, error: tomllib.TOMLDecodeError, limits: Limits) -> Fault:
    message = str(error)
    place = _PLACE.search(message)
    what = _PLACE.sub("", message)
    line = text.rstrip().count("\n") + 1
    column = ""
    if place and place[1]:
        line, column = int(place[1]), f" at column {place[2]}"
    if what.startswith(_ABOUT_KEYS):
        try:
            build(toml_positions.written(text), limits)
        except Fault as fault:
            return fault
        return Fault("a key or table is written twice", line, remedy="keep one", kind=DuplicateKey)
    return Fault(f"malformed TOML: {what}{column}", line, remedy=_REMEDY)
