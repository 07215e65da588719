"""A scope driven by hand: snapshots from plain dicts, an asyncio loop as the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from herz.live.draining import Notice
from herz.live.refresh import Refresh
from herz.live.scope import Scope
from herz.merge.composition import Composition
from herz.model.document import Document, Event
from herz.model.layer import Layer
from herz.model.origin import Origin
from herz.model.snapshot import Snapshot
from herz.model.tree import differences


def composition(tree: dict[str, Any], revision: int) -> Composition:
    document = Document(Origin("app.yml"), revision, tree, lambda path: f"app.yml:{revision}")
    return Composition.of([Layer("app", document, 0, "app.yml")])


class NoBinder:
    def bind(self, model: Any, at: str, snapshot: Any) -> Any:
        raise AssertionError("the scope binds by itself")


class Driver:
    """What the engine does, one step at a time."""

    def __init__(self, **options: Any) -> None:
        self.notices: list[Notice] = []
        self.now = 0.0
        self.scope = Scope(on_event=self.notices.append, **options)
        self.tree: dict[str, Any] = {}
        self.number = 0

    def next(self, tree: dict[str, Any]) -> tuple[Snapshot, list[Event]]:
        self.number += 1
        events = [Event(*one) for one in differences(self.tree, tree)]
        return Snapshot(
            composition(tree, self.number), generation=self.number, revisions={}, epoch=0, binder=NoBinder()
        ), events

    async def open(self, tree: dict[str, Any]) -> Refresh:
        snapshot, _ = self.next(tree)
        self.tree = tree
        return await self.scope.open(snapshot)

    async def refresh(self, tree: dict[str, Any]) -> Refresh:
        snapshot, events = self.next(tree)
        prepared = await self.scope.prepare(snapshot, events)
        report = await prepared.commit()
        self.tree = tree
        return report


class TimedDriver(Driver):
    """A driver whose scope counts seconds by `advance`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(clock=lambda: self.now, **options)

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        self.scope.draining.wake()
        # Enough turns of the loop for the draining to look, and for a close in a thread to begin.
        for _ in range(5):
            await asyncio.sleep(0.002)


@pytest.fixture
async def timed() -> AsyncIterator[TimedDriver]:
    driver = TimedDriver(max_generations=3)
    yield driver
    await driver.scope.close(0.0)


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    driver = Driver()
    yield driver
    await driver.scope.close(0.0)


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.002)


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until
