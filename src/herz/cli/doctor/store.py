"""The embedded store: is it there, sound, private, and where it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from herz.app.feed import Feed
from herz.cli.doctor.examination import Examination, underlying
from herz.cli.doctor.finding import Finding, finding_of
from herz.errors import HerzError
from herz.sources.store import StoreSource
from herz.store.base import Status
from herz.store.sqlite import SqliteStore
from herz.store.sqlite_file import RECOVERY


def check(examination: Examination) -> Iterator[Finding]:
    """Each SQLite store that is missing, damaged, readable by others, not writable, or back in time."""
    for feed in examination.feeds:
        source = underlying(feed)
        if isinstance(source, StoreSource) and isinstance(source.store, SqliteStore):
            yield from _file(source.store)
            yield from _revision(examination, feed, source)


def _file(store: SqliteStore) -> Iterator[Finding]:
    path = store.path
    if not path.exists():
        return  # told with the sources that are missing
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding(
            "store-readable",
            "warning",
            f"the store's mode is {mode:o}; values in it are not encrypted, and others may read them",
            str(path),
            f"chmod 600 {path}",
        )
    for needed in (path, path.parent):
        if not os.access(needed, os.W_OK):
            yield Finding(
                "store-not-writable",
                "warning",
                f"{'the store' if needed is path else 'its folder'} may not be written by this user: "
                "even reading needs the -shm file beside it",
                str(needed),
                f"grant write access to {needed}",
            )
    for line in _damage(store):
        yield Finding("store-corrupt", "error", f"the store is damaged: {line}", str(path), RECOVERY)


def _damage(store: SqliteStore) -> tuple[str, ...]:
    fresh = SqliteStore(store.path, create=False)

    async def verify() -> tuple[str, ...]:
        try:
            return await fresh.verify()
        finally:
            await fresh.close()

    try:
        return asyncio.run(verify())
    except HerzError:  # it cannot be opened at all, which is told with the sources
        return ()


def _revision(examination: Examination, feed: Feed, source: StoreSource) -> Iterator[Finding]:
    """A store that is behind what was in force: it was restored from a backup, or made anew."""
    copy = examination.last_good.document(source.origin) if examination.last_good is not None else None
    if copy is None or not isinstance(source.store, SqliteStore) or not source.store.path.exists():
        return
    fresh = SqliteStore(source.store.path, create=False)

    async def ask() -> Status:
        try:
            return await fresh.status()
        finally:
            await fresh.close()

    try:
        status = asyncio.run(ask())
    except HerzError as error:
        yield finding_of(error, "store-unusable", str(source.store.path))
        return
    if status.revision < copy.revision:
        yield Finding(
            "revision-went-back",
            "error",
            f"the store is at revision {status.revision}, but revision {copy.revision} was in force before: it was "
            "restored from a backup, or made anew",
            feed.name,
            "restore the newer state, or restart the services so that they take this one; "
            f"then remove {examination.settings.last_good}",
        )
