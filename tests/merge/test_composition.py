"""Layers become one tree, and change as little as they must."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import InterpolationCycle, InterpolationError
from herz.merge.composition import Composition
from herz.model.document import Document, Event, replay
from herz.model.key import relaxed
from herz.model.layer import Layer
from herz.model.origin import Origin
from herz.model.secret import Secret
from herz.model.tree import ABSENT, differences, identical, is_table, put, remove, thaw


def layer(tree: dict[str, Any], name: str = "app", rank: int = 0, **options: Any) -> Layer:
    return Layer(name, Document(Origin(f"{name}.yml"), 1, tree), rank, name, **options)


NAMES = st.sampled_from(["a", "b", "max-retries", "max_retries", "Port", "port"])
SCALARS = st.one_of(
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.sampled_from(["x", "${a}", "${b:9}", "p${port:1}q", "${max-retries.a:7}"]),
)


def _unambiguous(table: dict[str, Any]) -> dict[str, Any]:
    return dict({relaxed(name): (name, value) for name, value in table.items()}.values())


TREES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3).map(_unambiguous), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))


def composed(layers: list[Layer]) -> Composition | str:
    try:
        return Composition.of(layers)
    except InterpolationError as error:
        return type(error).__name__


@given(st.lists(TREES, min_size=1, max_size=3), TREES, st.data())
def test_patching_a_layer_gives_what_merging_everything_again_gives(trees: list[Any], new: Any, data: Any) -> None:
    layers = [layer(tree, f"layer{rank}", rank, local=rank == 2) for rank, tree in enumerate(trees)]
    before = composed(layers)
    if isinstance(before, str):
        return
    before.effective(), before.release()
    index = data.draw(st.integers(0, len(layers) - 1))
    events = [Event(*difference) for difference in differences(layers[index].document.tree, new)]
    changed = [*layers]
    changed[index] = layer(new, f"layer{index}", index, local=index == 2)
    expected = composed(changed)
    if isinstance(expected, str):
        with pytest.raises(InterpolationError):
            before.evolved(changed, index, events)
        return
    after, delta = before.evolved(changed, index, events)
    assert thaw(after.raw) == thaw(expected.raw)
    assert thaw(after.tree) == thaw(expected.tree)
    assert identical(replay(before.tree, tuple(delta)), after.tree)
    assert {event.path for event in delta if not identical(event.before, event.after)} == {
        path for path, _, _ in differences(before.tree, after.tree)
    }
    assert str(after.effective()) == str(expected.effective())
    assert str(after.release()) == str(expected.release())


def test_a_key_that_becomes_a_table_is_refused_where_it_is_referred_to() -> None:
    layers = [layer({}), layer({"a": "p${port:1}q"}, "top", 1)]
    before = Composition.of(layers)
    with pytest.raises(InterpolationError):
        before.evolved([layer({"Port": {"a": 0}}), layers[1]], 0, [Event(("Port", "a"), ABSENT, 0)])


@given(TREES, TREES)
def test_the_events_between_two_trees_lead_from_one_to_the_other(before: Any, after: Any) -> None:
    events = tuple(Event(*difference) for difference in differences(before, after))
    assert identical(replay(before, events), after)
    assert not list(differences(before, before))


def test_tables_merge_and_everything_else_replaces() -> None:
    low = layer({"db": {"host": "a", "ports": [1, 2]}, "x": 1, "t": {"y": 1}}, "low")
    high = layer({"db": {"ports": [3]}, "x": {"z": 2}, "t": None}, "high", 1)
    assert thaw(Composition.of([low, high]).tree) == {"db": {"host": "a", "ports": [3]}, "x": {"z": 2}, "t": None}


def test_spellings_of_one_key_are_one_key_named_as_the_lowest_layer_names_it() -> None:
    low, high = layer({"max-retries": 3}, "low"), layer({"MAXRETRIES": "5"}, "high", 1)
    assert thaw(Composition.of([low, high]).tree) == {"max-retries": "5"}


def test_a_reference_takes_the_type_of_what_it_names() -> None:
    tree = {"a": 5, "b": "${a}", "c": "n=${a}", "d": "${none:x${a}}", "e": "$${a}", "f": ["${a}"], "g": "${none:}"}
    assert thaw(Composition.of([layer(tree)]).tree) == {
        "a": 5, "b": 5, "c": "n=5", "d": "x5", "e": "${a}", "f": [5], "g": "",
    }  # fmt: skip


def test_a_cycle_of_references_is_reported_with_its_path() -> None:
    with pytest.raises(InterpolationCycle) as caught:
        Composition.of([layer({"a": "${b}", "b": "${c.d}", "c": {"d": "${a}"}})])
    assert caught.value.path == ("a", "b", "c.d", "a")


def test_an_unset_reference_says_who_asked() -> None:
    with pytest.raises(InterpolationError, match=r"a: \$\{b\} is not set \(app.yml\); set b, or give a default"):
        Composition.of([layer({"a": "${b}"})])


def test_references_that_double_at_every_step_are_refused_before_they_fill_the_memory() -> None:
    tree = {"a0": "x" * 1024} | {f"a{step}": f"${{a{step - 1}}}${{a{step - 1}}}" for step in range(1, 40)}
    with pytest.raises(InterpolationError, match="grows beyond"):
        Composition.of([layer(tree)])


def test_a_changed_key_reaches_every_value_that_refers_to_it() -> None:
    before = Composition.of([layer({"host": "a", "url": "http://${host}/", "link": "${url}x", "other": 1})])
    after, delta = before.evolved(
        [layer({"host": "b", "url": "http://${host}/", "link": "${url}x", "other": 1})], 0, [Event(("host",), "a", "b")]
    )
    assert thaw(after.tree)["link"] == "http://b/x"
    assert {event.path for event in delta} == {("host",), ("url",), ("link",)}


def test_a_value_made_from_a_secret_is_secret() -> None:
    composition = Composition.of(
        [layer({"db": {"password": "hunter2", "url": "pg://u:${db.password}@h"}, "o": "${db.url}"})]
    )
    assert isinstance(composition.hidden(("o",), "pg://u:hunter2@h"), Secret)


@given(TREES, TREES)
def test_a_fingerprint_is_updated_to_what_computing_it_again_gives(before: Any, after: Any) -> None:
    one = Composition.of([layer({"t": before})]) if "$" not in repr((before, after)) else None
    if one is None:
        return
    one.effective()
    changed, _ = one.evolved([layer({"t": after})], 0, [Event(*d) for d in differences({"t": before}, {"t": after})])
    assert str(changed.effective()) == str(Composition.of([layer({"t": after})]).effective())


def test_a_large_table_keeps_the_fingerprint_of_its_content_while_it_grows_and_shrinks() -> None:
    tree: Any = {}
    composition = Composition.of([layer(tree)])
    composition.effective()
    for step in range(400):
        path = (f"key{step * 7919 % 200}",)
        known = tree.get(path[0], ABSENT)
        event = Event(path, known, ABSENT if known is not ABSENT and step % 3 else step)
        tree = remove(tree, path) if event.after is ABSENT else put(tree, path, step)
        composition, _ = composition.evolved([layer(tree)], 0, [event])
        assert is_table(tree)
    assert str(composition.effective()) == str(Composition.of([layer(thaw(tree))]).effective())
    assert len(tree) > 64
