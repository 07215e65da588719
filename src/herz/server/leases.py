"""Leases that a server holds: kept alive as long as it lives, counted as lost before the store counts so, granted anew.

A lease counts as lost at a deadline of our own (`herz.discovery.lease`): counted from when a sign of life was sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn, TypeVar

from herz.discovery.lease import HeldLease
from herz.discovery.timed import Sleep, until, within
from herz.errors import HerzError, LeaseLost, NotRunning, SourceUnavailable
from herz.store.base import Store
from herz.store.clock import lease_clock
from herz.watch.backoff import EXPONENTIAL, Policy

_log = logging.getLogger("herz")

T = TypeVar("T")

ATTEMPT_S: Final = 3.0
"""Seconds that one call of the store may take."""
RETRY_S: Final = 0.1
"""Seconds between two signs of life while the store does not answer."""


def steady_clock() -> Callable[[], float]:
    """The clock that leases are counted by: never jumps, and counts the time that the machine was suspended."""
    clock = lease_clock()
    return clock.now if clock.origin != "1970" else time.monotonic


async def granted(store: Store, ttl_s: float, *, clock: Callable[[], float], sleep: Sleep = asyncio.sleep) -> HeldLease:
    """A new lease; `SourceUnavailable` when the store does not answer in time."""
    sent_s = clock()
    lease = await within(ATTEMPT_S, _plain(store.grant(ttl_s)), "a lease: the store", sleep)
    return HeldLease(lease.id, lease.ttl_s, sent_s)


async def keep(
    store: Store,
    lease: HeldLease,
    prolonged: Callable[[HeldLease], None],
    *,
    clock: Callable[[], float],
    sleep: Sleep = asyncio.sleep,
    idle: Sleep | None = None,
) -> NoReturn:
    """Keep `lease` alive and tell each renewal; ends in `LeaseLost`, at the latest when it counts as lost.

    `idle` waits between two signs of life; it may return early, for one that is due at once.
    """
    idle = sleep if idle is None else idle
    failure: HerzError | None = None
    wait_s = lease.due_s - clock()
    while True:
        await idle(max(0.0, min(wait_s, lease.left_s(clock()))))
        sent_s = clock()
        if lease.lost(sent_s):
            raise LeaseLost(
                f"lease {lease.id} was not renewed for {sent_s - lease.sent_s:.3g} s", remedy="a new one is asked for"
            ) from failure
        try:
            limit_s = min(ATTEMPT_S, lease.left_s(sent_s))
            ttl_s = await within(limit_s, _plain(store.keep_alive(lease.id)), f"lease {lease.id}: the store", sleep)
            lease = lease.prolonged(ttl_s, sent_s, clock())
        except (LeaseLost, NotRunning):
            raise
        except HerzError as error:
            failure, wait_s = error, RETRY_S
        else:
            failure, wait_s = None, lease.due_s - clock()
            prolonged(lease)


class ServerLease:
    """The one lease that everything hangs on which a server writes for the instances connected to it.

    `current` is its id, None while there is none. Lost, a new one is granted at once, then with back-off; each time
    `renewed` is awaited with it, to write again what hung on the one before.
    """

    def __init__(
        self,
        store: Store,
        ttl_s: float,
        *,
        policy: Policy = EXPONENTIAL,
        clock: Callable[[], float] | None = None,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.ttl_s = ttl_s
        self.grants = 0
        self.renewed: Callable[[int], None] = lambda lease: None
        self._store, self._policy = store, policy
        self._clock = steady_clock() if clock is None else clock
        self._sleep, self._chance = sleep, chance
        self._lease: HeldLease | None = None
        self._refused = asyncio.Event()

    @property
    def current(self) -> int | None:
        """The lease, if it lives."""
        lease = self._lease
        return None if lease is None or lease.lost(self._clock()) else lease.id

    def gone(self, lease: int) -> None:
        """The store said that `lease` is gone: it is not used any more, and another one is asked for at once."""
        if self._lease is not None and self._lease.id == lease:
            self._lease = None
            self._refused.set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold it while this lasts. It ends by itself then: who hung on it goes on with another server meanwhile."""
        task = asyncio.create_task(self._run(), name="herz-server-lease")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._lease = None

    async def _run(self) -> None:
        retries = 0
        while True:
            try:
                lease = await granted(self._store, self.ttl_s, clock=self._clock, sleep=self._sleep)
                self._lease, self.grants = lease, self.grants + 1
                self.renewed(lease.id)
                self._refused.clear()
                await keep(self._store, lease, self._prolonged, clock=self._clock, sleep=self._sleep, idle=self._idle)
            except NotRunning:
                return
            except LeaseLost as error:
                self._lease, retries = None, 0
                _log.warning("herz: %s", error)
            except HerzError as error:
                level = logging.INFO if isinstance(error, SourceUnavailable) else logging.WARNING
                _log.log(level, "herz: no lease for reports of instances: %s", error)
                await self._sleep(self._policy.wait_s(retries, self._chance))
                retries += 1

    async def _idle(self, seconds: float) -> None:
        await until(self._refused, seconds, self._sleep)

    def _prolonged(self, lease: HeldLease) -> None:
        if self._lease is None:
            raise LeaseLost(f"lease {lease.id} was refused by the store", remedy="a new one is asked for")
        self._lease = lease


async def _plain(call: Awaitable[T]) -> T:
    return await call
