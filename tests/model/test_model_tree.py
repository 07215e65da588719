from __future__ import annotations

import copy
import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from herz.model.document import Event, replay
from herz.model.number import WrittenFloat
from herz.model.tree import (
    ABSENT,
    EMPTY,
    LARGE_TABLE,
    differences,
    find,
    identical,
    is_table,
    leaves,
    lookup,
    persistent,
    put,
    remove,
    spelled,
    thaw,
)

names = st.sampled_from(["a", "b", "C", "d-e", "x.y"])
scalars = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.5, float("nan"), "1", ""])
values = st.recursive(
    scalars | st.lists(scalars, max_size=2),
    lambda inner: st.dictionaries(names, inner, max_size=3) | st.dictionaries(names, inner, max_size=3).map(Map),
    max_leaves=8,
)
trees = st.dictionaries(names, values, max_size=4) | st.dictionaries(names, values, max_size=4).map(Map)
paths = st.lists(names, min_size=1, max_size=3).map(tuple)


def events(before: Any, after: Any) -> tuple[Event, ...]:
    return tuple(Event(*difference) for difference in differences(before, after))


def comparable(tree: Any) -> str:
    """A tree as text, so that 1, True and 1.0 differ and nan equals itself."""
    if is_table(tree):
        return "{" + ", ".join(f"{name}: {comparable(tree[name])}" for name in sorted(tree)) + "}"
    return repr(tree)


@given(trees, trees)
def test_replaying_the_differences_on_the_old_tree_gives_the_new_one(before: Any, after: Any) -> None:
    assert comparable(replay(before, events(before, after))) == comparable(after)


@given(trees, trees)
def test_replaying_the_differences_backwards_gives_the_old_tree(before: Any, after: Any) -> None:
    backwards = tuple(Event(path, new, old) for path, old, new in events(before, after))
    assert comparable(replay(after, backwards)) == comparable(before)


@given(trees)
def test_a_tree_does_not_differ_from_itself_or_its_copy(tree: Any) -> None:
    assert list(differences(tree, tree)) == []
    assert list(differences(tree, thaw(tree))) == []
    assert list(differences(thaw(tree), tree)) == []


@given(trees, trees)
def test_each_path_differs_at_most_twice_and_says_what_was_and_is_there(before: Any, after: Any) -> None:
    for path, old, new in differences(before, after):
        assert old is ABSENT or lookup(before, path) is old
        assert new is ABSENT or lookup(after, path) is new
        assert (old is ABSENT) <= (new is not ABSENT)


def test_shared_tables_are_not_walked() -> None:
    class Untouchable:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("was compared")

        __hash__ = None  # type: ignore[assignment]

    shared = {"never": Untouchable()}
    assert list(differences({"big": shared, "x": 1}, {"big": shared, "x": 2})) == [(("x",), 1, 2)]


def test_a_leaf_that_becomes_a_table_and_back_is_removed_and_added() -> None:
    assert list(differences({"a": 1}, {"a": {"b": 2}})) == [(("a",), 1, ABSENT), (("a", "b"), ABSENT, 2)]
    assert list(differences({"a": {"b": 2}}, {"a": 1})) == [(("a", "b"), 2, ABSENT), (("a",), ABSENT, 1)]


@given(trees, paths, scalars)
def test_what_was_put_is_found_and_nothing_else_changed(tree: Any, path: tuple[str, ...], value: Any) -> None:
    before = comparable(tree)
    after = put(tree, path, value)
    assert lookup(after, path) is value
    assert comparable(tree) == before
    for at, old, _ in differences(tree, after):
        assert at[: len(path)] == path or old is ABSENT or path[: len(at)] == at


@given(trees, paths)
def test_what_was_removed_is_gone_with_the_tables_it_leaves_empty(tree: Any, path: tuple[str, ...]) -> None:
    before = comparable(tree)
    after = remove(tree, path)
    assert lookup(after, path) is ABSENT
    assert comparable(tree) == before
    if lookup(tree, path) is ABSENT:
        assert after is tree


@given(trees, paths, scalars)
def test_removing_what_was_added_gives_the_tree_before(tree: Any, path: tuple[str, ...], value: Any) -> None:
    if lookup(tree, path[:1]) is ABSENT:
        assert comparable(remove(put(tree, path, value), path)) == comparable(tree)


@given(trees)
def test_a_tree_is_what_its_leaves_make(tree: Any) -> None:
    rebuilt: Any = EMPTY
    for path, value in leaves(tree):
        rebuilt = put(rebuilt, path, value)
    assert comparable(rebuilt) == comparable(tree)


def test_a_large_table_becomes_persistent_when_it_is_changed() -> None:
    large = {str(number): number for number in range(LARGE_TABLE + 1)}
    assert type(put(large, ("0",), 9)) is Map
    assert type(remove(large, ("0",))) is Map
    assert type(put({"a": 1}, ("b",), 2)) is dict
    assert thaw(persistent(large)) == large


def test_keys_are_found_in_any_spelling_the_exact_one_first() -> None:
    tree = {"Max-Size": {"in_ner": 1}, "maxsize": {"in_ner": 2}}
    assert find(tree, ("maxsize", "in_ner")) == 2
    assert find(tree, ("Max-Size", "IN-NER")) == 1
    assert find(tree, ("max-size", "other")) is ABSENT
    assert spelled(tree, ("MAX_SIZE", "INNER", "rest")) == ("Max-Size", "in_ner", "rest")


def test_leaves_are_identical_when_they_are_written_alike() -> None:
    assert not identical(1, True)
    assert not identical(1, 1.0)
    assert not identical(WrittenFloat("10000000000000001.0"), WrittenFloat("10000000000000002.0"))
    assert not identical([1], [True])
    assert not identical([WrittenFloat("10000000000000001.0")], [WrittenFloat("10000000000000002.0")])
    assert identical([{"a": float("nan")}], [Map({"a": float("nan")})])
    assert identical({}, Map())
    assert not identical({}, [])


def test_absence_is_one_value_that_survives_copies() -> None:
    assert copy.deepcopy(ABSENT) is ABSENT
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT  # noqa: S301
    assert not ABSENT
    assert repr(ABSENT) == "ABSENT"
