"""Scalars: one value of the configuration as the type its field declares.

Text is typed here, for environment variables and key-value stores hold nothing else:

* a boolean is `true`, `yes`, `on`, `false`, `no` or `off` in any case, never a number, and no number is a boolean;
* a whole number may be written `3`, `-3`, `1_000` or `3.0`; a number also `1e3`, `nan`, `inf`;
* a duration is `3s`, `500ms`, `1h30m`, `PT3S` or a number of seconds; a size `10MiB`, `10MB` or a number of bytes;
* text is only made from text: `1.10` without quotes is the number 1.1 in every format, and its zero is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path as FilePath
from pathlib import PosixPath, PurePath, PurePosixPath
from typing import Any, Final
from uuid import UUID

from herz.live.binding.reading import Mismatch, Reading
from herz.live.binding.shape import Convert
from herz.model.key import Path, relaxed
from herz.model.number import exact, integral
from herz.model.secret import Secret
from herz.model.units import ByteSize, duration, size

_TRUTHS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE: Final = re.compile(r"([+-]?[0-9]+(?:_[0-9]+)*)(?:\.0*)?", re.ASCII)


def leaf(parse: Callable[[Any], Any], expected: str, remedy: str = "") -> Convert:
    """A converter that calls `parse`; whatever value error it raises is told as `expected`."""

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        if type(value) is Secret:
            value = value.reveal()
        try:
            return parse(value)
        except (ValueError, TypeError, ArithmeticError):
            raise Mismatch(expected, remedy=remedy) from None

    return convert


def text(value: Any) -> str:
    """Text, from text alone."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    raise ValueError


def boolean(value: Any) -> bool:
    """A boolean, from a boolean or its name."""
    if value is True or value is False:
        return bool(value)
    if isinstance(value, str):
        return _TRUTHS[value.strip().lower()] if value.strip().lower() in _TRUTHS else _refuse()
    raise ValueError


def whole(value: Any) -> int:
    """An integer of any size, from a number without a fraction."""
    if type(value) is int:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = integral(value)
        return int(found) if found is not None else _refuse()
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value.strip())):
        return int(match[1])
    raise ValueError


def floating(value: Any) -> float:
    """A double, from a number."""
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, (int, float)):
        return float(value)
    return float(text(value))


def decimal(value: Any) -> Decimal:
    """An exact decimal, from a number as it was written."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return exact(value)
    return Decimal(text(value).strip())


def moment(value: Any) -> datetime:
    """A date and time, from RFC 3339 text."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(text(value).strip())


def day(value: Any) -> date:
    """A date, from ISO 8601 text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return date.fromisoformat(text(value).strip())


def clock(value: Any) -> time:
    """A time of day, from ISO 8601 text."""
    return value if isinstance(value, time) else time.fromisoformat(text(value).strip())


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else text(value).encode()


def _pattern(value: Any) -> re.Pattern[str]:
    try:
        return re.compile(text(value))
    except re.error:
        raise ValueError from None


def _nothing(value: Any) -> None:
    if value is not None:
        raise ValueError


def _refuse() -> Any:
    raise ValueError


def _made(kind: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: kind(text(value))


def secret(value: Any, path: Path, reading: Reading) -> Secret:
    """A secret, from text; what it is made from is never shown."""
    if isinstance(value, (Secret, str)):
        found = Secret(value)
        reading.hidden.append(found.reveal())
        return found
    raise Mismatch("text", remedy="put it in quotes", hide=True)


class Scalar:
    """How one type is made: its converter, what a message calls it, and the types that already are one."""

    __slots__ = ("convert", "expected", "natural")

    def __init__(
        self, parse: Callable[[Any], Any], expected: str, natural: tuple[type, ...] = (), remedy: str = ""
    ) -> None:
        self.expected = expected
        self.natural = frozenset(natural)
        self.convert: Convert = leaf(parse, expected, remedy)


_DURATION: Final = Scalar(duration, "a duration", remedy="write 3s, 500ms, 1h30m or PT3S")
SIZE: Final = Scalar(size, "a size in bytes", remedy="write 512, 64KiB or 10MB")
TEXT: Final = Scalar(text, "text", (str,), remedy="put it in quotes")

SCALARS: Final[dict[Any, Scalar]] = {
    str: TEXT,
    bool: Scalar(boolean, "true or false", (bool,), remedy="write true or false"),
    int: Scalar(whole, "a whole number", (int,)),
    float: Scalar(floating, "a number", (float,)),
    Decimal: Scalar(decimal, "a number"),
    timedelta: _DURATION,
    ByteSize: SIZE,
    datetime: Scalar(moment, "a date and time", (datetime,), remedy="write 2026-01-31T08:30:00Z"),
    date: Scalar(day, "a date", (date,), remedy="write 2026-01-31"),
    time: Scalar(clock, "a time of day", (time,), remedy="write 08:30:00"),
    bytes: Scalar(_bytes, "text", (bytes,)),
    UUID: Scalar(_made(UUID), "a UUID"),
    FilePath: Scalar(_made(FilePath), "a path"),
    PurePath: Scalar(_made(PurePath), "a path"),
    PosixPath: Scalar(_made(FilePath), "a path"),
    PurePosixPath: Scalar(_made(PurePosixPath), "a path"),
    re.Pattern: Scalar(_pattern, "a regular expression"),
    type(None): Scalar(_nothing, "null", (type(None),)),
    **{
        address: Scalar(_made(address), f"an {address.__name__[:4]} {address.__name__[4:].lower()}")
        for address in (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
    },
}
"""How each scalar type is made of a value."""


def choice(values: tuple[Any, ...]) -> Scalar:
    """One of a `Literal`'s values: by value and type, or by the text that writes it."""
    exactly = {(type(value), value): value for value in values}
    written = {str(value): value for value in values if isinstance(value, (str, int)) and not isinstance(value, bool)}

    def parse(value: Any) -> Any:
        found = exactly.get((type(value), value), exactly)
        if found is not exactly:
            return found
        if isinstance(value, str):
            if value in written:
                return written[value]
            truth = _TRUTHS.get(value.strip().lower())
            if truth is not None and (bool, truth) in exactly:
                return truth
        raise ValueError

    return Scalar(parse, one_of(values), tuple({type(value) for value in values}))


def member(enumeration: type[Enum]) -> Scalar:
    """A member of an enumeration: by its value, by the text that writes the value, or by its name in any spelling."""
    by_value: dict[tuple[type, Any], Enum] = {}
    by_text: dict[str, Enum] = {}
    for one in enumeration.__members__.values():
        try:
            by_value.setdefault((type(one.value), one.value), one)
        except TypeError:  # a value that cannot be hashed is found by its member's name
            continue
        if isinstance(one.value, (str, int)) and not isinstance(one.value, bool):
            by_text.setdefault(str(one.value), one)
    by_name = {relaxed(name): one for name, one in enumeration.__members__.items()}

    def parse(value: Any) -> Enum:
        if isinstance(value, enumeration):
            return value
        found = by_value.get((type(value), value))
        if found is None and isinstance(value, str):
            found = by_text.get(value, by_name.get(relaxed(value)))
        if found is None:
            raise ValueError
        return found

    values = [one.value for one in enumeration.__members__.values()]
    plain = all(isinstance(value, (str, int, float, bool)) for value in values)
    return Scalar(parse, one_of(values if plain else list(enumeration.__members__)))


def one_of(values: Any) -> str:
    """`"a", "b" or "c"`, the first dozen of them."""
    shown = [f'"{value}"' if isinstance(value, str) else str(value).lower() for value in values]
    if len(shown) > 12:
        return f"one of {', '.join(shown[:12])}, …"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
