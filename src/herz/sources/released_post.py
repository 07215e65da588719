"""The post: what an instance says is sent by itself, the newest report wins, and nothing waits for it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from herz.errors import Conflict, HerzError, NotRunning, SourceUnavailable
from herz.release.report import Answer, Graph, Report
from herz.sources.released_link import Link

logger = logging.getLogger("herz")

QUIET_S: Final = 0.01
"""Changes within this time are reported together."""
FIRST_S: Final = 0.2
"""Seconds before a report is sent again that was not taken; doubled each time,"""
LONGEST_S: Final = 10.0
"""up to so many, less a random part."""
ANSWERS: Final = 64
"""Answers that wait at most: whoever asked so many things has no time to hear the first."""
TRIES: Final = 3
"""How often an answer is sent: its asker does not wait for long."""


class Postbox:
    """Sends what `report` makes when `moved` was called and it says something new; and answers, in their order.

    A report that is not taken is made anew and sent again until it is.
    """

    def __init__(
        self,
        link: Link,
        report: Callable[[], tuple[Report, str, Graph]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.notice: str | None = None
        """Why nothing can be reported, if it cannot."""
        self.sent: Report | None = None
        """The report that was taken last."""
        self._link, self._report = link, report
        self._sleep, self._chance = sleep, chance
        self._dirty = asyncio.Event()
        self._dirty.set()
        self._hurried = asyncio.Event()
        self._answers: deque[Answer] = deque(maxlen=ANSWERS)
        self._answering = asyncio.Event()
        self._graphs: set[str] = set()

    def moved(self) -> None:
        """What runs may be another than before."""
        self._dirty.set()

    def again(self) -> None:
        """What was sent may be gone, and is taken again now."""
        self._hurried.set()
        self._dirty.set()

    def answer(self, answer: Answer) -> None:
        """Send `answer` as soon as possible."""
        self._answers.append(answer)
        self._answering.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_reports(), name="herz reports")
            group.create_task(self._send_answers(), name="herz answers")
            if self._link.renew_s is not None:
                group.create_task(self._renew(self._link.renew_s), name="herz report renewal")

    async def _send_reports(self) -> None:
        failures = 0
        while True:
            await self._dirty.wait()
            forced = await self._pause(failures)
            self._dirty.clear()
            try:
                report, digest, graph = self._report()
                if not forced and self.sent is not None and replace(report, time=self.sent.time) == self.sent:
                    failures = 0
                    continue
                self.sent = None
                await self._link.report(report)
                self.sent, self.notice, failures = report, None, 0
                if digest not in self._graphs:
                    await self._link.describe(digest, graph)
                    self._graphs.add(digest)
            except NotRunning:  # Herz stops, or the store was closed
                failures = 1
            except HerzError as error:
                failures += 1
                self._told(error)
                self._dirty.set()
            except Exception:
                logger.exception("a report could not be made; the next change makes another")

    async def _pause(self, failures: int) -> bool:
        """Let changes gather, or the place recover; whether what was sent may be gone."""
        if failures and not self._hurried.is_set():
            waits = {
                asyncio.ensure_future(self._sleep(self._delay_s(failures))),
                asyncio.ensure_future(self._hurried.wait()),
            }
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        await self._sleep(QUIET_S)
        forced = self._hurried.is_set()
        self._hurried.clear()
        return forced

    def _delay_s(self, failures: int) -> float:
        return min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16)) * (1 - self._chance() / 2)

    def _told(self, error: HerzError) -> None:
        text = str(error) if isinstance(error, Conflict) else f"what runs here cannot be reported: {error}"
        if text != self.notice:
            logger.log(logging.INFO if isinstance(error, SourceUnavailable) else logging.WARNING, "%s", text)
        self.notice = text

    async def _send_answers(self) -> None:
        while True:
            await self._answering.wait()
            self._answering.clear()
            while self._answers:
                answer = self._answers.popleft()
                for attempt in range(TRIES):
                    try:
                        await self._link.answer(answer)
                        break
                    except NotRunning:
                        return
                    except HerzError as error:
                        if attempt == TRIES - 1:
                            logger.info("an answer could not be sent: %s", error)
                        else:
                            await self._sleep(self._delay_s(1))

    async def _renew(self, period_s: float) -> None:
        while True:
            await self._sleep(period_s)
            try:
                await self._link.renew()
            except NotRunning:
                return
            except HerzError as error:
                logger.info("a report could not be renewed: %s", error)
