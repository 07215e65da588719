"""Contents: written in pieces, read whole, proved, collected, and never while somebody writes them."""

from __future__ import annotations

import asyncio
import random

import pytest

from herz.errors import HistoryBroken, UsageError
from herz.release.content import Content, LayerText, digest_of
from herz.server.contents import Contents
from herz.server.problems import Problem
from herz.store.base import Get, Put, Txn
from herz.store.plane import CHUNKS, CONTENT, chunk_key, content_key, draft_key
from herz.testing.memory_store import MemoryStore

from .conftest import content

GRACE_S = 100.0


def large(megabytes: float, seed: int = 0) -> Content:
    text = random.Random(seed).randbytes(int(megabytes * 500_000)).hex()
    return Content(
        layers=(LayerText(name="application", format="json", text=f'{{"blob": "{text}"}}'),),
    )


async def keys(store, prefix):
    return [entry.key for entry in (await store.range(prefix)).entries]


@pytest.fixture
def contents(memory, clock):
    return Contents(memory, clock, GRACE_S)


async def aged(contents, clock):
    """Collect twice, a grace period apart."""
    await contents.collect()
    clock.seconds += GRACE_S
    return await contents.collect()


async def refer(store, contents, digest, app="pay"):
    """What a draft does."""
    held, touched = contents.holding(digest)
    return await store.txn(Txn((held,), (Put(draft_key(app, "default"), digest.encode()), touched)))


async def test_what_was_written_is_read_from_either_store(store, clock):
    made = content("a: 1\n", tenant="ü: ☃\n")
    digest = await Contents(store, clock, GRACE_S).write(made)
    assert await Contents(store, clock, GRACE_S).read(digest) == made
    assert digest == digest_of(made)


@pytest.mark.slow
async def test_ten_megabytes_fit_either_store(store, clock):
    made = large(10)
    digest = await Contents(store, clock, GRACE_S).write(made)
    assert await Contents(store, clock, GRACE_S).read(digest) == made


async def test_writing_the_same_again_adds_nothing(memory, contents):
    digest = await contents.write(large(1.5))
    before = await keys(memory, "/herz/")
    assert await contents.write(large(1.5)) == digest
    assert await keys(memory, "/herz/") == before


async def test_a_small_content_is_one_transaction(memory, contents):
    before = (await memory.status()).revision
    await contents.write(content("a: 1\n"))
    assert (await memory.status()).revision == before + 1


async def test_a_damaged_chunk_is_named(memory, clock, contents):
    digest = await contents.write(content("a: 1\n"))
    [chunk] = await keys(memory, CHUNKS)
    await memory.put(chunk, b"a: 2\n")
    with pytest.raises(HistoryBroken, match="damaged"):
        await Contents(memory, clock, GRACE_S).read(digest)


async def test_a_missing_chunk_is_named(memory, clock, contents):
    digest = await contents.write(content("a: 1\n"))
    await memory.delete_prefix(CHUNKS)
    with pytest.raises(HistoryBroken, match="missing"):
        await Contents(memory, clock, GRACE_S).read(digest)


async def test_a_forged_manifest_is_refused(memory, clock, contents):
    one, other = await contents.write(content("a: 1\n")), await contents.write(content("a: 2\n"))
    entry = await memory.get(content_key(other))
    await memory.put(content_key(one), entry.value)
    with pytest.raises(HistoryBroken):
        await Contents(memory, clock, GRACE_S).read(one)


async def test_an_unknown_digest_is_not_found(contents):
    with pytest.raises(Problem) as caught:
        await contents.read("sha256:" + "0" * 64)
    assert caught.value.status == 404


@pytest.mark.parametrize("digest", ["", "x", "../draft", "sha256:../../x", "sha256:" + "0" * 63, "md5:" + "0" * 64])
async def test_what_is_no_digest_is_refused(contents, digest):
    with pytest.raises(UsageError):
        await contents.read(digest)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "<b>", "x" * 129, "ü"])
async def test_a_layer_needs_a_plain_name(contents, name):
    with pytest.raises(UsageError):
        await contents.write(Content(layers=(LayerText(name=name, text=""),)))


async def test_nothing_is_collected_within_the_grace_period(memory, clock, contents):
    await contents.write(content("a: 1\n"))
    await contents.collect()
    clock.seconds += GRACE_S - 1
    assert (await contents.collect()).contents == 0


async def test_what_nothing_refers_to_goes_with_its_chunks(memory, clock, contents):
    await contents.write(content("a: 1\n"))
    collected = await aged(contents, clock)
    assert (collected.contents, collected.chunks) == (1, 1)
    assert await keys(memory, CONTENT) == await keys(memory, CHUNKS) == []


async def test_what_is_referred_to_stays(memory, clock, contents):
    digest = await contents.write(content("a: 1\n"))
    await refer(memory, contents, digest)
    assert (await aged(contents, clock)).contents == 0
    assert await Contents(memory, clock, GRACE_S).read(digest) == content("a: 1\n")


async def test_a_chunk_that_another_content_needs_stays(memory, clock, contents):
    shared = content("a: 1\n", tenant="b: 1\n")
    await contents.write(content("a: 1\n"))
    digest = await contents.write(shared)
    await refer(memory, contents, digest)
    assert (await aged(contents, clock)).contents == 1
    assert await Contents(memory, clock, GRACE_S).read(digest) == shared


async def test_the_grace_period_begins_anew_when_a_reference_goes(memory, clock, contents):
    digest = await contents.write(content("a: 1\n"))
    await contents.collect()
    await refer(memory, contents, digest)
    clock.seconds += GRACE_S
    await contents.collect()
    await memory.delete(draft_key("pay", "default"))
    assert (await contents.collect()).contents == 0


async def test_chunks_of_a_writer_that_died_are_collected(memory, clock, contents):
    async def die():
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await Contents(Interleaved(memory, 5, die), clock, GRACE_S).write(large(1.5))
    assert await keys(memory, CHUNKS) != await keys(memory, CONTENT) == []
    await aged(contents, clock)
    assert await keys(memory, "/herz/chunks/") == await keys(memory, "/herz/announced/") == []


async def test_a_collected_content_cannot_be_referred_to(memory, clock, contents):
    digest = await contents.write(content("a: 1\n"))
    await aged(contents, clock)
    assert not (await refer(memory, contents, digest)).succeeded


class Interleaved(MemoryStore):
    """A store that lets somebody else act before its n-th transaction."""

    def __init__(self, store, at, act):
        super().__init__(store.place)
        self._store, self._left, self._act = store, at, act

    async def txn(self, txn):
        if not all(isinstance(one, Get) for one in txn.then) or txn.compares:
            self._left -= 1
            if self._left == 0:
                await self._act()
        return await self._store.txn(txn)


@pytest.mark.parametrize("step", range(1, 8))
async def test_a_collection_between_any_two_steps_of_a_writer_takes_nothing_of_it(memory, clock, step):
    made = large(1.5)
    sweeper = Contents(memory, clock, 0.0)  # as if the writer had slept for the whole grace period
    writer = Contents(Interleaved(memory, step, sweeper.collect), clock, GRACE_S)
    digest = await writer.write(made)
    assert (await refer(memory, writer, digest)).succeeded
    await sweeper.collect()
    assert await Contents(memory, clock, GRACE_S).read(digest) == made


@pytest.mark.parametrize("step", range(1, 6))
async def test_a_writer_between_any_two_steps_of_a_collection_loses_nothing(memory, clock, step):
    made = large(1.5)
    writer = Contents(memory, clock, GRACE_S)
    await writer.write(made)
    digests = []

    async def write_again():
        digests.append(await writer.write(made))
        assert (await refer(memory, writer, digests[-1])).succeeded

    sweeper = Contents(Interleaved(memory, step, write_again), clock, 0.0)
    await sweeper.collect()
    await sweeper.collect()
    if digests:
        assert await Contents(memory, clock, GRACE_S).read(digests[-1]) == made


async def test_chunk_keys_are_what_they_hold(memory, contents):
    await contents.write(content("a: 1\n"))
    [entry] = (await memory.range(CHUNKS)).entries
    from hashlib import sha256

    assert entry.key == chunk_key(sha256(entry.value).hexdigest())


@pytest.mark.slow
async def test_a_running_server_collects_by_itself(tmp_path):
    from herz.server.app import create_app
    from herz.server.opening import open_store
    from herz.server.parts import all_parts
    from herz.server.settings import ServerSettings

    store = open_store(f"sqlite:///{tmp_path}/herz.db")
    app = create_app(store, ServerSettings(collect_after_s=0.1), parts=all_parts())
    plane = app.state.plane
    async with app.lifespan():
        await plane.contents.write(content("a: 1\n"))
        kept = await plane.contents.write(content("a: 2\n"))
        await refer(store, plane.contents, kept)
        async with asyncio.timeout(20):
            while len(await keys(store, CONTENT)) > 1:  # noqa: ASYNC110  the store tells nobody
                await asyncio.sleep(0.05)
        assert await keys(store, CONTENT) == [content_key(kept)]
    await store.close()
