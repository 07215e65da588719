"""The watch session: keeps one source followed, for as long as the process lives, and says how current it is."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple

from herz.errors import HerzError, HistoryBroken, NotRunning, RevisionExpired, SourceError, SourceUnavailable
from herz.model.document import Batch, Reset, Revision
from herz.sources.base import Item, Prepare, Remote, Source
from herz.watch.backoff import EXPONENTIAL, Policy
from herz.watch.core import Core, Says, State, Verdict, judged
from herz.watch.patience import Patience

logger = logging.getLogger("herz")

HISTORY: Final = 64
"""Transitions that a session remembers."""


class Transition(NamedTuple):
    """One step of a session. `source` is its name, `at_s` the session's clock, `reason` what made it fail."""

    source: str
    state: State
    says: Says
    at_s: float
    retries: int
    reason: str | None = None


class Session:
    """Follows one source and hands every item to `deliver`, in order; reconnects by itself.

    `applied` answers the revision up to which everything handed on has been dealt with, after waiting
    until that is so: the session resumes behind it, so that nothing is delivered twice and nothing is
    lost. The watch is opened first, the place verified then (`Remote.standing`), and only then are items taken. Where
    history does not reach back, or the place went back in time, the source is read again, and a `Reset` says so;
    so it is at the beginning with `read_first`, for a caller that has nothing of the source's own.
    """

    def __init__(
        self,
        source: Source,
        deliver: Callable[[Item], Awaitable[None]],
        applied: Callable[[], Awaitable[Revision]],
        changed: Callable[[Session], None] = lambda session: None,
        *,
        read_first: bool = False,
        policy: Policy = EXPONENTIAL,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self.history: deque[Transition] = deque(maxlen=HISTORY)
        self.resets = 0
        self.rewinds = 0
        self.broken = 0
        """How often the place handed on what does not continue what it handed on before."""
        self._remote = source if isinstance(source, Remote) else None
        proof_s = None if self._remote is None else self._remote.proof_s
        self._core = Core(policy, proof_s=proof_s, chance=chance, now=clock())
        self._deliver, self._applied, self._changed = deliver, applied, changed
        self._read_again = "read at last" if read_first else ""
        self._verify = False
        self._new_epoch = False
        self._clock, self._sleep = clock, sleep
        self._hurried = asyncio.Event()
        self._asked: list[asyncio.Future[None]] = []
        self._curious: list[asyncio.Future[HerzError | None]] = []
        self._patience: Patience | None = None

    @property
    def state(self) -> State:
        """What the session is doing."""
        return self._core.state

    @property
    def says(self) -> Says:
        """What it says about its data, now."""
        return self._core.says(self._clock())

    @property
    def error(self) -> HerzError | None:
        """Why the last attempt failed; None while the watch stands."""
        return self._core.error

    @property
    def retries(self) -> int:
        """How often it has tried since it was last healthy."""
        return 0 if self._core.healthy(self._clock()) else self._core.retries

    @property
    def reconnects(self) -> int:
        """How often it has tried again, ever."""
        return self._core.reconnects

    @property
    def degraded(self) -> bool:
        """Whether the retries are spent: it keeps trying, but somebody should look."""
        return self._core.degraded

    @property
    def age_s(self) -> float:
        """Seconds since the place last proved what it holds."""
        return max(0.0, self._clock() - self._core.proven_s)

    def ago_s(self, step: Transition) -> float:
        """Seconds since `step`, one of the history."""
        return max(0.0, self._clock() - step.at_s)

    def hurry(self) -> None:
        """End the wait for the next attempt, if there is one."""
        self._hurried.set()

    def outcome(self) -> asyncio.Future[HerzError | None]:
        """Done as soon as the watch stands or has failed the next time, with why it failed. `hurry` shortens it."""
        outcome: asyncio.Future[HerzError | None] = asyncio.get_running_loop().create_future()
        self._curious = [one for one in self._curious if not one.done()]
        self._curious.append(outcome)
        return outcome

    async def read_again(self, reason: str) -> None:
        """Read the source as a whole now; returns when the `Reset` that says `reason` has been dealt with.

        Raises what this attempt ends in, if it cannot be read now; the next one that can reads it all the same.
        """
        read: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(read)
        self._read_again = self._read_again or reason
        self.hurry()
        if self._patience is not None:
            self._patience.end()
        await read

    def _tell(self) -> None:
        core, now = self._core, self._clock()
        reason = str(core.error) if core.error is not None else None
        self.history.append(Transition(self.source.origin.name, core.state, core.says(now), now, core.retries, reason))
        self._changed(self)

    async def run(self) -> None:
        """Follow until cancelled."""
        core = self._core
        try:
            while True:
                core.attempt(self._clock())
                self._tell()
                try:
                    await self._attempt()
                except (Exception, asyncio.CancelledError) as error:
                    if _to_be_cancelled():  # whatever else came out of it, as from closing what was followed
                        raise asyncio.CancelledError from error
                    if isinstance(error, HerzError):
                        await self._failed(error)
                        continue
                    # Nobody foresaw it: following goes on, and the log has the traceback.
                    logger.error("%s: internal error while following", self.source.origin, exc_info=error)
                    what = f"{self.source.origin}: internal error: {type(error).__name__}"
                    await self._failed(SourceError(what, remedy="see the log; it is tried again by itself"))
        finally:
            core.stop(self._clock())
            self._tell()
            ended = NotRunning(f"{self.source.origin}: it is not followed any more")
            _answer(self._asked, ended)
            _answer(self._curious, ended)

    async def _failed(self, error: HerzError) -> None:
        self.broken += isinstance(error, HistoryBroken)
        wait_s = self._core.failed(error, self._clock())
        self._tell()
        _answer(self._asked, error)
        while self._curious:
            _resolve(self._curious.pop(), error)
        if wait_s > 0:
            self._core.back_off(self._clock())
            self._tell()
            self._hurried.clear()
            waits = {asyncio.ensure_future(self._sleep(wait_s)), asyncio.ensure_future(self._hurried.wait())}
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        self._core.retry(self._clock())
        self._tell()

    async def _attempt(self) -> None:
        """One attempt: open, verify, take items until the watch ends; always ends in an error."""
        after = await self._applied()
        while True:
            just_read = bool(self._read_again)
            if just_read:
                after = await self._read()
            try:
                async with self.source.follow(after) as items:
                    current = just_read or not self._verify
                    if current or await self._believed(after):
                        await self._hand_on(items, current=current)
            except RevisionExpired as error:
                if just_read or self.state is State.ACTIVE:
                    raise
                if await self._believed(after):
                    self._read_again = f"{error.what}; read again"
            after = await self._applied()

    async def _read(self) -> Revision:
        """Read the source as a whole and hand that on; its revision, once that has been dealt with."""
        document = await self.source.read()
        await self._deliver(Reset(document, self._read_again, self._new_epoch))
        self.resets += 1
        self._read_again, self._new_epoch = "", False
        revision = await self._applied()
        while self._asked:
            _resolve(self._asked.pop(), None)
        return revision

    async def _believed(self, after: Revision) -> bool:
        """Whether the place still tells the story that was handed on up to `after`; else why it must be read again.

        The first watch follows a reading just done, and needs no proof.
        """
        if self._remote is None or not self._verify:
            return True
        standing = await self._remote.standing(after)
        verdict = judged(standing, after)
        if verdict is Verdict.EXPIRED:
            self._read_again = standing.reason or f"history does not reach back to revision {after}; read again"
        elif verdict is Verdict.REWOUND:
            if standing.revision < after:
                self._read_again = f"went back in time: it is at revision {standing.revision}, and was at {after}"
            else:
                self._read_again = f"tells another story than before: {standing.reason}"
            self._new_epoch = True
            self.rewinds += 1
            self._core.caught(
                HistoryBroken(
                    f"{self.source.origin}: {self._read_again}",
                    remedy="it is read again, as a new epoch; was a backup restored, or a removed member brought back?",
                )
            )
            self._tell()
        return verdict is Verdict.RELEASE

    async def _hand_on(self, items: AsyncIterator[Item], *, current: bool) -> None:
        """Take items until a reading is asked for; `SourceUnavailable` when none came in time or the watch ended."""
        self._verify = True
        self._core.opened(self._clock(), current=current)
        self._tell()
        while self._curious:
            _resolve(self._curious.pop(), None)
        with Patience(self._core.proof_s) as self._patience:
            while not self._asked:
                try:
                    item = await self._patience.of(anext(items, None))
                except TimeoutError:
                    if self._asked:
                        return
                    self._tell()  # it is stale from now on
                    raise SourceUnavailable(
                        f"{self.source.origin}: no sign of life for {self._core.proof_s:g} s",
                        remedy="another connection is opened",
                    ) from None
                if item is None:
                    raise SourceUnavailable(f"{self.source.origin}: the watch ended", remedy="it is opened again")
                # After a batch more may be on its way, and what is prepared says nothing of what is to run.
                if not isinstance(item, Batch | Prepare) and getattr(item, "current", True):
                    self._core.proven(self._clock())
                await self._deliver(item)


def _to_be_cancelled() -> bool:
    """Whether somebody cancels this very task; else a cancellation has come out of what it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _resolve(waiting: asyncio.Future[Any], result: object) -> None:
    if not waiting.done():  # whoever waited may have gone
        waiting.set_result(result)


def _answer(waiting: list[asyncio.Future[Any]], error: HerzError) -> None:
    while waiting:
        one = waiting.pop()
        if not one.done():
            one.set_exception(error)
