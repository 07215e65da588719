"""Time-outs and waits on a clock that is passed in, so that they can be tested in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from herz.errors import SourceUnavailable

T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Awaitable[None]]


async def within(seconds: float, call: Coroutine[Any, Any, T], what: str, sleep: Sleep) -> T:
    """What `call` gives; `SourceUnavailable` when it takes longer than `seconds`, and then it is cancelled.

    A call that does not heed its cancellation holds nobody up: the time is what was promised.
    """
    task = asyncio.ensure_future(call)
    timer = asyncio.ensure_future(sleep(max(0.0, seconds)))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise SourceUnavailable(f"{what}: no answer within {seconds:.3g} s", remedy="it is tried again")
    finally:
        _end(timer)
        _end(task)


async def until(event: asyncio.Event, seconds: float, sleep: Sleep) -> None:
    """Wait until `event` is set, or `seconds` have passed."""
    waits = {asyncio.ensure_future(sleep(max(0.0, seconds))), asyncio.ensure_future(event.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            _end(wait)


def _end(task: asyncio.Future[Any]) -> None:
    task.cancel()
    task.add_done_callback(_seen)


def _seen(task: asyncio.Future[Any]) -> None:
    """Take note of how a task ended, whose outcome nobody waits for any more."""
    if not task.cancelled():
        task.exception()
