from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.model.number import WrittenFloat
from herz.model.units import SECONDS, ByteSize, duration, seconds, size


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3s", "3"),
        ("3000ms", "3"),
        ("3 s", "3"),
        ("1h30m", "5400"),
        ("1h 30min", "5400"),
        ("1.5h", "5400"),
        (".5s", "0.5"),
        ("250us", "0.00025"),
        ("250µs", "0.00025"),
        ("250μs", "0.00025"),
        ("1ns", "0.000000001"),
        ("2d", "172800"),
        ("1w", "604800"),
        ("-3s", "-3"),
        ("+3s", "3"),
        ("3S", "3"),
        ("5", "5"),
        ("-0.5", "-0.5"),
        ("PT3S", "3"),
        ("pt1.5s", "1.5"),
        ("P1DT2H", "93600"),
        ("P2W", "1209600"),
        ("-PT3S", "-3"),
        (3, "3"),
        (0.1, "0.1"),
        (timedelta(days=1, microseconds=1), "86400.000001"),
        ("0.123456789012345678901234567890123456789s", "0.123456789012345678901234567890123456789"),
        (WrittenFloat("10000000000000001.0"), "10000000000000001"),
    ],
)
def test_a_duration_is_read_exactly(value: Any, expected: str) -> None:
    assert seconds(value) == Decimal(expected)


NO_DURATIONS = ["", " ", "abc", "3x", "s", "3s 4", "--3s", "+-3s", "- 3s", "P", "PT", "P1H", "1:30", "3ſ", "٣s", "1e3"]


@pytest.mark.parametrize("value", [*NO_DURATIONS, "3s" * 40, True, False, None, [], {}, float("nan"), float("inf")])
def test_what_is_no_duration_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        seconds(value)


@given(st.timedeltas())
def test_every_timedelta_survives_as_seconds_as_text_and_as_iso_8601(value: timedelta) -> None:
    exact = seconds(value)
    assert duration(value) == value
    assert duration(f"{exact}s") == value
    sign = "-" if exact < 0 else ""
    assert duration(f"{sign}PT{abs(exact)}S") == value


@given(st.integers(0, 10**6), st.sampled_from(sorted(SECONDS)))
def test_a_count_of_a_unit_is_that_many_of_it(count: int, unit: str) -> None:
    assert seconds(f"{count}{unit}") == count * SECONDS[unit]
    if unit.isascii():
        assert seconds(f"{count} {unit.upper()}") == count * SECONDS[unit]


def test_a_duration_is_rounded_half_to_even_to_its_microsecond() -> None:
    assert duration("0.0000005s") == timedelta(0)
    assert duration("0.0000015s") == timedelta(microseconds=2)


@pytest.mark.parametrize("value", ["999999999999d", 10**18, -(10**18), 1e300])
def test_a_duration_beyond_a_timedelta_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="beyond the range"):
        duration(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("512", 512),
        (512, 512),
        (512.0, 512),
        ("10MiB", 10 * 2**20),
        ("10 mib", 10 * 2**20),
        ("10Mi", 10 * 2**20),
        ("10MB", 10**7),
        ("1kB", 1000),
        ("1k", 1000),
        ("1.5KiB", 1536),
        (".5k", 500),
        ("2PiB", 2 * 2**50),
        ("7b", 7),
        ("-1", -1),
        (-1, -1),
        ("9" * 40, int("9" * 40)),
        (WrittenFloat("10000000000000001.0"), 10**16 + 1),
    ],
)
def test_a_size_is_read_exactly(value: Any, expected: int) -> None:
    assert size(value) == expected
    assert type(size(value)) is ByteSize


@pytest.mark.parametrize(
    "value", ["", "abc", "10XB", "1.5", "1.5b", "0.0001k", "MiB", "1 0", "1ſ", "1e3", 1.5, True, None, [], float("inf")]
)
def test_what_is_no_size_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        size(value)
