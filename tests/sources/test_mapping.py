"""A mapping in memory as a source."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herz.errors import DuplicateKey, KeyConflict, UsageError
from herz.model.document import Batch, Progress, Reset, replay
from herz.model.tree import ABSENT, thaw
from herz.sources.mapping import MappingSource

from ..conftest import examples


async def test_nested_and_dotted_keys_are_the_same_and_the_mapping_is_copied() -> None:
    given: Any = {"a": {"b": [1, (2,)]}, "a.c": {}, "x[y.z]": None}
    source = MappingSource(given)
    given["a"]["b"].append(3)
    assert thaw((await source.read()).tree) == {"a": {"b": [1, [2]], "c": {}}, "x": {"y.z": None}}


def test_what_cannot_be_a_tree_is_refused() -> None:
    with pytest.raises(KeyConflict):
        MappingSource({"a": 1, "a.b": 2})
    with pytest.raises(KeyConflict):
        MappingSource({"a.b": 2, "a": {"b": 1}})
    with pytest.raises(DuplicateKey):
        MappingSource({"max-retries": 1, "max_retries": 2})
    with pytest.raises(UsageError):
        MappingSource({1: 2})  # type: ignore[dict-item]


async def test_an_update_is_one_revision_and_absent_removes() -> None:
    source = MappingSource({"a": 1, "b": {"c": 1}, "max-retries": 1})
    document = await source.read()
    async with source.follow(document.revision) as stream, asyncio.timeout(5):
        revision = source.update({"a": ABSENT, "b.d": 2, "max_retries": 5})
        batch: Any = await anext(stream)
        assert isinstance(batch, Batch)
        assert batch.revision == revision == document.revision + 1
        assert thaw(batch.document.tree) == {"b": {"c": 1, "d": 2}, "max-retries": 5}
        assert replay(document.tree, batch.events) == batch.document.tree
        assert source.update({"b.d": 2}) == revision
        assert await source.rescan() == revision
        assert await anext(stream) == Progress(revision)


async def test_a_follower_that_read_earlier_is_handed_each_revision() -> None:
    source = MappingSource({"n": 0})
    document = await source.read()
    for count in range(1, 6):
        source.update({"n": count})
    async with source.follow(document.revision) as stream, asyncio.timeout(5):
        items: list[Any] = [await anext(stream) for _ in range(5)]
    assert [item.events[0].after for item in items] == [1, 2, 3, 4, 5]


async def test_a_follower_older_than_the_history_is_reset() -> None:
    source = MappingSource({"n": 0})
    for count in range(1, 1100):
        source.update({"n": count})
    async with source.follow(1) as stream, asyncio.timeout(5):
        item: Any = await anext(stream)
    assert isinstance(item, Reset)
    assert item.reason
    assert item.document.tree == {"n": 1099}


async def test_updates_from_many_threads_arrive_once_and_in_order() -> None:
    source = MappingSource({})
    document = await source.read()
    async with source.follow(document.revision) as stream, asyncio.timeout(20):

        def work(name: int) -> None:
            for count in range(200):
                source.update({f"t{name}": count})

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        tree = document.tree
        for expected in range(document.revision + 1, document.revision + 801):
            batch: Any = await anext(stream)
            assert batch.revision == expected
            tree = replay(tree, batch.events)
            assert tree == batch.document.tree
        for thread in threads:
            thread.join()
    assert tree == {f"t{name}": 199 for name in range(4)}


NESTED = st.recursive(
    st.integers(0, 3) | st.none(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(100))
@given(st.lists(st.dictionaries(st.sampled_from("abc"), NESTED, max_size=3), min_size=1, max_size=5))
def test_replaying_the_batches_gives_the_last_mapping(mappings) -> None:
    async def run() -> None:
        source = MappingSource({})
        document = await source.read()
        tree = document.tree
        for mapping in mappings:
            source.replace(mapping)
        last = source.document
        async with source.follow(document.revision) as stream:
            revision = document.revision
            while revision < last.revision:
                batch: Any = await anext(stream)
                tree, revision = replay(tree, batch.events), batch.revision
        assert thaw(last.tree) == mappings[-1]
        assert tree == last.tree

    asyncio.run(run())
