"""What a source of releases asks of the way to its channel: over HTTP to `herz serve`, or straight from a store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol, TypeAlias

from herz.errors import HistoryBroken
from herz.model.document import Revision
from herz.release.channel import STABLE, Pointer
from herz.release.content import Content, digest_of
from herz.release.report import Answer, Ask, Graph, Report
from herz.sources.base import Standing

CONTENTS: Final = 4
"""Contents that are kept: what runs, what is prepared, what was before."""


class Told(NamedTuple):
    """What this instance is to run and to build, as of `revision` of the store."""

    revision: Revision
    cohort: str = STABLE
    pointer: Pointer = Pointer()


class Asked(NamedTuple):
    """A question that stands, and concerns this instance."""

    ask: Ask


class Alive(NamedTuple):
    """Nothing up to `revision` is missing. Not `current` is a sign of life only."""

    revision: Revision
    current: bool = True


Word: TypeAlias = Told | Asked | Alive


class Contents:
    """The contents fetched last, each proved by its digest."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Content] = OrderedDict()

    @property
    def digests(self) -> tuple[str, ...]:
        """What is held, the one used last first."""
        return tuple(reversed(self._held))

    def get(self, digest: str) -> Content | None:
        """The content, if it is held."""
        found = self._held.get(digest)
        if found is not None:
            self._held.move_to_end(digest)
        return found

    def keep(self, digest: str, content: Content, where: str) -> None:
        """Hold `content`; `HistoryBroken` when it is not what `digest` says."""
        found = digest_of(content)
        if found != digest:
            raise HistoryBroken(
                f"content {digest[:19]} was announced, and {found[:19]} came",
                where=where,
                remedy="nothing of it is used; it is fetched again",
            )
        self._held[digest] = content
        while len(self._held) > CONTENTS:
            self._held.popitem(last=False)


class Link(Protocol):
    """The way to a channel. Everything raises what a `Store` does, `SourceUnavailable` and `SourceDenied` above all."""

    contents: Contents
    again: Callable[[], None]
    """Called when what was reported may be gone: it is to be sent again."""

    @property
    def proof_s(self) -> float:
        """Seconds within which a healthy way brings something."""

    @property
    def renew_s(self) -> float | None:
        """How often `renew` is due; None where nothing has to be renewed."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What should be looked at, for people."""

    async def read(self) -> tuple[str, Told]:
        """The identity of the store, and what is told now, linearizably."""

    def follow(self, after: Revision) -> AbstractAsyncContextManager[AsyncIterator[Word]]:
        """What is told after revision `after`; what was told before may come again."""

    async def standing(self, identity: str, after: Revision) -> Standing:
        """Where the store stands, for a follower that has `after` of the store `identity`."""

    async def differs(self, told: Told) -> bool:
        """Whether a look now finds something else than was `told`, which is going to be told."""

    async def fetch(self, digest: str) -> Content:
        """A content, proved by its digest. `HistoryBroken` when it is damaged."""

    async def report(self, report: Report) -> None:
        """Replace this instance's report. `Conflict` when another process reports under its name."""

    async def answer(self, answer: Answer) -> None:
        """Answer a question."""

    async def describe(self, digest: str, graph: Graph) -> None:
        """Leave a graph at its address."""

    async def renew(self) -> None:
        """Keep the report alive."""

    async def leave(self) -> None:
        """Withdraw the report, as far as that can be done now."""

    async def close(self) -> None:
        """Let go of everything."""
