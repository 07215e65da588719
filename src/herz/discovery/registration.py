"""A registration: keeps one instance in a store for as long as its process lives, and says so when it cannot.

A renewal proves two things: that the lease lives, and that the key is there, is ours and hangs on that lease.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

from immutables import Map

from herz.discovery.claim import Claim, Replaced, Vanished
from herz.discovery.instance import ROOT, Instance, checked
from herz.discovery.lease import HeldLease
from herz.discovery.standing import TRANSITIONS, Registered, RegistrationEvent, RegistrationHealth
from herz.discovery.timed import Sleep, until, within
from herz.errors import Conflict, HerzError, LeaseLost, NotRunning, SourceError, SourceUnavailable, UsageError
from herz.model.document import Revision
from herz.store.base import Store
from herz.watch.backoff import Policy

_log = logging.getLogger(__name__)

HISTORY: Final = 64
"""Events that a registration remembers."""

Taken: TypeAlias = Literal["refuse", "wait", "replace"]
"""What to do at the start when another registration has the name: raise `Conflict`, wait until it is free, take it."""


class Registration:
    """One instance of a service in a store; made by `ServiceRegistry.register`.

    `async with` it, or call `start` and `deregister`. From `start` on it keeps its lease alive; when the lease is
    lost (not renewed within its own deadline, refused by the store, the key deleted) it says LOST at once, and grants
    and registers again by itself, the first time at once and then with the session's back-off. Whoever else took the
    name in the meantime keeps it: the registration waits until it is free. When another one replaces it while its lease
    lives, it ends as REPLACED and does not fight back.
    """

    def __init__(
        self,
        store: Store,
        instance: Instance,
        *,
        ttl_s: float,
        wait_s: float | None,
        taken: Taken,
        attempt_s: float,
        policy: Policy,
        changed: Callable[[RegistrationEvent], None] | None,
        clock: Callable[[], float],
        sleep: Sleep,
        chance: Callable[[], float],
        root: str = ROOT,
    ) -> None:
        if not 0 < ttl_s < 1e9:
            raise UsageError(f"a lease of {ttl_s} seconds", remedy="give a positive number of seconds")
        if taken not in ("refuse", "wait", "replace"):
            raise UsageError(f"taken={taken!r}", remedy='say "refuse", "wait" or "replace"')
        self.owner = uuid.uuid4().hex
        instance = checked(replace(instance, owner=self.owner))
        self._claim = Claim(store, instance, ttl_s=ttl_s, attempt_s=attempt_s, clock=clock, sleep=sleep, root=root)
        self.key = self._claim.key
        self.history: deque[RegistrationEvent] = deque(maxlen=HISTORY)
        self.error: HerzError | None = None
        """Why the last attempt failed; None while it is registered."""
        self._ttl_s, self._wait_s, self._taken, self._policy, self._changed = ttl_s, wait_s, taken, policy, changed
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._step = RegistrationEvent(Registered.DEREGISTERED, clock(), clock(), "not started")
        self._established = False
        self._retries = 0
        self._unproven = 0
        """How often it has registered since a renewal last succeeded."""
        self._wake = asyncio.Event()
        self._askers: list[asyncio.Future[None]] = []
        self._started: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    # --- what it says -----------------------------------------------------------------------------

    @property
    def instance(self) -> Instance:
        """What it registers."""
        return self._claim.instance

    @property
    def revision(self) -> Revision:
        """The revision that last wrote the key; 0 before."""
        return self._claim.revision

    @property
    def state(self) -> Registered:
        """Where it stands now: LOST from the lease's own deadline on, even before anything was noticed."""
        return self.health().state

    def health(self) -> RegistrationHealth:
        """How it stands now; may be asked by any thread."""
        step, lease, now = self._step, self._claim.lease, self._clock()
        state, since_s, reason = step.state, step.since_s, step.reason
        if state in (Registered.REGISTERED, Registered.RENEWING) and lease is not None and lease.lost(now):
            state, since_s, reason = Registered.LOST, lease.deadline_s, _overdue(lease, now)
        return RegistrationHealth(
            state,
            max(0.0, now - since_s),
            reason,
            lease.id if lease is not None else None,
            now - lease.sent_s if lease is not None else None,
            lease.left_s(now) if lease is not None else 0.0,
        )

    def __repr__(self) -> str:
        return f"Registration({self.key!r}, {self.state})"

    def _become(self, state: Registered, reason: str | None = None) -> None:
        step, now = self._step, self._clock()
        if state is step.state and reason == step.reason:
            return
        assert state is step.state or state in TRANSITIONS[step.state], f"{step.state} -> {state}"  # noqa: S101  the table is the law
        self._step = RegistrationEvent(state, now, step.since_s if state is step.state else now, reason)
        self.history.append(self._step)
        if self._changed is not None:
            try:
                self._changed(self._step)
            except Exception:
                _log.exception("herz: a listener of the registration of %s failed", self.key)

    # --- what its owner does ------------------------------------------------------------------------

    async def start(self) -> None:
        """Register; returns once that is done, with `wait_s=0` at once.

        `Conflict` when another registration has the name, `SourceUnavailable` when the store did not answer within
        `wait_s` seconds, and every other error of the store; nothing stays registered then.
        """
        if self._task is not None:
            raise UsageError(f"{self.key} is registered already", remedy="start it once")
        self._established, self._retries, self._unproven = False, 0, 0
        self._become(Registered.REGISTERING, "started")
        loop = asyncio.get_running_loop()
        started = None if self._wait_s == 0 else loop.create_future()
        self._started = started
        self._task = loop.create_task(self._run(), name=f"herz-registration {self.key}")
        if started is None:
            return
        try:
            if self._wait_s is None:
                await started
            else:
                await within(self._wait_s, _outcome(started), self.key, self._sleep)
        except BaseException as error:
            cause = self.error
            await self.deregister()
            if isinstance(error, SourceUnavailable) and cause is not None and cause is not error:
                raise error from cause
            raise
        finally:
            self._started = None

    async def deregister(self) -> None:
        """Revoke the lease, which deletes the key, and end. Where the store does not answer, it ends by itself."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self._answer(NotRunning(f"{self.key} was deregistered", remedy="register it again"))
        reason = await self._claim.drop()
        if self._step.state is not Registered.REPLACED:
            self._become(Registered.DEREGISTERED, reason)

    async def __aenter__(self) -> Registration:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.deregister()

    async def update(
        self,
        *,
        address: str | None = None,
        weight: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Change what is registered, in one write under the same lease; returns once it is written."""
        given = {"address": address, "weight": weight, "metadata": None if metadata is None else Map(metadata)}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._claim.instance = checked(replace(self.instance, **changes))
        await self.check()

    async def check(self) -> None:
        """Prove now that the lease lives and the key is ours, or register anew; raises when neither can be done now."""
        if not self.started:
            raise NotRunning(f"{self.key} is not registered", where=self.health().reason, remedy="start it")
        asker = asyncio.get_running_loop().create_future()
        self._askers.append(asker)
        self._wake.set()
        await asker

    @property
    def started(self) -> bool:
        """Whether it is at work: between `start` and `deregister`, and not ended by itself."""
        return self._task is not None and not self._task.done()

    def hurry(self) -> None:
        """End the wait for the next attempt, if there is one: the store answers again."""
        if self.error is not None:
            self._wake.set()

    def _answer(self, error: BaseException | None, askers: list[asyncio.Future[None]] | None = None) -> None:
        if askers is None:
            askers, self._askers = self._askers, []
        for asker in askers:
            if not asker.done():
                if error is None:
                    asker.set_result(None)
                else:
                    asker.set_exception(error)

    # --- what it does by itself ---------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                await self._register()
                await self._renew()
        except NotRunning as error:
            self._end(error)
        except _Refused as refused:
            if self._started is not None and not self._started.done():
                self._started.set_exception(refused.error)

    def _end(self, error: HerzError) -> None:
        """Nothing can be done any more: the store was closed, or somebody replaced us."""
        self.error = error
        if self._step.state not in (Registered.LOST, Registered.REPLACED):
            self._become(Registered.LOST, str(error))
        self._answer(error)
        if self._started is not None and not self._started.done():
            self._started.set_exception(error)

    async def _register(self) -> None:
        """Grant and register, again and again until it is done."""
        if self._unproven > 1:  # what is lost as soon as it is granted must not become a tight loop
            await until(self._wake, self._policy.wait_s(self._unproven - 2, self._chance), self._sleep)
        while True:
            askers, self._askers = self._askers, []
            self._wake.clear()
            try:
                await self._claim.take(replacing=self._taken == "replace" and not self._established)
            except Exception as error:
                self._fail(error, askers)
                if isinstance(error, NotRunning):
                    raise
                if self._final(error):
                    raise _Refused(error) from error
                wait_s = self._policy.wait_s(self._retries, self._chance)
                self._retries += 1
                if isinstance(error, Conflict):  # whoever has the name may lose it with its lease
                    wait_s = min(wait_s, self._ttl_s)
                self._become(Registered.REGISTERING, str(error))
                await until(self._wake, wait_s, self._sleep)
            else:
                self._retries, self._established, self.error = 0, True, None
                self._unproven += 1
                self._become(Registered.REGISTERED)
                self._answer(None, askers)
                if self._started is not None and not self._started.done():
                    self._started.set_result(None)
                return

    def _final(self, error: Exception) -> bool:
        """Whether the owner waits for the start and should rather be told than wait longer."""
        if self._established or self._started is None or isinstance(error, SourceUnavailable | LeaseLost):
            return False
        return isinstance(error, HerzError) and not (isinstance(error, Conflict) and self._taken == "wait")

    def _fail(self, error: Exception, askers: list[asyncio.Future[None]]) -> None:
        if not isinstance(error, HerzError):
            _log.error("herz: the store of %s failed in an unexpected way", self.key, exc_info=error)
        self.error = error if isinstance(error, HerzError) else SourceError(f"{self.key}: {error!r}")
        self._answer(error, askers)

    async def _renew(self) -> None:
        """Keep the lease alive until it is lost."""
        retries = 0
        wait_s = self._next_s()
        while (lease := self._claim.lease) is not None:
            if not self._askers:
                await until(self._wake, min(wait_s, lease.left_s(self._clock())), self._sleep)
            self._wake.clear()
            if lease.lost(self._clock()):
                reason = _overdue(lease, self._clock())
                return self._lose(reason if self.error is None else f"{reason}: {self.error}", lease)
            askers, self._askers = self._askers, []
            self._become(Registered.RENEWING, None if self.error is None else str(self.error))
            try:
                await self._claim.prove(lease)
            except (LeaseLost, Vanished) as error:
                self._askers = askers + self._askers  # what they want is proven by registering again
                return self._lose(str(error), None if isinstance(error, LeaseLost) else self._claim.lease)
            except Replaced as error:
                self._become(Registered.REPLACED, str(error))
                self._answer(error, askers)
                raise NotRunning(str(error)) from error
            except Exception as error:
                self._fail(error, askers)
                if isinstance(error, NotRunning):
                    raise
                self._become(Registered.RENEWING, str(error))
                wait_s = 0.0 if retries == 0 else self._policy.wait_s(retries - 1, self._chance)
                retries += 1
            else:
                self.error, retries, wait_s = None, 0, self._next_s()
                self._unproven = 0
                self._become(Registered.REGISTERED)
                self._answer(None, askers)

    def _next_s(self) -> float:
        lease = self._claim.lease
        return 0.0 if lease is None else max(0.0, lease.due_s - self._clock())

    def _lose(self, reason: str, lease: HeldLease | None) -> None:
        self._claim.lease = lease if lease is not None and not lease.lost(self._clock()) else None
        self._become(Registered.LOST, reason)
        self._become(Registered.REGISTERING, reason)


class _Refused(Exception):
    """The start failed for good; the owner is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error


async def _outcome(future: asyncio.Future[None]) -> None:
    await future


def _overdue(lease: HeldLease, now_s: float) -> str:
    return f"lease {lease.id} was not renewed for {now_s - lease.sent_s:.3g} s, and was granted for {lease.ttl_s:g} s"
