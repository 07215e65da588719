"""Which texts and values become which types, and which are refused."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import BindingError
from herz.live.binding import Binding, ByteSize, Secret
from herz.model.number import WrittenFloat


def bound(kind: Any, value: Any) -> Any:
    """`value` as a dataclass's field of type `kind`."""
    model = dataclasses.make_dataclass("Model", [("x", kind)])
    return Binding(model, "a").bind({"x": value}).value.x


def refused(kind: Any, value: Any) -> str:
    with pytest.raises(BindingError) as caught:
        bound(kind, value)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, True, True),
        *[(bool, text, True) for text in ("true", "TRUE", "yes", "On", " true ")],
        *[(bool, text, False) for text in ("false", "No", "off")],
        (int, "3", 3),
        (int, " -3 ", -3),
        (int, "1_000", 1000),
        (int, "3.0", 3),
        (int, 3.0, 3),
        (int, 10**30, 10**30),
        (int, WrittenFloat("10000000000000001.0"), 10**16 + 1),
        (int, Secret("7"), 7),
        (float, "1e3", 1000.0),
        (float, 3, 3.0),
        (float, "inf", math.inf),
        (Decimal, "0.10", Decimal("0.10")),
        (Decimal, 0.1, Decimal("0.1")),
        (str, "3", "3"),
        (str, Secret("plain"), "plain"),
        (timedelta, "3s", timedelta(seconds=3)),
        (timedelta, "3000ms", timedelta(seconds=3)),
        (timedelta, "PT3S", timedelta(seconds=3)),
        (timedelta, 3, timedelta(seconds=3)),
        (timedelta, 0.5, timedelta(milliseconds=500)),
        (timedelta, "3", timedelta(seconds=3)),
        (ByteSize, "10MiB", 10 * 2**20),
        (ByteSize, 512, 512),
        (list[int], "1, 2,3", [1, 2, 3]),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], "", []),
        (list[int], {"1": 5, "0": 4}, [4, 5]),
        (list[list[int]], "[[1], [2]]", [[1], [2]]),
        (set[int], "1,1", {1}),
        (tuple[int, ...], [1, "2"], (1, 2)),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (dict[str, int], None, {}),
        (int | None, None, None),
        (int | None, "null", None),
        (str | None, "null", "null"),
        (int | str, 3, 3),
        (int | str, "3", "3"),
        (bool | int, 1, 1),
        (bool | int, True, True),
        (int | timedelta, "3s", timedelta(seconds=3)),
        (Literal["auto"] | int, "5", 5),
        (Literal["auto"] | int, "auto", "auto"),
        (Literal[1, True], True, True),
        (Literal[1, 2], "2", 2),
        (Literal[False], "no", False),
        (list[str] | str, "a,b", "a,b"),
        (re.Pattern, "a+", re.compile("a+")),
        (bytes, "é", "é".encode()),
    ],
)
def test_a_value_becomes_the_type_of_its_field(kind: Any, value: Any, expected: Any) -> None:
    found = bound(kind, value)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, ByteSize)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (bool, 1, "expected true or false, got 1"),
        (bool, "1", 'expected true or false, got "1"'),
        (int, True, "expected a whole number, got true"),
        (int, 3.5, "expected a whole number, got 3.5"),
        (int, "3.5", 'expected a whole number, got "3.5"'),
        (int, math.nan, "expected a whole number, got nan"),
        (int, "٣", 'expected a whole number, got "٣"'),
        (int, "9" * 5000, "expected a whole number"),
        (int, None, "expected a whole number, got null"),
        (float, False, "expected a number, got false"),
        (float, 10**400, "expected a number"),
        (Decimal, True, "expected a number, got true"),
        (str, 1.10, "expected text, got 1.1; put it in quotes"),
        (str, None, "expected text, got null"),
        (timedelta, "abc", 'expected a duration, got "abc"; write 3s, 500ms, 1h30m or PT3S'),
        (timedelta, True, "expected a duration, got true"),
        (timedelta, "99999999999d", "expected a duration"),
        (ByteSize, "1.5B", "expected a size in bytes"),
        (ByteSize, True, "expected a size in bytes, got true"),
        (list[int], 3, "expected a list, got 3"),
        (list[int], '{"a": 1}', 'a.x.0: expected a whole number, got "{\\"a\\": 1}"'),
        (list[int], "[1", "expected a list"),
        (list[int], {"0": 1, "2": 2}, "expected a list, got a table"),
        (list[int], [1, "b"], 'a.x.1: expected a whole number, got "b"'),
        (tuple[int, int], [1], "expected a list of 2, got a list"),
        (set[Any], [[1]], "expected a list of plain values"),
        (dict[str, int], [1], "expected a table, got a list"),
        (dict[int, int], {"a": 1}, "a.x.a: expected a whole number as the name"),
        (int | timedelta, "abc", 'expected a whole number or a duration, got "abc"'),
        (Literal["a", "b", 3], "c", 'expected "a", "b" or 3, got "c"'),
        (Literal[1], True, "expected 1, got true"),
        (re.Pattern, "(", "expected a regular expression"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_was_expected(kind: Any, value: Any, problem: str) -> None:
    assert problem in refused(kind, value)


class Shade(Enum):
    ZERO = 0
    LIGHT = "light grey"
    DEEP = True


@pytest.mark.parametrize(
    ("value", "member"), [(0, "ZERO"), ("0", "ZERO"), ("zero", "ZERO"), ("light grey", "LIGHT"), (True, "DEEP")]
)
def test_a_member_of_an_enumeration_is_found_by_value_text_or_name(value: Any, member: str) -> None:
    assert bound(Shade, value) is Shade[member]


@pytest.mark.parametrize("value", [False, 1, "grey", [1], None])
def test_a_boolean_is_no_number_in_an_enumeration_either(value: Any) -> None:
    assert 'expected 0, "light grey" or true' in refused(Shade, value)


@given(st.integers())
def test_every_integer_survives_as_text(number: int) -> None:
    assert bound(int, str(number)) == number


@given(st.floats(allow_nan=False))
def test_every_double_survives_as_text(number: float) -> None:
    assert bound(float, repr(number)) == number


@given(st.lists(st.text(st.characters(exclude_characters=",[", categories=["L", "N"]), min_size=1), min_size=1))
def test_a_list_survives_as_text_between_commas(parts: list[str]) -> None:
    assert bound(list[str], ", ".join(parts)) == parts


@dataclass
class Small:
    size: int = 1


@dataclass
class Large:
    size: int = 1
    reserve: int = 0


@dataclass
class Either:
    one: Small | Large = field(default_factory=Small)
    other: Small | int = 0


def test_a_union_of_models_is_decided_by_how_much_of_the_table_each_knows() -> None:
    binding = Binding(Either, "a")
    assert binding.bind({"one": {"size": 2}}).value.one == Small(2)
    assert binding.bind({"one": {"size": 2, "reserve": 1}}).value.one == Large(2, 1)
    assert binding.bind({"other": "3"}).value.other == 3


def test_the_problem_inside_the_only_model_of_a_union_is_told() -> None:
    with pytest.raises(BindingError, match=r'a\.other\.size: expected a whole number, got "x"'):
        Binding(Either, "a").bind({"other": {"size": "x"}})


def test_a_table_may_be_written_as_json_text() -> None:
    assert Binding(Either, "a").bind({"other": '{"size": "4"}'}).value.other == Small(4)


def test_what_is_no_table_is_refused_at_the_prefix() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Small, "a.b").bind("abc", place=lambda path: "x.yml:3")
    assert caught.value.problems == ('a.b: expected a table of settings, got "abc" (x.yml:3)',)
