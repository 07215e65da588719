"""The releases of an application as a source: what this instance's channel points at, prepared, put in force, reported.

The channel says which release this instance is to run, and which one to build without using it. A release is handed on
whole or not at all; one that cannot be read is `Failed`, and the last good one stays.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import structs

from herz.errors import ConfigurationError, EmptiedSource, HerzError, HistoryBroken, RevisionExpired
from herz.formats.fault import Limits
from herz.model.document import Batch, Document, Progress, Reset, Revision
from herz.model.origin import Origin
from herz.release.channel import ReleaseRef
from herz.release.content import Content
from herz.release.report import Answer, Ask, AskKind, Graph, Rehearsed, Report
from herz.sources.base import Failed, Item, Prepare, Rehearsal, Running, Standing
from herz.sources.released_content import NOTHING, Library, Released, step
from herz.sources.released_link import Alive, Asked, Link, Told
from herz.sources.released_post import Postbox
from herz.sources.released_report import Failures, Overrides, Said, explained, graph_of, rehearsed, report_of
from herz.sources.released_url import Address
from herz.store.base import Store


class _Prepared(NamedTuple):
    """What is to be built ahead; `released` is None when it cannot even be read, and `error` says why."""

    ref: ReleaseRef
    released: Released | None
    error: HerzError | None = None


class _Build(NamedTuple):
    """A question that asks for a dry build."""

    ask: Ask
    ref: ReleaseRef
    document: Document


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
        self._link, self._now = link, now
        self._library = Library(self.origin, f"{address.app}/{address.namespace}", limits or Limits())
        self._identity = ""
        self._told = Told(-1)
        self._revision: Revision = -1
        self._document = Document(self.origin, -1)
        self._released: Released = NOTHING
        self._failed: Failed | None = None
        self._prepared: _Prepared | None = None
        self._ahead = False
        """Whether the follower has something prepared."""
        self._accepting = False
        self._builds: list[_Build] = []
        self._answered: set[str] = set()
        self._overrides, self._failures = Overrides(), Failures()
        self._running: Callable[[], Running] | None = None
        self._graph: Callable[[], Mapping[str, Any]] = dict
        self._post: Postbox | None = None
        self._posting: asyncio.Task[None] | None = None
        self._process = os.getpid()
        self._started = now()

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
        post = self._post
        return (*self._link.notices, *(() if post is None or post.notice is None else (post.notice,)))

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

    async def _readied(self, ref: ReleaseRef, told: Told) -> _Prepared:
        try:
            return _Prepared(ref, await self._decoded(ref, told.revision))
        except (ConfigurationError, HistoryBroken) as error:
            return _Prepared(ref, None, error)

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
                asked = await self._asked(word.ask)
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
        news = (told.pointer, told.cohort) != (self._told.pointer, self._told.cohort) or failed is not self._failed
        self._told, self._revision, self._failed, self._prepared = told, told.revision, failed, prepared
        if items and isinstance(items[0], Batch | Reset):
            self._released, self._document = released, items[0].document
        if moved:
            items.append(self._preparation() or Prepare(told.revision, None))
        if news:
            self._moved()
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
        if self._process != os.getpid():
            self._process, self._started, self._answered = os.getpid(), self._now(), set()
        self._running, self._graph = running, graph
        self._post = Postbox(self._link, self._report)
        self._link.again = self._post.again
        self._posting = asyncio.get_running_loop().create_task(self._post.run(), name=f"herz reports {self.origin}")

    def moved(self) -> None:
        """What runs may be another than before."""
        self._moved()
        if self._builds and self._running is not None:
            dry = self._running().dry
            for build in [build for build in self._builds if dry is not None and dry.document is build.document]:
                self._builds.remove(build)
                assert dry is not None  # noqa: S101  nothing is chosen without
                self._answer(build.ask, self._outcome(build.ref, dry), dry.rebuilt)

    def _moved(self) -> None:
        if self._post is not None:
            self._post.moved()

    def _report(self) -> tuple[Report, str, Graph]:
        """What runs now, as a report; and the graph that it names."""
        assert self._running is not None  # noqa: S101  nothing is sent before
        running = self._running()
        address, graph = graph_of(self._graph())
        said = Said(self.address, self.address.identity.instance, self._told, self._now(), self._started, address)
        overrides = self._overrides.of(running, running.kind_of)
        prepared = self._rehearsed(running.rehearsal)
        return report_of(running, said, self._library, overrides, prepared, self._failures), address, graph

    def _outcome(self, ref: ReleaseRef, rehearsal: Rehearsal) -> Rehearsed:
        assert self._running is not None  # noqa: S101  nothing is told before
        error = self._failures.text(rehearsal.error, self._running().snapshot, rehearsal.document)
        return rehearsed(ref, rehearsal, error)

    def _rehearsed(self, rehearsal: Rehearsal | None) -> Rehearsed | None:
        """The outcome of what stands prepared, when it is known."""
        prepared = self._prepared
        if prepared is None:
            return None
        if prepared.error is not None:
            rehearsal = Rehearsal(self._document, error=prepared.error)
        elif rehearsal is None or prepared.released is None or rehearsal.document.parts != prepared.released.parts:
            return None
        # It says for which rollout, so that what was built for an earlier one of the same release does not count.
        return structs.replace(self._outcome(prepared.ref, rehearsal), rollout=self._told.pointer.rollout)

    # --- questions ------------------------------------------------------------------------------

    async def _asked(self, ask: Ask) -> Prepare | None:
        """Answer `ask`, once; for a dry build, what has to be built first."""
        if ask.nonce in self._answered or self._running is None:
            return None
        if len(self._answered) > 10_000:
            self._answered.clear()
        self._answered.add(ask.nonce)
        if ask.kind is not AskKind.BUILD or ask.digest is None:
            self._answer(ask)
            return None
        ref = ReleaseRef(number=0, digest=ask.digest, fingerprint="")
        try:
            released = await self._decoded(ref, self._revision, ask.digest.removeprefix("sha256:")[:12])
        except (ConfigurationError, HistoryBroken) as error:
            self._answer(ask, self._outcome(ref, Rehearsal(self._document, error=error)))
            return None
        document = released.document(self.origin, self._revision)
        self._builds.append(_Build(ask, ref, document))
        return Prepare(self._revision, document, keep=False)

    def _answer(self, ask: Ask, built: Rehearsed | None = None, rebuilt: tuple[str, ...] = ()) -> None:
        if self._post is None or self._running is None:
            return
        try:
            report, _, _ = self._report()
            keys = explained(self._running().snapshot, ask.keys) if ask.kind is AskKind.EXPLAIN else ()
        except HerzError:  # Herz stops: who asks hears nothing
            return
        self._post.answer(
            Answer(
                nonce=ask.nonce,
                instance=report.instance,
                report=report,
                explained=keys,
                rehearsed=built,
                rebuilt=rebuilt,
            )
        )

    async def detach(self) -> None:
        """Withdraw the report."""
        posting, self._posting = self._posting, None
        self._running = self._post = None
        self._builds.clear()
        if posting is not None:
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
        await self._link.leave()

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
