"""Registries in virtual time on a store that fails when told to, and on real stores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from herz.discovery import RegistrationEvent, ServiceRegistry
from herz.errors import HerzError
from herz.store.base import Changes, Progress
from herz.testing.memory_store import MemoryStore, Place
from herz.testing.virtual_time import run


class FaultyStore(MemoryStore):
    """A client whose calls can be held up, answered with nothing, or refused."""

    def __init__(self, place: Place, *, clock: Callable[[], float]) -> None:
        super().__init__(place, clock=clock)
        self.calls: list[str] = []
        self.arrives_after_s = 0.0
        self.answer_after_s = 0.0
        self.hangs: set[str] = set()
        self.no_time = False
        self.refuse_watch: HerzError | None = None

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hangs:
            await asyncio.Event().wait()

    async def get(self, key, **options):
        await self._call("get")
        return await super().get(key, **options)

    async def txn(self, txn):
        await self._call("txn")
        return await super().txn(txn)

    async def range(self, prefix, **options):
        await self._call("range")
        return await super().range(prefix, **options)

    async def grant(self, ttl_s):
        await self._call("grant")
        return await super().grant(ttl_s)

    async def revoke(self, lease):
        await self._call("revoke")
        await super().revoke(lease)

    async def keep_alive(self, lease):
        await self._call("keep_alive")
        await asyncio.sleep(self.arrives_after_s)
        ttl_s = await super().keep_alive(lease)
        await asyncio.sleep(self.answer_after_s)
        return 0.0 if self.no_time else ttl_s

    @asynccontextmanager
    async def watch(
        self, prefix: str, after: int, *, previous: bool = True
    ) -> AsyncIterator[AsyncIterator[Changes | Progress]]:
        await self._call("watch")
        if self.refuse_watch is not None:
            raise self.refuse_watch
        async with super().watch(prefix, after, previous=previous) as items:
            yield items


class World:
    """A place, one faulty client of it with a registry, and another client that works."""

    def __init__(self) -> None:
        self.time = asyncio.get_running_loop().time
        self.jump_s = 0.0
        self.place = Place()
        self.store = FaultyStore(self.place, clock=self.time)
        self.other_store = MemoryStore(self.place, clock=self.time)
        self.registry = self.make(self.store)
        self.other = self.make(self.other_store)
        self.events: list[RegistrationEvent] = []

    def clock(self) -> float:
        """What the registries see: it jumps when told to, the store's does not."""
        return self.time() + self.jump_s

    def make(self, store: MemoryStore) -> ServiceRegistry:
        return ServiceRegistry(store, clock=self.clock, chance=random.Random(7).random)

    def states(self) -> list[str]:
        return [str(event.state) for event in self.events]

    async def until(self, condition: Callable[[], bool], seconds: float = 200.0) -> float:
        """Let virtual time pass until `condition` holds; the seconds that it took."""
        begin = self.time()
        while not condition():
            assert self.time() < begin + seconds, f"never held; {self.events[-3:]}"
            await asyncio.sleep(0.01)
        return self.time() - begin


@pytest.fixture
def told() -> Callable[[Callable[[World], Awaitable[Any]]], Any]:
    """Runs a story in virtual time."""

    def tell(story: Callable[[World], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            return await story(World())

        return run(main())

    return tell


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait in real time until `condition` holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "never held"
        await asyncio.sleep(0.002)


@pytest.fixture(name="eventually")
def eventually_() -> Callable[..., Awaitable[None]]:
    return eventually
