"""The processes of one demo: started in folders of their own, stopped together, and blamed when one has died."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Self

from herz.cli.demo.process import Child, ChildFailed


class Crew:
    """The processes of a demo; all of them are ended when `async with` is left, the first one last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    async def start(self, name: str, *arguments: str, inside: str = ".") -> Child:
        """The process, ready, in the demo's folder or in one below it. `ChildFailed` when it does not get ready."""
        folder = self._folder / inside
        folder.mkdir(exist_ok=True)
        child = await Child.start(name, *arguments, folder=folder)
        self._children.append(child)
        return child

    async def during(self, playing: Coroutine[Any, Any, None]) -> None:
        """Play while they all run. `ChildFailed` when one has ended, the reason behind whatever else went wrong."""
        play = asyncio.create_task(playing)
        ends = [asyncio.create_task(child.end()) for child in self._children]
        try:
            await asyncio.wait({play, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not play.done() or play.exception() is not None:
                await self._blame()
            await play
        finally:
            for task in (play, *ends):
                task.cancel()
            await asyncio.gather(play, *ends, return_exceptions=True)

    async def _blame(self) -> None:
        for child in self._children:
            if await child.ended(within_s=0.05):
                raise ChildFailed(f"the {child.name} ended unasked{child.said()}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for some in (self._children[1:], self._children[:1]):  # the others need the first one
            await asyncio.gather(*(child.stop() for child in some))


async def together(starting: Iterable[Coroutine[Any, Any, Child]]) -> list[Child]:
    """Every one of them, once all are ready; where one fails, the others are not waited for and come to nothing."""
    tasks = [asyncio.create_task(one) for one in starting]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
