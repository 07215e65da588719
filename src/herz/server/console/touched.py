"""Which keys under a prefix are written: a source that keeps neither keys nor values, for a watch session to follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from immutables import Map

from herz.errors import RevisionExpired, StoreError
from herz.model.document import Batch, Document, Event, Progress, Revision
from herz.model.origin import Origin
from herz.model.tree import ABSENT
from herz.sources.base import Item, Standing
from herz.store.base import Changes, Store

_NOTHING: Final[Map[str, object]] = Map()


class TouchedKeys:
    """The keys under one prefix as they are written or deleted; events have them as paths of one segment."""

    local = False
    optional = False

    def __init__(self, store: Store, prefix: str) -> None:
        self.origin = Origin(prefix, "keys")
        self.proof_s = store.proof_s
        self._store, self._prefix = store, prefix
        self._identity = ""
        self.followed = False
        """Whether a watch stands: from then on nothing is missed."""

    async def read(self) -> Document:
        """Nothing, as of now: whatever was written before is not told."""
        status = await self._store.status()
        self._identity = status.identity
        return self._at(status.revision)

    def _at(self, revision: Revision) -> Document:
        return Document(self.origin, revision, _NOTHING, references=False)

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """Every revision after `after` that writes under the prefix."""
        try:
            async with self._store.watch(self._prefix, after, previous=False) as changes:
                self.followed = True
                yield self._items(changes)
        except StoreError as error:
            raise RevisionExpired(
                f"{self.origin}: the store refused the watch: {error}", remedy="read again"
            ) from error

    async def _items(self, changes: AsyncIterator[object]) -> AsyncIterator[Item]:
        async for change in changes:
            if isinstance(change, Changes):
                events = tuple(Event((event.entry.key,), ABSENT, None) for event in change.events)
                yield Batch(change.revision, events, self._at(change.revision))
            else:
                yield Progress(change.revision)  # type: ignore[attr-defined]

    async def rescan(self) -> Revision:
        """The store's revision now; the watch hands on everything up to it."""
        return (await self._store.status()).revision

    async def standing(self, after: Revision) -> Standing:
        """Where the store stands: another one, or one that went back, did not hold what was told."""
        status = await self._store.status()
        if status.identity != self._identity:
            return Standing(status.identity, status.revision, False, "another store answers")
        if status.revision < after:
            return Standing(status.identity, status.revision, False, f"the store was at {after} before")
        return Standing(status.identity, status.revision, True, "")
