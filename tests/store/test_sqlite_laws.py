"""The embedded store agrees with a model of revisions under random operations."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

from herz.store.base import Store
from herz.store.sqlite import SqliteStore
from herz.testing.store_laws import StoreMachine

from ..conftest import examples


class SqliteMachine(StoreMachine):
    async def open(self) -> Store:
        self.folder = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.folder.name) / "herz.db", retain_revisions=None)

    async def close(self, store: Store) -> None:
        await store.close()
        self.folder.cleanup()


class CompactingMachine(SqliteMachine):
    """Every write may compact; the watch and the present must not notice."""

    async def open(self) -> Store:
        self.folder = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.folder.name) / "herz.db", retain_revisions=3)

    def read_the_past(self) -> None:
        """What is compacted is the store's choice here."""

    def watch_from_the_past(self) -> None:
        """As above."""

    def compact(self) -> None:
        """As above."""


TestSqliteLaws = SqliteMachine.TestCase
TestSqliteLaws.settings = settings(
    max_examples=examples(40), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestCompactingSqliteLaws = CompactingMachine.TestCase
TestCompactingSqliteLaws.settings = settings(max_examples=examples(15), stateful_step_count=40, deadline=None)
