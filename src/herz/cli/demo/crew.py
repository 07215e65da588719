"""The processes of one demo: started in folders of their own, stopped together, and blamed when one has died."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from herz.cli.demo.process import Child, ChildFailed


class Crew:
    """The processes of the demo; each is stopped with the stack."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._children: list[Child] = []

    async def start(self, name: str, *arguments: str, inside: str = ".") -> Child:
        """The process, ready, in a folder of its own below the demo's."""
        folder = self._folder / inside
        folder.mkdir(exist_ok=True)
        child = await Child.start(name, *arguments, folder=folder)
        self._children.append(child)
        self._stack.push_async_callback(child.stop)
        return child

    async def blame(self) -> None:
        """Nothing; `ChildFailed` when one of them has ended, the reason behind whatever else went wrong."""
        for child in self._children:
            if await child.ended(within_s=0.05):
                raise ChildFailed(f"the {child.name} ended unasked{child.said()}")
