"""Patience: a limit for each of many waits, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Self, TypeVar

T = TypeVar("T")


class Patience:
    """Each wait of the task that makes it lasts `limit_s` seconds of its loop's clock at most; None sets no limit.

    `asyncio.timeout` makes a timer for every wait, puts it in order among the others and cancels it again, which was a
    tenth of the way of a change. Here a timer looks how long the wait under way has lasted, and is set anew only when
    it has run out. The block that it is entered for leaves none behind.
    """

    def __init__(self, limit_s: float | None) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  made by the task that waits
        self._task, self._loop, self._limit_s = task, task.get_loop(), limit_s
        self._since_s: float | None = None
        self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def of(self, what: Awaitable[T]) -> T:
        """What `what` answers. `TimeoutError` when that takes too long, or at `end`; `what` is cancelled then."""
        others = self._task.cancelling()
        self._since_s = self._loop.time()
        try:
            return await what
        except asyncio.CancelledError:
            if self._ended and self._task.cancelling() <= others + 1:
                raise TimeoutError from None
            raise
        finally:
            self._since_s = None
            if self._ended:
                self._ended = False
                self._task.uncancel()

    def end(self) -> None:
        """End the wait under way, if there is one."""
        if self._since_s is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    def _look(self) -> None:
        if self._limit_s is None:
            return
        now_s = self._loop.time()
        due_s = self._limit_s + (now_s if self._since_s is None else self._since_s)
        if due_s <= now_s:
            self.end()
            due_s = now_s + self._limit_s
        self._timer = self._loop.call_at(due_s, self._look)
