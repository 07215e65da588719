"""An event loop in a thread of its own, for test doubles that must go on when the loop under test is blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from herz.errors import NotRunning

T = TypeVar("T")
CALL_S = 30.0
"""How long a call into the loop may take before it counts as hung."""


class LoopThread:
    """A running event loop; `run` and `call` may be used from any other thread, `stop` ends every task in it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether `stop` has not been called yet."""
        return not self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for what it returns or raises."""
        if self._loop.is_closed():
            coroutine.close()
            raise NotRunning(f"{self._thread.name} is closed", remedy="make a new one")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_S)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the loop and wait for what it returns or raises."""

        async def called() -> T:
            return function()

        return self.run(called())

    def stop(self) -> None:
        """Cancel every task, wait for them, end the thread; calling it again does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(CALL_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        self._loop.close()


async def _cancel_all() -> None:
    this = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not this]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
