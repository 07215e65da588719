"""What a failed call to etcd means for those who asked: an error of Herz with what, where and what now."""

from __future__ import annotations

from typing import Final

from herz.errors import (
    HerzError,
    LeaseLost,
    RevisionExpired,
    SourceDenied,
    SourceUnavailable,
    StoreCorrupt,
    StoreError,
    StoreFull,
    UsageError,
)
from herz.store.etcd.rpc import CallFailed

_PASSING: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL", "ABORTED"})
"""Codes of a connection, a member or a cluster in trouble; etcd's other refusals have codes of their own."""

_TOKEN: Final = ("invalid auth token", "revision of auth store is old", "revision in header is old")
_LOGIN: Final = ("authentication failed", "user name not found", "user name is empty")

_MEANINGS: Final[tuple[tuple[str, type[HerzError], str, str], ...]] = (
    ("has been compacted", RevisionExpired, "the revision was compacted", "read everything again and go on from there"),
    (
        "is a future revision",
        RevisionExpired,
        "the revision lies in the future of this store, which may be a restored backup",
        "read everything again and go on from there",
    ),
    ("requested lease not found", LeaseLost, "the lease is gone", "grant a new one and write its keys again"),
    ("too large lease TTL", UsageError, "the time to live of a lease is too large", "ask for less"),
    (
        "request is too large",
        StoreError,
        "the request is too large for this server",
        "split it, or raise --max-request-bytes",
    ),
    ("too many operations", StoreError, "too many operations for this server", "split it, or raise --max-txn-ops"),
    ("duplicate key given", UsageError, "a key is written twice in one transaction", "write it once"),
    (
        "database space exceeded",
        StoreFull,
        "the server's database is full, so it takes no writes",
        "compact, `etcdctl defrag`, then `etcdctl alarm disarm`",
    ),
    (
        "corrupt cluster",
        StoreCorrupt,
        "the cluster says that its data is corrupt",
        "compare the members with `etcdctl endpoint hashkv`",
    ),
)


def token_expired(reason: str) -> bool:
    """Whether a refusal says that our token is no longer valid, which a new one mends."""
    return any(text in reason for text in _TOKEN)


def without_login(reason: str) -> bool:
    """Whether a refusal says that the server asks for a user and we sent none."""
    return "user name is empty" in reason


def passing(failure: CallFailed) -> bool:
    """Whether another member, or the same one later, may do better."""
    return failure.code in _PASSING or "too many requests" in failure.details


def translated(failure: CallFailed, doing: str, *, write: bool = False) -> HerzError:
    """The error of Herz for a failed call. `doing` is what was tried: `reading /config/pay/`."""
    where = f"etcd at {failure.endpoint}"
    said = failure.details.removeprefix("etcdserver: ").strip() or failure.code.lower()
    for text, kind, what, remedy in _MEANINGS:
        if text in failure.details:
            return kind(f"{doing}: {what}", where=where, remedy=remedy)
    if failure.code == "PERMISSION_DENIED" or "permission denied" in failure.details:
        return SourceDenied(
            f"{doing}: permission denied", where=where, remedy="grant the user a role with that permission"
        )
    if failure.code == "UNAUTHENTICATED" or any(text in failure.details for text in (*_LOGIN, *_TOKEN)):
        return SourceDenied(f"{doing}: {said}", where=where, remedy="give the user and password that etcd knows")
    if failure.code == "UNIMPLEMENTED":
        return StoreError(
            f"{doing}: the server does not know this call", where=where, remedy="is it etcd 3.4 or newer?"
        )
    if passing(failure):
        if failure.code == "DEADLINE_EXCEEDED" and failure.sent:
            said = "no answer in time"
        remedy = "is it running, reachable, and is this the right port?"
        if write and failure.sent:
            remedy = "it may have been written all the same: read before repeating"
        return SourceUnavailable(f"{doing}: {said}", where=where, remedy=remedy)
    return StoreError(f"{doing}: {said}", where=where, remedy="look into the server's log")
