"""Rehearsals: the next generation is built before it is wanted, so that putting it in force is an exchange and no more.

The scope has room for one candidate. So what was built gives way to any other change, which is put in force as always,
and is built anew on top of it; where several sources prepare at once, the last one's objects are kept and the others
know that they could be built.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from msgspec import Struct

from herz.app.events import Applied
from herz.app.feed import Feed
from herz.errors import HerzError
from herz.live.refresh import Prepared
from herz.live.scope import Scope
from herz.merge.composition import Composition
from herz.merge.diff import Drift
from herz.model.document import Document
from herz.model.snapshot import Snapshot
from herz.sources.base import Prepare, Rehearsal


class Candidate(Struct):
    """Everything that a commit needs: what is built and validated, and what will be told of it."""

    documents: dict[int, Document]
    waits: Document | None
    composition: Composition
    snapshot: Snapshot
    drift: Drift
    applied: list[Applied]
    merge_ms: float
    prepared: Prepared


class _Standing(NamedTuple):
    feed: Feed
    document: Document
    candidate: Candidate
    declared: int


def same_content(one: Document, other: Document) -> bool:
    """Whether both hold the very same trees, at whatever revisions of their source."""
    if one.parts or other.parts:
        return one.parts == other.parts
    return one.tree is other.tree or not (one.tree or other.tree)


class Rehearsals:
    """What sources asked to have built ahead. All methods are awaited by the updater, one at a time.

    `build` makes a candidate, `fault` an error of what nobody foresaw, `fingerprint` that of a source's document;
    `moved` is called when an outcome is another than before.
    """

    def __init__(
        self,
        scope: Scope,
        build: Callable[[Feed, Prepare], Awaitable[Candidate]],
        *,
        fault: Callable[[Feed, Exception], HerzError],
        fingerprint: Callable[[Feed, Document], str],
        moved: Callable[[], None],
    ) -> None:
        self._scope, self._build, self._fault = scope, build, fault
        self._fingerprint, self._moved = fingerprint, moved
        self._wanted: dict[Feed, Prepare] = {}
        self._standing: _Standing | None = None
        self.due = False
        """Whether something in force has changed since, so that what is wanted must be built `again`."""

    async def take(self, feed: Feed, asked: Prepare) -> None:
        """Build what is `asked`, or let go of it; told in the feed."""
        if asked.document is None:
            withdrawn = self._wanted.pop(feed, None)
            feed.rehearsal = None
            if self._standing is not None and self._standing.feed is feed:
                await self._discard()
            if withdrawn is not None:
                self._moved()
            return
        if not asked.keep:
            await self._discard()
            feed.dry = await self._rehearsed(feed, asked, asked.document)
            await self._discard()
            self.due = self.due or bool(self._wanted)
            self._moved()
            return
        known = self._wanted.get(feed)
        again = known is not None and known.document is not None and same_content(known.document, asked.document)
        if not again or feed.rehearsal is None:
            await self._discard()
            self._wanted[feed] = asked
            feed.rehearsal = await self._rehearsed(feed, asked, asked.document)
        self._moved()

    async def _rehearsed(self, feed: Feed, asked: Prepare, document: Document) -> Rehearsal:
        declared = self._declared()
        try:
            candidate = await self._build(feed, asked)
        except HerzError as error:
            return Rehearsal(document, error=error)
        except Exception as error:  # a fault of a model, a factory or Herz: nothing in force has noticed
            return Rehearsal(document, error=self._fault(feed, error))
        self._standing = _Standing(feed, document, candidate, declared)
        prepared = candidate.prepared
        there = prepared.generation.objects.instances
        return Rehearsal(
            document,
            self._fingerprint(feed, document),
            tuple(one.provider.name for one in prepared.fresh()),
            tuple(one.name for one in self._scope.providers.order if one.provides not in there),
        )

    def _declared(self) -> int:
        """How many classes are declared: one that came later was not thought of."""
        return len(self._scope.providers.properties) + len(self._scope.providers.order)

    def matches(self, feed: Feed, document: Document) -> bool:
        """Whether `document` is what stands built."""
        standing = self._standing
        return (
            standing is not None
            and standing.feed is feed
            and standing.declared == self._declared()
            and same_content(standing.document, document)
        )

    def taken(self) -> Candidate:
        """What stands built, for the commit; it is not wanted any more."""
        assert self._standing is not None  # noqa: S101  asked only when it matches
        standing, self._standing = self._standing, None
        self._done(standing.feed)
        return standing.candidate

    def _done(self, feed: Feed) -> None:
        """What was prepared for `feed` comes into force; others were built on top of something else."""
        self._wanted.pop(feed, None)
        feed.rehearsal = None
        self._outdate()

    async def give_way(self, feed: Feed, document: Document) -> None:
        """Make room for a change that puts `document` in force; what is still wanted is built again after it."""
        if self._standing is None and not self._wanted:
            self.due = False
            return
        await self._discard()
        asked = self._wanted.get(feed)
        if asked is not None and asked.document is not None:
            if same_content(asked.document, document):
                self._done(feed)
            else:  # its events were told against another document
                self._wanted[feed] = asked._replace(events=None)
        self._outdate()

    def _outdate(self) -> None:
        for feed in self._wanted:
            feed.rehearsal = None
        self.due = bool(self._wanted)

    async def again(self) -> None:
        """Build what is wanted anew, on top of what is in force now."""
        self.due = False
        for feed, asked in list(self._wanted.items()):
            if asked.document is not None:
                await self._discard()
                feed.rehearsal = await self._rehearsed(feed, asked, asked.document)
        self._moved()

    async def _discard(self) -> None:
        standing, self._standing = self._standing, None
        if standing is not None:
            await standing.candidate.prepared.discard()
