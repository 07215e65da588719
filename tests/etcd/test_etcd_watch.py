"""A watch of etcd loses nothing and is never silently dead: cut, killed, frozen, compacted, overfed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from herz.errors import HistoryBroken, RevisionExpired, SourceUnavailable
from herz.store.base import Changes, DeletePrefix, Progress, Put, Txn
from herz.store.etcd.messages import message
from herz.store.etcd.rpc import Stream
from herz.store.etcd.store import EtcdStore
from herz.store.etcd.whole import WholeRevisions, changes
from herz.testing.etcd_cluster import EtcdCluster, EtcdPrograms, EtcdServer
from herz.testing.store_contract import next_changes, until_progress

pytestmark = pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd: tools/servers installs it")

MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[EtcdServer]:
    with EtcdServer(progress_interval_s=600) as server:
        yield server


@pytest.fixture
async def own() -> AsyncIterator[EtcdServer]:
    """A server for one test, to be mistreated."""
    async with EtcdServer(progress_interval_s=600) as server:
        yield server


@pytest.fixture
async def store(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(server.endpoints, proof_s=1.0)
    yield store
    await store.close()


async def opened(cluster: EtcdCluster, **options: object) -> EtcdStore:
    options = {"proof_s": 1.0, "dial_timeout_s": 1.0, "request_timeout_s": 2.0, **options}
    return EtcdStore(cluster.endpoints, **options)  # type: ignore[arg-type]


async def ends_in(items: AsyncIterator[Changes | Progress], error: type[Exception], within_s: float) -> float:
    """Seconds until the watch raises `error`."""
    begun = time.monotonic()

    async def to_the_end() -> None:
        async for _ in items:
            pass

    with pytest.raises(error):
        await asyncio.wait_for(to_the_end(), within_s)
    return time.monotonic() - begun


# --- the other side goes away


async def test_a_killed_server_ends_the_watch_at_once(own: EtcdServer):
    store = await opened(own)
    revision = await store.put("/a", b"1")
    async with store.watch("/", revision) as items:
        await until_progress(items, revision)
        own.member.kill()
        assert await ends_in(items, SourceUnavailable, 5) < 1
    await store.close()


async def test_a_server_stopped_gracefully_ends_the_watch_and_a_new_one_goes_on(own: EtcdServer):
    store = await opened(own)
    revision = await store.put("/a", b"1")
    async with store.watch("/", revision) as items:
        await until_progress(items, revision)
        await own.member.stop()
        await ends_in(items, SourceUnavailable, 5)
    await own.member.start()
    later = await store.put("/a", b"2")
    async with store.watch("/", revision) as items:
        assert (await next_changes(items)).revision == later
    await store.close()


async def test_a_frozen_server_is_found_within_proof_s(own: EtcdServer):
    store = await opened(own)
    revision = await store.put("/a", b"1")
    async with store.watch("/", revision) as items:
        await until_progress(items, revision)
        own.member.pause()
        try:
            assert await ends_in(items, SourceUnavailable, 5) <= store.proof_s + 0.5
        finally:
            own.member.resume()
    async with store.watch("/", revision) as items:
        assert await until_progress(items, revision) == []
    await store.close()


async def test_a_watch_behind_a_frozen_member_opens_at_the_next_one():
    async with EtcdCluster(3, progress_interval_s=600) as cluster:
        store = await opened(cluster)
        revision = await store.put("/a", b"1")
        leader = await cluster.leader()
        frozen = next(member for member in cluster.members if member is not leader)
        frozen.pause()
        for _ in cluster.members:
            try:
                async with asyncio.timeout(10), store.watch("/", revision) as items:
                    await until_progress(items, revision)
                    break
            except SourceUnavailable:
                continue
        else:
            pytest.fail("no member served the watch")
        frozen.resume()
        await store.close()


async def test_a_member_without_a_leader_ends_the_watch():
    async with EtcdCluster(3, progress_interval_s=600) as cluster:
        store = EtcdStore([cluster.members[0].endpoint], proof_s=30.0)
        revision = await store.put("/a", b"1")
        async with store.watch("/", revision) as items:
            await until_progress(items, revision)
            for member in cluster.members[1:]:
                member.kill()
            await ends_in(items, SourceUnavailable, 8)
        await store.close()


# --- large, many, slow


async def test_a_revision_of_1400_kib_with_its_past_comes_whole_in_fragments(store: EtcdStore):
    puts = [Put(f"/large/{number}", bytes([number]) * (14 * MIB // 100)) for number in range(10)]
    await store.txn(Txn(then=puts))
    start = (await store.txn(Txn(then=puts))).revision
    changed = (await store.txn(Txn(then=puts))).revision
    gone = await store.delete_prefix("/large/")
    async with store.watch("/large/", start) as items:
        first, second = await until_progress(items, gone)
    assert (first.revision, len(first.events)) == (changed, 10)
    assert all(event.previous is not None and event.previous.value == event.entry.value for event in first.events)
    assert (second.revision, len(second.events)) == (gone, 10)


async def test_catching_up_with_40_mib_needs_no_limit_and_little_memory(store: EtcdStore):
    start = (await store.status()).revision
    revisions = [await store.put("/heavy", bytes([number]) * (13 * MIB // 10)) for number in range(30)]
    async with store.watch("/heavy", start) as items:
        assert [found.revision for found in await until_progress(items, revisions[-1])] == revisions


async def test_a_slow_consumer_holds_the_server_back_and_still_gets_everything(server: EtcdServer, store: EtcdStore):
    writer = await opened(server)
    revision = await writer.put("/slow/a", b"")
    async with store.watch("/slow/", revision) as items:
        await until_progress(items, revision)
        written = []
        for number in range(150):
            puts = [Put(f"/slow/{key}", b"%d" % number + bytes(1000)) for key in range(100)]
            written.append((await writer.txn(Txn(then=puts))).revision)
        await asyncio.sleep(2 * store.proof_s)  # the passing of time is the point: longer than a dead watch would last
        watch = next(iter(store._watches))
        assert len(watch._items) < 150
        assert [found.revision for found in await until_progress(items, written[-1])] == written
    await writer.close()


async def test_what_came_is_handed_on_before_the_next_read_is_begun(store: EtcdStore, monkeypatch: pytest.MonkeyPatch):
    reads, read = [0, 0], Stream.read

    async def counted(stream: Stream) -> object:
        reads[0] += 1
        response = await read(stream)
        reads[1] += 1
        return response

    monkeypatch.setattr(Stream, "read", counted)
    revision = await store.put("/turns/a", b"1")
    async with asyncio.timeout(10), store.watch("/turns/", revision) as items:
        writing = asyncio.create_task(store.put("/turns/a", b"2"))
        while not isinstance(await anext(items), Changes):
            pass
        begun, ended = reads
        await writing
    assert begun == ended


async def test_nothing_is_read_before_the_consumer_comes_back_for_more(
    store: EtcdStore, monkeypatch: pytest.MonkeyPatch
):
    begun, read = [0], Stream.read

    async def counted(stream: Stream) -> object:
        begun[0] += 1
        return await read(stream)

    monkeypatch.setattr(Stream, "read", counted)
    revision = await store.put("/back/a", b"0")
    async with asyncio.timeout(10), store.watch("/back/", revision) as items:
        writing = asyncio.create_task(store.put("/back/a", b"1"))
        while not isinstance(await anext(items), Changes):
            pass
        before = begun[0]
        await writing  # the loop turns meanwhile
        last = await store.put("/back/a", b"2")
        assert begun[0] == before
        assert [found.revision for found in await until_progress(items, last)] == [last]
        assert begun[0] > before


async def test_a_consumer_that_stays_away_for_long_finds_its_watch_alive(store: EtcdStore):
    revision = await store.put("/away/a", b"0")
    async with asyncio.timeout(20), store.watch("/away/", revision) as items:
        writing = asyncio.create_task(store.put("/away/a", b"1"))
        while not isinstance(await anext(items), Changes):
            pass
        await writing
        await asyncio.sleep(3 * store.proof_s)  # the passing of time is the point: longer than a dead watch would last
        last = await store.put("/away/a", b"2")
        assert [found.revision for found in await until_progress(items, last)] == [last]


async def test_cancelling_a_wait_loses_nothing(store: EtcdStore):
    revision = await store.put("/cancel", b"0")
    seen: list[int] = []
    async with store.watch("/cancel", revision) as items:
        written: list[int] = []
        while not written or seen[-1:] != written[-1:]:
            if len(written) < 30:
                written.append(await store.put("/cancel", b"x"))
            try:
                async with asyncio.timeout(0.001):
                    item = await anext(items)
            except TimeoutError:
                continue
            if isinstance(item, Changes):
                seen.append(item.revision)
    assert seen == written


@pytest.mark.slow
async def test_100000_keys_are_read_in_pages_at_one_revision(store: EtcdStore):
    for batch in range(1000):
        await store.txn(Txn(then=[Put(f"/many/{batch:03}/{key:03}", b"v") for key in range(100)]))
    begun = time.perf_counter()
    reading = asyncio.create_task(store.range("/many/"))
    await asyncio.sleep(0.05)
    await store.put("/many/zzz", b"later")
    found = await reading
    print(f"100,000 keys in {time.perf_counter() - begun:.2f} s")
    assert len(found.entries) - 100_000 in (0, 1)
    assert [entry.key for entry in found.entries] == sorted(entry.key for entry in found.entries)
    assert max(entry.mod_revision for entry in found.entries) <= found.revision
    await store.txn(Txn(then=[DeletePrefix("/many/")]))


# --- history


async def test_a_deletion_that_compaction_swallows_is_not_missed(store: EtcdStore):
    revision = await store.put("/swallowed", b"1")
    deleted = await store.delete("/swallowed")
    await store.put("/other", b"")
    await store.compact(deleted)
    with pytest.raises(RevisionExpired, match="compacted"):
        async with store.watch("/swallowed", revision) as items:
            await next_changes(items)


async def test_a_compaction_while_watching_is_no_loss_when_everything_was_handed_over(store: EtcdStore):
    revision = await store.put("/live", b"1")
    async with store.watch("/live", revision) as items:
        later = await store.put("/live", b"2")
        assert (await next_changes(items)).revision == later
        await until_progress(items, later)
        await store.compact(later)
        last = await store.delete("/live")
        assert (await next_changes(items)).revision == last
        assert await until_progress(items, last) == []


async def test_a_restored_server_that_is_behind_is_noticed():
    async with EtcdServer(progress_interval_s=600) as server:
        store = await opened(server)
        await store.put("/a", b"1")
        snapshot = await server.snapshot()
        for number in range(20):
            revision = await store.put("/a", b"%d" % number)
        await server.restore(snapshot)
        with pytest.raises(RevisionExpired, match="future"):
            async with asyncio.timeout(10), store.watch("/", revision) as items:
                await next_changes(items)
        await store.close()


# --- fragments, without a server


def response(*revisions: int, fragment: bool = False) -> object:
    events = [
        message("Event")(kv=message("KeyValue")(key=b"%d" % at, mod_revision=revision))
        for at, revision in enumerate(revisions)
    ]
    return message("WatchResponse")(events=events, fragment=fragment)


def test_a_revision_is_held_back_until_its_last_fragment():
    whole = WholeRevisions(1)
    assert [changes(group).revision for group in whole.feed(response(2, 3, fragment=True))] == [2]
    assert (whole.cursor, whole.partial) == (2, True)
    assert whole.feed(response(3, 3, fragment=True)) == []
    found = map(changes, whole.feed(response(3, 4)))
    assert [(item.revision, len(item.events)) for item in found] == [(3, 4), (4, 1)]
    assert (whole.cursor, whole.partial) == (4, False)


def test_a_last_fragment_without_events_completes_the_revision():
    whole = WholeRevisions(1)
    assert whole.feed(response(2, fragment=True)) == []
    assert [changes(group).revision for group in whole.feed(response())] == [2]


@pytest.mark.parametrize("again", [(2,), (1,), (3, 2)])
def test_a_revision_that_comes_again_is_refused(again: tuple[int, ...]):
    whole = WholeRevisions(1)
    whole.feed(response(2))
    with pytest.raises(HistoryBroken):
        whole.feed(response(*again))
