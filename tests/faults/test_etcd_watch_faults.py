"""What a watch of etcd makes of a server that misbehaves, or of something before it: a relay changes messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from herz.errors import HistoryBroken, RevisionExpired, SourceUnavailable
from herz.model.document import Revision
from herz.sources.store import StoreSource
from herz.store.base import Changes, Entry, EventType, KeyEvent, Progress, Put, Txn
from herz.store.etcd.store import EtcdStore
from herz.testing.etcd_cluster import EtcdServer
from herz.testing.memory_store import MemoryStore
from herz.testing.rpc_proxy import Frame, Later, RpcProxy
from herz.testing.rpc_rules import (
    cancel_watch,
    drop_fragments_tail,
    refuse_watch_in_stream,
    reorder_events,
    replay_events,
)

PREFIX = "/app/"


@pytest.fixture(scope="module")
def server():
    with EtcdServer() as found:
        yield found


@pytest.fixture
def relay(server: EtcdServer):
    with RpcProxy(server.endpoint) as found:
        yield found


@pytest.fixture
async def writer(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([server.endpoint])
    yield store
    await store.close()


@pytest.fixture
async def reader(relay: RpcProxy) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([relay.address], proof_s=2.0)
    yield store
    await store.close()


async def exhausted(changes: AsyncIterator[Changes | Progress], seen: list[Changes | Progress]) -> None:
    """Take everything until the watch ends, into `seen`."""
    async for change in changes:
        seen.append(change)


async def begin(store: EtcdStore) -> Revision:
    return (await store.range(PREFIX)).revision


async def handed_on(store: EtcdStore, after: Revision, upto: Revision) -> list[Changes]:
    """The changes up to a revision; raises what ends the watch before that."""
    found: list[Changes] = []
    async with asyncio.timeout(15), store.watch(PREFIX, after) as changes:
        async for change in changes:
            if isinstance(change, Changes):
                found.append(change)
            if change.revision >= upto:
                break
    return found


async def test_a_watch_that_is_cancelled_in_the_stream_ends(relay, writer, reader) -> None:
    after = await begin(reader)
    relay.add(cancel_watch("etcdserver: something else"))
    async with asyncio.timeout(15), reader.watch(PREFIX, after) as changes:
        await writer.put(PREFIX + "a", b"1")
        seen: list[Changes | Progress] = []
        with pytest.raises(SourceUnavailable, match="something else"):
            await exhausted(changes, seen)
        assert all(isinstance(change, Progress) for change in seen)
        assert all(change.revision <= after for change in seen), "progress covers events that were not handed on"


async def test_a_compaction_told_in_the_stream_is_history_that_is_gone(relay, writer, reader) -> None:
    after = await begin(reader)
    newest = await writer.put(PREFIX + "a", b"2")
    relay.add(refuse_watch_in_stream("required revision has been compacted", compact_revision=newest))
    with pytest.raises(RevisionExpired, match=f"begins at revision {newest}"):
        await handed_on(reader, after, newest)


async def test_a_revision_whose_last_fragments_are_missing_is_not_handed_on(relay, writer, reader) -> None:
    after = await begin(reader)
    relay.add(drop_fragments_tail(times=None))
    value = b"x" * 20_000
    puts = tuple(Put(f"{PREFIX}big/{number:03}", value) for number in range(60))
    for _ in range(16):  # more than is sent in one piece
        newest = (await writer.txn(Txn(then=puts))).revision
    async with asyncio.timeout(30), reader.watch(PREFIX, after) as changes:
        seen: list[Changes | Progress] = []
        with pytest.raises(SourceUnavailable, match="between fragments"):
            await exhausted(changes, seen)
        assert all(len(change.events) == len(puts) for change in seen if isinstance(change, Changes))
        assert all(change.revision < newest for change in seen)


@pytest.mark.parametrize("rule", [replay_events(), reorder_events()], ids=["twice", "swapped"])
async def test_a_revision_that_comes_twice_or_too_late_ends_the_watch(relay, writer, reader, rule) -> None:
    after = await begin(reader)
    async with asyncio.timeout(15), reader.watch(PREFIX, after) as changes:
        relay.add(rule)
        for number in range(3):
            await writer.put(PREFIX + "a", str(number).encode())
            await asyncio.sleep(0.05)  # a message each
        seen: list[Changes | Progress] = []
        with pytest.raises(HistoryBroken, match="came after"):
            await exhausted(changes, seen)
        revisions = [change.revision for change in seen if isinstance(change, Changes)]
        assert revisions == sorted(set(revisions))


async def test_a_member_that_keeps_the_connection_and_says_nothing_more_is_given_up(relay, reader) -> None:
    after = await begin(reader)

    def mute(frame: Frame) -> list[Any]:
        if frame.direction == "down" and frame.method == "Watch.Watch":
            return []
        return [Later(frame.message, 60.0) if frame.method == "KV.Range" else frame.message]

    began = time.monotonic()
    async with asyncio.timeout(15), reader.watch(PREFIX, after) as changes:
        relay.add(mute)
        with pytest.raises(SourceUnavailable):
            await exhausted(changes, [])
    assert time.monotonic() - began < 10


# --- continuity: each event names what it replaces


def event(version: int, *, revision: Revision, previous: Entry | None = None, key: str = PREFIX + "a") -> Changes:
    entry = Entry(key, b"new", 2, revision, version)
    return Changes(revision, (KeyEvent(EventType.PUT, entry, previous),))


@pytest.fixture
async def source() -> StoreSource:
    store = MemoryStore()
    await store.put(PREFIX + "a", b"1")
    found = StoreSource(store, PREFIX)
    await found.read()
    return found


async def test_the_next_version_follows(source: StoreSource) -> None:
    known = await source.store.get(PREFIX + "a")
    assert known is not None
    source._check(event(2, revision=3, previous=known))
    source._check(event(2, revision=3))  # compaction took what it replaces
    source._check(event(1, revision=3, key=PREFIX + "b"))


@pytest.mark.parametrize("version", [1, 3])
async def test_an_event_without_its_past_must_have_the_next_version(source: StoreSource, version: int) -> None:
    with pytest.raises(HistoryBroken, match=f"version {version} does not follow version 1"):
        source._check(event(version, revision=3))


async def test_an_event_that_replaces_what_was_never_handed_on_is_refused(source: StoreSource) -> None:
    with pytest.raises(HistoryBroken, match="which was not handed on"):
        source._check(event(2, revision=3, previous=Entry(PREFIX + "a", b"0", 1, 1, 1)))


async def test_another_store_with_the_same_content_is_told(source: StoreSource) -> None:
    assert (await source.standing(source._document.revision)).matches is True
    source.store.place.identity = "another"  # type: ignore[attr-defined]
    standing = await source.standing(source._document.revision)
    assert standing.matches is False
    assert "another store" in standing.reason
