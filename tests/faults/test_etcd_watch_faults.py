"""What a watch of etcd makes of a server that misbehaves, or of something before it: a relay changes messages."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from herz.errors import HistoryBroken, RevisionExpired, SourceUnavailable
from herz.model.document import Batch, Revision
from herz.sources.base import Item
from herz.sources.store import StoreSource
from herz.store.base import Changes, Entry, EventType, KeyEvent, Progress, Put, Txn
from herz.store.etcd.store import EtcdStore
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
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


async def handed_on(
    store: EtcdStore, after: Revision, upto: Revision, *, prefix: str = PREFIX, previous: bool = True
) -> list[Changes]:
    """The changes up to a revision; raises what ends the watch before that."""
    found: list[Changes] = []
    async with asyncio.timeout(15), store.watch(prefix, after, previous=previous) as changes:
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


def event(version: int, *, created: Revision = 2, previous: Entry | None = None, key: str = PREFIX + "a") -> Changes:
    entry = Entry(key, b"new", created, 3, version)
    return Changes(3, (KeyEvent(EventType.PUT, entry, previous),))


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
    assert known.create_revision == 2
    source._check(event(2, previous=known))
    source._check(event(2))  # what it replaces was not asked for
    source._check(event(1, created=3, key=PREFIX + "b"))


@pytest.mark.parametrize("version", [1, 3])
async def test_an_event_without_its_past_must_have_the_next_version(source: StoreSource, version: int) -> None:
    with pytest.raises(HistoryBroken, match=f"version {version} does not follow version 1"):
        source._check(event(version))


async def test_an_event_that_replaces_what_was_never_handed_on_is_refused(source: StoreSource) -> None:
    with pytest.raises(HistoryBroken, match="which was not handed on"):
        source._check(event(2, previous=Entry(PREFIX + "a", b"0", 1, 1, 1)))


async def test_the_next_version_of_another_creation_does_not_follow(source: StoreSource) -> None:
    with pytest.raises(HistoryBroken, match="created by revision 1, and what was handed on by 2"):
        source._check(event(2, created=1))


class Losing:
    """A rule that swallows the events of a watch while `on`, and says so by `done`."""

    def __init__(self) -> None:
        self.on = False
        self.done = threading.Event()

    def __call__(self, frame: Frame) -> list[Any]:
        if not self.on or not getattr(frame.message, "events", ()):
            return [frame.message]
        self.done.set()
        return []


LOST = {
    "a put before a put": ("put lost-put put", "version 3 does not follow version 1"),
    "a deletion before a put": ("put lost-delete put", "version 1 does not follow version 1"),
    "a deletion and a put before a put": ("put lost-delete lost-put put", "was created by revision"),
    "the first put before a put": ("lost-put put", "version 2 does not follow version 0"),
    "the first put before a deletion": ("lost-put delete", "deletes what was not handed on"),
}


@pytest.fixture(scope="module", params=["3.4", "3.5"])
def each_version(request):
    if not EtcdPrograms.available(request.param):
        pytest.skip(f"etcd {request.param} is not installed")
    with EtcdServer(version=request.param) as found:
        yield found


async def batch(items: AsyncIterator[Item]) -> Batch:
    """The next one."""
    async for item in items:
        if isinstance(item, Batch):
            return item
    raise AssertionError("the source ended")


@pytest.mark.parametrize(("steps", "said"), LOST.values(), ids=LOST)
async def test_what_was_lost_on_the_way_shows_at_the_next_event_of_its_key(
    each_version: EtcdServer, steps: str, said: str
) -> None:
    prefix, losing = f"/lost/{steps.replace(' ', '-')}/", Losing()
    with RpcProxy(each_version.endpoint, rules=[losing]) as relay:
        writer, store = EtcdStore([each_version.endpoint]), EtcdStore([relay.address])
        source = StoreSource(store, prefix)
        await writer.put(prefix + "other", b"stays")
        async with asyncio.timeout(15), source.follow((await source.read()).revision) as items:
            *before, last = steps.split()
            for step in before:
                losing.on = step.startswith("lost-")
                losing.done.clear()
                await (writer.delete(prefix + "a") if step.endswith("delete") else writer.put(prefix + "a", b"1"))
                if losing.on:
                    assert await asyncio.to_thread(losing.done.wait, 10)
                else:
                    assert (await batch(items)).events
            losing.on = False
            await (writer.delete(prefix + "a") if last == "delete" else writer.put(prefix + "a", b"1"))
            with pytest.raises(HistoryBroken, match=said):
                await batch(items)
        await store.close()
        await writer.close()


async def test_a_put_lost_right_before_the_deletion_of_its_key_shows_to_who_asks_for_what_was_replaced(
    each_version: EtcdServer,
) -> None:
    prefix, losing = "/lost/asked/", Losing()
    with RpcProxy(each_version.endpoint, rules=[losing]) as relay:
        writer, store = EtcdStore([each_version.endpoint]), EtcdStore([relay.address])
        source = StoreSource(store, prefix, previous=True)
        await writer.put(prefix + "a", b"1")
        await writer.put(prefix + "other", b"stays")
        async with asyncio.timeout(15), source.follow((await source.read()).revision) as items:
            losing.on = True
            await writer.put(prefix + "a", b"2")
            assert await asyncio.to_thread(losing.done.wait, 10)
            losing.on = False
            await writer.delete(prefix + "a")
            with pytest.raises(HistoryBroken, match="which was not handed on"):
                await batch(items)
        await store.close()
        await writer.close()


async def test_what_events_replace_is_told_to_who_asks_for_it_only(each_version: EtcdServer) -> None:
    store = EtcdStore([each_version.endpoint])
    first = await store.put("/told/a", b"1")
    await store.put("/told/a", b"2")
    newest = await store.delete("/told/a")
    told: dict[bool, list[bytes | None]] = {}
    for previous in (True, False):
        seen = await handed_on(store, first, newest, prefix="/told/", previous=previous)
        events = [event for change in seen for event in change.events]
        told[previous] = [None if event.previous is None else event.previous.value for event in events]
    assert told == {True: [b"1", b"2"], False: [None, None]}
    await store.close()


async def test_another_store_with_the_same_content_is_told(source: StoreSource) -> None:
    assert (await source.standing(source._document.revision)).matches is True
    source.store.place.identity = "another"  # type: ignore[attr-defined]
    standing = await source.standing(source._document.revision)
    assert standing.matches is False
    assert "another store" in standing.reason
