from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from herz.model.document import Batch, Document, Reset
from herz.model.tree import thaw
from herz.sources.base import Item, Source

DEADLINE_S = 10.0


class Follower:
    """What a source hands on, in order, and the document that results."""

    def __init__(self, source: Source, document: Document) -> None:
        self.source, self.document = source, document
        self.items: list[Item] = []
        self.arrived = asyncio.Condition()

    async def listen(self, stream: Any) -> None:
        async for item in stream:
            async with self.arrived:
                self.items.append(item)
                if isinstance(item, (Batch, Reset)):
                    self.document = item.document
                self.arrived.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self.arrived:
            await self.arrived.wait_for(condition)

    async def until_values(self, *expected: dict[str, Any]) -> None:
        try:
            await self.until(lambda: values(self.document) == list(expected))
        except TimeoutError:
            raise AssertionError(f"has {values(self.document)}, not {expected}; was handed {self.items}") from None

    async def item(self, kind: type, count: int = 1) -> Any:
        def found() -> list[Item]:
            return [item for item in self.items if isinstance(item, kind)]

        try:
            await self.until(lambda: len(found()) >= count)
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} number {count}; was handed {self.items}") from None
        return found()[count - 1]


def values(document: Document) -> list[dict[str, Any]]:
    """The plain values of each part, lowest rank first."""
    return [thaw(part.tree) for part in document.parts] if document.parts else [thaw(document.tree)]


@asynccontextmanager
async def following(source: Source) -> Any:
    document = await source.read()
    follower = Follower(source, document)
    async with source.follow(document.revision) as stream:
        task = asyncio.create_task(follower.listen(stream))
        try:
            yield follower
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


@pytest.fixture
def follow() -> Callable[[Source], Any]:
    return following


@pytest.fixture
def contents() -> Callable[[Document], list[dict[str, Any]]]:
    return values
