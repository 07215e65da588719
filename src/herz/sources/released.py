"""The releases of an application as a source: what this instance's channel points at, prepared, put in force, reported.

The channel says which release this instance is to run, and which one to build without using it. A release is handed on
whole or not at all; one that cannot be read is `Failed`, and the last good one stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from herz.errors import ConfigurationError, EmptiedSource, HerzError, HistoryBroken, RevisionExpired
from herz.formats.fault import Limits
from herz.model.document import Batch, Document, Progress, Reset, Revision
from herz.model.origin import Origin
from herz.release.channel import ReleaseRef
from herz.release.content import Content
from herz.sources.base import Failed, Item, Prepare, Running, Standing
from herz.sources.released_content import NOTHING, Library, Prepared, Released, step
from herz.sources.released_link import Alive, Asked, Link, Told
from herz.sources.released_url import Address
from herz.sources.released_voice import Voice
from herz.store.base import Store


class ReleasedSource:
    """The channel of one application and namespace, followed over `link` and answered there.

    `now` gives the time that reports carry.
    """

    local = False

    def __init__(
        self,
        address: Address,
        link: Link,
        *,
        optional: bool = False,
        limits: Limits | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.address = address
        self.optional = optional
        self.origin = Origin(address.name, "herz")
        self._link = link
        self._library = Library(self.origin, f"{address.app}/{address.namespace}", limits or Limits())
        self._identity = ""
        self._told = Told(-1)
        self._revision: Revision = -1
        self._document = Document(self.origin, -1)
        self._released: Released = NOTHING
        self._failed: Failed | None = None
        self._prepared: Prepared | None = None
        self._ahead = False
        """Whether the follower has something prepared."""
        self._accepting = False
        self._voice = Voice(address, self.origin, link, self._library, now)

    @classmethod
    def from_url(cls, url: str, *, optional: bool = False, context: Any = None) -> ReleasedSource:
        """The source that `herz://…`, `herz+etcd://…` or `herz+sqlite:///…` names; see `released_url`."""
        address = Address.parse(url, getattr(context, "environment", None))
        return cls(address, link_to(address), optional=optional, limits=getattr(context, "limits", None))

    @property
    def proof_s(self) -> float:
        """What the way promises."""
        return self._link.proof_s

    @property
    def notices(self) -> tuple[str, ...]:
        """What should be looked at: the way's own notices, and why nothing can be reported."""
        notice = self._voice.notice
        return self._link.notices if notice is None else (*self._link.notices, notice)

    # --- what is to run -------------------------------------------------------------------------

    async def read(self) -> Document:
        """The release that the channel points at; an empty document before the first one.

        `DocumentMalformed` when it cannot be used, unless there was a good one before: that stays, and the next
        follower is told.
        """
        identity, told = await self._link.read()
        first = self._revision < 0
        self._failed = None
        try:
            self._released = await self._release(told)
        except (ConfigurationError, HistoryBroken) as error:
            if first:
                raise
            self._failed = self._failure(told, error)
        self._identity, self._told, self._revision = identity, told, told.revision
        self._document = self._released.document(self.origin, told.revision)
        self._prepared = None if told.pointer.prepare is None else await self._readied(told.pointer.prepare, told)
        self._voice.hear(told, self._prepared)
        return self._document

    async def _release(self, told: Told) -> Released:
        """What `told` points at, decoded; `EmptiedSource` when it suddenly points at nothing."""
        ref = told.pointer.release
        if ref is None:
            if self._released is not NOTHING and not self._accepting:
                raise EmptiedSource(
                    f"{self.origin.name}: the channel points at no release any more; what runs stays in force",
                    remedy="publish a release, or run `herz accept` if it is meant to be empty",
                )
            self._accepting = False
            return NOTHING
        return await self._decoded(ref, told.revision)

    async def _decoded(self, ref: ReleaseRef, revision: Revision, label: str = "") -> Released:
        found = self._library.known(ref)
        if found is not None:
            return found
        content: Content = await self._link.fetch(ref.digest)
        return await self._library.release(ref, content, revision, label)

    async def _readied(self, ref: ReleaseRef, told: Told) -> Prepared:
        try:
            return Prepared(ref, await self._decoded(ref, told.revision))
        except (ConfigurationError, HistoryBroken) as error:
            return Prepared(ref, None, error)

    def _failure(self, told: Told, error: HerzError) -> Failed:
        return Failed(told.revision, error, error.where or self.origin.name)

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """What is told after revision `after`, which must be the one handed on last."""
        if after != self._revision:
            raise RevisionExpired(f"{self.origin}: revision {after} is not the one read last", remedy="read again")
        async with self._link.follow(after) as words:
            yield self._items(words)

    async def _items(self, words: AsyncIterator[Told | Asked | Alive]) -> AsyncIterator[Item]:
        stood = self._ahead
        prepared = self._preparation()  # the follower may be new, or have missed it
        if prepared is not None or stood:
            yield prepared or Prepare(self._revision, None)
        if self._failed is not None:
            yield self._failed
        async for word in words:
            if isinstance(word, Told):
                for item in await self._taken(word):
                    yield item
            elif isinstance(word, Asked):
                asked = await self._voice.asked(word.ask, self._revision, self._decoded)
                if asked is not None:
                    yield asked
            elif word.revision >= self._revision or not word.current:
                self._revision = max(self._revision, word.revision)
                # What is refused stands; `Progress` would say that it is over.
                standing = None if self._failed is None else Failed(self._revision, *_rest(self._failed))
                yield standing or Progress(self._revision, word.current)

    async def _taken(self, told: Told) -> list[Item]:
        """The items that lead from what was handed on to what is told now."""
        if told.revision < self._revision:
            raise HistoryBroken(
                f"{self.origin}: revision {told.revision} came after revision {self._revision}",
                remedy="nothing of it is applied; what is there is compared with what is held",
            )
        items: list[Item] = []
        before, failed = self._released, self._failed
        wanted = told.pointer.release
        try:
            released = before if wanted is not None and wanted == before.ref else await self._release(told)
        except (ConfigurationError, HistoryBroken) as error:
            if failed is None or wanted != self._told.pointer.release:
                failed = self._failure(told, error)
            items.append(Failed(told.revision, *_rest(failed)))
        else:
            if released is not before:
                items.append(self._change(before, released, told.revision))
            elif failed is not None:
                items.append(Progress(told.revision, current=False))
            failed = None
        prepared = self._prepared
        ref = told.pointer.prepare
        if ref is None or prepared is None or prepared.ref != ref:
            prepared = None if ref is None else await self._readied(ref, told)
        # From here on nothing is awaited: what is handed on and what is held are one.
        moved = prepared is not self._prepared
        refused = failed is not self._failed
        self._told, self._revision, self._failed, self._prepared = told, told.revision, failed, prepared
        if items and isinstance(items[0], Batch | Reset):
            self._released, self._document = released, items[0].document
        if moved:
            items.append(self._preparation() or Prepare(told.revision, None))
        self._voice.hear(told, prepared)
        if refused:
            self._voice.say()
        return items or [Progress(told.revision, current=False)]

    def _change(self, before: Released, after: Released, revision: Revision) -> Batch | Reset:
        document = after.document(self.origin, revision)
        found = step(before, after)
        return Reset(document) if found is None else Batch(revision, found[1], document, found[0])

    def _preparation(self) -> Prepare | None:
        """What stands prepared, as an item to hand on now."""
        prepared = self._prepared
        self._ahead = prepared is not None and prepared.released is not None
        if prepared is None or prepared.released is None:
            return None
        document = prepared.released.document(self.origin, self._revision)
        part, events = step(self._released, prepared.released) or (0, None)
        if self._failed is not None:
            events = None
        return Prepare(self._revision, document, True, events, part)

    async def rescan(self) -> Revision:
        """Look now. Where something else is found than was handed on, it comes with a later revision."""
        return self._revision + await self._link.differs(self._told)

    async def standing(self, after: Revision) -> Standing:
        """Whether the store tells the same story up to `after`."""
        return await self._link.standing(self._identity, after)

    def accept(self) -> tuple[str, ...]:
        """Take it as meant, at the next reading, that the channel points at nothing; what this is about."""
        emptied = self._failed is not None and isinstance(self._failed.error, EmptiedSource)
        self._accepting = emptied
        return (self.origin.name,) if emptied else ()

    # --- what runs ------------------------------------------------------------------------------

    def attach(self, running: Callable[[], Running], graph: Callable[[], Mapping[str, Any]]) -> None:
        """Report what `running` says from now on, and answer questions from it."""
        self._voice.attach(running, graph)

    def moved(self) -> None:
        """What runs may be another than before."""
        self._voice.moved()

    async def detach(self) -> None:
        """Withdraw the report."""
        await self._voice.detach()

    async def close(self) -> None:
        """Let go of the way."""
        await self._link.close()


def _rest(failed: Failed) -> tuple[HerzError, str, int | None, Revision | None]:
    return failed.error, failed.place, failed.part, failed.since


def link_to(address: Address) -> Link:
    """The way that `address` names; each vendor's client is imported when its way is first taken."""
    if address.transport == "http":
        from herz.sources.released_http import HttpLink

        return HttpLink(address)
    from herz.sources.released_store import StoreLink
    from herz.sources.store import StoreSource

    store: Store
    if address.transport == "sqlite":
        from herz.store.sqlite import SqliteStore

        store = SqliteStore(address.store)
        if address.proof_s is not None:
            store.proof_s = address.proof_s
    else:
        store = StoreSource.from_url(address.store).store
    return StoreLink(store, address.app, address.namespace, lambda: address.identity.instance)
