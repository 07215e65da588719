"""Writing to thousands of clients that mostly only wait, without a task for each of them.

An ASGI server's `send` waits only while the client's buffer is full. So it is run here up to where it would wait, by
whoever has something to say: for nearly every client that is its end, and costs a function call. Only a client that is
behind gets a task, until it has caught up or its time is over.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeAlias

Send: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]

PIECE_BYTES: Final = 64 * 1024
"""What is handed to the server at once. A large frame shared by a thousand clients is not buffered for each of them."""
BACKLOG: Final = 256
"""Writes that may wait for one client."""


class Outlet:
    """What is still to be written to one client, in order. `fell_behind` is told why when it takes nothing any more."""

    __slots__ = ("_backlog", "_send", "_task", "closed")

    def __init__(self, send: Send) -> None:
        self.closed = False
        self._send = send
        self._backlog: deque[bytes | None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> bool:
        """Whether something written before has not been taken yet."""
        return self._backlog is not None

    def write(self, data: bytes, limit_s: float) -> None:
        """Write `data`; the client has `limit_s` seconds for each piece of it."""
        if not self.closed:
            self._put(data, limit_s)

    def finish(self, limit_s: float) -> None:
        """End the response, after all that was written before."""
        if not self.closed:
            self.closed = True
            self._put(None, limit_s)

    def abandon(self) -> None:
        """Write nothing any more: the client is gone."""
        self.closed = True
        self._backlog = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def fell_behind(self, reason: str) -> None:
        """The client took nothing for too long."""
        self.abandon()

    def _put(self, data: bytes | None, limit_s: float) -> None:
        if self._backlog is not None:
            if len(self._backlog) >= BACKLOG:
                self.fell_behind(f"{BACKLOG} frames wait for it")
            else:
                self._backlog.append(data)
            return
        if data is not None and len(data) > PIECE_BYTES:
            self._follow_up(deque([data]), None, limit_s)
            return
        sending = self._send(_message(data))
        try:
            waits = sending.send(None)
        except StopIteration:
            return
        except Exception:  # the connection is in no state to take anything
            self.abandon()
            return
        self._follow_up(deque(), _rest(sending, waits), limit_s)

    def _follow_up(self, backlog: deque[bytes | None], first: Awaitable[None] | None, limit_s: float) -> None:
        self._backlog = backlog
        self._task = asyncio.get_running_loop().create_task(self._catch_up(backlog, first, limit_s))

    async def _catch_up(self, backlog: deque[bytes | None], first: Awaitable[None] | None, limit_s: float) -> None:
        try:
            if first is not None:
                async with asyncio.timeout(limit_s):
                    await first
            while backlog:
                data = backlog[0]
                for start in range(0, max(1, len(data or b"")), PIECE_BYTES):
                    async with asyncio.timeout(limit_s):
                        await self._send(_message(None if data is None else data[start : start + PIECE_BYTES]))
                    await asyncio.sleep(0)  # a thousand clients that take everything would keep the loop from others
                backlog.popleft()
        except TimeoutError:
            self._task = None
            self.fell_behind(f"it took nothing for {limit_s:g} s")
        except Exception:
            self._task = None
            self.abandon()
        else:
            if self._backlog is backlog:
                self._backlog = self._task = None


def _message(data: bytes | None) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data or b"", "more_body": data is not None}


@types.coroutine
def _rest(sending: Coroutine[Any, Any, None], waits: Any) -> Generator[Any, Any, None]:
    """What is left of a `send` that was begun outside of a task and now waits for `waits`."""
    try:
        yield waits
    except BaseException as error:
        sending.throw(error)
        raise
    yield from sending.__await__()
