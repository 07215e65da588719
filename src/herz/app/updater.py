"""The updater: takes what sources hand on, one item after the other, and puts it in force whole or not at all.

The order of one update: merge → differ → bind → build → swap → notify. Everything up to the swap may
fail and leaves what is in force untouched. A document that is refused waits: it is tried again with every
later change first, then without it, so that one bad document never holds up another's fixes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from immutables import Map
from msgspec import Struct, structs

from herz.app.events import Applied, Rejected
from herz.app.feed import Feed, Refusal
from herz.app.models import Models
from herz.app.proposal import Proposal, again, ahead, proposals, revision_of
from herz.app.rehearsal import Candidate, Rehearsals
from herz.app.reporting import Reporting
from herz.errors import BuildError, HerzError
from herz.formats.pace import EDIT_S, SLICE_S, Pace, Pause, uncollected
from herz.live.dispatcher import Dispatcher
from herz.live.refresh import Refresh
from herz.live.scope import Scope
from herz.merge.composition import Composition
from herz.merge.diff import Drift, counted
from herz.model.document import Batch, Document, Event, Progress, Reset, Revision
from herz.model.snapshot import Snapshot
from herz.sources.base import Failed, Item, Prepare, Remote
from herz.watch.backoff import delay_s

logger = logging.getLogger("herz")

FOLD: Final = 256
"""Revisions of one source that one rebuilding of objects covers at most."""
QUEUE: Final = 1024
"""Items that wait at most; then sources are not asked for more."""

RECENT: Final = 512
"""Revisions that are remembered at most,"""
RECENT_EVENTS: Final = 4_096
"""and changed leaves in them: each keeps its part of a tree alive, which the collector then has to look through."""


class _Merged(Struct):
    """What a proposal makes of the values, before any object is built from them."""

    composition: Composition
    snapshot: Snapshot
    events: Sequence[Event]
    drift: Drift
    applied: list[Applied]
    merge_ms: float


class Updater:
    """Owns what is in force. Its methods run on the engine's loop; `snapshot` and `recent` may be read anywhere."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        composition: Composition,
        scope: Scope,
        models: Models,
        dispatcher: Dispatcher,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        applied: Callable[[], None],
        reporting: Reporting | None = None,
    ) -> None:
        self.feeds = list(feeds)
        self.composition = composition
        self.recent: deque[Applied] = deque()
        self._remembered = 0
        self.refreshes: deque[tuple[Refresh, float]] = deque(maxlen=64)
        """The last refreshes, each with the milliseconds that merging took before it."""
        self.epoch = int(any(feed.rewound for feed in feeds))
        self.generation = 1
        self.rejected = 0
        self.frozen = False
        self._scope, self._models, self._dispatcher = scope, models, dispatcher
        self._clock, self._chance, self._applied = clock, chance, applied
        self._reporting = reporting or Reporting(feeds, scope, models.kind_of)
        self._rehearsals = Rehearsals(
            scope,
            self._built_ahead,
            fault=_internal,
            fingerprint=self._reporting.fingerprint_of,
            moved=self._reporting.moved,
        )
        self._drift: Drift = Map()
        self._items: deque[tuple[Feed, Item]] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.snapshot = self._snapshot(composition, self.generation)
        self.published = threading.Condition()

    def _snapshot(self, composition: Composition, generation: int) -> Snapshot:
        revisions = Map({feed.name: feed.accepted.revision for feed in self.feeds})
        return Snapshot(composition, generation=generation, revisions=revisions, epoch=self.epoch, binder=self._models)

    # --- taking items -------------------------------------------------------------------------

    async def deliver(self, feed: Feed, item: Item) -> None:
        """Queue `item`; waits while the queue is full, so that memory stays bounded."""
        while len(self._items) >= QUEUE:
            self._room.clear()
            await self._room.wait()
        feed.waiting += 1
        self._items.append((feed, item))
        self._arrived.set()

    def freeze(self, frozen: bool) -> None:
        """Put nothing in force until thawed; what sources hand on waits."""
        self.frozen = frozen
        if frozen:
            self._thawed.clear()
        else:
            self._thawed.set()

    async def run(self) -> None:
        """Take items until cancelled."""
        pause = Pace()
        while True:
            if not self._items and self._rehearsals.due:
                await self._thawed.wait()
                await self._rehearsals.again()
                continue
            if not self._items:
                self._arrived.clear()
                try:
                    if (wait_s := self._until_retry()) is None:
                        await self._arrived.wait()
                    else:
                        async with asyncio.timeout(wait_s):
                            await self._arrived.wait()
                except TimeoutError:
                    await self._thawed.wait()
                    await self._retry()
                    continue
            await self._thawed.wait()
            await self._take()
            pause()  # after the change is in force: readers go first before the next

    async def _take(self) -> None:
        feed, item = self._items.popleft()
        taken, failure = 1, feed.failure
        try:
            if isinstance(item, Failed):
                await self._failed(feed, item)
            elif isinstance(item, Progress):
                feed.mended()
            elif isinstance(item, Prepare):
                await self._rehearsals.take(feed, item)
            else:
                items = self._folded(feed, item) if self._items else [item]
                taken = len(items)
                if not items[-1].waits:
                    feed.mended()
                self.epoch += isinstance(item, Reset) and _rewound(feed, item)
                item = items[-1]
                await self._apply(feed, items)
        except Exception as error:  # nothing of this item can be kept for another try: only the next one helps
            self._unusable(feed, item, _internal(feed, error, remedy="the next change is taken as usual"))
        finally:
            self._room.set()
            feed.waiting -= taken
            feed.seen_s = self._clock()
            feed.handled = revision_of(item, feed.handled)
            async with feed.moved:
                feed.moved.notify_all()
            if not isinstance(item, Batch | Reset):  # who waits for a revision of those was told
                with self.published:
                    self.published.notify_all()
            if feed.failure is not failure:
                self._reporting.moved()

    def _folded(self, feed: Feed, item: Batch | Reset) -> list[Batch | Reset]:
        """`item` and the batches that wait right behind it, taken from the queue, which are put in force together."""
        items = [item]
        # While something is refused the whole document is tried, which is one step: it must be one revision's.
        refused = any(other.refused is not None for other in self.feeds)
        if refused or self._rehearsals.matches(feed, item.document):
            return items
        while self._items and len(items) < FOLD:
            other, following = self._items[0]
            if other is not feed or not isinstance(following, Batch):
                break
            items.append(following)
            self._items.popleft()
        return items

    def _unusable(self, feed: Feed, item: Item, error: BuildError) -> None:
        revision = revision_of(item, feed.handled)
        feed.failure = Failed(revision, error, feed.name)
        self._reject(feed, revision, error)

    async def _failed(self, feed: Feed, failed: Failed) -> None:
        text = str(failed.error)  # one that cannot be printed must not get into health
        feed.failure = failed
        if feed.told != text:
            feed.told = text
            self._reject(feed, failed.revision, failed.error)

    def _reject(self, feed: Feed, revision: Revision, error: HerzError) -> None:
        self.rejected += 1
        logger.error("%s: revision %s refused, keeping generation %s: %s", feed.name, revision, self.generation, error)
        self._dispatcher.fire("rejected", Rejected(feed.name, revision, error))
        self._reporting.moved()
        with self.published:
            self.published.notify_all()

    # --- putting in force ---------------------------------------------------------------------

    async def _apply(self, feed: Feed, items: list[Batch | Reset]) -> None:
        last = items[-1]
        refused: HerzError | None = None
        if len(items) == 1 and self._rehearsals.matches(feed, last.document) and await self._flipped(feed, last):
            return
        for proposal in proposals(self.feeds, self.composition, feed, items):
            try:
                await self._put_in_force(feed, proposal)
            except HerzError as error:
                refused = refused or error
                continue
            except Exception as error:  # a fault of a model, a source or Herz: it must not end all updates
                refused = refused or _internal(feed, error)
                continue
            return
        if len(items) > 1:  # one of them is bad: the others need not suffer
            for item in items:
                await self._apply(feed, [item])
            return
        assert refused is not None  # noqa: S101  there is always a proposal, and it either returned or raised
        self._refuse(feed, last.document, revision_of(last), refused)

    async def _put_in_force(self, feed: Feed, proposal: Proposal) -> None:
        await self._rehearsals.give_way(feed, proposal.documents[self.feeds.index(feed)])
        await self._commit(await self._built(feed, proposal))

    async def _built(self, feed: Feed, proposal: Proposal) -> Candidate:
        """The next generation for `proposal`, complete and valid; whatever fails, nothing in force has noticed."""
        pause = Pace(EDIT_S if proposal.small else SLICE_S)
        if proposal.small:
            merged = self._merged(feed, proposal, pause)
        else:
            with uncollected():
                merged = self._merged(feed, proposal, pause)
        pause()
        prepared = await self._scope.prepare(merged.snapshot, merged.events)
        pause()
        return Candidate(
            proposal.documents,
            proposal.waits,
            merged.composition,
            merged.snapshot,
            merged.drift,
            merged.applied,
            merged.merge_ms,
            prepared,
        )

    def _merged(self, feed: Feed, proposal: Proposal, pause: Pause) -> _Merged:
        started = time.perf_counter()
        steps = proposal.steps()
        merge_ms = (time.perf_counter() - started) * 1000
        pause()
        events = steps[0].events if len(steps) == 1 else [event for step in steps for event in step.events]
        number, drift = self.generation, self._drift
        applied: list[Applied] = []
        for step in steps:
            number += 1
            counting, drift = counted(step.events, self._models.kind_of, drift, pause)
            applied.append(
                Applied(
                    feed.name,
                    step.revision,
                    number,
                    step.reset,
                    len(counting),
                    (tuple(counting), step.composition.told()),
                    feed.source.origin.name,
                    self.epoch,
                )
            )
        composition = steps[-1].composition
        snapshot = self._next(composition, number, proposal.documents)
        return _Merged(composition, snapshot, events, drift, applied, merge_ms)

    def _next(self, composition: Composition, generation: int, documents: dict[int, Document]) -> Snapshot:
        revisions = self.snapshot.revisions
        for at, document in documents.items():
            revisions = revisions.set(self.feeds[at].name, document.revision)  # type: ignore[attr-defined]
        return Snapshot(composition, generation=generation, revisions=revisions, epoch=self.epoch, binder=self._models)

    async def _commit(self, candidate: Candidate) -> None:
        try:
            report = await candidate.prepared.commit()
        except Exception:
            await candidate.prepared.discard()
            raise
        # From the commit to the last announcement nothing is awaited and nothing can fail.
        self.composition, self.snapshot, self._drift = candidate.composition, candidate.snapshot, candidate.drift
        self.generation = candidate.snapshot.generation
        for at, document in candidate.documents.items():
            accepted = self.feeds[at]
            accepted.accepted, accepted.from_last_good, accepted.unread = document, False, False
            if candidate.waits is None:
                accepted.refused = None
            elif accepted.refused is not None:
                accepted.refused.document = candidate.waits
        self.refreshes.append((report, candidate.merge_ms))
        for one in candidate.applied:
            self.recent.append(one)
            self._remembered += one.count
            if one.count or one.reset:
                self._dispatcher.fire("applied", one)
        self._applied()
        self._reporting.moved()
        with self.published:
            self.published.notify_all()
        pause = Pace(SLICE_S)
        while len(self.recent) > RECENT or (self._remembered > RECENT_EVENTS and len(self.recent) > 1):
            pause()  # a thousand tables, freed in one go, hold the GIL for a millisecond
            self._remembered -= self.recent.popleft().count

    # --- building ahead -----------------------------------------------------------------------

    async def _built_ahead(self, feed: Feed, asked: Prepare) -> Candidate:
        """A candidate for what is `asked`, on top of what is in force."""
        return await self._built(feed, ahead(self.feeds, self.composition, feed, asked))

    async def _flipped(self, feed: Feed, item: Batch | Reset) -> bool:
        """Put in force what was built for `item` ahead; False when it cannot be any more, and is to be built anew."""
        candidate = self._rehearsals.taken()
        documents = {self.feeds.index(feed): item.document}
        snapshot = self._next(candidate.composition, self.generation + 1, documents)
        candidate.prepared.generation.snapshot = snapshot
        for one in candidate.applied:
            one.revision, one.epoch = revision_of(item), self.epoch
            one.reset = isinstance(item, Reset) and bool(item.reason)
        try:
            await self._commit(structs.replace(candidate, documents=documents, snapshot=snapshot))
        except HerzError:  # an object was first used meanwhile, and cannot be built
            return False
        for other in self.feeds:  # what is refused is tried again with every change
            if other.refused is not None:
                other.refused.retry_at_s = self._clock()
        return True

    # --- refusing and trying again ------------------------------------------------------------

    def _refuse(self, feed: Feed, document: Document, revision: Revision, error: HerzError) -> None:
        attempts = 1 if feed.refused is None or feed.refused.document is not document else feed.refused.attempts + 1
        again = self._clock() + delay_s(attempts - 1, self._chance) if isinstance(error, BuildError) else None
        feed.refused = Refusal(document, error, revision, self._clock(), attempts, again)
        self._reject(feed, revision, error)

    def _until_retry(self) -> float | None:
        due = [feed.refused.retry_at_s for feed in self.feeds if feed.refused and feed.refused.retry_at_s is not None]
        return max(0.0, min(due) - self._clock()) if due else None

    async def _retry(self) -> None:
        """Try the refused documents again whose time has come: factories fail for passing reasons."""
        for index, feed in enumerate(self.feeds):
            refusal = feed.refused
            if refusal is None or refusal.retry_at_s is None or refusal.retry_at_s > self._clock():
                continue
            try:
                await self._put_in_force(feed, again(self.feeds, self.composition, index, refusal))
            except HerzError as error:
                self._refuse(feed, refusal.document, refusal.revision, error)
            except Exception as error:
                self._refuse(feed, refusal.document, refusal.revision, _internal(feed, error))


def _rewound(feed: Feed, reset: Reset) -> bool:
    """Whether a new epoch begins: the place went back, perhaps behind the copy on disk that this life started from."""
    if reset.rewound or not (feed.from_last_good and isinstance(feed.source, Remote)):
        return reset.rewound
    before, now = feed.accepted.revision, reset.document.revision
    if now < before:
        logger.critical("%s: REWOUND: at revision %s, and the last-good copy has %s", feed.name, now, before)
    return now < before


def _internal(feed: Feed, error: Exception, remedy: str = "it is tried again by itself") -> BuildError:
    """What nobody foresaw, as a refusal. The log has its traceback; its text, which may hold a secret, is left out."""
    logger.error("%s: internal error while a change was put in force", feed.name, exc_info=error)
    return BuildError(f"internal error: {type(error).__name__}: see the log", where=feed.name, remedy=remedy)
