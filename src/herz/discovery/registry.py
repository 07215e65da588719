"""The service registry: who offers a service registers there, and who needs it watches."""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from immutables import Map

from herz.discovery.cache import Freshness, Says, ServiceCache
from herz.discovery.instance import ROOT, Instance, service_prefix
from herz.discovery.registration import Registration, Taken
from herz.discovery.source import ServiceSource
from herz.discovery.standing import RegistrationEvent
from herz.discovery.timed import within
from herz.errors import HerzError, SourceUnavailable
from herz.model.document import Revision
from herz.sources.base import Item
from herz.store.base import Store
from herz.store.clock import lease_clock
from herz.watch.backoff import EXPONENTIAL, Policy
from herz.watch.core import State
from herz.watch.session import Session

TTL_S: Final = 10.0
"""Seconds that a registration outlives its process."""
WAIT_S: Final = 10.0
"""Seconds that entering a registration or a watch waits for the store."""
ATTEMPT_S: Final = 3.0
"""Seconds that one call of the store may take."""


class ServiceRegistry:
    """The services of one store, under `/herz/services/<service>/<instance>`.

    Everything happens on the event loop that the store belongs to; caches, balancers and the health of registrations
    may be read by any thread. `policy` is the back-off of registrations and watches. `clock` counts leases and
    proofs: it must never jump, and the default counts the time that the machine was suspended where it can.
    """

    def __init__(
        self,
        store: Store,
        *,
        root: str = ROOT,
        policy: Policy = EXPONENTIAL,
        attempt_s: float = ATTEMPT_S,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.root = root
        self._policy, self._attempt_s = policy, attempt_s
        self._clock = _steady_clock() if clock is None else clock
        self._sleep, self._chance = sleep, chance
        self._registrations: weakref.WeakSet[Registration] = weakref.WeakSet()

    def register(
        self,
        service: str,
        instance: str,
        address: str,
        *,
        weight: float = 1.0,
        metadata: Mapping[str, str] | None = None,
        ttl_s: float = TTL_S,
        wait_s: float | None = WAIT_S,
        taken: Taken = "refuse",
        changed: Callable[[RegistrationEvent], None] | None = None,
    ) -> Registration:
        """An instance to be registered while `async with` lasts, or from its `start` to its `deregister`.

        The key goes with the lease, at the latest `ttl_s` seconds after the process died. Entering waits `wait_s`
        seconds for the store (None: as long as it takes; 0: not at all, it registers in the background). `taken` says
        what to do when another registration holds the name: "refuse" raises `Conflict`, "wait" waits until it is free,
        "replace" takes it and ends the other one. `changed` is called with each step, on the event loop. `UsageError`
        for names, addresses, weights and metadata that cannot be registered; metadata is no place for secrets.
        """
        registration = Registration(
            self.store,
            Instance(service, instance, address, weight, Map(metadata or {})),
            ttl_s=ttl_s,
            wait_s=wait_s,
            taken=taken,
            attempt_s=self._attempt_s,
            policy=self._policy,
            changed=changed,
            clock=self._clock,
            sleep=self._sleep,
            chance=self._chance,
            root=self.root,
        )
        self._registrations.add(registration)
        return registration

    @asynccontextmanager
    async def watch(
        self, service: str | None = None, *, wait_s: float | None = WAIT_S, proof_s: float | None = None
    ) -> AsyncIterator[ServiceCache]:
        """A cache of one service, or of all, that follows the store while `async with` lasts.

        Reads at one revision, watches from the next, and resumes behind the last one that the cache has published;
        where the store's history does not reach back it reads again, and tells joins and leaves as the difference.
        Entering waits `wait_s` seconds for the first reading (None: as long as it takes; 0: not at all) and raises what
        the store said when there was none: `SourceUnavailable`, `SourceDenied`. Later the cache stays as it is while
        the store cannot be asked, and says STALE from `proof_s` seconds after the last proof on (the store's own by
        default).
        """
        following = _Following(self, ServiceCache(service, self.root), service, proof_s or self.store.proof_s)
        task = asyncio.create_task(following.session.run(), name=f"herz-services {following.source.prefix}")
        try:
            await following.loaded(task, wait_s)
            yield following.cache
        finally:
            task.cancel()
            await asyncio.wait({task})
            following.ended(task)

    async def _prove(self) -> None:
        """Have every registration of ours proven or renewed."""
        for registration in list(self._registrations):
            if registration.started:
                await registration.check()

    def _answers(self) -> None:
        """The store answers again: registrations need not wait for their next attempt."""
        for registration in list(self._registrations):
            registration.hurry()


class _Following:
    """One cache and the session that keeps it current."""

    def __init__(self, registry: ServiceRegistry, cache: ServiceCache, service: str | None, proof_s: float) -> None:
        self.cache = cache
        self.source = ServiceSource(registry.store, service_prefix(service, registry.root), proof_s=proof_s)
        self.session = Session(
            self.source,
            self._deliver,
            self._applied,
            self._changed,
            read_first=True,
            policy=registry._policy,
            clock=registry._clock,
            sleep=registry._sleep,
            chance=registry._chance,
        )
        self._registry = registry
        self._first = asyncio.Event()
        self._failure: str | None = None
        cache.freshness_of = self._freshness

    async def loaded(self, task: asyncio.Task[None], wait_s: float | None) -> None:
        """Wait for the first reading."""
        if wait_s == 0:
            return
        waiter = asyncio.create_task(self._first.wait())
        try:
            first = asyncio.wait({waiter, task}, return_when=asyncio.FIRST_COMPLETED)
            if wait_s is None:
                await first
            else:
                await within(wait_s, first, str(self.source.origin), self._registry._sleep)
        except SourceUnavailable as error:
            raise self.session.error or error from error
        finally:
            waiter.cancel()
        if task.done():
            task.result()
        if self.cache.snapshot.revision < 0 and self.session.error is not None:
            raise self.session.error

    def ended(self, task: asyncio.Task[None]) -> None:
        """Nothing is followed any more."""
        error = None if task.cancelled() else task.exception()
        self._failure = "it is not followed any more" if error is None else f"the watch failed: {error!r}"

    async def _deliver(self, item: Item) -> None:
        self.cache.take(item)
        self._first.set()

    async def _applied(self) -> Revision:
        if self.source.refused is not None:
            # A refused watch is never opened again as it was: our lease may be gone, and the refusal its only sign.
            await self._registry._prove()
            self.source.refused = None
        return self.cache.snapshot.revision

    def _changed(self, session: Session) -> None:
        if session.state is State.ACTIVE:
            self._registry._answers()
        elif session.error is not None and not isinstance(session.error, SourceUnavailable):
            self._first.set()  # waiting longer would not help

    def _freshness(self) -> Freshness:
        session = self.session
        reason: HerzError | str | None = self._failure or session.error
        if self.cache.snapshot.revision < 0:
            says = Says.LOADING
        elif self._failure is not None:
            says = Says.STALE
        else:
            says = Says(session.says.value)
        if says is Says.STALE and reason is None:
            reason = f"no sign of life for {session.age_s:.3g} s"
        return Freshness(says, session.age_s, None if reason is None else str(reason))


def _steady_clock() -> Callable[[], float]:
    clock = lease_clock()
    return clock.now if clock.origin != "1970" else time.monotonic
