"""What differs between two configurations, and what two people changed at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.model.key import join
from herz.model.number import WrittenFloat
from herz.model.secret import MASK, Secret
from herz.model.tree import leaves
from herz.release.difference import differences, merged
from herz.release.record import encode

VALUES = st.one_of(st.integers(0, 3), st.sampled_from(["x", "y", None, True, [1], [2]]))
TREES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(VALUES, inner), max_size=3),
    max_leaves=8,
)


def flat(tree):
    return {join(path): json.dumps(value) for path, value in leaves(tree)}


def covered(conflicts):
    """Whether a key belongs to a conflict."""
    keys = {conflict.key for conflict in conflicts}
    return lambda key: any(key == one or key.startswith(f"{one}.") for one in keys)


@given(TREES)
def test_a_tree_does_not_differ_from_itself(tree):
    assert differences(tree, tree) == ()


@given(TREES, TREES)
def test_differences_are_the_keys_whose_values_differ(before, after):
    old, new = flat(before), flat(after)
    found = differences(before, after)
    assert {one.key for one in found} == {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert {one.key for one in found if one.added} == {one.key for one in found} - old.keys()
    assert {one.key for one in found if one.removed} == {one.key for one in found} - new.keys()


@given(TREES, TREES)
def test_the_difference_back_is_the_difference_mirrored(before, after):
    back = differences(after, before)
    assert [(one.key, one.after, one.before) for one in back] == [
        (one.key, one.before, one.after) for one in differences(before, after)
    ]


@given(TREES, TREES)
def test_who_changed_nothing_takes_what_the_other_changed(base, changed):
    assert flat(merged(base, changed, base).tree) == flat(changed)
    assert flat(merged(base, base, changed).tree) == flat(changed)
    assert not merged(base, changed, base).conflicts
    assert not merged(base, base, changed).conflicts


@given(TREES, TREES)
def test_the_same_change_twice_is_no_conflict(base, changed):
    assert merged(base, changed, changed) == (changed, ())


@given(TREES, TREES, TREES)
def test_without_conflict_the_order_does_not_matter(base, theirs, yours):
    one, other = merged(base, theirs, yours), merged(base, yours, theirs)
    assert {conflict.key for conflict in one.conflicts} == {conflict.key for conflict in other.conflicts}
    if not one.conflicts:
        assert flat(one.tree) == flat(other.tree)


@given(TREES, TREES, TREES)
def test_no_change_of_either_side_is_lost(base, theirs, yours):
    result = merged(base, theirs, yours)
    tree, disputed = flat(result.tree), covered(result.conflicts)
    for side in (theirs, yours):
        for change in differences(base, side):
            assert disputed(change.key) or tree.get(change.key) == flat(side).get(change.key)


@given(TREES, TREES, TREES)
def test_where_there_is_a_conflict_theirs_stands(base, theirs, yours):
    result = merged(base, theirs, yours)
    tree, disputed = flat(result.tree), covered(result.conflicts)
    assert {key: value for key, value in tree.items() if disputed(key)} == {
        key: value for key, value in flat(theirs).items() if disputed(key)
    }


def test_two_changes_of_one_key_are_a_conflict_with_places():
    result = merged(
        {"db": {"pool": 5, "host": "a"}},
        {"db": {"pool": 10, "host": "a"}},
        {"db": {"pool": 20, "host": "b"}},
        theirs_at=lambda path: f"their.yml:{'.'.join(path)}",
        yours_at=lambda path: f"your.yml:{'.'.join(path)}",
    )
    assert result.tree == {"db": {"pool": 10, "host": "b"}}
    (conflict,) = result.conflicts
    assert (conflict.key, conflict.base, conflict.theirs, conflict.yours) == ("db.pool", 5, 10, 20)
    assert (conflict.theirs_at, conflict.yours_at) == ("their.yml:db.pool", "your.yml:db.pool")


def test_a_key_removed_by_one_and_changed_by_the_other_is_a_conflict():
    (conflict,) = merged({"a": 1}, {}, {"a": 2}).conflicts
    assert (conflict.key, conflict.base, conflict.theirs, conflict.yours) == ("a", 1, None, 2)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_value_where_the_other_put_a_table_is_a_conflict(swapped):
    base, table, value = {"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}, {"a": 5}
    theirs, yours = (value, table) if swapped else (table, value)
    result = merged(base, theirs, yours)
    assert result.tree == theirs
    assert [conflict.key for conflict in result.conflicts] == ["a"]


def test_secrets_are_masked_and_still_differ():
    found = differences(
        {"db": {"password": "old"}, "users": [{"name": "ann", "token": "old"}], "credentials": {"x": "old"}},
        {"db": {"password": "new"}, "users": [{"name": "ann", "token": "new"}], "credentials": {"x": "new"}},
    )
    assert [one.key for one in found] == ["credentials.x", "db.password", "users"]
    assert found[1].before == found[1].after == MASK
    assert found[2].after == [{"name": "ann", "token": MASK}]
    assert [one.secret for one in found] == [True, True, False]
    for one in found:
        assert b"new" not in encode(one)


def test_what_is_secret_can_be_told():
    (found,) = differences({"pin": 1, "a": 1}, {"pin": 2, "a": 1}, secret=lambda path: path == ("pin",))
    assert (found.before, found.after, found.secret) == (MASK, MASK, True)
    (found,) = differences({"a": Secret("x")}, {"a": Secret("y")}, secret=lambda path: False)
    assert (found.before, found.after) == (MASK, MASK)


def test_conflicts_mask_secrets_in_tables_too():
    (conflict,) = merged({}, {"db": {"password": "p1"}}, {"db": "off"}).conflicts
    assert conflict.theirs == {"password": MASK}


def test_by_meaning_what_is_only_written_otherwise_is_left_out():
    before, after = {"a": 1, "b": 1, "c": 1}, {"a": 1.0, "b": 2, "c": "1"}
    assert [one.key for one in differences(before, after)] == ["a", "b", "c"]
    assert [one.key for one in differences(before, after, by_meaning=True)] == ["b", "c"]


def test_null_is_a_value_and_absence_is_not():
    (removed,) = differences({"a": None}, {})
    (changed,) = differences({"a": None}, {"a": 1})
    assert (removed.removed, removed.added) == (True, False)
    assert (changed.removed, changed.added) == (False, False)


def test_places_are_asked_only_of_what_is_there():
    found = differences(
        {"a": 1}, {"b": 1}, before_at=lambda path: f"old:{path[0]}", after_at=lambda path: f"new:{path[0]}"
    )
    assert [(one.before_at, one.after_at) for one in found] == [("old:a", None), (None, "new:b")]


def test_a_key_with_dots_is_quoted():
    (found,) = differences({"routes": {"a.b": 1}}, {"routes": {"a.b": 2}})
    assert found.key == "routes[a.b]"


def test_exact_numbers_become_json():
    (found,) = differences({"a": 1}, {"a": WrittenFloat("10000000000000001.0")})
    assert b"10000000000000001" in encode(found)
