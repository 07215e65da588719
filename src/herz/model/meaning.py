"""Meaning: whether a value changed, decided on what it means and not on how it is written."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final, Literal, NamedTuple

from herz.model.number import WrittenFloat, exact, integral
from herz.model.secret import Secret
from herz.model.tree import ABSENT, is_table
from herz.model.units import SECONDS, seconds, size

TOLERANCE: Final = 1e-9
"""Relative and absolute tolerance for two numbers that are not both integral."""

_EXACT: Final = frozenset({str, int, bool})
"""Types whose values mean the same when they are equal."""

_DIVISION: Final = Context(prec=400)
"""Integers are exact at any size a double reaches, with a step as well."""


class Kind(NamedTuple):
    """What a schema says of a key: what it measures, and to which step (in seconds, or plain) it counts.

    `Kind("duration")` makes `"3s"` and `3000ms` equal; `Kind.of_precision("ms")` compares in fixed point.
    """

    measure: Literal["number", "duration", "size"]
    step: Decimal | None = None

    @classmethod
    def of_precision(cls, precision: str) -> Kind:
        """The kind that `precision: "ms"` (a unit of time) or `precision: "0.01"` (a plain step) declares."""
        if precision in SECONDS:
            return cls("duration", SECONDS[precision])
        step = Decimal(precision)
        if not step.is_finite() or step <= 0:
            raise ValueError(f"precision must be a unit of time or a positive step, got {precision!r}")
        return cls("number", step)

    def normal(self, value: Any) -> Any:
        """`value` in the form in which equal means the same; a value that does not fit the kind as it is."""
        if isinstance(value, Secret):
            value = value.reveal()
        try:
            if self.measure == "size":
                return size(value)
            if isinstance(value, bool):
                return value
            if self.measure == "number":
                found = Decimal(value.strip()) if isinstance(value, str) else exact(value)
            else:
                found = exact(value) if isinstance(value, (int, float)) else seconds(value)
            if self.step is None or not found.is_finite():
                return found
            return _DIVISION.divide(found, self.step).to_integral_value(ROUND_HALF_UP)
        except (ValueError, ArithmeticError, TypeError):
            return value


def same(old: Any, new: Any, kind: Kind | None = None) -> bool:
    """Whether `old` and `new` mean the same.

    Two integral numbers are compared exactly, at any size and however written; other numbers as
    `math.isclose` with 1e-9, relative and absolute; never a boolean with a number; absence is not
    null. `kind`, from a schema, decides for durations, sizes and fixed precision.
    """
    if old is new:
        return True
    if old is ABSENT or new is ABSENT or old is None or new is None:
        return False
    if kind is not None and type(old) is not list and not is_table(old):
        normal_old, normal_new = kind.normal(old), kind.normal(new)
        if isinstance(normal_old, (Decimal, int)) or isinstance(normal_new, (Decimal, int)):
            if normal_old != normal_old:
                return bool(normal_new != normal_new)
            return isinstance(normal_old, bool) is isinstance(normal_new, bool) and bool(normal_old == normal_new)
    old_type, new_type = type(old), type(new)
    if old_type is new_type and old_type in _EXACT:
        return bool(old == new)
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return _same_number(old, new)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(same(a, b, kind) for a, b in zip(old, new, strict=True))
    if is_table(old) and is_table(new):
        return len(old) == len(new) and all(name in new and same(value, new[name], kind) for name, value in old.items())
    return old_type is new_type and bool(old == new)


def _same_number(old: float, new: float) -> bool:
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    # An integer beyond the range of a double is finite, but math.isfinite cannot take it.
    if not all(isinstance(one, int) or math.isfinite(one) for one in (old, new)):
        return old == new or (old != old and new != new)
    whole_old, whole_new = integral(old), integral(new)
    if whole_old is not None and whole_new is not None:
        return whole_old == whole_new
    if isinstance(old, WrittenFloat) and isinstance(new, WrittenFloat) and old.written == new.written:
        return True
    try:
        return math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # an integer beyond the range of a double, and a number that is not integral
        return False
