"""A large file that changes costs what changed, and keeps what did not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from herz.model.document import Batch
from herz.sources.base import Item
from herz.sources.files import FileSource, _FileStream


def content(**changed: int) -> bytes:
    tree = {f"s{at}": {f"key{inner}": inner for inner in range(100)} for at in range(100)}
    for section, value in changed.items():
        tree[section]["key7"] = value
    return json.dumps(tree, indent=1).encode()


def preparing_of(stream: AsyncIterator[Item]) -> asyncio.Future[None]:
    """What the stream finds out in the background."""
    assert isinstance(stream, _FileStream)
    assert stream._preparing is not None
    return stream._preparing


async def test_what_the_first_change_needs_is_found_out_in_the_background(tmp_path):
    path = tmp_path / "app.json"
    path.write_bytes(content())
    source = FileSource(path)
    document = await source.read()
    held = source._files.held
    assert held is not None
    decoded = held.parts[0].decoded
    assert decoded._notes.runs is None
    async with asyncio.timeout(10), source.follow(document.revision) as stream:
        await preparing_of(stream)
    assert decoded._notes.runs is not None


async def test_a_file_that_is_decoded_as_a_whole_shares_the_tables_that_did_not_change(tmp_path, follow):
    path = tmp_path / "app.json"
    path.write_bytes(content())
    async with follow(FileSource(path)) as follower:
        before = follower.document.parts[0].tree
        path.write_bytes(content(s0=-1, s99=-2))  # too far apart to be decoded as one section
        batch = await follower.item(Batch)
        after = follower.document.parts[0].tree
    assert sorted(batch.events) == [(("s0", "key7"), 7, -1), (("s99", "key7"), 7, -2)]
    assert {name for name in after if after[name] is not before[name]} == {"s0", "s99"}


async def test_the_source_may_be_left_while_it_still_finds_things_out(tmp_path):
    path = tmp_path / "app.json"
    path.write_bytes(content())
    source = FileSource(path)
    document = await source.read()
    async with source.follow(document.revision) as stream:
        preparing = preparing_of(stream)
        assert not preparing.done()
    assert preparing.done()
