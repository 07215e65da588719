"""A follower that counts what a session hands on, and holds it against the writer's log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from herz.model.document import Batch, Progress, Reset, Revision, replay
from herz.model.tree import thaw
from herz.sources.base import Failed, Item
from herz.sources.store import StoreSource
from herz.testing.memory_store import MemoryStore, Place
from herz.watch.session import Session

PREFIX = "/config/pay/"


class Follower:
    """Takes items as the updater does: the next revision counts only when this one has been applied."""

    def __init__(self, place: Place, *, clock: Callable[[], float], chance: Callable[[], float] = lambda: 0.5) -> None:
        self.place = place
        self.source = StoreSource(MemoryStore(place, clock=clock), PREFIX)
        self.session = Session(self.source, self._deliver, self._applied, clock=clock, chance=chance)
        self.tree: Any = {}
        self.handled: Revision = 0
        self.base: Revision = 0
        self.revisions: list[Revision] = []
        self.items: list[Item] = []
        self.resets: list[Reset] = []
        self.failed: list[Failed] = []
        self.listening: Callable[[Item], None] = lambda item: None

    async def start(self) -> None:
        document = await self.source.read()
        self.tree, self.handled, self.base = document.tree, document.revision, document.revision
        self.task = asyncio.create_task(self.session.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.source.close()

    async def _applied(self) -> Revision:
        return self.handled

    async def _deliver(self, item: Item) -> None:
        self.items.append(item)
        self.listening(item)
        if isinstance(item, Batch):
            assert item.revision > self.handled, f"revision {item.revision} after {self.handled}"
            self.tree = replay(self.tree, item.events)
            assert thaw(self.tree) == thaw(item.document.tree)
            self.revisions.append(item.revision)
        elif isinstance(item, Reset):
            assert item.rewound or item.document.revision >= self.handled
            self.tree, self.base, self.revisions = item.document.tree, item.document.revision, []
            self.resets.append(item)
        elif isinstance(item, Failed):
            self.failed.append(item)
        elif isinstance(item, Progress):
            assert item.revision >= self.handled
        self.handled = item.document.revision if isinstance(item, Reset) else item.revision

    @property
    def held(self) -> dict[str, str]:
        return flat(thaw(self.tree))

    @property
    def there(self) -> dict[str, str]:
        return {
            key.removeprefix(PREFIX).replace("/", "."): entry.value.decode()
            for key, entry in self.place.state.items()
            if key.startswith(PREFIX)
        }

    @property
    def missed(self) -> list[Revision]:
        """Revisions since the last reading that touched the prefix and were not handed on."""
        return [
            revision
            for revision, events in self.place.changes.items()
            if self.base < revision <= self.handled
            and any(event.entry.key.startswith(PREFIX) for event in events)
            and revision not in self.revisions
        ]

    async def until(self, condition: Callable[[], bool], seconds: float = 1000.0) -> None:
        """Let virtual time pass until `condition` holds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not condition():
            assert loop.time() < end, f"never held; {self.session.state} {self.session.says} {self.session.error}"
            await asyncio.sleep(0.05)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def follower() -> type[Follower]:
    return Follower
