"""The embedded store: one SQLite file, shared by the processes of one machine."""

# What the methods of `Store` promise stands there.
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from herz.errors import RevisionExpired, UsageError
from herz.store.base import Changes, Entry, Lease, Limits, Progress, Range, Status, Store, Txn, TxnResult
from herz.store.check import check
from herz.store.clock import LeaseClock, lease_clock
from herz.store.sqlite_lane import BUSY_S, FileId, Lane
from herz.store.sqlite_log import Batch, position, read_changes, read_key, read_range, reading, verify
from herz.store.sqlite_watch import CHECK_S, POLL_S, Lookout
from herz.store.sqlite_writer import Writer, lease_lost, writing

T = TypeVar("T")

RETAIN_REVISIONS: Final = 10_000
"""How many revisions stay readable; a watch that is further behind gets `RevisionExpired`."""

_left_to_parent: list[Lookout] = []
"""Kept for ever in a forked child: to end them would disturb the event loop of the parent."""


class SqliteStore(Store):
    """Keys in one SQLite file, seen by every process of this machine within milliseconds.

    The file is made with mode 0600 on the first use; with `create=False` a missing one is
    `SourceUnavailable`. Nothing is opened before the first call. A commit is on the disk before it is
    acknowledged. Writers of several processes take turns; after `busy_s` seconds of waiting
    for the lock a call raises `SourceUnavailable`.

    Old revisions beyond `retain_revisions` are compacted by the writers; None keeps them until `compact`.
    Expired leases are swept by every write, and by every process that has a watch open. A lease's time is
    that of `clock`, see `herz.store.clock`; a read may still show a key whose lease has expired but was not swept.

    Fork: a child that inherits the store opens its own connections. Watches belong to the parent; the child opens
    its own.

    Values are not encrypted. Whoever may read the file reads them, old ones included until they are compacted
    (and their disk pages reused).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        clock: LeaseClock | None = None,
        limits: Limits | None = None,
        retain_revisions: int | None = RETAIN_REVISIONS,
        busy_s: float = BUSY_S,
        check_s: float = CHECK_S,
        poll_s: float = POLL_S,
        progress_s: float = 1.0,
        file_events: bool = True,
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.limits = Limits() if limits is None else limits
        self._clock = lease_clock() if clock is None else clock
        self._retain = retain_revisions
        self._check_s, self._poll_s, self._progress_s, self._file_events = check_s, poll_s, progress_s, file_events
        self.proof_s = 10 * progress_s
        self._wal = f"{self.path}-wal"
        self._writer = Lane(self.path, create=create, busy_s=busy_s)
        self._reader = Lane(self.path, create=create, busy_s=busy_s)
        self._lookout: Lookout | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    async def get(self, key: str, *, revision: int | None = None) -> Entry | None:
        return await self._reader.run(lambda db: read_key(db, key, revision))

    async def range(
        self, prefix: str, *, revision: int | None = None, limit: int | None = None, after: str | None = None
    ) -> Range:
        if limit is not None and limit < 1:
            raise UsageError(f"limit is {limit}, it must be at least 1", remedy="leave it out to read everything")
        return await self._reader.run(lambda db: read_range(db, prefix, revision, limit, after))

    async def txn(self, txn: Txn) -> TxnResult:
        check(txn, self.limits)
        return await self._write(lambda writer: writer.txn(txn))

    async def compact(self, revision: int) -> None:
        def job(writer: Writer) -> None:
            if revision > writer.revision:
                raise UsageError(f"cannot compact to revision {revision}, the store is at {writer.revision}")
            writer.compact(revision)

        await self._write(job)

    async def grant(self, ttl_s: float) -> Lease:
        if not 0 < ttl_s < 1e9:
            raise UsageError(f"a lease of {ttl_s} seconds", remedy="give a positive number of seconds")
        lease = await self._write(lambda writer: writer.grant(ttl_s, self._clock.now(), self._clock.origin))
        return Lease(lease, ttl_s)

    async def keep_alive(self, lease: int) -> float:
        ttl_s = await self._write(lambda writer: writer.prolong(lease, self._clock.now()))
        if ttl_s is None:
            raise lease_lost(lease)
        return ttl_s

    async def revoke(self, lease: int) -> None:
        if not await self._write(lambda writer: writer.end_lease(lease)):
            raise lease_lost(lease)

    async def status(self) -> Status:
        def job(db: sqlite3.Connection) -> Status:
            with reading(db):
                revision, compacted, identity = position(db)
            size = 0
            for name in (self.path, self._wal):
                with suppress(FileNotFoundError):
                    size += os.stat(name).st_size
            return Status(revision, compacted, identity, size)

        return await self._reader.run(job)

    async def verify(self) -> tuple[str, ...]:
        """What an integrity check finds wrong, empty when the file is sound. Reads the whole file, in a thread."""
        return await asyncio.to_thread(verify, self.path)

    async def close(self) -> None:
        try:
            await self._writer.close()
        finally:
            await self._reader.close()
        if self._lookout is not None and self._lookout.process == os.getpid():
            self._lookout.wake_listeners()

    async def _write(self, act: Callable[[Writer], T]) -> T:
        def job(db: sqlite3.Connection) -> T:
            before = db.total_changes
            with writing(db):
                writer = Writer(db)
                writer.sweep(self._clock.now(), self._clock.origin)
                result = act(writer)
                if self._retain is not None and writer.revision - writer.compacted > self._retain * 1.1 + 10:
                    writer.compact(writer.revision - self._retain)
            if db.total_changes != before:
                self._touch()
            return result

        return await self._writer.run(job)

    def _touch(self) -> None:
        """Tell the lookouts of all processes that a commit has become visible."""
        with suppress(OSError):  # the file may not be ours to touch; a lookout looks again by itself
            os.utime(self._wal)

    async def _sweep(self) -> None:
        await self._write(lambda writer: None)

    def watch(
        self, prefix: str, after: int, *, previous: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[Changes | Progress]]:
        return self._watch(prefix, after)

    @asynccontextmanager
    async def _watch(self, prefix: str, after: int) -> AsyncIterator[AsyncIterator[Changes | Progress]]:
        first, file = await self._reader.run(partial(self._read_on, prefix, after))
        lookout = self._looking()
        woken = lookout.listen()
        try:
            async with aclosing(self._follow(prefix, first, file, woken)) as items:
                yield items
        finally:
            await lookout.leave(woken)

    def _read_on(self, prefix: str, after: int, db: sqlite3.Connection) -> tuple[Batch, FileId | None]:
        return read_changes(db, prefix, after), self._reader.file

    def _looking(self) -> Lookout:
        lookout = self._lookout
        if lookout is not None and lookout.process != os.getpid():
            _left_to_parent.append(lookout)
            lookout = None
        if lookout is not None and lookout.loop is not asyncio.get_running_loop():
            if not lookout.idle:
                raise UsageError(
                    "one store is watched from two event loops", remedy="open a second store on the same file"
                )
            lookout = None
        if lookout is None:
            lookout = self._lookout = Lookout(
                self._reader,
                self._sweep,
                self._clock,
                check_s=self._check_s,
                poll_s=self._poll_s,
                events=self._file_events,
            )
        return lookout

    async def _follow(
        self, prefix: str, batch: Batch, file: FileId | None, woken: asyncio.Event
    ) -> AsyncGenerator[Changes | Progress, None]:
        loop = asyncio.get_running_loop()
        identity = batch.identity
        proven, proven_at = -1, 0.0
        while True:
            for changes in batch.changes:
                yield changes
            cursor = batch.revision
            if batch.complete:
                if cursor != proven or loop.time() - proven_at >= self._progress_s:
                    proven, proven_at = cursor, loop.time()
                    yield Progress(cursor)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(proven_at + self._progress_s):
                        await woken.wait()
            woken.clear()  # before reading: what is written meanwhile wakes us again
            batch, now_file = await self._reader.run(partial(self._read_on, prefix, cursor))
            if batch.identity != identity or now_file != file:
                raise RevisionExpired(
                    "the store's file was replaced by another one",
                    where=str(self.path),
                    remedy="read everything again and watch from there",
                )
