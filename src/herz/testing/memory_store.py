"""A store in memory that keeps every promise of `Store`, and can be made to fail as real ones do."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from immutables import Map

from herz.errors import LeaseLost, NotRunning, RevisionExpired, SourceUnavailable, UsageError
from herz.store.base import (
    Changes,
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    EventType,
    Get,
    KeyEvent,
    Lease,
    Limits,
    Operation,
    Progress,
    Put,
    Range,
    Status,
    Store,
    Txn,
    TxnResult,
)
from herz.store.check import check
from herz.store.keys import encoded, encoded_prefix

State = Map[str, Entry]


class Backup(NamedTuple):
    """What a place held when it was saved."""

    revision: int
    compacted: int
    states: dict[int, State]
    changes: dict[int, tuple[KeyEvent, ...]]


@dataclass(eq=False)
class Place:
    """What several clients share: the revisions, and the faults that they meet.

    `down`: nobody is answered. `silent`: watches stand and bring nothing, as behind a broken wire. `behind`: what
    watches and reads of a lagging member do not see yet, in revisions.
    """

    revision: int = 1
    compacted: int = 0
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    states: dict[int, State] = field(default_factory=lambda: {1: Map()})
    changes: dict[int, tuple[KeyEvent, ...]] = field(default_factory=dict)
    leases: dict[int, tuple[float, float]] = field(default_factory=dict)
    down: bool = False
    silent: bool = False
    cuts: int = 0
    repeat: int = 0
    watching: set[asyncio.Event] = field(default_factory=set)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def state(self) -> State:
        """What is there now."""
        return self.states[self.revision]

    def wake(self) -> None:
        """Make every watch look."""
        for event in self.watching:
            event.set()

    def cut(self) -> None:
        """End every watch that stands now, as a reset connection does."""
        self.cuts += 1
        self.wake()

    def backup(self) -> Backup:
        """Everything, to be restored later."""
        return Backup(self.revision, self.compacted, dict(self.states), dict(self.changes))

    def restore(self, backup: Backup) -> None:
        """Go back to a backup. As in etcd nothing but the content tells, and connections are cut."""
        self.revision, self.compacted = backup.revision, backup.compacted
        self.states, self.changes = dict(backup.states), dict(backup.changes)
        self.cut()

    def say_again(self) -> None:
        """Send the newest change once more to every watch, as a broken relay might."""
        self.repeat += 1
        self.wake()


class MemoryStore(Store):
    """One client of a place. `clock` tells the seconds of leases; `progress_s` is the sign of life's interval."""

    def __init__(
        self,
        place: Place | None = None,
        *,
        clock: Callable[[], float] | None = None,
        progress_s: float = 1.0,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self.place = place if place is not None else Place()
        self.limits = limits
        self.proof_s = 3 * progress_s
        self._progress_s = progress_s
        self._clock = clock if clock is not None else asyncio.get_running_loop().time
        self._closed = False

    def _here(self) -> Place:
        if self._closed:
            raise NotRunning("the store was closed")
        if self.place.down:
            raise SourceUnavailable("the store in memory is down", remedy="bring it up")
        self._sweep()
        return self.place

    def _sweep(self) -> None:
        """Delete what hangs on expired leases, one revision each."""
        now = self._clock()
        for lease, (_, until) in list(self.place.leases.items()):
            if until <= now:
                self._end(lease)

    def _end(self, lease: int) -> None:
        del self.place.leases[lease]
        keys = [key for key, entry in self.place.state.items() if entry.lease == lease]
        self._write([Delete(key) for key in sorted(keys, key=str.encode)])

    async def get(self, key: str, *, revision: int | None = None) -> Entry | None:
        """See `Store.get`."""
        encoded(key)
        return self._state(self._here(), revision)[1].get(key)

    def _state(self, place: Place, revision: int | None) -> tuple[int, State]:
        at = place.revision if revision is None else revision
        if at > place.revision:
            raise RevisionExpired(f"revision {at} is in the future, at {place.revision}", remedy="read again")
        if at < place.compacted:
            raise RevisionExpired(f"revision {at} was compacted at {place.compacted}", remedy="read again")
        return at, place.states[at] if at in place.states else Map()

    async def range(
        self, prefix: str, *, revision: int | None = None, limit: int | None = None, after: str | None = None
    ) -> Range:
        """See `Store.range`."""
        encoded_prefix(prefix)
        at, state = self._state(self._here(), revision)
        behind = b"" if after is None else after.encode()
        keys = sorted((key for key in state if key.startswith(prefix) and key.encode() > behind), key=str.encode)
        taken = keys if limit is None else keys[:limit]
        return Range(at, tuple(state[key] for key in taken), len(taken) < len(keys))

    async def txn(self, txn: Txn) -> TxnResult:
        """See `Store.txn`."""
        place = self._here()
        check(txn, self.limits)
        succeeded = all(_holds(compare, place.state.get(compare.key)) for compare in txn.compares)
        operations = txn.then if succeeded else txn.otherwise
        for operation in operations:
            if isinstance(operation, Put) and operation.lease is not None and operation.lease not in place.leases:
                raise LeaseLost(f"lease {operation.lease} is gone", where=operation.key, remedy="grant another one")
        return TxnResult(succeeded, *self._write(operations))

    def _write(self, operations: Sequence[Operation]) -> tuple[int, tuple[tuple[Entry, ...], ...]]:
        place, revision = self.place, self.place.revision + 1
        state, events, results = place.state, list[KeyEvent](), list[tuple[Entry, ...]]()
        for operation in operations:
            if isinstance(operation, Get):
                found = state.get(operation.key)
                results.append(() if found is None else (found,))
            elif isinstance(operation, Put):
                old = state.get(operation.key)
                created, version = (revision, 1) if old is None else (old.create_revision, old.version + 1)
                new = Entry(operation.key, operation.value, created, revision, version, operation.lease)
                state = state.set(operation.key, new)
                events.append(KeyEvent(EventType.PUT, new, old))
                results.append(() if old is None else (old,))
            else:
                gone = sorted((key for key in state if _deletes(operation, key)), key=str.encode)
                results.append(tuple(state[key] for key in gone))
                for key in gone:
                    events.append(KeyEvent(EventType.DELETE, Entry(key, b"", 0, revision, 0), state[key]))
                    state = state.delete(key)
        if events:
            place.revision, place.states[revision] = revision, state
            place.changes[revision] = tuple(events)
            place.wake()
        return place.revision, tuple(results)

    @asynccontextmanager
    async def watch(
        self, prefix: str, after: int, *, previous: bool = True
    ) -> AsyncIterator[AsyncIterator[Changes | Progress]]:
        """See `Store.watch`."""
        place = self._here()
        self._state(place, after)
        woken = asyncio.Event()
        place.watching.add(woken)
        try:
            yield self._items(place, prefix, after, woken, previous)
        finally:
            place.watching.discard(woken)

    async def _items(
        self, place: Place, prefix: str, cursor: int, woken: asyncio.Event, previous: bool
    ) -> AsyncIterator[Changes | Progress]:
        cuts, repeats = place.cuts, place.repeat
        while True:
            woken.clear()
            if self._closed:
                raise NotRunning("the store was closed")
            if place.cuts != cuts or place.down:
                raise SourceUnavailable("the connection was cut", remedy="open another watch")
            self._sweep()
            if not place.silent:
                if cursor < place.compacted - 1:
                    raise RevisionExpired(f"revision {cursor + 1} was compacted at {place.compacted}")
                while cursor < place.revision:
                    cursor += 1
                    if (change := _under(prefix, cursor, place.changes.get(cursor, ()), previous)) is not None:
                        yield change
                    if place.cuts != cuts:
                        break
                else:
                    if place.repeat > repeats:
                        repeats = place.repeat
                        if (change := _under(prefix, cursor, place.changes.get(cursor, ()), previous)) is not None:
                            yield change
                    yield Progress(cursor)
            try:
                async with asyncio.timeout(self._progress_s):
                    await woken.wait()
            except TimeoutError:
                pass

    async def compact(self, revision: int) -> None:
        """See `Store.compact`."""
        place = self._here()
        if revision > place.revision:
            raise UsageError(f"revision {revision} is in the future, at {place.revision}")
        for old in range(place.compacted, revision):
            place.states.pop(old, None)
            place.changes.pop(old, None)
        place.compacted = max(place.compacted, revision)
        # The newest change at or before the compacted revision stays readable as a state, not as a change.
        place.changes = {
            at: tuple(_without_compacted(event, place.compacted) for event in events)
            for at, events in place.changes.items()
        }
        place.wake()

    async def grant(self, ttl_s: float) -> Lease:
        """See `Store.grant`."""
        if not ttl_s > 0:
            raise UsageError(f"a lease of {ttl_s} s", remedy="ask for more than 0")
        lease = next(self._here().numbers)
        self.place.leases[lease] = (ttl_s, self._clock() + ttl_s)
        return Lease(lease, ttl_s)

    async def keep_alive(self, lease: int) -> float:
        """See `Store.keep_alive`."""
        held = self._here().leases.get(lease)
        if held is None:
            raise LeaseLost(f"lease {lease} is gone", remedy="grant another one")
        self.place.leases[lease] = (held[0], self._clock() + held[0])
        return held[0]

    async def revoke(self, lease: int) -> None:
        """See `Store.revoke`."""
        if lease not in self._here().leases:
            raise LeaseLost(f"lease {lease} is gone", remedy="there is nothing to do")
        self._end(lease)

    async def status(self) -> Status:
        """See `Store.status`."""
        place = self._here()
        size = sum(len(entry.value) for entry in place.state.values())
        return Status(place.revision, place.compacted, place.identity, size)

    async def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        self.place.wake()


def _under(prefix: str, revision: int, events: Sequence[KeyEvent], previous: bool) -> Changes | None:
    chosen = tuple(
        event if previous else event._replace(previous=None) for event in events if event.entry.key.startswith(prefix)
    )
    return Changes(revision, chosen) if chosen else None


def _without_compacted(event: KeyEvent, compacted: int) -> KeyEvent:
    """As etcd: the previous value is gone once it cannot be read any more."""
    previous = event.previous
    return event._replace(previous=None) if previous is not None and event.entry.mod_revision <= compacted else event


def _deletes(operation: Operation, key: str) -> bool:
    return key == operation.key if isinstance(operation, Delete) else key.startswith(_prefix(operation))


def _prefix(operation: Operation) -> str:
    assert isinstance(operation, DeletePrefix)  # noqa: S101  nothing else is left
    return operation.prefix


def _holds(compare: Compare, entry: Entry | None) -> bool:
    if compare.target == "value":
        if entry is None:
            return False
        actual: int | bytes = entry.value
    elif entry is None:
        actual = 0
    else:
        actual = entry.lease or 0 if compare.target == "lease" else getattr(entry, compare.target)
    order = (actual > compare.operand) - (actual < compare.operand)  # type: ignore[operator]  # checked: same types
    return {"=": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0}[compare.relation]
