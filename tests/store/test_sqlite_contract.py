"""The embedded store keeps the contract of every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from herz.store.sqlite import SqliteStore
from herz.testing.store_contract import StoreContract


class MovableClock:
    """A lease clock that goes on when told to."""

    def __init__(self) -> None:
        self.origin = "test"
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds


class TestSqliteStore(StoreContract):
    """Two stores in one process that share nothing but the file."""

    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock = MovableClock()

    async def pass_time(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "herz.db", clock=self.clock, check_s=0.05, progress_s=0.05)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, store: SqliteStore) -> AsyncIterator[SqliteStore]:
        other = SqliteStore(store.path, clock=self.clock, check_s=0.05, progress_s=0.05)
        yield other
        await other.close()


class TestSqliteStoreWithoutFileEvents(TestSqliteStore):
    """As where there is no inotify."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "herz.db", clock=self.clock, progress_s=0.05, file_events=False)
        yield store
        await store.close()
