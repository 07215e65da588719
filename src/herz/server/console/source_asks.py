"""Asking instances for their sources: one question at a time for each set of instances, whoever wants to see them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, NamedTuple

from herz.release.report import Answer, Ask, Status
from herz.server.asks import Asking
from herz.server.hub import Hub, Namespace
from herz.server.instances import agrees
from herz.server.plane import Plane

WINDOW_S: Final = 2.0
"""Seconds that answers are waited for."""
KEPT_S: Final = 2.0
"""Seconds for which the answers are shown to whoever asks the same."""
MOST: Final = 50
"""Instances that are asked at once."""
_RANKS: Final = {"HALTED": 0, "REWOUND": 0, "STALE": 1, "REFUSED": 2, "CURRENT": 9}

_Key = tuple[str, str, tuple[str, ...]]


class Told(NamedTuple):
    """What one instance answered, None where it did not within the window."""

    instance: str
    answer: Answer | None

    @property
    def knows(self) -> bool:
        """Whether it runs a Herz that can tell its sources."""
        return self.answer is not None and bool(self.answer.sources)

    @property
    def rank(self) -> int:
        """The smaller, the worse."""
        if self.answer is None:
            return 1
        if not self.answer.sources:
            return 8
        return min(_rank(one.says, one.state, one.degraded) for one in self.answer.sources)

    @property
    def well(self) -> bool:
        """Whether nothing of it needs to be looked at."""
        return self.rank >= 9


def _rank(says: str, state: str, degraded: bool) -> int:
    rank = _RANKS.get(says, 3)
    if rank == 9 and (degraded or state not in ("ACTIVE", "IDLE")):
        return 4
    return rank


class Replies(NamedTuple):
    """The answers of those who were asked, the worst first; `at` is when the last one came."""

    at: datetime
    told: tuple[Told, ...]


class SourceAsks:
    """Asks, and keeps what was answered for a moment."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._asking: dict[_Key, asyncio.Task[Replies]] = {}

    async def ask(self, app: str, namespace: str, instances: tuple[str, ...]) -> Replies:
        """What these instances answer within `WINDOW_S`; who asks the same meanwhile gets the same."""
        key = (app, namespace, instances)
        task = self._asking.get(key)
        if task is None:
            loop = asyncio.get_running_loop()
            task = self._asking[key] = loop.create_task(self._asked(key), name=f"herz-sources {app}/{namespace}")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: _Key, task: asyncio.Task[Replies]) -> None:
        if task.cancelled() or task.exception() is not None:  # whoever asks next tries anew
            del self._asking[key]
        else:
            task.get_loop().call_later(KEPT_S, self._asking.pop, key, None)

    async def _asked(self, key: _Key) -> Replies:
        app, namespace, instances = key
        question = Ask(nonce="", instances=instances, sources=True)
        found = await self._plane.of(Asking).ask(app, namespace, question, instances, WINDOW_S) if instances else {}
        told = [Told(name, found.get(name)) for name in instances]
        return Replies(self._plane.clock.now(), tuple(sorted(told, key=lambda one: (one.rank, one.instance))))


def asks_of(plane: Plane) -> SourceAsks:
    """The one of this server."""
    return plane.find(SourceAsks) or plane.offer(SourceAsks(plane))


def candidates(plane: Plane, app: str, namespace: str, q: str) -> list[str]:
    """The instances whose names hold `q`: those that failed first, then those that differ, each in order of names."""
    there = plane.of(Hub).namespace(app, namespace)
    names = [name for name in there.reports if q.casefold() in name.casefold()]
    return sorted(names, key=lambda name: (_standing(there, name), name))


def _standing(there: Namespace, name: str) -> int:
    report = there.reports[name].value
    if report.status is Status.FAILED:
        return 0
    return 2 if agrees(report, there.pointer(name)) else 1
