"""A document that was decoded as a whole shares with the one before what did not change."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from herz.model.document import Event, replay
from herz.model.number import WrittenFloat
from herz.model.tree import ABSENT, EMPTY, adopt, differences, identical, thaw

SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.just(float("nan")) | st.sampled_from("ab")
)
LEAVES: st.SearchStrategy[Any] = SCALARS | st.lists(SCALARS, max_size=2) | st.just({})
TREES = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), LEAVES, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), LEAVES | inner, max_size=4),
    max_leaves=12,
)


def tables(tree: Any) -> list[Any]:
    found = [tree]
    for value in tree.values():
        if type(value) is dict and value:
            found += tables(value)
    return found


@given(TREES, TREES)
def test_adopting_finds_the_differences_and_leaves_the_new_tree_as_it_was(before, after):
    expected, meant = list(differences(before, after)), thaw(after)
    known = thaw(before)
    found = adopt(before, after)
    assert repr(found) == repr(expected)
    assert identical(after, meant)
    assert identical(before, known)
    assert identical(thaw(replay(before, tuple(Event(*one) for one in found))), meant)


@given(TREES)
def test_all_tables_of_an_equal_document_are_those_of_the_one_before(tree):
    fresh = thaw(tree)
    assert adopt(tree, fresh) == []
    assert [id(one) for one in tables(fresh)[1:]] == [id(one) for one in tables(tree)[1:]]


def test_a_table_in_which_one_leaf_differs_keeps_its_other_tables():
    before: dict[str, Any] = {"a": {"b": {"c": 1}, "d": {"e": 1}}, "f": {"g": 1}}
    after: dict[str, Any] = {"a": {"b": {"c": 1}, "d": {"e": 1.0}}, "f": {"g": 1}}
    assert adopt(before, after) == [(("a", "d", "e"), 1, 1.0)]
    assert after["a"]["b"] is before["a"]["b"]
    assert after["a"]["d"] is not before["a"]["d"]
    assert after["f"] is before["f"]


def test_digits_that_a_double_does_not_hold_are_a_difference():
    assert len(adopt({"a": {"b": WrittenFloat("0.1")}}, {"a": {"b": WrittenFloat("0.10000000000000001")}})) == 1


def test_everything_differs_from_nothing():
    assert adopt(EMPTY, {"a": 1}) == [(("a",), ABSENT, 1)]


def test_a_pause_comes_between_slices():
    pauses = []
    list(differences({"a": {"b": 1}}, {"a": {"b": 2}}, pause=lambda: pauses.append(1)))
    assert len(pauses) == 2
    adopt({"a": {"b": 1}}, {"a": {"b": 2}}, lambda: pauses.append(1))
    assert len(pauses) == 4
