"""What an instance says: reports of what runs, and answers to questions, both from what runs at that moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from msgspec import structs

from herz.errors import ConfigurationError, HerzError, HistoryBroken
from herz.model.document import Document, Revision
from herz.model.origin import Origin
from herz.release.channel import ReleaseRef
from herz.release.report import Answer, Ask, AskKind, Graph, Rehearsed, Report
from herz.sources.base import Prepare, Rehearsal, Running
from herz.sources.released_content import Library, Prepared, Released
from herz.sources.released_link import Link, Told
from herz.sources.released_post import Postbox
from herz.sources.released_report import Failures, Overrides, Said, explained, graph_of, rehearsed, report_of, told_of
from herz.sources.released_url import Address

ANSWERED: Final = 10_000
"""Questions that are remembered, so that none is answered twice."""

EARLY: Final = 64
"""Questions that are kept until there is something to answer."""


class _Build(NamedTuple):
    """A question that asks for a dry build."""

    ask: Ask
    ref: ReleaseRef
    document: Document


class Voice:
    """Speaks for one source over its `link`, once it is attached. `now` gives the time that reports carry.

    `told` and `prepared` are what the source has heard last.
    """

    def __init__(
        self, address: Address, origin: Origin, link: Link, library: Library, now: Callable[[], datetime]
    ) -> None:
        self.told = Told(-1)
        self.prepared: Prepared | None = None
        self._address, self._origin, self._link, self._library, self._now = address, origin, link, library, now
        self._builds: list[_Build] = []
        self._answered: set[str] = set()
        self._early: list[Ask] = []
        self._overrides, self._failures = Overrides(), Failures()
        self._running: Callable[[], Running] | None = None
        self._graph: Callable[[], Mapping[str, Any]] = dict
        self._post: Postbox | None = None
        self._posting: asyncio.Task[None] | None = None
        self._process = os.getpid()
        self._started = now()

    @property
    def notice(self) -> str | None:
        """Why nothing can be reported, if it cannot."""
        return None if self._post is None else self._post.notice

    def hear(self, told: Told, prepared: Prepared | None) -> None:
        """Something is told, and will be reported on."""
        moved = (told.pointer, told.cohort) != (self.told.pointer, self.told.cohort) or prepared is not self.prepared
        self.told, self.prepared = told, prepared
        if moved:
            self.say()

    def say(self) -> None:
        """What is reported may be another than before."""
        if self._post is not None:
            self._post.moved()

    def attach(self, running: Callable[[], Running], graph: Callable[[], Mapping[str, Any]]) -> None:
        """Report what `running` says from now on, and answer questions from it."""
        if self._process != os.getpid():
            self._process, self._started, self._answered = os.getpid(), self._now(), set()
        self._running, self._graph = running, graph
        self._post = Postbox(self._link, self._report)
        self._link.again = self._post.again
        self._posting = asyncio.get_running_loop().create_task(self._post.run(), name=f"herz reports {self._origin}")
        early, self._early = self._early, []
        for ask in early:
            self._answer(ask)

    def moved(self) -> None:
        """What runs may be another than before."""
        self.say()
        if self._builds and self._running is not None:
            dry = self._running().dry
            for build in [build for build in self._builds if dry is not None and dry.document is build.document]:
                self._builds.remove(build)
                assert dry is not None  # noqa: S101  nothing is chosen without
                self._answer(build.ask, self._outcome(build.ref, dry), dry.rebuilt)

    def _report(self) -> tuple[Report, str, Graph]:
        """What runs now, as a report; and the graph that it names."""
        assert self._running is not None  # noqa: S101  nothing is sent before
        running = self._running()
        address, graph = graph_of(self._graph())
        said = Said(self._address, self._address.identity.instance, self.told, self._now(), self._started, address)
        overrides = self._overrides.of(running, running.kind_of)
        prepared = self._rehearsed(running.rehearsal)
        return report_of(running, said, self._library, overrides, prepared, self._failures), address, graph

    def _outcome(self, ref: ReleaseRef, rehearsal: Rehearsal) -> Rehearsed:
        assert self._running is not None  # noqa: S101  nothing is told before
        error = self._failures.text(rehearsal.error, self._running().snapshot, rehearsal.document)
        return rehearsed(ref, rehearsal, error)

    def _rehearsed(self, rehearsal: Rehearsal | None) -> Rehearsed | None:
        """The outcome of what stands prepared, when it is known."""
        prepared = self.prepared
        if prepared is None:
            return None
        self._library.known(prepared.ref)  # it is in use, and stays
        if prepared.error is not None:
            rehearsal = Rehearsal(Document(self._origin, self.told.revision), error=prepared.error)
        elif rehearsal is None or prepared.released is None or rehearsal.document.parts != prepared.released.parts:
            return None
        # It says for which rollout, so that what was built for an earlier one of the same release does not count.
        return structs.replace(self._outcome(prepared.ref, rehearsal), rollout=self.told.pointer.rollout)

    # --- questions ------------------------------------------------------------------------------

    async def asked(
        self, ask: Ask, revision: Revision, decoded: Callable[[ReleaseRef, Revision, str], Awaitable[Released]]
    ) -> Prepare | None:
        """Answer `ask`, once; for a dry build, what has to be built first, of what `decoded` gives."""
        if self._running is None:  # it is answered as soon as anything can be said
            if ask.kind is not AskKind.BUILD and ask not in self._early:
                self._early = [*self._early[-EARLY:], ask]
            return None
        if ask.nonce in self._answered:
            return None
        if len(self._answered) >= ANSWERED:
            self._answered.clear()
        self._answered.add(ask.nonce)
        if ask.kind is not AskKind.BUILD or ask.digest is None:
            self._answer(ask)
            return None
        ref = ReleaseRef(number=0, digest=ask.digest, fingerprint="")
        try:
            released = await decoded(ref, revision, ask.digest.removeprefix("sha256:")[:12])
        except (ConfigurationError, HistoryBroken) as error:
            self._answer(ask, self._outcome(ref, Rehearsal(Document(self._origin, revision), error=error)))
            return None
        document = released.document(self._origin, revision)
        self._builds.append(_Build(ask, ref, document))
        return Prepare(revision, document, keep=False)

    def _answer(self, ask: Ask, built: Rehearsed | None = None, rebuilt: tuple[str, ...] = ()) -> None:
        if self._post is None or self._running is None:
            return
        try:
            report, _, _ = self._report()
            running = self._running()
            keys = explained(running.snapshot, ask.keys) if ask.kind is AskKind.EXPLAIN else ()
            sources = told_of(running.sources(), running.snapshot) if ask.sources else ()
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
                sources=sources,
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
