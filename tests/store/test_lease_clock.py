"""Leases of the embedded store when clocks jump and machines boot."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from herz.errors import LeaseLost
from herz.store.clock import BootClock, WallClock, lease_clock
from herz.store.sqlite import SqliteStore


class MovableClock:
    def __init__(self, origin: str = "first boot", seconds: float = 1000.0) -> None:
        self.origin = origin
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def store(tmp_path: Path, clock: MovableClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "herz.db", clock=clock)
    yield store
    await store.close()


async def alive(store: SqliteStore) -> bool:
    """Whether the leased key outlives a sweep."""
    await store.put("/sweep", b"")
    return await store.get("/leased") is not None


async def test_a_lease_lives_for_its_time_and_no_longer(store: SqliteStore, clock: MovableClock) -> None:
    lease = await store.grant(10)
    await store.put("/leased", b"", lease=lease.id)
    clock.seconds += 9.9
    assert await alive(store)
    clock.seconds += 0.2
    assert not await alive(store)
    with pytest.raises(LeaseLost, match="grant a new one"):
        await store.keep_alive(lease.id)


async def test_a_clock_turned_back_prolongs_a_lease_by_one_ttl_at_most(store: SqliteStore, clock: MovableClock) -> None:
    lease = await store.grant(10)
    await store.put("/leased", b"", lease=lease.id)
    clock.seconds -= 900
    assert await alive(store)
    clock.seconds += 10.1
    assert not await alive(store)


async def test_a_lease_from_before_the_boot_begins_its_time_anew(store: SqliteStore, clock: MovableClock) -> None:
    lease = await store.grant(10)
    await store.put("/leased", b"", lease=lease.id)
    clock.origin, clock.seconds = "second boot", 5.0
    assert await alive(store)
    clock.seconds += 9.9
    assert await alive(store)
    clock.seconds += 0.2
    assert not await alive(store)


async def test_two_leases_that_expire_together_are_two_revisions(store: SqliteStore, clock: MovableClock) -> None:
    for number in range(2):
        lease = await store.grant(10)
        await store.put(f"/{number}/a", b"", lease=lease.id)
        revision = await store.put(f"/{number}/b", b"", lease=lease.id)
    clock.seconds += 11
    assert await store.put("/after", b"") == revision + 3
    assert [entry.key for entry in (await store.range("/")).entries] == ["/after"]


async def test_the_number_of_a_lease_is_never_used_again(store: SqliteStore) -> None:
    first = await store.grant(10)
    await store.revoke(first.id)
    assert (await store.grant(10)).id != first.id


def test_the_clock_of_this_machine_goes_on_and_names_its_origin() -> None:
    clock = lease_clock()
    first = clock.now()
    deadline = time.monotonic() + 5
    while clock.now() == first:
        assert time.monotonic() < deadline
    assert clock.now() > first
    assert clock.origin == lease_clock().origin != ""
    assert isinstance(clock, (BootClock, WallClock))
    assert abs(WallClock().now() - time.time()) < 1
