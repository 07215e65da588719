"""The fleet: what instances say of themselves, taken only from whom it is about, kept as long as they are connected.

A report is taken when it comes with the session of the stream that its instance has open. It is kept here as well as
in the store, so that whatever the store loses with a lease is written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final

from msgspec import structs

from herz.errors import UsageError
from herz.release.record import encode
from herz.release.report import Answer, Graph, Report
from herz.server.access import Caller, require
from herz.server.asks import OVER_S
from herz.server.batches import Batches
from herz.server.clock import Clock
from herz.server.counts import Counts
from herz.server.delivery import LINGER_S, Delivery
from herz.server.hub import Happened, Hub, Name
from herz.server.leases import ServerLease
from herz.server.problems import Problem
from herz.server.registered import registered
from herz.server.stream import Stream
from herz.server.tokens import Scope
from herz.server.twins import REMEMBERED_S, Twins
from herz.store.base import Compare, Put, Store, Txn
from herz.store.plane import ANSWERS, answer_key, graph_key, report_key

TTL_S: Final = 15.0
"""Seconds that the report of an instance outlives its connection, or its server."""
REPORT_BYTES: Final = 256 * 1024
"""What one report or answer may hold."""
TEXT: Final = 4_000
"""Characters that an instance's error may have."""


class Fleet:
    """The reports and answers of the instances connected here, on their way to the store.

    `answered` is called with each answer that was taken, before it is in the store; when it says True, whoever asked
    has it already, and the store need not.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        delivery: Delivery,
        clock: Clock,
        counts: Counts,
        *,
        server: str,
        ttl_s: float = TTL_S,
    ) -> None:
        self.answered: Callable[[Name, Answer], bool] = lambda name, answer: False
        self.lease = ServerLease(store, ttl_s)
        self.ttl_s = ttl_s
        self._store, self._hub, self._delivery, self._clock, self._counts = store, hub, delivery, clock, counts
        self._server = server
        self._batches = Batches(store, self.lease, counts)
        self._batches.wanted = self._wanted
        self._reports: dict[str, bytes] = {}
        """The reports of instances that are connected here, or were a moment ago."""
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._silent: set[str] = set()
        """Those of them whose stream is gone: they may speak for themselves elsewhere by now."""
        self._twins = Twins()
        self._graphs: set[str] = set()
        self.lease.renewed = self._renewed
        delivery.joined, delivery.left = self._joined, self._left
        hub.on_change(self._happened)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what instances say, while this lasts. The lease is left to end by itself: they go on elsewhere."""
        async with self.lease.held(), self._batches.writing():
            try:
                yield
            finally:
                for timer in self._leaving.values():
                    timer.cancel()

    # --- what instances say -----------------------------------------------------------------------

    def report(self, name: Name, instance: str, session: str | None, report: Report) -> None:
        """Take a report; a `Problem` 409 from another stream than the instance's own, `UsageError` when it misfits."""
        self._keep(self._checked(name, instance, session, report), report)

    def _keep(self, key: str, report: Report) -> None:
        judged = self._twins.judged(key, report, self._clock.monotonic())
        value = encode(registered(judged, self._clock.now(), self._server))
        self._reports[key] = value
        self._batches.put(key, value)
        if judged is not report:  # the instance need not say anything more, once it is alone
            asyncio.get_running_loop().call_later(REMEMBERED_S + 1, self._judge_again, key, value, report)

    def _judge_again(self, key: str, value: bytes, report: Report) -> None:
        if self._reports.get(key) is value:
            self._keep(key, report)

    def answer(self, name: Name, nonce: str, instance: str, session: str | None, answer: Answer) -> None:
        """Take an answer; a `Problem` 410 when the question is not open any more, or never was."""
        key = self._checked(name, instance, session, answer.report)
        if (answer.nonce, answer.instance) != (nonce, instance):
            raise self._misfit("the answer names another question or instance than its address")
        if not self._open(name, nonce):
            raise self._refuse(
                "no-such-question", Problem(410, "no-such-question", "this question is not open", remedy="drop it")
            )
        report = self._twins.judged(key, answer.report, self._clock.monotonic())
        if report is not answer.report:
            answer = structs.replace(answer, report=report)
        if not self.answered(name, answer):
            self._batches.put(answer_key(*name, nonce, instance), encode(answer))

    async def graph(self, digest: str, graph: Graph) -> None:
        """Keep a dependency graph; `UsageError` when it is not what its digest says."""
        if digest != digest_of(graph):
            raise self._misfit("the graph is not what its digest says")
        if digest in self._graphs:
            return
        key = graph_key(digest)
        await self._store.txn(Txn((Compare.absent(key),), (Put(key, encode(graph)),)))
        if len(self._graphs) > 10_000:
            self._graphs.clear()
        self._graphs.add(digest)

    def _checked(self, name: Name, instance: str, session: str | None, report: Report) -> str:
        """The key of its report, when the instance itself says this here."""
        key = report_key(*name, instance)
        if (report.app, report.namespace, report.instance) != (*name, instance):
            raise self._misfit("the report is about another instance than its address")
        if report.time.tzinfo is None:
            raise self._misfit(f"the report's time {report.time} names no time zone")
        if len(report.error or "") > TEXT:
            raise self._misfit(f"the report's error has more than {TEXT:,} characters")
        try:
            self._delivery.speaking(name, instance, session)
        except Problem as problem:
            raise self._refuse(problem.kind, problem) from None
        return key

    def _misfit(self, what: str) -> UsageError:
        self._counts.refused["misfit"] += 1
        return UsageError(what, remedy="send what the instance runs, to its own address")

    def _refuse(self, reason: str, problem: Problem) -> Problem:
        self._counts.refused[reason] += 1
        return problem

    def _open(self, name: Name, nonce: str) -> bool:
        stood_s = self._hub.stood_s(name, nonce)
        return stood_s is not None and stood_s <= OVER_S

    # --- who comes and goes -----------------------------------------------------------------------

    def _joined(self, name: Name, stream: Stream) -> None:
        key = report_key(*name, stream.instance)
        self._silent.discard(key)
        timer = self._leaving.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _left(self, name: Name, stream: Stream) -> None:
        key = report_key(*name, stream.instance)
        if key in self._reports:
            if stream.waits:
                self._silent.add(key)
            ttl_s = self.ttl_s if stream.waits else max(self.ttl_s, LINGER_S)
            self._leaving[key] = asyncio.get_running_loop().call_later(ttl_s, self._gone, key)

    def _gone(self, key: str) -> None:
        self._leaving.pop(key, None)
        self._silent.discard(key)
        self._twins.forget(key)
        if self._reports.pop(key, None) is not None:
            self._batches.delete(key)

    def _happened(self, happened: Happened) -> None:
        """Write again what was deleted of instances that are connected here, as with a lease that was lost."""
        namespace = happened.namespace
        for instance in happened.reports:
            if instance not in namespace.reports:
                key = report_key(namespace.app, namespace.name, instance)
                if key in self._reports and key not in self._silent:
                    self._batches.put(key, self._reports[key])

    def _renewed(self, lease: int) -> None:
        """A new lease: whatever hung on the one before may be gone."""
        for key, value in self._reports.items():
            self._batches.put(key, value)
        self._batches.look()

    def _wanted(self, key: str) -> bool:
        """Whether a report is still that of an instance connected here, an answer that to an open question."""
        if not key.startswith(ANSWERS):
            return key in self._reports and key not in self._silent
        app, namespace, nonce, _ = key.removeprefix(ANSWERS).split("/")
        return self._open((app, namespace), nonce)


def digest_of(graph: Graph) -> str:
    """The address of a graph."""
    return f"sha256:{sha256(encode(graph)).hexdigest()}"


def require_somewhere(caller: Caller, scope: Scope) -> None:
    """Nothing, or a `Problem` 403 when `caller` has `scope` in no application at all."""
    if not any(grant.scope in (scope, Scope.ADMIN) for grant in caller.grants):
        require(caller, scope, None)
