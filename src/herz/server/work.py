"""Work that must happen once, however many servers there are: it runs at the holder of a lease.

Losing the lease cancels the work before anybody else can begin. A process that was stopped and woken again does not
know that yet, and a write that is under way may arrive late: so what is written under the lease carries a compare on
the revision that created the lease's key (a fencing token), and does nothing once somebody else holds it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from herz.discovery.lease import HeldLease
from herz.discovery.timed import within
from herz.errors import HerzError, LeaseLost, NotRunning, SourceUnavailable, UsageError
from herz.server.leases import granted, keep, steady_clock
from herz.store.base import Changes, Compare, EventType, Get, Put, Store, Txn, TxnResult
from herz.store.plane import DUTIES, checked_name
from herz.watch.backoff import EXPONENTIAL

_log = logging.getLogger("herz")

TTL_S: Final = 5.0
"""Seconds after which the work of a holder that died goes on elsewhere."""
LOOK_AGAIN_S: Final = 60.0
"""Seconds after which whoever waits looks again; a watch that brings nothing ends by itself long before."""
REVOKE_S: Final = 1.0
"""Seconds that handing the right on may take; it ends by itself otherwise."""
MARGIN: Final = 0.1
"""The part of the lease's time that is left for the work to end in, once it counts as lost."""


class Held:
    """The right to do one kind of work, as long as `lost` is False; `fence` belongs into all of its transactions."""

    def __init__(self, store: Store, key: str, revision: int, lease: HeldLease, clock: Callable[[], float]) -> None:
        self.key = key
        self.revision = revision
        """The revision that created the lease's key: larger for each holder than for those before."""
        self.fence: Final = Compare(key, "create_revision", "=", revision)
        self.lease = lease
        self._store, self._clock = store, clock

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold it by now."""
        return self.lease.lost(self._clock())

    async def txn(self, txn: Txn) -> TxnResult:
        """Run a transaction of the work; `LeaseLost`, and nothing was written, when somebody else may hold it.

        The fence counts as one more compare, and as one operation of the branch for when compares fail, which may
        only read.
        """
        if not all(isinstance(operation, Get) for operation in txn.otherwise):
            raise UsageError("a fenced transaction writes where its compares fail", remedy="let that branch only read")
        if self.lost:
            raise self._gone()
        result = await self._store.txn(Txn((self.fence, *txn.compares), txn.then, (Get(self.key), *txn.otherwise)))
        if result.succeeded:
            return result
        found, *others = result.results
        if not found or found[0].create_revision != self.revision:
            raise self._gone()
        return TxnResult(False, result.revision, tuple(others))

    def _gone(self) -> LeaseLost:
        return LeaseLost(f"{self.key} is held by somebody else by now", remedy="they do the work; nothing was written")


@asynccontextmanager
async def holding(
    store: Store, name: str, *, ttl_s: float = TTL_S, clock: Callable[[], float] | None = None
) -> AsyncIterator[Held]:
    """Wait until the work `name` is ours, and hold it while the body runs.

    The body is cancelled when the lease is lost, and `LeaseLost` raised; at its end the lease is revoked, so that the
    next one begins at once. Waiting outlasts a store that does not answer; `NotRunning` when ours was closed.
    """
    clock = steady_clock() if clock is None else clock
    held = await _campaign(
        store, DUTIES + "/".join(checked_name(part, "work") for part in name.split("/")), ttl_s, clock
    )
    loop, now = asyncio.get_running_loop(), clock
    keeper: asyncio.Task[None] | None = None
    failure: BaseException | None = None
    try:
        async with asyncio.timeout(held.lease.left_s(now()) * (1 - MARGIN)) as limit:

            def prolonged(lease: HeldLease) -> None:
                held.lease = lease
                if not limit.expired():
                    limit.reschedule(loop.time() + lease.left_s(now()) - MARGIN * lease.ttl_s)

            def ended(task: asyncio.Task[None]) -> None:
                nonlocal failure
                if not task.cancelled():
                    failure = task.exception()
                    if not limit.expired():
                        limit.reschedule(loop.time())

            keeper = loop.create_task(_kept(store, held.lease, prolonged, clock), name=f"herz-work {held.key}")
            keeper.add_done_callback(ended)
            yield held
    except TimeoutError as error:
        if not limit.expired():
            raise
        if isinstance(failure, NotRunning):
            raise failure from error
        raise LeaseLost(f"{held.key}: the lease was lost", remedy="the work goes on at its next holder") from (
            failure or error
        )
    finally:
        if keeper is not None:
            keeper.remove_done_callback(ended)
            keeper.cancel()
            await asyncio.wait({keeper})
        await _revoke(store, held.lease)


async def held_forever(
    store: Store,
    name: str,
    work: Callable[[Held], Awaitable[None]],
    *,
    ttl_s: float = TTL_S,
    chance: Callable[[], float] = random.random,
) -> None:
    """Run `work` whenever it is ours, again when the lease was lost or it failed, until cancelled."""
    failures = 0
    while True:
        try:
            async with holding(store, name, ttl_s=ttl_s) as held:
                await work(held)
                failures = 0
        except NotRunning:
            return
        except LeaseLost as error:
            _log.warning("herz: %s", error)
        except Exception as error:
            if isinstance(error, HerzError):
                _log.warning("herz: the work %r failed and is tried again: %s", name, error)
            else:
                _log.exception("herz: the work %r failed in an unexpected way, and is tried again", name)
            await asyncio.sleep(EXPONENTIAL.wait_s(failures, chance))
            failures += 1


async def _kept(
    store: Store, lease: HeldLease, prolonged: Callable[[HeldLease], None], clock: Callable[[], float]
) -> None:
    await keep(store, lease, prolonged, clock=clock)


async def _campaign(store: Store, key: str, ttl_s: float, clock: Callable[[], float]) -> Held:
    owner = msgspec.json.encode({"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex})
    retries = 0
    while True:
        lease: HeldLease | None = None
        try:
            found = await store.get(key)
            if found is not None:
                await _vacant(store, key, found.mod_revision)
                retries = 0
                continue
            lease = await granted(store, ttl_s, clock=clock)
            held = await _claimed(store, key, owner, lease, clock)
            if held is not None:
                return held
        except (asyncio.CancelledError, NotRunning):
            if lease is not None:
                await _revoke(store, lease)
            raise
        except HerzError as error:
            _log.log(
                logging.DEBUG if isinstance(error, SourceUnavailable) else logging.INFO, "herz: %s: %s", key, error
            )
            await asyncio.sleep(min(ttl_s, EXPONENTIAL.wait_s(retries, random.random)))
            retries += 1
        if lease is not None:
            await _revoke(store, lease)


async def _claimed(store: Store, key: str, owner: bytes, lease: HeldLease, clock: Callable[[], float]) -> Held | None:
    """The right, if the key was free. An answer that was lost is found out by the lease that the key hangs on."""
    try:
        done = await store.txn(Txn((Compare.absent(key),), (Put(key, owner, lease.id),)))
        revision = done.revision if done.succeeded else 0
    except SourceUnavailable:
        found = await store.get(key)
        revision = found.create_revision if found is not None and found.lease == lease.id else 0
    return Held(store, key, revision, lease, clock) if revision and not lease.lost(clock()) else None


async def _vacant(store: Store, key: str, after: int) -> None:
    """Wait until `key` is deleted, as far as the watch tells; it is looked at again after a while in any case."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN_S), store.watch(key, after) as items:
            async for item in items:
                if isinstance(item, Changes) and any(
                    event.entry.key == key and event.type is EventType.DELETE for event in item.events
                ):
                    return


async def _revoke(store: Store, lease: HeldLease) -> None:
    with suppress(HerzError):
        await within(REVOKE_S, store.revoke(lease.id), "a lease: the store", asyncio.sleep)
