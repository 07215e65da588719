"""An event loop whose clock jumps: hours of back-off pass in milliseconds, in the order in which they would have."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Never sleeps: when nothing is ready, the time until the next timer is counted as passed."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # nothing is scheduled: only a thread or a file could go on
            return super().select(None)
        if timeout <= 0 or (ready := super().select(0)):
            return super().select(0) if timeout <= 0 else ready
        self.passed_s += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that keeps virtual time: `loop.time()`, timers, `asyncio.sleep` and `asyncio.timeout` follow it.

    Use `loop.time` wherever a clock is asked for. Work in threads or on the network takes no virtual time.
    """

    def __init__(self) -> None:
        self._ticking = _Selector()
        super().__init__(self._ticking)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._ticking.passed_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
