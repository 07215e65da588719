"""Feeds: each source's place in the merge, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from herz.errors import ConfigurationError, HerzError
from herz.model.document import Document, Revision
from herz.model.layer import Layer
from herz.sources.base import Failed, Rehearsal, Remote, Source
from herz.watch.core import State
from herz.watch.session import Session


@dataclass(slots=True)
class Refusal:
    """A document that was read but could not be put in force; it waits to be tried again."""

    document: Document
    error: HerzError
    revision: Revision
    since_s: float
    attempts: int = 1
    retry_at_s: float | None = None


@dataclass(slots=True, eq=False)
class Feed:
    """One source: the document in force, what is wrong with newer ones, and how far it has been dealt with.

    `accepted` is in force; it is empty where an optional source is missing, and a copy from disk while
    `from_last_good`; `unread` says that an optional place could not be read yet. `handled` is the revision up to which
    everything handed on was applied, refused or reported; `told` is the failure that listeners heard of last. `seen_s`
    is when the source last proved what it holds, on the engine's clock. `rehearsal` is how building ahead went, while
    that is wanted; `dry` how the last dry build did.
    """

    name: str
    source: Source
    accepted: Document
    handled: Revision = 0
    seen_s: float = 0.0
    failure: Failed | None = None
    told: str | None = None
    refused: Refusal | None = None
    from_last_good: bool = False
    rewound: bool = False
    unread: bool = False
    session: Session | None = None
    waiting: int = 0
    rehearsal: Rehearsal | None = None
    dry: Rehearsal | None = None
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def keyed(self) -> bool:
        """Whether each key of this source stands for itself, so that a refused one need not hold up the next."""
        return bool(getattr(self.source, "keyed", False))

    @property
    def error(self) -> HerzError | None:
        """What is wrong now, if anything: with what it holds, with what it held last, or with reaching it."""
        if self.refused is not None:
            return self.refused.error
        if self.failure is not None:
            return self.failure.error
        return self.session.error if self.session is not None else None

    @property
    def holds_unusable(self) -> bool:
        """Whether something newer is there and cannot be used; not that the place is out of reach."""
        if self.refused is not None or self.failure is not None:
            return True
        return self.session is not None and isinstance(self.session.error, ConfigurationError)

    def mended(self) -> None:
        """What failed may be over: over when this comes twice without the same failure between, and then told anew."""
        if self.failure is None:
            self.told = None
        self.failure = None

    async def settled(self, revision: Revision | None = None) -> Revision:
        """Wait until what was handed on (up to `revision`, when given) has been dealt with."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.waiting == 0 if revision is None else self.handled >= revision)
        return self.handled

    async def arrived(self, revision: Revision) -> None:
        """`settled`, for a place that may be out of reach: raises why `revision` cannot come, after two attempts.

        A session that waits for its next attempt is hurried. The first failure may be that of a watch that died
        unnoticed, with a connection that is gone.
        """
        session, failures = self.session, 0
        if session is None or not isinstance(self.source, Remote):
            await self.settled(revision)
            return
        dealt = asyncio.ensure_future(self.settled(revision))
        try:
            while not (dealt.done() and session.state is State.ACTIVE):
                if session.state is not State.ACTIVE:
                    session.hurry()
                ended = session.outcome()
                both: set[asyncio.Future[Any]] = {ended} if dealt.done() else {ended, dealt}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                error = ended.result() if ended.done() else None
                ended.cancel()
                failures += error is not None
                if error is not None and failures > 1:
                    raise error.with_traceback(None)
        finally:
            dealt.cancel()

    def layers(self, document: Document, rank: int) -> list[Layer]:
        """The layers that `document` makes, ranked from `rank`."""
        return [
            Layer(part.origin.name, part, rank + index, self.name, local=self.source.local)
            for index, part in enumerate(document.parts or (document,))
        ]


def layers_of(feeds: Sequence[Feed], documents: Sequence[Document]) -> tuple[Layer, ...]:
    """All layers, lowest rank first: the feeds in their order, each with its document's parts in theirs."""
    layers: list[Layer] = []
    for feed, document in zip(feeds, documents, strict=True):
        layers += feed.layers(document, len(layers))
    return tuple(layers)
