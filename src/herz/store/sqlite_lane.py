"""One thread with one SQLite connection, which survives fork and notices that its file was replaced.

SQLite's calls block, so they run here and not on the event loop. A store has two lanes, one that writes
and one that reads: a reader never waits for a writer who waits for the lock.

Fork: SQLite keeps books in the process about the locks that it holds on a file. Locks do not pass to a
child, the books do, so a child that opens the same file anew would believe in locks which it does not
have (https://www.sqlite.org/howtocorrupt.html, 2.6). The only cure is that no connection is open
at the moment of the fork: `os.fork` waits for the statement that is running, closes, forks, and both sides
open again when they next need to.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from herz.errors import NotRunning, SourceUnavailable
from herz.store.sqlite_file import busy, connect, translated
from herz.threads import DaemonThreads

T = TypeVar("T")

BUSY_S: Final = 5.0
"""How long a call waits for a lock held by another connection."""

FileId = tuple[int, int]
"""Device and inode: the file itself, whatever its name is now."""


class Lane:
    """Runs jobs on one connection, one after the other, in a thread of its own."""

    def __init__(self, path: Path, *, create: bool, busy_s: float = BUSY_S) -> None:
        self.path = path
        self._create = create
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: FileId | None = None
        self._log: FileId | None = None
        self._executor: DaemonThreads | None = None
        self._closed = False
        self.connections = 0
        """How many connections were opened so far; `data_version` counts anew in each."""
        with _registry_lock:
            _lanes.add(self)

    @property
    def file(self) -> FileId | None:
        """The file that the last job used."""
        return self._file

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `job`, called in the lane's thread; once more when another process holds the lock.

        A job must begin and end its own transaction; when it raises it is rolled back.
        """
        if self._closed:
            raise NotRunning("the store is closed", where=str(self.path))
        if self._executor is None:
            self._executor = DaemonThreads(1, "herz-sqlite")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, job)

    def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        deadline = time.monotonic() + self._busy_s
        while True:
            with self._lock:
                try:
                    return self._attempt(job)
                except sqlite3.Error as error:
                    if not busy(error) or time.monotonic() >= deadline:
                        raise translated(error, self.path) from error
            # SQLite's own waiting grows to 100 ms a step and starves a writer among many; a short random one is fair.
            time.sleep(random.uniform(0.0005, 0.003))  # noqa: S311 - spreads out, keeps no secret

    def _attempt(self, job: Callable[[sqlite3.Connection], T]) -> T:
        db = self._connection()
        try:
            return job(db)
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _connection(self) -> sqlite3.Connection:
        if self._closed:
            raise NotRunning("the store is closed", where=str(self.path))
        if self._db is not None:
            # What is written into a file that has lost its name is gone when the last process closes it.
            if self._named() == self._file:
                self._check_log()
                return self._db
            self._disconnect()
        known = self._file is not None
        if known and self._named() is None:
            raise SourceUnavailable(
                "the store's file was removed while it was open",
                where=str(self.path),
                remedy="restore it from a backup; it is not made anew by itself",
            )
        self._db = connect(self.path, create=self._create and not known)
        self._file, self._log = self._named(), self._named("-wal")
        self.connections += 1
        return self._db

    def _check_log(self) -> None:
        """A backup that was copied over the open file: what we would read and write is in a log without a name."""
        if self._log is not None and self._named("-wal") != self._log:
            raise SourceUnavailable(
                "the store's log was removed while it was open, as by a backup that was copied over it",
                where=f"{self.path}-wal",
                remedy="end every program that has the store open, restore the backup again, and start them",
            )

    def _named(self, suffix: str = "") -> FileId | None:
        try:
            found = os.stat(f"{self.path}{suffix}")
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    async def close(self) -> None:
        """Wait for the job that is running, then close the connection and end the thread."""
        self._closed = True
        executor, self._executor = self._executor, None
        if executor is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(executor, self._close)
            finally:
                executor.shutdown(wait=False)  # behind the closing, also where nobody waits for that any more
        else:
            self._close()

    def _close(self) -> None:
        with self._lock:
            self._disconnect()

    def _before_fork(self) -> None:
        self._lock.acquire()
        self._disconnect()

    def _after_fork(self, *, child: bool) -> None:
        if child:
            self._executor = None  # its thread stayed with the parent
        self._lock.release()


_lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
_registry_lock = threading.Lock()
_held: list[Lane] = []


def _before_fork() -> None:
    _registry_lock.acquire()
    for lane in list(_lanes):
        lane._before_fork()
        _held.append(lane)


def _after_fork(child: bool) -> None:
    while _held:
        _held.pop()._after_fork(child=child)
    _registry_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(False),
        after_in_child=lambda: _after_fork(True),
    )
