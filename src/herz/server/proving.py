"""Proof of life: streams are told that nothing is missing, as long as the server can prove that to itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from herz.errors import HerzError
from herz.server import frames
from herz.server.access import Caller
from herz.server.delivery import SLICE, Audience, Delivery
from herz.server.hub import Hub
from herz.server.problems import Problem, body_of
from herz.server.stream import Stream

_log = logging.getLogger("herz")

ROUNDS: Final = 3
"""Signs of life within the time after which a stream without one is stale."""


class Proving:
    """One timer for all streams: `alive` every third of the delivery's `proof_s`, and a look at each token.

    `check` raises a `Problem` for a caller whose token has ended.
    """

    def __init__(
        self,
        hub: Hub,
        delivery: Delivery,
        check: Callable[[Caller], Awaitable[object]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub, self._delivery, self._check, self._clock = hub, delivery, check, clock
        self._period_s = delivery.shown.proof_s / ROUNDS

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do so while this lasts."""
        task = asyncio.create_task(self._run(), name="herz-alive")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        begin = self._clock()
        while True:
            try:
                await self._round(begin)
            except Exception:
                _log.exception("herz: a round of proofs failed")
            begin = max(begin + self._period_s, self._clock() - self._period_s)
            await asyncio.sleep(max(0.0, begin - self._clock()))

    async def _round(self, begin: float) -> None:
        """Tell everybody, a slice at a time, so that a round fills its period and nobody waits for it."""
        streams = self._delivery.told()
        slices = -(-len(streams) // SLICE)
        for at in range(slices):
            part = streams[at * SLICE : (at + 1) * SLICE]
            await self._check_tokens([stream for _, stream in part])
            self._tell(part)
            await asyncio.sleep(max(0.0, begin + self._period_s * (at + 1) / slices - self._clock()))
        self._delivery.look_again()

    def vouches(self) -> bool:
        """Whether the server can prove that nothing is missing; what it cannot prove it does not tell."""
        freshness = self._hub.delivery
        return freshness.current and freshness.age_s <= self._period_s

    def _tell(self, streams: list[tuple[Audience, Stream]]) -> None:
        if not self.vouches():
            return
        frame = frames.alive(self._hub.revision)
        sent = 0
        for audience, stream in streams:
            told = stream.settled and audience.task is None and not audience.dirty
            if told and stream.waits and not stream.closed and not stream.behind:
                stream.tell(frame)
                sent += 1
        self._delivery.counts.pushed("alive", len(frame), sent)

    async def _check_tokens(self, streams: list[Stream]) -> None:
        by_token: dict[str, list[Stream]] = {}
        for stream in streams:
            if stream.caller.token is not None:
                by_token.setdefault(stream.caller.token, []).append(stream)
        for mine in by_token.values():
            try:
                await self._check(mine[0].caller)
            except Problem as error:
                for stream in mine:
                    stream.end(body_of(error)[0])
            except HerzError as error:
                _log.info("herz: a token could not be looked at: %s", error)
