"""Many leaves put at once are what they are one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from herz.model.tree import Tree, put, put_each, thaw

from ..conftest import examples

NAMES = st.sampled_from("abc")
PATHS = st.lists(st.tuples(NAMES, NAMES, NAMES), unique=True)


@settings(max_examples=examples(60))
@given(PATHS, PATHS)
def test_put_each_is_put_one_by_one(before, after):
    tree: Tree = {}
    for number, path in enumerate(before):
        tree = put(tree, path, number)
    expected, kept = tree, thaw(tree)
    leaves = [(path, None, f"new{number}") for number, path in enumerate(after)]
    for path, _, value in leaves:
        expected = put(expected, path, value)
    assert thaw(put_each(tree, leaves)) == thaw(expected)
    assert thaw(tree) == kept


def test_a_table_that_becomes_large_is_a_persistent_map_as_with_put():
    leaves = [((f"key{number}",), number) for number in range(5_000)]
    one_by_one: Tree = {}
    for path, value in leaves:
        one_by_one = put(one_by_one, path, value)
    found = put_each({}, leaves)
    assert type(found) is type(one_by_one)
    assert dict(found) == dict(one_by_one)
