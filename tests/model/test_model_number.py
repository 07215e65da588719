from __future__ import annotations

import math
import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.model.number import WrittenFloat, exact, integral, number


@given(st.integers(-(10**60), 10**60))
def test_an_integral_number_written_with_a_point_or_exponent_is_exact_at_any_size(value: int) -> None:
    assert integral(number(f"{value}.0")) == value
    assert exact(number(f"{value}.0")) == value
    assert integral(number(f"{value}e0")) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_read_as_itself(value: float) -> None:
    assert number(repr(value)) == value
    assert float(exact(number(repr(value)))) == value


@given(st.floats(-(2.0**53), 2.0**53).filter(lambda value: not value.is_integer()))
def test_a_number_with_a_fraction_is_not_integral(value: float) -> None:
    assert integral(value) is None


def test_only_what_a_double_would_lose_is_kept_as_written() -> None:
    assert type(number("1e16")) is float
    assert type(number("0.1")) is float
    assert type(number("10000000000000001.0")) is WrittenFloat
    assert integral(number("1e300")) == 10**300
    assert integral(number("90071992547409931.5")) is None


def test_a_written_float_is_a_float_that_survives_pickling_with_its_digits() -> None:
    digits = "123456789012345678901234567890123456789012345.0"
    value = pickle.loads(pickle.dumps(number(digits)))  # noqa: S301
    assert isinstance(value, float)
    assert value == float(digits)
    assert integral(value) == int(digits[:-2])


@pytest.mark.parametrize("text", ["1e400", "-1e999", "9" * 400 + ".0"])
def test_what_is_beyond_a_double_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        number(text)


def test_infinity_and_nan_are_read_when_they_are_written_so() -> None:
    assert number("-inf") == -math.inf
    assert math.isnan(number("nan"))


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1e", "0x10"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is Python's own
        number(text)


def test_a_float_is_exactly_its_shortest_digits() -> None:
    assert exact(0.1) == Decimal("0.1")
    assert exact(10**30) == 10**30
