"""A claim: one key of a store that is ours, says what we say, and hangs on a lease of ours.

Every write is conditional on what was read before, and the value names its owner. So a write whose answer was lost is
known as our own when it is found, and nobody's key is overwritten unseen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from herz.discovery.instance import ROOT, Instance, decoded, encoded, instance_key
from herz.discovery.lease import RENEWALS, HeldLease
from herz.discovery.timed import Sleep, within
from herz.errors import Conflict, DocumentMalformed, HerzError, LeaseLost, SourceUnavailable
from herz.store.base import Compare, Entry, Put, Store, Txn

T = TypeVar("T")


class Replaced(HerzError):
    """Another registration holds the key although our lease lives."""


class Vanished(HerzError):
    """The key is gone although our lease lives."""


class Claim:
    """The key of one instance and the lease it hangs on.

    Every call raises `SourceUnavailable` when the store does not answer within `attempt_s`, and what the store raises.
    """

    def __init__(
        self,
        store: Store,
        instance: Instance,
        *,
        ttl_s: float,
        attempt_s: float,
        clock: Callable[[], float],
        sleep: Sleep,
        root: str = ROOT,
    ) -> None:
        self.instance = instance
        self.key = instance_key(instance.service, instance.name, root)
        self.lease: HeldLease | None = None
        self.revision = 0
        """The revision that last wrote the key."""
        self._store, self._root, self._ttl_s, self._attempt_s = store, root, ttl_s, attempt_s
        self._clock, self._sleep = clock, sleep

    async def take(self, *, replacing: bool) -> None:
        """Grant a lease and write the key; `Conflict` when it is another's, unless `replacing`."""
        while not await self._taken(replacing):
            pass  # somebody wrote in between: look again

    async def _taken(self, replacing: bool) -> bool:
        found = await self._call(self._store.get(self.key), self._attempt_s)
        holder = self._holder(found)
        if holder is not None and not replacing:
            assert found is not None  # noqa: S101  it has a holder
            raise Conflict(
                f"the name {self.instance.name!r} of service {self.instance.service!r} is taken by {holder}",
                key=self.key,
                actual=found.mod_revision,
                where=f"{self.key}@{found.mod_revision}",
                remedy='choose another name, or say taken="wait" or taken="replace"',
            )
        if self.lease is None or self.lease.left_s(self._clock()) < self.lease.ttl_s / RENEWALS:
            sent_s = self._clock()
            granted = await self._call(self._store.grant(self._ttl_s), self._attempt_s)
            self.lease = HeldLease(granted.id, granted.ttl_s, sent_s)
        try:
            written = await self._written(found, self.lease)
        except LeaseLost:
            self.lease = None
            raise
        if self.lease.lost(self._clock()):
            self.lease = None
            raise SourceUnavailable(f"{self.key}: registering took longer than the lease", remedy="it is tried again")
        return written

    async def prove(self, lease: HeldLease) -> None:
        """Keep `lease` alive, and see to it that the key is there, ours, as it should be, and hangs on it.

        `LeaseLost` when the lease is gone or was answered too late, `Vanished` when the key was deleted, `Replaced`
        when it is another's.
        """
        sent_s = self._clock()
        limit_s = min(self._attempt_s, lease.ttl_s / RENEWALS, lease.left_s(sent_s))
        ttl_s = await self._call(self._store.keep_alive(lease.id), limit_s)
        self.lease = lease = lease.prolonged(ttl_s, sent_s, self._clock())
        while True:
            found = await self._call(self._store.get(self.key), limit_s)
            if found is None:
                raise Vanished(f"{self.key} was deleted", remedy="it is registered again")
            if (holder := self._holder(found)) is not None:
                where = f"{self.key}@{found.mod_revision}"
                raise Replaced(f"replaced by {holder}", where=where, remedy="give each process a name of its own")
            if await self._written(found, lease):
                return

    async def drop(self) -> str:
        """Revoke the lease, which deletes the key; what came of it."""
        lease, self.lease = self.lease, None
        if lease is None:
            return "there was no lease"
        try:
            await self._call(self._store.revoke(lease.id), self._attempt_s)
        except LeaseLost:
            return "the lease was gone already"
        except HerzError as error:
            return f"not revoked, the lease ends by itself within {lease.ttl_s:g} s: {error}"
        return "revoked"

    def _holder(self, found: Entry | None) -> str | None:
        """Who else holds the key, for people; None when it is ours or free."""
        if found is None:
            return None
        try:
            holder = decoded(found, self._root)
        except DocumentMalformed:
            return "something that is no instance"
        return None if holder.owner == self.instance.owner else f"another one at {holder.address}"

    async def _written(self, found: Entry | None, lease: HeldLease) -> bool:
        """Write the key if it is not as it should be; False when it is not `found` any more."""
        wanted = encoded(self.instance)
        if found is not None and found.value == wanted and found.lease == lease.id:
            self.revision = found.mod_revision
            return True
        free = Compare.absent(self.key) if found is None else Compare.unchanged(self.key, found.mod_revision)
        limit_s = min(self._attempt_s, lease.left_s(self._clock()))
        done = await self._call(self._store.txn(Txn((free,), (Put(self.key, wanted, lease.id),))), limit_s)
        if done.succeeded:
            self.revision = done.revision
        return done.succeeded

    async def _call(self, call: Awaitable[T], limit_s: float) -> T:
        return await within(limit_s, _awaited(call), f"{self.key}: the store", self._sleep)


async def _awaited(call: Awaitable[T]) -> T:
    return await call
