"""Numbers: kept exact as they are written, until they are compared.

An `int` is exact at any size. A `float` is exact enough for every number that is not integral
(those are compared with a tolerance anyway). What a double loses are integral numbers beyond 2**53
written with a point or an exponent: `10000000000000001.0`. Decoders hand those on as `WrittenFloat`.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from typing import Final

LARGEST_EXACT: Final = 2.0**53
"""Above this a double no longer holds every integer."""


class WrittenFloat(float):
    """A float that remembers the digits it was written with."""

    __slots__ = ("written",)

    written: Decimal

    def __new__(cls, text: str) -> WrittenFloat:
        """The number that `text` writes, with its digits."""
        number = super().__new__(cls, text)
        # The default context would round to 28 digits.
        number.written = Decimal(text.replace("_", "")).normalize(Context(prec=max(len(text), 1)))
        return number

    def __reduce__(self) -> tuple[type[WrittenFloat], tuple[str]]:
        return (WrittenFloat, (str(self.written),))


def number(text: str) -> float:
    """The number that `text` writes with a point or exponent: a float, a `WrittenFloat` where that would lose digits.

    `ValueError` when it is no number or is beyond the range of a double.
    """
    value = float(text)
    if -LARGEST_EXACT < value < LARGEST_EXACT or value != value:
        return value
    if value in (float("inf"), float("-inf")):
        if text.strip("+-. \t").lower() in ("inf", "infinity"):
            return value
        raise ValueError(f"{text} is out of range")
    try:
        written = Decimal(text.replace("_", ""))
    except InvalidOperation as error:
        raise ValueError(f"{text} is not a number") from error
    return value if Decimal(value) == written else WrittenFloat(text)


def integral(value: float) -> int | None:
    """`value` (an int or float) as an exact integer when it is one, otherwise None."""
    if isinstance(value, int):
        return value
    if isinstance(value, WrittenFloat):
        return int(value.written) if value.written == value.written.to_integral_value() else None
    return int(value) if value.is_integer() else None


def exact(value: float) -> Decimal:
    """`value` as the decimal it was written as: a float by its shortest digits, beyond 2**53 by its exact value."""
    if isinstance(value, WrittenFloat):
        return value.written
    if isinstance(value, int) or not -LARGEST_EXACT <= value <= LARGEST_EXACT:
        return Decimal(value)
    return Decimal(repr(value))
