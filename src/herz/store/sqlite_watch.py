"""Noticing that the embedded store has changed, whichever process wrote it.

Three things, each behind the other:

1. The kernel tells of writes to the `-wal` file. SQLite makes a commit visible only after it has written
   and synced that file, so the first look can be too early. A writer of ours touches the file once more
   when the commit is visible; for other writers we look again a few times, at growing intervals.
2. Looking means `PRAGMA data_version`, which differs when any other connection has committed.
3. We look every `check_s` seconds anyway, so that a missed event heals.

The same look finds leases that have expired, and has them swept.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from herz.errors import NotRunning, SourceError
from herz.store.clock import LeaseClock
from herz.store.inotify import on_write
from herz.store.sqlite_lane import FileId, Lane
from herz.store.sqlite_writer import next_expiry

CHECK_S: Final = 1.0
"""Interval of the look that needs no event."""

POLL_S: Final = 0.005
"""Interval of looking where the kernel tells of nothing. A look takes some 0.1 ms."""

SWEEP_S: Final = 1.0
"""Seconds between attempts to end leases where nothing can be written: each looks like a write, and wakes us."""

_AGAIN_S: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)
"""After an event that came before its commit was visible."""

_Sight = tuple[int, int, FileId | None]


class Lookout:
    """Looks at the store as long as somebody listens, and wakes all listeners when it may have changed."""

    def __init__(
        self,
        reader: Lane,
        sweep: Callable[[], Awaitable[None]],
        clock: LeaseClock,
        *,
        check_s: float = CHECK_S,
        poll_s: float = POLL_S,
        events: bool = True,
    ) -> None:
        self.process = os.getpid()
        self.loop = asyncio.get_running_loop()
        self._reader = reader
        self._sweep = sweep
        self._clock = clock
        self._check_s = check_s
        self._poll_s = poll_s
        self._events = events
        self._listeners: set[asyncio.Event] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._seen: _Sight | None = None
        self._sweep_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    def listen(self) -> asyncio.Event:
        """An event that is set whenever the store may have changed, and when looking has failed."""
        listener = asyncio.Event()
        self._listeners.add(listener)
        if self._task is None:
            self._task = self.loop.create_task(self._run(), name="herz-sqlite-lookout")
        return listener

    async def leave(self, listener: asyncio.Event) -> None:
        """Stop listening; the last one out ends the looking."""
        self._listeners.discard(listener)
        task = self._task
        if task is not None and not self._listeners:
            self._task = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # a cancellation of our own still comes out of this

    def wake_listeners(self) -> None:
        """Make everybody look for themselves."""
        for listener in self._listeners:
            listener.set()

    async def _run(self) -> None:
        wal = Path(f"{self._reader.path}-wal")
        stop = on_write(wal, self._woken.set) if self._events else None
        interval = self._check_s if stop is not None else min(self._poll_s, self._check_s)
        again = iter(_AGAIN_S)
        try:
            while True:
                told = self._woken.is_set()
                self._woken.clear()  # before the look: what happens during it wakes us again
                changed, expiry_s = await self._look()
                if changed:
                    self.wake_listeners()
                if told or changed:
                    again = iter(_AGAIN_S)
                pause = min(interval, next(again, interval), interval if expiry_s is None else expiry_s)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._woken.wait()
        except NotRunning:
            self.wake_listeners()  # the store was closed, and they will find that out
        finally:
            if stop is not None:
                stop()

    async def _look(self) -> tuple[bool, float | None]:
        """Whether the store may have changed, and in how many seconds a lease expires."""
        try:
            version, expiry_s = await self._reader.run(self._sight)
        except SourceError:
            # The listeners read for themselves and meet the same error; it is theirs to raise.
            self._seen = None
            return True, None
        seen = (self._reader.connections, version, self._reader.file)
        changed, self._seen = seen != self._seen, seen
        if expiry_s == 0 and (left_s := self._sweep_at - self.loop.time()) > 0:
            expiry_s = left_s
        elif expiry_s == 0:
            try:
                await self._sweep()
            except SourceError:
                # We may not write here, or the disk is full. The next writer sweeps, or we do when it is time.
                self._sweep_at, expiry_s = self.loop.time() + SWEEP_S, SWEEP_S
            else:
                expiry_s = 0.001  # look again at once: there may be more to come
        return changed, expiry_s

    def _sight(self, db: sqlite3.Connection) -> tuple[int, float | None]:
        version: int = db.execute("PRAGMA data_version").fetchone()[0]
        return version, next_expiry(db, self._clock.now(), self._clock.origin)
