"""etcd as a store: keys, transactions, leases and watches of a cluster, behind the store's protocol."""

# What the methods of `Store` promise stands there.
# ruff: noqa: D102

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

from herz.errors import LeaseLost, NotRunning, RevisionExpired, SourceDenied, UsageError
from herz.model.secret import Secret
from herz.store.base import Changes, Entry, Lease, Limits, Progress, Range, Status, Store, Txn, TxnResult
from herz.store.check import check
from herz.store.etcd import translate
from herz.store.etcd.address import DIAL_S, PROOF_S
from herz.store.etcd.client import Client
from herz.store.etcd.messages import message
from herz.store.etcd.proof import orders_progress, version_of
from herz.store.etcd.rpc import Timing
from herz.store.etcd.watch import EtcdWatch
from herz.store.keys import encoded
from herz.tls.guard import check_endpoints
from herz.tls.material import TlsMaterial

EPOCH_KEY: Final = "/herz/epoch"
"""A random value, written once: a store that was made anew has another one, though its cluster id be the same."""

PAGE: Final = 1_000
"""Entries asked for at first."""

PAGE_MOST: Final = 10_000
"""And at most. The server counts all keys of the prefix for each page: 100,000 take it 2.7 s in pages of 1,000, and
0.6 s in pages of 10,000."""

PAGE_BYTES: Final = 4 << 20
"""Above this the next page is asked for with half as many entries, under a quarter of it with twice as many."""

_log = logging.getLogger(__name__)


class EtcdStore(Store):
    """The keys of an etcd cluster, version 3.4 or newer, reached at any of `endpoints` (`host:port`).

    With `tls` every connection is encrypted, else none is. `username` and `password` log in; nothing is sent or
    opened before the first call. `proof_s`: see `Store`. `first` chooses the endpoint to begin with out of so many,
    by default the first; pass a random choice so that many clients spread.

    `status().identity` is the cluster's id and the value of the key `/herz/epoch`, which is created on the first
    use where the user may write it, and left out where the user may not read it.

    A member that is too old for a feature is told in `notices`.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsMaterial | None = None,
        server_name: str | None = None,
        username: str | None = None,
        password: str | Secret | None = None,
        dial_timeout_s: float = DIAL_S,
        request_timeout_s: float = 5.0,
        keepalive_s: float = 10.0,
        proof_s: float = PROOF_S,
        limits: Limits | None = None,
        epoch: Callable[[], str] = lambda: uuid.uuid4().hex,
        first: Callable[[int], int] | None = None,
    ) -> None:
        if password is not None and username is None:
            raise UsageError("a password for etcd without a user", remedy="give both")
        scheme = "etcd" if tls is None else "etcd+tls"
        check_endpoints([f"{scheme}://{endpoint}" for endpoint in endpoints], tls)
        self.limits = Limits() if limits is None else limits
        self.proof_s = proof_s
        self._epoch = epoch
        self._client = Client(
            endpoints,
            tls=tls,
            server_name=server_name,
            username=username,
            password=None if password is None else Secret(password),
            timing=Timing(dial_timeout_s, request_timeout_s, keepalive_s, min(dial_timeout_s, keepalive_s)),
            first=first,
        )
        self._begun = False
        self._page = PAGE
        self._readable = EPOCH_KEY
        self._compacted = (0, "")
        self._watches: set[EtcdWatch] = set()
        self._version: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"EtcdStore({', '.join(self._client.endpoints)})"

    # --- reading

    async def get(self, key: str, *, revision: int | None = None) -> Entry | None:
        request = translate.Range(key=encoded(key), revision=_asked(revision))
        response = await self._call("KV.Range", request, f"reading {key}")
        return translate.entry(response.kvs[0]) if response.kvs else None

    async def range(
        self, prefix: str, *, revision: int | None = None, limit: int | None = None, after: str | None = None
    ) -> Range:
        for _ in range(2):
            try:
                return await self._range(prefix, _asked(revision), limit, after)
            except RevisionExpired:
                if revision is not None:
                    raise  # else the present was compacted while we read it in pages: once more
        return await self._range(prefix, 0, limit, after)

    async def _range(self, prefix: str, revision: int, limit: int | None, after: str | None) -> Range:
        entries: list[Entry] = []
        page = self._page
        while True:
            start, end = translate.behind(prefix, after)
            wanted = page if limit is None else min(page, limit - len(entries))
            request = translate.Range(key=start, range_end=end, revision=revision, limit=wanted)
            response = await self._call("KV.Range", request, f"reading {prefix or 'every key'}")
            entries += map(translate.entry, response.kvs)
            revision = revision or response.header.revision
            if not response.more or (limit is not None and len(entries) >= limit):
                self._readable = prefix
                return Range(revision, tuple(entries), response.more)
            after = entries[-1].key
            size = response.ByteSize()
            if size > PAGE_BYTES:
                page = max(1, page // 2)
            elif size < PAGE_BYTES / 4:
                page = min(PAGE_MOST, page * 2)
            self._page = max(page, PAGE)

    # --- writing

    async def txn(self, txn: Txn) -> TxnResult:
        check(txn, self.limits)
        response = await self._call("KV.Txn", translate.txn_request(txn), "writing", write=True)
        return TxnResult(response.succeeded, response.header.revision, translate.results(response))

    async def compact(self, revision: int) -> None:
        if revision <= 0:
            return
        request = message("CompactionRequest")(revision=revision)
        try:
            await self._call("KV.Compact", request, f"compacting before revision {revision}", write=True)
        except RevisionExpired as error:
            if "future" in error.what:
                raise UsageError(
                    f"revision {revision} cannot be compacted: it lies in the future",
                    remedy="compact what has happened",
                ) from error

    # --- leases

    async def grant(self, ttl_s: float) -> Lease:
        if not ttl_s > 0:
            raise UsageError(f"a lease of {ttl_s} seconds", remedy="ask for more than 0")
        request = message("LeaseGrantRequest")(TTL=math.ceil(ttl_s))
        response = await self._call("Lease.LeaseGrant", request, "asking for a lease", write=True)
        return Lease(response.ID, float(response.TTL))

    async def keep_alive(self, lease: int) -> float:
        doing = f"keeping lease {lease} alive"
        await self._begin(doing)
        request = message("LeaseKeepAliveRequest")(ID=lease)
        response = await self._client.exchange("Lease.LeaseKeepAlive", request, doing)
        if response.TTL <= 0:
            raise LeaseLost(
                f"lease {lease} has expired or was revoked", remedy="grant a new one and write its keys again"
            )
        return float(response.TTL)

    async def revoke(self, lease: int) -> None:
        request = message("LeaseRevokeRequest")(ID=lease)
        await self._call("Lease.LeaseRevoke", request, f"revoking lease {lease}", write=True)

    # --- watching

    def watch(
        self, prefix: str, after: int, *, previous: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[Changes | Progress]]:
        return self._watch(prefix, after, previous)

    @asynccontextmanager
    async def _watch(self, prefix: str, after: int, previous: bool) -> AsyncIterator[AsyncIterator[Changes | Progress]]:
        await self._begin(f"watching {prefix or 'every key'}")
        watch = EtcdWatch(self._client, prefix, after, proof_s=self.proof_s, previous=previous)
        self._watches.add(watch)
        try:
            await watch.open()
            yield watch
        finally:
            self._watches.discard(watch)
            await watch.close()

    # --- where it stands

    async def status(self) -> Status:
        revision, identity = await self._standing()
        answer = await self._call("Maintenance.Status", message("StatusRequest")(), "asking for the status")
        self._version = version_of(answer.version)
        return Status(revision, await self._compacted_at(identity, revision), identity, answer.dbSize)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the server that answered `status` last is too old for, for people; empty when it lacks nothing."""
        version = self._version
        told = ".".join(map(str, version))
        if not version:
            return ()
        if version < (3, 4):
            return (f"etcd {told} knows no fragments and no progress requests: use 3.4 or newer",)
        if not orders_progress(version):
            return (
                f"etcd {told} may answer a progress request before the events it covers (etcd#15220), "
                "so watches prove themselves by two probes each; 3.4.25 and 3.5.8 need one request",
            )
        return ()

    async def _standing(self, doing: str = "asking for the status") -> tuple[int, str]:
        """The newest revision, linearizable, and the store's identity; creates the epoch where there is none."""
        key = encoded(EPOCH_KEY)
        try:
            response = await self._client.call("KV.Range", translate.Range(key=key), doing)
        except SourceDenied:
            if self._readable == EPOCH_KEY:
                raise
            start, _ = translate.bounds(self._readable)
            request = translate.Range(key=start, keys_only=True)
            header = (await self._client.call("KV.Range", request, doing)).header
            return header.revision, f"{header.cluster_id:016x}"
        cluster = f"{response.header.cluster_id:016x}"
        if response.kvs:
            return response.header.revision, f"{cluster}/{response.kvs[0].value.decode('utf-8', 'replace')}"
        return await self._create_epoch(cluster, response.header.revision)

    async def _create_epoch(self, cluster: str, revision: int) -> tuple[int, str]:
        key = encoded(EPOCH_KEY)
        epoch = self._epoch()
        request = message("TxnRequest")(
            compare=[message("Compare")(key=key, target=1, result=0, create_revision=0)],
            success=[message("RequestOp")(request_put=message("PutRequest")(key=key, value=epoch.encode()))],
            failure=[message("RequestOp")(request_range=translate.Range(key=key))],
        )
        try:
            response = await self._client.call("KV.Txn", request, f"creating {EPOCH_KEY}", write=True)
        except SourceDenied:
            _log.info("%s may not be written, so a store made anew is told by its cluster id alone", EPOCH_KEY)
            return revision, cluster
        if not response.succeeded:
            epoch = response.responses[0].response_range.kvs[0].value.decode("utf-8", "replace")
        return response.header.revision, f"{cluster}/{epoch}"

    async def _compacted_at(self, identity: str, revision: int) -> int:
        """The revision of the last compaction. The server tells only whether one revision is older than that."""
        low = self._compacted[0] if self._compacted[1] == identity else 0
        if await self._is_kept(low or 1):
            return low
        low, high = low or 1, revision  # `low` is compacted, `high` is not
        while high - low > 1:
            middle = (low + high) // 2
            if await self._is_kept(middle):
                high = middle
            else:
                low = middle
        self._compacted = (high, identity)
        return high

    async def _is_kept(self, revision: int) -> bool:
        start = translate.bounds(self._readable)[0]
        request = translate.Range(key=start, revision=revision, keys_only=True)
        try:
            await self._client.call("KV.Range", request, "asking for the status")
        except RevisionExpired:
            return False
        return True

    # --- its life

    async def close(self) -> None:
        for watch in tuple(self._watches):
            watch.fail(NotRunning("the etcd store was closed", remedy="open another one"))
        await self._client.close()

    async def _begin(self, doing: str) -> None:
        """Once, before the first call: have the epoch created, so that it is no revision between two of ours."""
        if not self._begun:
            with suppress(SourceDenied):  # no right to read the epoch; the call itself will tell what there is to tell
                await self._standing(doing)
            self._begun = True

    async def _call(self, name: str, request: Any, doing: str, *, write: bool = False) -> Any:
        await self._begin(doing)
        return await self._client.call(name, request, doing, write=write)


def _asked(revision: int | None) -> int:
    """A revision as etcd is asked for it, where 0 means now."""
    if revision is None:
        return 0
    return max(revision, 1)
