"""The services of a registry as a source that a watch session follows: entries of a store, revision by revision.

A document's tree has the store's entries by their keys; an event's path is the key alone. What the values mean is
the cache's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from immutables import Map

from herz.errors import HistoryBroken, RevisionExpired, StoreError
from herz.model.document import Batch, Document, Event, Progress, Revision
from herz.model.origin import Origin
from herz.model.tree import ABSENT
from herz.sources.base import Item, Standing
from herz.store.base import Changes, Entry, EventType, KeyEvent, Store
from herz.store.base import Progress as Proof
from herz.store.continuity import gap

PAGE: Final = 1_000
"""Entries asked for at a time."""


class ServiceSource:
    """The entries under one prefix of a store.

    A watch that the store refuses (`StoreError`: a failed precondition, a lease that is gone) is not tried again
    as it was: `refused` keeps why, and the follower is told to read again. Whoever drives it has the
    registrations proven first and then clears `refused`.
    """

    local = False
    optional = False

    def __init__(self, store: Store, prefix: str, *, proof_s: float) -> None:
        self.store = store
        self.prefix = prefix
        self.origin = Origin(prefix, "services")
        self.proof_s = proof_s
        self.refused: StoreError | None = None
        self._unread = False
        self._identity = ""
        self._revision: Revision = -1
        self._entries: Map[str, Entry] = Map()

    async def read(self) -> Document:
        """Every entry as of one revision."""
        identity = (await self.store.status()).identity
        revision, entries = await self._read()
        self._identity, self._revision, self._entries, self._unread = identity, revision, entries, False
        return self._document()

    async def _read(self, revision: Revision | None = None) -> tuple[Revision, Map[str, Entry]]:
        entries: list[Entry] = []
        while True:
            after = entries[-1].key if entries else None
            page = await self.store.range(self.prefix, revision=revision, limit=PAGE, after=after)
            entries += page.entries
            revision = page.revision
            if not page.more:
                return revision, Map((entry.key, entry) for entry in entries)

    def _document(self) -> Document:
        return Document(self.origin, self._revision, self._entries, references=False)

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """Every revision after `after`, which must be the one handed on last."""
        if self._unread or after != self._revision:
            raise RevisionExpired(f"{self.origin}: revision {after} is not the one read last", remedy="read again")
        try:
            async with self.store.watch(self.prefix, after, previous=False) as changes:
                yield self._items(changes)
        except StoreError as error:
            raise self._expired(error) from error

    def _expired(self, error: StoreError) -> RevisionExpired:
        self.refused, self._unread = error, True
        return RevisionExpired(f"{self.origin}: the store refused the watch: {error}", remedy="register and read again")

    async def _items(self, changes: AsyncIterator[Changes | Proof]) -> AsyncIterator[Item]:
        async for change in changes:
            if isinstance(change, Changes):
                events = tuple(self._event(event, change.revision) for event in change.events)
                entries = self._entries
                for (key,), _, entry in events:
                    entries = entries.delete(key) if entry is ABSENT and key in entries else entries
                    entries = entries if entry is ABSENT else entries.set(key, entry)
                self._revision, self._entries = change.revision, entries
                yield Batch(change.revision, events, self._document())
            else:
                self._revision = max(self._revision, change.revision)
                yield Progress(self._revision)

    def _event(self, event: KeyEvent, revision: Revision) -> Event:
        """The event as a step from what we hold, on which it must follow."""
        entry, held = event.entry, self._entries.get(event.entry.key)
        if revision <= self._revision:
            raise self._broken(entry, f"revision {self._revision} was handed on before")
        if (reason := gap(event, held, revision)) is not None:
            raise self._broken(entry, reason)
        deleted = event.type is EventType.DELETE
        return Event((entry.key,), ABSENT if held is None else held, ABSENT if deleted else entry)

    def _broken(self, entry: Entry, what: str) -> HistoryBroken:
        return HistoryBroken(f"{what}: events are missing or doubled", where=f"{entry.key}@{entry.mod_revision}")

    async def rescan(self) -> Revision:
        """The store's revision now; the watch hands on everything up to it."""
        return (await self.store.status()).revision

    async def standing(self, after: Revision) -> Standing:
        """Where the store stands, and whether it held at `after` what we handed on."""
        identity = (await self.store.status()).identity
        revision = (await self.store.range(self.prefix, limit=1)).revision
        if identity != self._identity:
            return Standing(identity, revision, False, "another store answers")
        if revision < after:
            return Standing(identity, revision, False, f"the store is at revision {revision}, and was at {after}")
        try:
            _, entries = await self._read(after)
        except RevisionExpired:
            return Standing(identity, revision, None, f"history does not reach back to revision {after}")
        matches = entries == self._entries
        return Standing(identity, revision, matches, "" if matches else f"other instances at revision {after}")
