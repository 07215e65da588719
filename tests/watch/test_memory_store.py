"""The store in memory keeps the contract of every store, so that what is tested on it means something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from herz.testing.memory_store import MemoryStore, Place
from herz.testing.store_contract import StoreContract
from herz.testing.store_laws import StoreMachine


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def place(self) -> Place:
        return Place()

    @pytest.fixture
    async def store(self, place: Place) -> AsyncIterator[MemoryStore]:
        store = MemoryStore(place, progress_s=0.05)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, place: Place) -> AsyncIterator[MemoryStore]:
        other = MemoryStore(place, progress_s=0.05)
        yield other
        await other.close()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Machine(StoreMachine):
    async def open(self) -> MemoryStore:
        return MemoryStore(progress_s=0.01)


TestMemoryStoreLaws = Machine.TestCase
