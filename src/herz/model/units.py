"""Units: durations and sizes as people write them, read exactly."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from herz.model.number import exact, integral

SECONDS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # the micro sign
    "μs": Decimal("1e-6"),  # the Greek letter, as keyboards have it
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
"""Seconds in each unit of time; `m` is a minute, as in Spring and Go."""

BYTES: Final = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", start=1)},
    **{f"{prefix}i": 1024**power for power, prefix in enumerate("kmgtp", start=1)},
    **{prefix: 1000**power for power, prefix in enumerate("kmgtp", start=1)},
}
"""Bytes in each unit of size, lower case: `kB` is 1000 (SI), `KiB` is 1024 (IEC 80000-13)."""

_NUMBER: Final = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_PART: Final = re.compile(rf"\s*({_NUMBER})\s*(ns|us|µs|μs|ms|s|min|m|h|d|w)", re.IGNORECASE | re.ASCII)
_ISO: Final = re.compile(
    rf"P(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.IGNORECASE | re.ASCII,
)
_SIZE: Final = re.compile(rf"\s*([+-]?(?:{_NUMBER}))\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
_LONGEST: Final = 64
_EXACT: Final = Context(prec=4 * _LONGEST)
"""Keeps every digit of texts so long; the default context would round to 28."""


class ByteSize(int):
    """A size in bytes, written `512`, `10MiB` (1024) or `10MB` (1000)."""

    __slots__ = ()


def seconds(value: object) -> Decimal:
    """`value` as exact seconds: a number of seconds, `3s`, `1h30m`, `3000ms`, ISO 8601 `PT3S`, a timedelta.

    `ValueError` for anything else, booleans included.
    """
    if isinstance(value, timedelta):
        return Decimal(value.days * 86400 + value.seconds) + Decimal(value.microseconds).scaleb(-6)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = exact(value)
        if found.is_finite():
            return found
    if isinstance(value, str) and len(value) <= _LONGEST:
        text = value.strip()
        negative = text.startswith("-")
        text = text[1:] if text[:1] in ("+", "-") else text
        if re.fullmatch(_NUMBER, text):
            return _signed(Decimal(text), negative)
        if text[:1] in ("P", "p"):
            return _signed(_iso(text), negative)
        total, position = Decimal(0), 0
        while not text[:1].isspace() and (match := _PART.match(text, position)):
            total = _EXACT.fma(Decimal(match[1]), SECONDS[match[2].lower()], total)
            position = match.end()
        if position and not text[position:].strip():
            return _signed(total, negative)
    raise ValueError(f"expected a duration such as 3s, 500ms, 1h30m or PT3S, got {value!r}")


def _signed(value: Decimal, negative: bool) -> Decimal:
    return value.copy_negate() if negative else value


def _iso(text: str) -> Decimal:
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"expected an ISO 8601 duration such as PT3S or P1DT2H, got {text!r}")
    total = Decimal(0)
    for part, unit in zip(match.groups(), "wdhms", strict=True):
        if part:
            total = _EXACT.fma(Decimal(part), SECONDS[unit], total)
    return total


def duration(value: object) -> timedelta:
    """`value` (see `seconds`) as a timedelta, rounded half to even to its microsecond."""
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(microseconds=int((seconds(value) * 1_000_000).to_integral_value()))
    except OverflowError as error:
        raise ValueError(f"duration {value!r} is beyond the range of a timedelta") from error


def size(value: object) -> ByteSize:
    """`value` as bytes: a whole number of them, or text such as `10MiB`. `ValueError` for a part of a byte."""
    if isinstance(value, int) and not isinstance(value, bool):
        return ByteSize(value)
    if isinstance(value, float) and (count := integral(value)) is not None:
        return ByteSize(count)
    if isinstance(value, str) and len(value) <= _LONGEST and (match := _SIZE.fullmatch(value)):
        factor = BYTES.get(match[2].lower())
        if factor is not None:
            found = Fraction(match[1]) * factor
            if found.denominator == 1:
                return ByteSize(found.numerator)
    raise ValueError(f"expected a size such as 512, 64KiB or 10MB, got {value!r}")
