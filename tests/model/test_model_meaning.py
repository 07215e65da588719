"""Whether a value changed: the table of version comparison, and the laws behind it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from herz.model.meaning import Kind, same
from herz.model.number import WrittenFloat, number
from herz.model.secret import Secret
from herz.model.tree import ABSENT

MS = Kind.of_precision("ms")
DURATION = Kind("duration")
SIZE = Kind("size")

TABLE = [
    pytest.param(0.1 + 0.2, 0.3, None, False, id="the same number but for binary rounding"),
    pytest.param(1000.0000001, 1000, None, False, id="relative 1e-10"),
    pytest.param(10**16, 10**16 + 1, None, True, id="integers are exact"),
    pytest.param(number("1e16"), 10**16 + 1, None, True, id="also written 1e16"),
    pytest.param(number("1e16"), number("10000000000000001.0"), None, True, id="also written with a point"),
    pytest.param(10**16, number("1e16"), None, False, id="one integer in two writings"),
    pytest.param(10**400, 10**400 + 1, None, True, id="integers beyond a double"),
    pytest.param(number(f"{10**200}.0"), 10**200 + 1, None, True, id="beyond a double's digits"),
    pytest.param(3.6, 3.6004, MS, False, id="both are 3600 ms"),
    pytest.param(3.6, 3.601, MS, True, id="3600 ms and 3601 ms"),
    pytest.param("3s", "3000ms", DURATION, False, id="the same duration as text"),
    pytest.param("3s", timedelta(milliseconds=3000), DURATION, False, id="the same duration bound"),
    pytest.param("3s", 3, DURATION, False, id="a number is seconds"),
    pytest.param("3s", "3000ms", None, True, id="text without a schema is text"),
    pytest.param(1, True, None, True, id="never a boolean and a number"),
    pytest.param(1.0, True, None, True, id="nor a double"),
    pytest.param(1, True, MS, True, id="nor with a schema"),
    pytest.param(1, True, SIZE, True, id="nor as a size"),
    pytest.param(ABSENT, None, None, True, id="absence is not null"),
    pytest.param(ABSENT, None, DURATION, True, id="nor with a schema "),
    pytest.param(None, False, None, True, id="null is not false"),
    pytest.param("1", 1, None, True, id="text is not a number"),
    pytest.param("10MiB", 10 * 2**20, SIZE, False, id="the same size"),
    pytest.param("3.6", 3.6004, MS, False, id="text under a precision is a number"),
    pytest.param("abc", "abd", DURATION, True, id="what does not fit a kind is compared as it is"),
    pytest.param("abc", "abc ", DURATION, True, id="what does not fit a kind is compared as text"),
    pytest.param(["3s"], ["3000ms"], DURATION, False, id="in lists"),
    pytest.param([1, 2], [2, 1], None, True, id="lists have an order"),
    pytest.param({"a": 1, "b": 2}, Map({"b": 2, "a": 1}), None, False, id="tables have none"),
    pytest.param({"a": None}, {"b": None}, None, True, id="other keys"),
    pytest.param([True], [1], None, True, id="booleans in lists"),
    pytest.param(Secret("3s"), Secret("3000ms"), DURATION, False, id="secrets by their kind"),
    pytest.param(Secret("a"), Secret("b"), None, True, id="secrets"),
    pytest.param(Secret("a"), "a", None, True, id="a secret is not its text"),
    pytest.param(0, 1e-10, None, False, id="absolute 1e-9"),
    pytest.param(0.0, -0.0, None, False, id="zeros"),
    pytest.param(float("nan"), float("nan"), None, False, id="not a number twice"),
    pytest.param(float("nan"), float("nan"), MS, False, id="not a number twice with a schema"),
    pytest.param(float("inf"), float("inf"), MS, False, id="infinity with a schema"),
    pytest.param(float("inf"), 10**400, None, True, id="infinity is no integer"),
    pytest.param(10**400, 0.5, None, True, id="an integer beyond a double and a fraction"),
    pytest.param(10**40, 10**40 + 1, Kind.of_precision("1"), True, id="integers are exact with a precision"),
]


@pytest.mark.parametrize(("old", "new", "kind", "changed"), TABLE)
def test_a_row_of_the_table(old: Any, new: Any, kind: Kind | None, changed: bool) -> None:
    assert same(old, new, kind) is not changed
    assert same(new, old, kind) is not changed


def test_a_precision_rounds_half_up() -> None:
    step = Kind.of_precision("0.5")
    assert not same(1.0, 1.25, step)
    assert same(1.0, 1.2499, step)
    assert same(1.25, 1.5, step)


@pytest.mark.parametrize("precision", ["", "fast", "0", "-1", "nan", "inf"])
def test_a_precision_that_is_none_is_a_value_error(precision: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        Kind.of_precision(precision)


def test_a_precision_in_units_of_time_measures_durations() -> None:
    assert Kind("duration", Decimal("0.001")) == MS


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(
        ["3s", "3000ms", "10MiB", WrittenFloat("10000000000000001.0"), Secret("x"), timedelta(3), ABSENT]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)
kinds = st.sampled_from([None, MS, DURATION, SIZE, Kind("number"), Kind.of_precision("0.01")])


@given(values, kinds)
def test_everything_means_the_same_as_its_copy(value: Any, kind: Kind | None) -> None:
    twin = list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value
    assert same(value, twin, kind)


@given(values, values, kinds)
def test_meaning_the_same_is_mutual_and_never_fails(old: Any, new: Any, kind: Kind | None) -> None:
    assert same(old, new, kind) is same(new, old, kind)


@given(st.integers(), st.integers())
def test_integers_mean_the_same_when_they_are_equal_however_written(old: int, new: int) -> None:
    assert same(number(f"{old}.0"), new) is (old == new)
    assert same(old, new) is (old == new)


@given(st.timedeltas(timedelta(-(10**5)), timedelta(10**5)))
def test_a_duration_means_the_same_in_every_unit(value: timedelta) -> None:
    exact = DURATION.normal(value)
    assert same(value, f"{exact}s", DURATION)
    from_text = f"{(exact * 10**9).to_integral_value():f}ns"
    assert same(from_text, value, DURATION)


@given(st.booleans(), st.integers() | st.floats(), kinds)
def test_a_boolean_never_means_a_number(one: bool, other: float, kind: Kind | None) -> None:
    assert not same(one, other, kind)
