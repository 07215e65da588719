"""The watch session: keeps one source followed, for as long as the process lives, and says how current it is."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from herz.errors import ConfigurationError, HerzError, RevisionExpired, SourceUnavailable
from herz.model.document import Reset, Revision
from herz.sources.base import Item, Source
from herz.watch.backoff import HEALTHY_S, MENDABLE_S, RETRIES, delay_s


class State(StrEnum):
    """What a session is doing. `TRANSITIONS` lists what may follow what."""

    IDLE = "IDLE"
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    BACKOFF = "BACKOFF"
    RETRY = "RETRY"
    HALTED = "HALTED"


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.IDLE: frozenset({State.PENDING, State.HALTED}),
    State.PENDING: frozenset({State.ACTIVE, State.FAILED, State.HALTED}),
    State.ACTIVE: frozenset({State.FAILED, State.HALTED}),
    State.FAILED: frozenset({State.BACKOFF, State.RETRY, State.HALTED}),
    State.BACKOFF: frozenset({State.RETRY, State.HALTED}),
    State.RETRY: frozenset({State.PENDING, State.HALTED}),
    State.HALTED: frozenset({State.PENDING}),
}


class Session:
    """Follows one source and hands every item to `deliver`, in order; reconnects by itself.

    `applied` answers the revision up to which everything handed on has been dealt with, after waiting
    until that is so: the session resumes behind it, so that nothing is delivered twice and nothing is
    lost. Where the source's history does not reach back the source is read again, and a `Reset` says so; so it is
    at the beginning with `read_first`, for a caller that has nothing of the source's own.
    """

    def __init__(
        self,
        source: Source,
        deliver: Callable[[Item], Awaitable[None]],
        applied: Callable[[], Awaitable[Revision]],
        changed: Callable[[Session], None] = lambda session: None,
        *,
        read_first: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self.state = State.IDLE
        self.error: HerzError | None = None
        self.retries = 0
        self.since = clock()
        self._deliver, self._applied, self._changed = deliver, applied, changed
        self._read_first = read_first
        self._clock, self._sleep, self._chance = clock, sleep, chance

    @property
    def current(self) -> bool:
        """Whether the watch stands, so that what was handed on is what the source holds."""
        return self.state is State.ACTIVE

    @property
    def degraded(self) -> bool:
        """Whether the retries are spent: it keeps trying, but somebody should look."""
        return self.retries > RETRIES

    def _become(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"  # noqa: S101  the table is the law
        self.state = state
        self.since = self._clock()
        self._changed(self)

    async def run(self) -> None:
        """Follow until cancelled."""
        expired, reason = self._read_first, "read at last"
        try:
            while True:
                self._become(State.PENDING)
                try:
                    after = await self._applied()
                    if expired:
                        document = await self.source.read()
                        await self._deliver(Reset(document, reason))
                        after, expired = document.revision, False
                    await self._follow(after)
                    raise SourceUnavailable(f"{self.source.origin}: the watch ended", remedy="it is opened again")
                except RevisionExpired as error:
                    expired, reason = True, "history did not reach back; read again"
                    await self._failed(error, at_once=True)
                except HerzError as error:
                    await self._failed(error)
        finally:
            if self.state is not State.HALTED:
                self._become(State.HALTED)

    async def _follow(self, after: Revision) -> None:
        async with self.source.follow(after) as items:
            self.error = None
            self._become(State.ACTIVE)
            async for item in items:
                await self._deliver(item)

    async def _failed(self, error: HerzError, *, at_once: bool = False) -> None:
        healthy = self.state is State.ACTIVE and self._clock() - self.since >= HEALTHY_S
        self.error = error
        self._become(State.FAILED)
        if healthy:
            self.retries = 0
        if not (healthy or (at_once and self.retries == 0)):
            self._become(State.BACKOFF)
            # What is malformed is there to be read, and mended by hand: look again soon, however often it was.
            mendable = isinstance(error, ConfigurationError)
            await self._sleep(MENDABLE_S if mendable else delay_s(self.retries, self._chance))
        self.retries += 1
        self._become(State.RETRY)
