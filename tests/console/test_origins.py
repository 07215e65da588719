"""Laws of origins: told for all keys at once, they are what the reading says of each."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st

from herz.model.key import relaxed, split
from herz.model.tree import find, is_table, leaves
from herz.release.content import Content, LayerText
from herz.server.origins import Origins, OriginsOf, shown
from herz.server.reading import Reading

NAMES = st.sampled_from(["a", "b", "max-pool", "maxPool", "MAX_POOL", "password", "x.y"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "t", "${a.b}"]) | st.lists(st.integers(0, 2)),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
LAYERS = st.lists(st.dictionaries(NAMES, TREES, max_size=3), min_size=1, max_size=4)


def spelled_once(tree):
    """Whether no table of it spells one key in two ways, which a document may not."""
    if not is_table(tree):
        return True
    return len(set(map(relaxed, tree))) == len(tree) and all(map(spelled_once, tree.values()))


def reading_of(layers):
    texts = [json.dumps(layer) for layer in layers if spelled_once(layer)]
    made = [LayerText(name=f"l{number}.json", text=text, format="json") for number, text in enumerate(texts)]
    return Reading(Content(layers=tuple(made)))


@given(LAYERS)
def test_the_keys_are_the_leaves_of_the_whole_in_order(layers):
    reading = reading_of(layers)
    expected = sorted(path for path, _ in leaves(reading.tree)) if reading.tree else []
    assert list(Origins(reading).paths) == expected


@given(LAYERS)
def test_who_decides_is_who_wrote_what_is_in_force(layers):
    reading = reading_of(layers)
    origins = Origins(reading)
    for path in origins.paths:
        first, *losers = origins.contributions(path)
        assert first.place == reading.locate(path)
        assert first.value == shown(path, find(reading.tree, path))
        assert path in origins.matching([], first.layer)
        order = [int(one.layer[1:-5]) for one in (first, *losers)]
        assert order == sorted(order, reverse=True)


@given(LAYERS)
def test_a_key_of_a_layer_is_in_force_where_that_layer_decides(layers):
    origins = Origins(reading_of(layers))
    deciding = {(origins.contributions(path)[0].layer, origins.simple(path)) for path in origins.paths}
    for layer in origins.layers:
        for path in origins.written(layer, []):
            there = origins.entry(layer, path)
            assert (there.hidden_by is None) is ((layer, origins.simple(path)) in deciding) or there.value.text == "{}"


@given(LAYERS, st.sampled_from(["a", "pool", "true", "l1", "t", "••••"]))
def test_a_filter_finds_what_a_reader_of_the_page_would(layers, word):
    origins = Origins(reading_of(layers))
    found = set(origins.matching([word]))
    for path in origins.paths:
        key, layer = origins.key(path), origins.contributions(path)[0].layer
        assert (path in found) is (word in f"{key.key}\n{key.value.text}\n{layer}".lower())


def test_references_are_followed_however_indirect():
    reading = reading_of([{"host": "h", "url": "x://${host}", "full": "${url:none}/y", "other": "${elsewhere}"}])
    assert set(Origins(reading).referring(split("HOST"))) == {("url",), ("full",)}


async def test_many_who_ask_for_a_large_content_at_once_have_it_made_once():
    reading = reading_of([{f"key{number}": "x" * 20 for number in range(2_000)}])
    kept = OriginsOf()
    first, *others = await asyncio.gather(*(kept.of(reading) for _ in range(5)))
    assert all(one is first for one in others)
    assert await kept.of(reading) is first
