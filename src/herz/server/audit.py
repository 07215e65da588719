"""The audit log: who did what, chained by hash, written in the same transaction as the deed.

Entry n lies at `/herz/audit/entries/<n>` and holds the hash of entry n - 1; `/herz/audit/head` holds the number and the
hash of the last one. Whoever changes, removes or reorders an entry breaks the chain at that place. Whoever can write
the store can also write the whole chain anew: keep the head elsewhere now and then, and hand it to `verify` as an
anchor.

The hash of an entry is sha256 over its JSON without `hash`, keys in the order of the record, no white space.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import field

from herz.errors import Conflict, DocumentMalformed, SourceUnavailable, UsageError
from herz.model.key import split
from herz.model.secret import MASK, SecretKeys
from herz.release.record import Record, decode, encode
from herz.server.clock import Clock
from herz.server.stored import stored
from herz.store.base import Compare, Entry, Get, Put, Store, Txn, TxnResult
from herz.store.plane import AUDIT

HEAD: Final = AUDIT + "head"
ENTRIES: Final = AUDIT + "entries/"
NOTHING: Final = "0" * 64
"""What the first entry holds as the hash before it."""
_PAGE: Final = 500
_ATTEMPTS: Final = 100
_MESSAGE_LENGTH: Final = 4000


class AuditEntry(Record, frozen=True, kw_only=True):
    """One deed. `forced` marks break-glass: a rule was overridden on purpose."""

    number: int
    time: datetime
    actor: str
    action: str
    target: str
    previous: str
    token: str | None = None
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    forced: bool = False
    hash: str = ""


class AuditHead(Record, frozen=True, kw_only=True):
    """The end of the chain."""

    number: int = 0
    hash: str = NOTHING


class Verified(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Whether the chain holds; `broken_at` is the number of the first entry that does not, and `why`."""

    ok: bool
    entries: int
    broken_at: int | None = None
    why: str | None = None
    head: str = NOTHING


@dataclass(frozen=True, slots=True)
class By:
    """Who acts: a name, and the id of the token that proves it (None for whoever is at this machine)."""

    actor: str
    token: str | None = None


class Audit:
    """The audit log in a store; any number of servers append to one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._turn = asyncio.Lock()
        self._failures = 0

    async def commit(
        self,
        txn: Txn,
        by: By,
        action: str,
        target: str,
        *,
        message: str = "",
        details: Mapping[str, Any] | None = None,
        forced: bool = False,
    ) -> TxnResult:
        """Run `txn` together with its entry: both happen, or neither.

        `succeeded` is False only when the compares of `txn` did not hold; the operations of its `otherwise` have run
        then, without an entry. Who else appends at the same time is waited for. `Conflict` when that never ends.
        Secret keys of `details` are masked. Two operations and one compare are needed besides those of `txn`.
        """

        def entered(head: Entry | None) -> AuditEntry:
            return self._entry(head, by, action, target, message, details, forced)

        failures = self._failures
        async with self._turn:  # of this process; other servers are met by the compare on the head
            if self._failures != failures:  # while we waited: do not wait for the same, one after the other
                raise SourceUnavailable("the store does not answer", where=HEAD, remedy="try again")
            try:
                return await self._commit(txn, entered)
            except SourceUnavailable:
                self._failures += 1
                raise

    async def _commit(self, txn: Txn, entered: Callable[[Entry | None], AuditEntry]) -> TxnResult:
        head = await self._store.get(HEAD)
        for attempt in range(_ATTEMPTS):
            entry = entered(head)
            revision = 0 if head is None else head.mod_revision
            result = await self._store.txn(
                Txn(
                    (*txn.compares, Compare.unchanged(HEAD, revision)),
                    (*txn.then, *_appended(entry)),
                    (*txn.otherwise, Get(HEAD)),
                )
            )
            if result.succeeded:
                return TxnResult(True, result.revision, result.results[: len(txn.then)])
            found = result.results[-1]
            head = found[0] if found else None
            if (0 if head is None else head.mod_revision) == revision:
                return TxnResult(False, result.revision, result.results[: len(txn.otherwise)])
            if attempt > 2:  # others are at it as well: let them, so that not all meet again
                await asyncio.sleep(random.uniform(0, 0.01 * min(attempt, 10)))  # noqa: S311  no secret
        raise Conflict("others append to the audit log all the time", key=HEAD, remedy="try again")

    async def head(self) -> AuditHead:
        """The end of the chain."""
        return _head(await self._store.get(HEAD))

    async def entries(self, after: int = 0, limit: int = 100) -> tuple[AuditEntry, ...]:
        """At most `limit` entries behind number `after`, in order. `StoreCorrupt` when one cannot be read."""
        page = await self._store.range(ENTRIES, after=key_of(after), limit=limit)
        return tuple(stored(one, AuditEntry) for one in page.entries)

    async def verify(
        self, anchor: AuditHead | None = None, *, reached: Callable[[int], None] = lambda number: None
    ) -> Verified:
        """Compute the chain anew, from the first entry to the head, as of one revision.

        `anchor` is a head that was kept elsewhere: the entry of its number must have its hash. `reached` is called now
        and then with the number of the last entry that held.
        """
        first = await self._store.range(ENTRIES, limit=_PAGE)
        head = _head(await self._store.get(HEAD, revision=first.revision or None))
        number, previous = 0, NOTHING
        async for one in self._all(first.revision, first.entries, first.more):
            number += 1
            entry, why = checked(one, number, previous)
            if entry is None or why is not None:
                return Verified(ok=False, entries=head.number, broken_at=number, why=why, head=head.hash)
            previous = entry.hash
            if number % _PAGE == 0:
                reached(number)
            if anchor is not None and number == anchor.number and previous != anchor.hash:
                why = "the chain was written anew: this entry has another hash than the anchor"
                return Verified(ok=False, entries=head.number, broken_at=number, why=why, head=head.hash)
        if (number, previous) != (head.number, head.hash):
            why = (
                f"the log ends at {number}, its head is {head.number}"
                if number != head.number
                else "the head has another hash than the last entry"
            )
            broken = min(number, head.number) + 1 if number != head.number else number
            return Verified(ok=False, entries=head.number, broken_at=broken, why=why, head=head.hash)
        if anchor is not None and number < anchor.number:
            why = f"the log ends at {number}, before the anchor at {anchor.number}"
            return Verified(ok=False, entries=number, broken_at=number + 1, why=why, head=head.hash)
        return Verified(ok=True, entries=number, head=previous)

    async def _all(self, revision: int, entries: tuple[Entry, ...], more: bool) -> AsyncIterator[Entry]:
        while True:
            for entry in entries:
                yield entry
            if not more:
                return
            page = await self._store.range(ENTRIES, revision=revision, after=entries[-1].key, limit=_PAGE)
            entries, more = page.entries, page.more

    def _entry(
        self,
        head: Entry | None,
        by: By,
        action: str,
        target: str,
        message: str,
        details: Mapping[str, Any] | None,
        forced: bool,
    ) -> AuditEntry:
        last = _head(head)
        entry = AuditEntry(
            number=last.number + 1,
            time=self._clock.now(),
            actor=by.actor,
            token=by.token,
            action=action,
            target=target,
            previous=last.hash,
            message=message[:_MESSAGE_LENGTH],
            details=_shown(details or {}),
            forced=forced,
        )
        return msgspec.structs.replace(entry, hash=hash_of(entry))


def parse_anchor(text: str) -> AuditHead:
    """The head that `NUMBER:HASH` means; `UsageError` when it means none."""
    number, colon, hash_ = text.partition(":")
    if not colon or not number.isdecimal() or len(hash_) != len(NOTHING):
        raise UsageError(f"{text!r} is no anchor", remedy="write NUMBER:HASH, as `herz audit verify` prints it")
    return AuditHead(number=int(number), hash=hash_)


def hash_of(entry: AuditEntry) -> str:
    """The hash that `entry` should have."""
    return sha256(encode(msgspec.structs.replace(entry, hash=""))).hexdigest()


def _appended(entry: AuditEntry) -> tuple[Put, Put]:
    head = AuditHead(number=entry.number, hash=entry.hash)
    return Put(key_of(entry.number), encode(entry)), Put(HEAD, encode(head))


def checked(one: Entry, number: int, previous: str | None) -> tuple[AuditEntry | None, str | None]:
    """The entry, None where it cannot be read; and why it breaks the chain, None where it does not.

    `previous` is the hash of the entry before it, None where that is not known.
    """
    if one.key != key_of(number):
        return None, f"entry {number} is missing"
    try:
        entry = decode(one.value, AuditEntry, one.key)
    except DocumentMalformed:
        return None, f"entry {number} cannot be read"
    if entry.number != number:
        return entry, f"entry {entry.number} lies at the place of entry {number}"
    if previous is not None and entry.previous != previous:
        return entry, f"entry {number} does not continue the entry before it"
    if entry.hash != hash_of(entry) or one.value != encode(entry):
        return entry, f"entry {number} was changed"
    return entry, None


def _head(entry: Entry | None) -> AuditHead:
    return AuditHead() if entry is None else stored(entry, AuditHead)


def key_of(number: int) -> str:
    """Where an entry lies."""
    return f"{ENTRIES}{number:016d}"


_SECRETS: Final = SecretKeys()


def _shown(value: Any, key: str = "") -> Any:
    """`value` as it may be kept for ever: what stands under a secret key is masked, in tables at any depth."""
    if key and _SECRETS.holds(split(key)) and value is not None and not isinstance(value, bool):
        return MASK
    if isinstance(value, Mapping):
        return {str(name): _shown(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(inner) for inner in value]
    return value
