"""What every store must do, as tests: subclass `StoreContract`, supply the fixture `store`, and run pytest.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            store = MyStore(...)
            yield store
            await store.close()

Needs pytest and pytest-asyncio. Override `other` with a second client of the same place, and `pass_time` where
the clock of the leases can be moved. A store need not be empty or begin at a given revision: the tests use a
prefix of their own and never look at absolute numbers.
"""

# A contract is asserted, and the name of a test says what it promises.
# ruff: noqa: S101, D102

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from herz.errors import LeaseLost, NotRunning, RevisionExpired, StoreError, UsageError
from herz.store.base import (
    Changes,
    Compare,
    Delete,
    DeletePrefix,
    EventType,
    Get,
    Progress,
    Put,
    Store,
    Txn,
)

Items = AsyncIterator[Changes | Progress]

DEADLINE_S = 10.0


async def next_changes(items: Items) -> Changes:
    """The next changes of a watch; fails when none come within the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        async for item in items:
            if isinstance(item, Changes):
                return item
    raise AssertionError("the watch ended")


async def until_progress(items: Items, revision: int) -> list[Changes]:
    """All changes up to the progress that covers `revision`."""
    seen: list[Changes] = []
    async with asyncio.timeout(DEADLINE_S):
        async for item in items:
            if isinstance(item, Changes):
                seen.append(item)
            elif item.revision >= revision:
                return seen
    raise AssertionError("the watch ended")


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once `condition` holds; fails when it does not within the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < end, "the condition never held"
        await asyncio.sleep(0.01)


def summary(changes: Changes) -> tuple[int, list[tuple[str, str, bytes, bytes | None]]]:
    """Revision and events of a change in a form that is easy to compare."""
    return changes.revision, [
        (event.type.value, event.entry.key, event.entry.value, event.previous.value if event.previous else None)
        for event in changes.events
    ]


@pytest.mark.asyncio
class StoreContract:
    """The promises of `herz.store.base.Store`, one test each."""

    lease_ttl_s = 2.0
    """A short time to live that the store grants as asked for."""

    @pytest.fixture
    def other(self, store: Store) -> Store:
        """A second client of the same place; the same one when there is none."""
        return store

    @pytest.fixture
    def at(self) -> str:
        """A prefix that nobody else uses."""
        return f"/contract/{uuid.uuid4().hex}/"

    async def pass_time(self, seconds: float) -> None:
        """Let the clock of the leases go on."""
        await asyncio.sleep(seconds)

    # --- revisions

    async def test_a_change_raises_the_revision_by_one(self, store: Store, at: str) -> None:
        first = await store.put(at + "a", b"1")
        assert await store.put(at + "a", b"1") == first + 1
        assert await store.delete(at + "a") == first + 2

    async def test_what_changes_nothing_makes_no_revision(self, store: Store, at: str) -> None:
        revision = await store.put(at + "a", b"1")
        assert await store.delete(at + "absent") == revision
        assert await store.delete_prefix(at + "absent/") == revision
        assert (await store.txn(Txn(then=(Get(at + "a"),)))).revision == revision
        assert (await store.status()).revision == revision

    async def test_a_key_remembers_its_creation_last_change_and_version(self, store: Store, at: str) -> None:
        first = await store.put(at + "a", b"1")
        second = await store.put(at + "a", b"2")
        entry = await store.get(at + "a")
        assert entry is not None
        assert (entry.create_revision, entry.mod_revision, entry.version, entry.value) == (first, second, 2, b"2")

    async def test_a_key_deleted_and_made_again_begins_anew(self, store: Store, at: str) -> None:
        await store.put(at + "a", b"1")
        await store.delete(at + "a")
        assert await store.get(at + "a") is None
        revision = await store.put(at + "a", b"2")
        entry = await store.get(at + "a")
        assert entry is not None
        assert (entry.create_revision, entry.version) == (revision, 1)

    async def test_an_empty_value_is_not_an_absent_one(self, store: Store, at: str) -> None:
        await store.put(at + "a", b"")
        entry = await store.get(at + "a")
        assert entry is not None
        assert entry.value == b""

    async def test_every_byte_survives_in_a_value(self, store: Store, at: str) -> None:
        value = bytes(range(256)) * 3
        await store.put(at + "a", value)
        entry = await store.get(at + "a")
        assert entry is not None
        assert entry.value == value

    async def test_an_old_revision_stays_readable(self, store: Store, at: str) -> None:
        first = await store.put(at + "a", b"1")
        second = await store.put(at + "b", b"2")
        third = await store.delete(at + "a")
        await store.put(at + "b", b"3")
        for revision, expected in ((first, {"a": b"1"}), (second, {"a": b"1", "b": b"2"}), (third, {"b": b"2"})):
            found = await store.range(at, revision=revision)
            assert {entry.key.removeprefix(at): entry.value for entry in found.entries} == expected
            assert found.revision == revision
        entry = await store.get(at + "a", revision=second)
        assert entry is not None
        assert entry.value == b"1"
        assert await store.get(at + "a", revision=third) is None

    async def test_a_revision_of_the_future_is_refused(self, store: Store, at: str) -> None:
        revision = await store.put(at + "a", b"1")
        with pytest.raises(RevisionExpired):
            await store.range(at, revision=revision + 1000)

    # --- ranges

    async def test_a_range_is_ordered_by_the_bytes_of_its_keys(self, store: Store, at: str) -> None:
        names = ["b", "a", "a/b", "a.b", "é", "Z", "日本", "\U0001f600", "a\0b"]
        for name in names:
            await store.put(at + name, name.encode())
        found = [entry.key.removeprefix(at) for entry in (await store.range(at)).entries]
        assert found == sorted(names, key=str.encode)

    async def test_a_range_holds_its_prefix_and_nothing_beside_it(self, store: Store, at: str) -> None:
        for name in ("pay", "pay/a", "pay/b", "payments/a", "paz"):
            await store.put(at + name, b"")
        found = [entry.key.removeprefix(at) for entry in (await store.range(at + "pay/")).entries]
        assert found == ["pay/a", "pay/b"]

    async def test_a_range_read_in_pages_is_of_one_revision(self, store: Store, at: str) -> None:
        for number in range(10):
            await store.put(f"{at}{number}", b"old")
        page = await store.range(at, limit=4)
        revision, entries = page.revision, list(page.entries)
        while page.more:
            for number in range(10):
                await store.put(f"{at}{number}", b"new")
            await store.delete(f"{at}9")
            page = await store.range(at, revision=revision, limit=4, after=entries[-1].key)
            assert page.revision == revision
            entries += page.entries
        assert [(entry.key, entry.value) for entry in entries] == [(f"{at}{number}", b"old") for number in range(10)]

    async def test_the_last_page_says_that_there_is_no_more(self, store: Store, at: str) -> None:
        await store.put(at + "a", b"")
        await store.put(at + "b", b"")
        assert (await store.range(at, limit=1)).more
        assert not (await store.range(at, limit=2)).more

    # --- transactions

    async def test_all_writes_of_a_transaction_share_one_revision(self, store: Store, at: str) -> None:
        await store.put(at + "c", b"")
        result = await store.txn(Txn(then=(Put(at + "a", b"1"), Put(at + "b", b"2"), Delete(at + "c"))))
        found = await store.range(at)
        assert [(entry.key, entry.mod_revision) for entry in found.entries] == [
            (at + "a", result.revision),
            (at + "b", result.revision),
        ]

    async def test_a_failed_comparison_runs_the_other_branch(self, store: Store, at: str) -> None:
        revision = await store.put(at + "a", b"1")
        txn = Txn((Compare.unchanged(at + "a", revision + 1),), (Put(at + "a", b"2"),), (Get(at + "a"),))
        result = await store.txn(txn)
        assert not result.succeeded
        assert [entry.value for entry in result.results[0]] == [b"1"]
        assert result.revision == revision

    @pytest.mark.parametrize(
        ("target", "relation", "offset", "holds"),
        [
            ("mod_revision", "=", 0, True),
            ("mod_revision", "!=", 0, False),
            ("mod_revision", "<", 1, True),
            ("mod_revision", ">", 0, False),
            ("create_revision", "=", 0, False),
            ("create_revision", "<", 0, True),
        ],
    )
    async def test_comparing_revisions(
        self, store: Store, at: str, target: str, relation: str, offset: int, holds: bool
    ) -> None:
        await store.put(at + "a", b"1")
        revision = await store.put(at + "a", b"2")
        compare = Compare(at + "a", target, relation, revision + offset)  # type: ignore[arg-type]
        assert (await store.txn(Txn((compare,)))).succeeded is holds

    async def test_comparing_versions_values_and_absence(self, store: Store, at: str) -> None:
        await store.put(at + "a", b"m")
        true = [
            Compare(at + "a", "version", "=", 1),
            Compare(at + "a", "value", "=", b"m"),
            Compare(at + "a", "value", "<", b"n"),
            Compare(at + "a", "value", ">", b"ab"),
            Compare(at + "a", "lease", "=", 0),
            Compare.absent(at + "b"),
            Compare.unchanged(at + "b", 0),
            Compare(at + "b", "version", "=", 0),
        ]
        false = [
            Compare.absent(at + "a"),
            Compare(at + "a", "value", "!=", b"m"),
            Compare(at + "b", "value", "=", b""),
            Compare(at + "b", "value", "!=", b"x"),
        ]
        assert (await store.txn(Txn(true))).succeeded
        for compare in false:
            assert not (await store.txn(Txn((compare,)))).succeeded, compare
            assert not (await store.txn(Txn((*true, compare)))).succeeded

    async def test_a_transaction_tells_what_it_replaced(self, store: Store, at: str) -> None:
        for name in ("a", "b/1", "b/2"):
            await store.put(at + name, name.encode())
        txn = Txn(then=(Put(at + "a", b"new"), Get(at + "a"), DeletePrefix(at + "b/"), Put(at + "c", b"")))
        results = (await store.txn(txn)).results
        assert [[entry.value for entry in entries] for entries in results] == [[b"a"], [b"new"], [b"b/1", b"b/2"], []]

    async def test_a_transaction_that_fails_writes_nothing(self, store: Store, at: str) -> None:
        revision = (await store.status()).revision
        with pytest.raises(LeaseLost):
            await store.txn(Txn(then=(Put(at + "a", b""), Put(at + "b", b"", lease=2**60))))
        assert await store.get(at + "a") is None
        assert (await store.status()).revision == revision

    async def test_contradictions_and_excess_are_refused(self, store: Store, at: str) -> None:
        large = b"x" * store.limits.request_bytes
        with pytest.raises(UsageError, match="put twice"):
            await store.txn(Txn(then=(Put(at + "a", b""), Put(at + "a", b""))))
        with pytest.raises(UsageError, match="put and deleted"):
            await store.txn(Txn(then=(Put(at + "a", b""), Delete(at + "a"))))
        with pytest.raises(UsageError, match="deleted with"):
            await store.txn(Txn(then=(DeletePrefix(at), Put(at + "a", b""))))
        with pytest.raises(UsageError, match="empty"):
            await store.put("", b"")
        with pytest.raises(UsageError, match="UTF-8"):
            await store.put(at + "\ud800", b"")
        with pytest.raises(StoreError, match="at most"):
            await store.put(at + "a", large)
        with pytest.raises(StoreError, match="at most"):
            await store.txn(Txn(then=[Put(f"{at}{i}", large[: len(large) // 3]) for i in range(4)]))
        with pytest.raises(StoreError, match="at most"):
            await store.txn(Txn(then=[Get(at + "a")] * (store.limits.operations + 1)))
        assert (await store.range(at)).entries == ()

    async def test_the_largest_value_is_taken(self, store: Store, at: str) -> None:
        value = b"x" * (store.limits.request_bytes - len(at) - 128)
        await store.put(at + "a", value)
        entry = await store.get(at + "a")
        assert entry is not None
        assert entry.value == value

    async def test_concurrent_increments_are_all_counted(self, store: Store, other: Store, at: str) -> None:
        async def increment(client: Store, times: int) -> None:
            done = 0
            while done < times:
                entry = await client.get(at + "n")
                value, revision = (0, 0) if entry is None else (int(entry.value), entry.mod_revision)
                txn = Txn((Compare.unchanged(at + "n", revision),), (Put(at + "n", b"%d" % (value + 1)),))
                done += (await client.txn(txn)).succeeded

        await asyncio.gather(*(increment(client, 10) for client in (store, other) * 3))
        entry = await store.get(at + "n")
        assert entry is not None
        assert (entry.value, entry.version) == (b"60", 60)

    # --- watching

    async def test_a_watch_goes_on_behind_a_range_without_gap_or_repeat(
        self, store: Store, other: Store, at: str
    ) -> None:
        await store.put(at + "a", b"1")
        revision = (await store.range(at)).revision
        second = await other.put(at + "a", b"2")
        third = await other.delete(at + "a")
        async with store.watch(at, revision) as items:
            assert summary(await next_changes(items)) == (second, [("put", at + "a", b"2", b"1")])
            assert summary(await next_changes(items)) == (third, [("delete", at + "a", b"", b"2")])
            fourth = await other.put(at + "a", b"3")
            assert summary(await next_changes(items)) == (fourth, [("put", at + "a", b"3", None)])

    async def test_a_watch_resumed_at_any_revision_completes_the_history(self, store: Store, at: str) -> None:
        start = (await store.status()).revision
        revisions = [await store.put(f"{at}{number % 3}", b"%d" % number) for number in range(12)]
        for seen, after in enumerate([start, *revisions]):
            async with store.watch(at, after) as items:
                assert [changes.revision for changes in await until_progress(items, revisions[-1])] == revisions[seen:]

    async def test_a_revision_is_handed_over_whole_and_in_the_order_of_its_operations(
        self, store: Store, at: str
    ) -> None:
        for number in range(3):
            await store.put(f"{at}old/{number}", b"")
        start = (await store.status()).revision
        puts = [Put(f"{at}{number:03}", b"x" * 2000) for number in reversed(range(100))]
        result = await store.txn(Txn(then=(*puts, DeletePrefix(at + "old/"))))
        async with store.watch(at, start) as items:
            changes = await next_changes(items)
        assert changes.revision == result.revision
        keys = [event.entry.key for event in changes.events]
        assert sorted(keys) == sorted([put.key for put in puts] + [f"{at}old/{number}" for number in range(3)])
        assert all(event.entry.mod_revision == result.revision for event in changes.events)
        assert sum(event.type is EventType.DELETE for event in changes.events) == 3

    async def test_a_revision_larger_than_any_batch_is_handed_over_whole(self, store: Store, at: str) -> None:
        for batch in range(10):
            await store.txn(Txn(then=[Put(f"{at}{batch}/{number}", b"x" * 1000) for number in range(100)]))
        start = (await store.status()).revision
        deleted = await store.delete_prefix(at)
        last = await store.put(at + "a", b"")
        async with store.watch(at, start) as items:
            found = await until_progress(items, last)
        assert [(changes.revision, len(changes.events)) for changes in found] == [(deleted, 1000), (last, 1)]

    async def test_a_watch_sees_its_prefix_only_but_progress_covers_all(self, store: Store, at: str) -> None:
        start = (await store.status()).revision
        async with store.watch(at + "pay/", start) as items:
            mine = await store.put(at + "pay/a", b"")
            last = await store.put(at + "payments/a", b"")
            assert [changes.revision for changes in await until_progress(items, last)] == [mine]

    async def test_an_idle_watch_keeps_proving_that_it_is_current(self, store: Store, at: str) -> None:
        revision = await store.put(at + "a", b"")
        async with store.watch(at, revision) as items:
            for _ in range(3):
                assert await until_progress(items, revision) == []

    async def test_a_slow_consumer_loses_nothing(self, store: Store, other: Store, at: str) -> None:
        start = (await store.status()).revision
        async with store.watch(at, start) as items:
            first = await other.put(at + "a", b"first")
            assert (await next_changes(items)).revision == first
            for number in range(600):
                last = await other.put(at + "a", b"%d" % number)
            values = [changes.events[0].entry.value for changes in await until_progress(items, last)]
        assert values == [b"%d" % number for number in range(600)]

    async def test_a_deleted_entry_has_no_value_and_no_version(self, store: Store, at: str) -> None:
        await store.put(at + "a", b"1")
        start = (await store.status()).revision
        revision = await store.delete(at + "a")
        async with store.watch(at, start) as items:
            entry = (await next_changes(items)).events[0].entry
        assert (entry.value, entry.create_revision, entry.mod_revision, entry.version) == (b"", 0, revision, 0)

    async def test_a_watch_of_the_future_is_refused_and_not_silent(self, store: Store, at: str) -> None:
        revision = await store.put(at + "a", b"")
        with pytest.raises(RevisionExpired):
            async with asyncio.timeout(DEADLINE_S), store.watch(at, revision + 1000) as items:
                await next_changes(items)

    # --- compaction

    async def test_compaction_forgets_the_past_and_keeps_the_present(self, store: Store, at: str) -> None:
        first = await store.put(at + "a", b"1")
        await store.put(at + "b", b"1")
        await store.delete(at + "b")
        await store.put(at + "a", b"2")
        here = await store.put(at + "c", b"1")
        last = await store.put(at + "a", b"3")
        await store.compact(here)
        await store.compact(here)  # once more changes nothing
        assert (await store.status()).compacted == here
        found = await store.range(at, revision=here)
        assert [(entry.key, entry.value) for entry in found.entries] == [(at + "a", b"2"), (at + "c", b"1")]
        with pytest.raises(RevisionExpired):
            await store.range(at, revision=first)
        with pytest.raises(RevisionExpired):
            await store.get(at + "a", revision=first)
        async with store.watch(at, here) as items:
            assert summary(await next_changes(items)) == (last, [("put", at + "a", b"3", b"2")])

    async def test_a_watch_from_before_the_compaction_is_refused(self, store: Store, at: str) -> None:
        first = await store.put(at + "a", b"1")
        second = await store.delete(at + "a")
        await store.put(at + "b", b"1")
        await store.compact(second)
        with pytest.raises(RevisionExpired):
            async with asyncio.timeout(DEADLINE_S), store.watch(at, first) as items:
                await next_changes(items)

    async def test_compacting_the_future_is_refused(self, store: Store) -> None:
        with pytest.raises(UsageError):
            await store.compact((await store.status()).revision + 1000)

    # --- leases

    async def test_the_keys_of_an_expired_lease_are_deleted_in_one_revision(
        self, store: Store, other: Store, at: str
    ) -> None:
        lease = await store.grant(self.lease_ttl_s)
        await store.put(at + "a", b"1", lease=lease.id)
        await store.put(at + "b", b"2", lease=lease.id)
        revision = await store.put(at + "c", b"3")
        async with other.watch(at, revision) as items:
            await self.pass_time(lease.ttl_s + 0.01)
            changes = await next_changes(items)
        assert [(event.type, event.entry.key) for event in changes.events] == [
            (EventType.DELETE, at + "a"),
            (EventType.DELETE, at + "b"),
        ]
        assert [entry.key for entry in (await store.range(at)).entries] == [at + "c"]
        with pytest.raises(LeaseLost):
            await store.keep_alive(lease.id)
        with pytest.raises(LeaseLost):
            await store.put(at + "a", b"1", lease=lease.id)
        with pytest.raises(LeaseLost):
            await store.revoke(lease.id)

    async def test_a_lease_kept_alive_lives_on(self, store: Store, at: str) -> None:
        lease = await store.grant(self.lease_ttl_s)
        await store.put(at + "a", b"1", lease=lease.id)
        for _ in range(4):
            await self.pass_time(lease.ttl_s / 2)
            assert 0 < await store.keep_alive(lease.id) <= lease.ttl_s
        await store.put(at + "b", b"")
        assert await store.get(at + "a") is not None

    async def test_revoking_a_lease_deletes_its_keys_in_one_revision(self, store: Store, at: str) -> None:
        lease = await store.grant(60)
        await store.put(at + "a", b"1", lease=lease.id)
        revision = await store.put(at + "b", b"2", lease=lease.id)
        await store.revoke(lease.id)
        assert (await store.range(at)).entries == ()
        async with store.watch(at, revision) as items:
            changes = await next_changes(items)
        assert changes.revision == revision + 1
        assert len(changes.events) == 2

    async def test_a_key_written_without_its_lease_outlives_it(self, store: Store, at: str) -> None:
        lease = await store.grant(60)
        await store.put(at + "a", b"1", lease=lease.id)
        entry = await store.get(at + "a")
        assert entry is not None
        assert entry.lease == lease.id
        await store.put(at + "a", b"2")
        await store.revoke(lease.id)
        entry = await store.get(at + "a")
        assert entry is not None
        assert (entry.value, entry.lease) == (b"2", None)

    # --- life cycle

    async def test_the_status_names_the_same_store_for_every_client(self, store: Store, other: Store) -> None:
        assert (await store.status()).identity == (await other.status()).identity != ""

    async def test_after_close_every_call_is_refused_and_watches_end(self, store: Store, at: str) -> None:
        revision = await store.put(at + "a", b"")
        async with store.watch(at, revision) as items:
            await until_progress(items, revision)
            await store.close()
            with pytest.raises(NotRunning):
                await next_changes(items)
        with pytest.raises(NotRunning):
            await store.get(at + "a")
        await store.close()
