"""The revisioned key-value store: what the embedded SQLite store and etcd both keep.

The model is etcd's (https://etcd.io/docs/v3.5/learning/api/). A store is at one revision, a counter
that a transaction raises by one when it changes something, however many keys it writes. Every key
remembers the revision that created it, the one that last changed it, and how often it was changed
since. Old revisions stay readable, and a watch can start at any of them, until they are compacted.
Keys may hang on a lease: when nobody keeps the lease alive, they are deleted by an ordinary revision.

Keys are non-empty text, ordered by their UTF-8 bytes. Values are bytes. The empty prefix means every key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias

REQUEST_BYTES: Final = 1_572_864
"""1.5 MiB: what an etcd server takes in one request (`--max-request-bytes`)."""

TXN_OPERATIONS: Final = 128
"""What an etcd server takes in one transaction (`--max-txn-ops`), counted for each branch and the compares."""

OVERHEAD_BYTES: Final = 64
"""Counted for every operation besides its key and value: the room that etcd's request encoding needs, rounded up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one transaction may hold. The defaults are etcd's, so that what one store takes the other takes too."""

    request_bytes: int = REQUEST_BYTES
    operations: int = TXN_OPERATIONS


class Entry(NamedTuple):
    """One key at one revision. A tuple, for 100,000 of them are made at a start.

    `version` counts the changes since the key was created, starting at 1. A deleted key is described
    by an entry with an empty value, `create_revision` 0 and `version` 0.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int | None = None

    def __repr__(self) -> str:
        # Values may be secrets, so they never print.
        return f"Entry({self.key!r}@{self.mod_revision}, {len(self.value)} bytes, version={self.version})"


@dataclass(frozen=True, slots=True)
class Range:
    """Entries in the order of their keys, all as of `revision`.

    `more` says that the limit cut the range short; go on with `after=entries[-1].key` and this `revision`.
    """

    revision: int
    entries: tuple[Entry, ...]
    more: bool = False


class EventType(Enum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


class KeyEvent(NamedTuple):
    """One key written or deleted. `previous` is None where there was no key, or compaction took it, or nobody asked."""

    type: EventType
    entry: Entry
    previous: Entry | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that one revision did to the watched prefix, never part of it; at least one event."""

    revision: int
    events: tuple[KeyEvent, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """The store was asked just now, and every change up to and including `revision` has been handed over.

    Not `current` is a sign of life only: the store answers, and later changes may be on their way.
    """

    revision: int
    current: bool = True


Target: TypeAlias = Literal["mod_revision", "create_revision", "version", "lease", "value"]
Relation: TypeAlias = Literal["=", "!=", "<", ">"]


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on one key: `Compare("/a", "mod_revision", "=", 7)`.

    For a key that is absent every number is 0 and no comparison of the value holds. No lease is 0.
    """

    key: str
    target: Target
    relation: Relation
    operand: int | bytes

    @classmethod
    def unchanged(cls, key: str, mod_revision: int) -> Compare:
        """`key` was last changed by `mod_revision`; 0 means that it is absent."""
        return cls(key, "mod_revision", "=", mod_revision)

    @classmethod
    def absent(cls, key: str) -> Compare:
        """`key` does not exist."""
        return cls(key, "create_revision", "=", 0)

    def __repr__(self) -> str:
        operand = f"{len(self.operand)} bytes" if isinstance(self.operand, bytes) else self.operand
        return f"Compare({self.key!r}, {self.target} {self.relation} {operand})"


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. Without a lease the key is detached from the one it may hang on."""

    key: str
    value: bytes
    lease: int | None = None

    def __repr__(self) -> str:
        return f"Put({self.key!r}, {len(self.value)} bytes, lease={self.lease})"


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key; nothing happens where it is absent."""

    key: str


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    """Delete every key that begins with `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key; sees what the operations before it in the same transaction wrote."""

    key: str


Operation: TypeAlias = Put | Delete | DeletePrefix | Get


@dataclass(frozen=True, slots=True)
class Txn:
    """When every one of `compares` holds, do `then`, else do `otherwise`: all of it, or nothing.

    All writes of one transaction share one revision. A key may be put only once, and not be put and
    deleted; etcd refuses that too.
    """

    compares: Sequence[Compare] = ()
    then: Sequence[Operation] = ()
    otherwise: Sequence[Operation] = ()


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did.

    `results` has one tuple for each operation of the branch that ran: the entry that `Get` read,
    or the entries that a `Put` or a deletion replaced. `revision` is the store's afterwards, which
    is the transaction's own when it changed something.
    """

    succeeded: bool
    revision: int
    results: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to keep keys for `ttl_s` seconds after the last sign of life."""

    id: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """Where the store stands. `identity` differs between two stores and is new when one is made anew.

    A restored backup keeps its identity: compare revisions as well.
    """

    revision: int
    compacted: int
    identity: str
    size_bytes: int


class Store(ABC):
    """A place for keys with revisions, transactions, leases and a watch that loses nothing.

    Everything is a coroutine of one event loop; a store may be shared by the tasks of that loop. Any call
    raises `SourceUnavailable` when the store does not answer, `SourceDenied` when it refuses us,
    `StoreCorrupt` when its data is damaged and `StoreError` for other failures; `NotRunning` after `close`.
    A write that is cancelled or ends in `SourceUnavailable` may still happen: read before repeating it,
    or make it conditional.
    """

    limits: Limits
    proof_s: float = 10.0
    """Seconds within which a healthy watch hands over something, be it `Progress`; without that it may be dead."""

    @abstractmethod
    async def get(self, key: str, *, revision: int | None = None) -> Entry | None:
        """The key as of `revision`, by default now. `RevisionExpired` as for `range`."""

    @abstractmethod
    async def range(
        self, prefix: str, *, revision: int | None = None, limit: int | None = None, after: str | None = None
    ) -> Range:
        """The entries under `prefix`, all as of one revision, at most `limit`, those behind the key `after`.

        The answer is linearizable when no revision is given: it contains every write acknowledged before
        the call. `RevisionExpired` when `revision` was compacted or lies in the future of this store.
        """

    @abstractmethod
    async def txn(self, txn: Txn) -> TxnResult:
        """Run a transaction atomically; once it is acknowledged it survives a crash.

        `LeaseLost` when a put names a lease that is gone. `StoreError` when it is larger than `limits`,
        `UsageError` when it is contradictory. In every case of error nothing was written.
        """

    @abstractmethod
    def watch(
        self, prefix: str, after: int, *, previous: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[Changes | Progress]]:
        """Follow `prefix` from revision `after + 1` on, each revision whole, once and in order.

        Read with `range`, then watch after the revision it gave: nothing is lost in between. `Progress` comes
        when everything up to now has been handed over, and again at regular intervals as a proof of life.
        Nothing is queued: a slow consumer reads history later, and costs no memory. Without `previous` a store may
        leave out what each event replaced, where looking that up costs it something.

        Raises on entering or while iterating: `RevisionExpired` when `after` is older than the compacted
        revision, or newer than the store (it was restored from a backup; a watch never waits for a revision to
        come again), and every error of `Store` when the stream breaks. It never reconnects by itself;
        open another one after the last revision that was handed over.
        """

    @abstractmethod
    async def compact(self, revision: int) -> None:
        """Forget what lies before `revision`; the state as of `revision` and all that follows stay.

        Nothing happens when that is done already. `UsageError` when `revision` lies in the future.
        """

    @abstractmethod
    async def grant(self, ttl_s: float) -> Lease:
        """A new lease. The store may grant a longer time than asked for; the answer says which."""

    @abstractmethod
    async def keep_alive(self, lease: int) -> float:
        """Prolong a lease by its whole time and return it in seconds; `LeaseLost` when it has expired or was revoked.

        Count the seconds from the moment of the call, not of the answer.
        """

    @abstractmethod
    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys in one revision; `LeaseLost` when it is gone already."""

    @abstractmethod
    async def status(self) -> Status:
        """Where the store stands now."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. Watches that are open end with `NotRunning`. Closing twice is allowed."""

    async def put(self, key: str, value: bytes, *, lease: int | None = None) -> int:
        """Write one key; the revision that did."""
        return (await self.txn(Txn(then=(Put(key, value, lease),)))).revision

    async def delete(self, key: str) -> int:
        """Delete one key; the store's revision afterwards, unchanged when there was no such key."""
        return (await self.txn(Txn(then=(Delete(key),)))).revision

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all keys under `prefix` in one revision, which is returned."""
        return (await self.txn(Txn(then=(DeletePrefix(prefix),)))).revision
