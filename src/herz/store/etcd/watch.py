"""Following a prefix of etcd over a connection of its own, without a gap that nobody notices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from herz.errors import HerzError, NotRunning, RevisionExpired, SourceDenied, SourceUnavailable, StoreError
from herz.store.base import Changes, Progress
from herz.store.etcd.client import Client
from herz.store.etcd.failures import passing, token_expired, translated, without_login
from herz.store.etcd.messages import message
from herz.store.etcd.proof import Prober
from herz.store.etcd.rpc import CallFailed, Connection, Metadata, Stream
from herz.store.etcd.translate import Range, bounds
from herz.store.etcd.whole import Group, WholeRevisions, changes

WATCH_ID: Final = 1
"""Ours to choose; the probes' follow."""

BUFFER_BYTES: Final = 4 << 20
"""Keys and values waiting for the consumer; beyond that nothing is read, and the server keeps the rest."""

BUFFER_EVENTS: Final = 4_096
"""The same for many small ones."""

BATCH_BYTES: Final = 16 << 20
"""A response larger than that is refused, and asked for again in fragments.

Fragments from the start would be simpler, but the server counts a fragment's bytes anew for every event that it adds:
60,000 small events take it 10 s instead of 0.1 s.
"""

PATIENCE_S: Final = 60.0
"""How long a stream may bring nothing while its member answers other calls."""

_Request = message("WatchRequest")


class EtcdWatch(AsyncIterator[Changes | Progress]):
    """One watch. `open` it, iterate, `close` it. Cancelling a wait for the next item loses nothing.

    Two tasks work behind it: one reads the stream into a bounded buffer, as the consumer comes back for more, and one
    proves every half of `proof_s` that the watch is current, and says so by `Progress` (`herz.store.etcd.proof` tells
    how). When the member does not answer, the watch ends in `SourceUnavailable` within `proof_s`.

    Events say what they replaced with `previous` only: the server reads each such entry before it sends the event, and
    copies for that all that it has not yet written to the disk.
    """

    def __init__(self, client: Client, prefix: str, after: int, *, proof_s: float, previous: bool) -> None:
        self._client, self._prefix, self._after, self._proof_s = client, prefix, after, proof_s
        self._key, self._end = bounds(prefix)
        self._previous = previous
        self._doing = f"watching {prefix or 'every key'}"
        self._revisions = WholeRevisions(after)
        self._verified = max(after, 1)
        self._items: deque[tuple[Group | Progress, int]] = deque()
        self._bytes = self._events = 0
        self._wanted: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._failure: HerzError | None = None
        self._fragment = False
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._stream: Stream | None = None
        self._metadata: Metadata = ()
        self._token = ""
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._asked_at = 0.0
        self._reading_since: float | None = None
        self._prober: Prober | None = None

    # --- opening

    async def open(self) -> None:
        """Register the watch, and make sure that the history after `after` is whole. Errors as `Store.watch` says.

        A member that takes the connection but cannot serve the watch (no leader, say) is left for the next one; each is
        tried once. What the cluster refuses is not asked of another member.
        """
        try:
            others = len(self._client.endpoints)
            while True:
                others -= 1
                self._connection = await self._client.fresh(self._doing, receive_bytes=BATCH_BYTES)
                try:
                    await self._register()
                except CallFailed as failure:
                    self._client.check_open()
                    error = self._ended(failure)
                    if not others or not passing(failure):
                        raise error from failure
                    await self._connection.close()
                else:
                    break
            self._task = self._loop.create_task(self._run(), name="herz-etcd-watch")
        except BaseException:
            await self.close()
            raise

    async def _register(self, *, login: bool = True) -> None:
        """Begin a stream behind what was handed on; nothing of it is taken before the history is known to be whole."""
        connection = self._connection
        assert connection is not None  # noqa: S101  set by `open`
        self._stream, self._metadata, self._token = await self._client.watch_stream(connection)
        self._revisions.restart()
        await self._stream.write(self.create_request(WATCH_ID, self._revisions.cursor + 1))
        try:
            async with asyncio.timeout(self._client.timing.dial_s):
                created = await self._stream.read()
        except TimeoutError:
            raise CallFailed("DEADLINE_EXCEEDED", "", connection.endpoint) from None
        try:
            self._check(created, opening=True)
            if not created.created or created.watch_id != WATCH_ID:
                raise CallFailed("INTERNAL", "the watch was not confirmed first", connection.endpoint)
            # The member answers once it has applied all that the cluster had acknowledged, so one that lags
            # catches up here, or cannot answer. Then `after` must lie between its compaction and its present.
            await self.verify()
        except (SourceDenied, CallFailed) as error:
            # A token that the server does not know any more, of which etcd 3.5 says "permission denied", too: that
            # is no failed attempt, but asked again with a new one.
            expired = isinstance(error, SourceDenied) or token_expired(error.details)
            if not (expired and login and self._token):
                raise
            self._client.forget(self._token)
            self._stream.cancel()
            await self._register(login=False)
            return
        status = await self.call("Maintenance.Status", message("StatusRequest")())
        self._prober = Prober(self, status.version, WATCH_ID)
        self._heard_at, self._reading_since = self._loop.time(), None

    def create_request(self, watch_id: int, start: int) -> Any:
        """A request for a watch of the prefix."""
        create = message("WatchCreateRequest")(
            key=self._key,
            range_end=self._end,
            start_revision=start,
            watch_id=watch_id,
            prev_kv=self._previous,
            progress_notify=True,
            fragment=self._fragment,
        )
        return _Request(create_request=create)

    # --- iterating

    def __aiter__(self) -> EtcdWatch:
        return self

    async def __anext__(self) -> Changes | Progress:
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._wanted = self._loop.create_future()
            if self._taken is not None and not self._taken.done():
                self._taken.set_result(None)
            await self._wanted
        item, size = self._items.popleft()
        if isinstance(item, Progress):
            return item
        self._bytes -= size
        self._events -= len(item)
        return changes(item)

    def _wake(self) -> bool:
        """Let the consumer go on; whether it waited."""
        if self._wanted is None or self._wanted.done():
            return False
        self._wanted.set_result(None)
        return True

    def _push(self, groups: list[Group], size: int) -> bool:
        """Have `groups` handed on, `size` bytes an event; whether the consumer should take them before more is read."""
        for group in groups:
            self._items.append((group, size * len(group)))
            self._bytes += size * len(group)
            self._events += len(group)
        waited = bool(groups) and self._wake()
        return waited or self._bytes >= BUFFER_BYTES or self._events >= BUFFER_EVENTS

    def _push_progress(self, revision: int, *, current: bool = True) -> None:
        self._items.append((Progress(revision, current), 0))
        self._wake()

    # --- reading

    async def _run(self) -> None:
        """Read and prove until one of them fails; only a batch that was too large begins anew, in fragments."""
        try:
            while True:
                try:
                    await self._read_and_prove()
                except CallFailed as failure:
                    if not failure.too_large or self._fragment:
                        raise
                    self._fragment = True
                    await self._register()
        except CallFailed as failure:
            self.fail(self._ended(failure))
        except HerzError as error:
            if isinstance(error, SourceUnavailable) and self._connection is not None:
                self._client.blame(self._connection.endpoint)
            self.fail(error)
        except Exception as error:  # a fault of ours, which must not look like a quiet watch
            broken = StoreError(f"{self._doing}: {type(error).__name__}: {error}", remedy="report this")
            broken.__cause__ = error
            self.fail(broken)

    async def _read_and_prove(self) -> None:
        assert self._stream is not None and self._prober is not None  # noqa: S101, PT018  set by `_register`
        tasks = [
            self._loop.create_task(self._read(self._stream, self._prober), name="herz-etcd-watch-read"),
            self._loop.create_task(self._prove(self._prober), name="herz-etcd-watch-proof"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:  # the reader knows the cause, where both fail
                if task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, stream: Stream, prober: Prober) -> None:
        while True:
            if self._reading_since is None:
                self._reading_since = self._loop.time()
            response = await stream.read()
            self._heard_at = self._loop.time()
            if prober.takes(response):
                continue
            self._check(response)
            if response.watch_id != WATCH_ID:
                continue
            if self._push(self._revisions.feed(response), stream.read_bytes // max(1, len(response.events))):
                # Nothing is read until the consumer comes back for more, so that what it has taken is put in force
                # first: a read takes its time, and the thread that grpc reads with asks for the GIL in its midst.
                self._reading_since = None
                self._taken = self._loop.create_future()
                await self._taken

    def _check(self, response: Any, *, opening: bool = False) -> None:
        """Raise what a response says that ends the watch: it does so in any response, and leaves the stream open."""
        if not response.canceled:
            return
        reason = response.cancel_reason
        where = f"etcd at {self._endpoint}"
        if response.compact_revision:
            raise RevisionExpired(
                f"{self._doing}: history begins at revision {response.compact_revision}, "
                f"{self._revisions.cursor} was handed on last",
                where=where,
                remedy="read everything again and go on from there",
            )
        if opening and token_expired(reason):
            raise CallFailed("UNAUTHENTICATED", reason, self._endpoint)
        denied = "permission denied" in reason or without_login(reason)
        # etcd 3.5 says "permission denied" of a token that it has forgotten, too; opening the next watch tells which.
        if token_expired(reason) or (denied and self._token and not opening):
            self._client.forget(self._token)
            raise SourceUnavailable(
                f"{self._doing}: the login has expired", where=where, remedy="watch again: a new one is made"
            )
        if denied:
            raise SourceDenied(
                f"{self._doing}: {reason.removeprefix('etcdserver: ')}",
                where=where,
                remedy="grant the user a role that may read this prefix",
            )
        raise SourceUnavailable(
            f"{self._doing}: the server ended it: {reason or 'no reason given'}", where=where, remedy="watch again"
        )

    # --- proving

    async def _prove(self, prober: Prober) -> None:
        while True:
            revision = await prober.proof()
            # A compaction exactly at the revision of a deletion swallows that deletion for a watch that is still
            # catching up (etcd#18089). What was verified last being there still, nothing after it was compacted.
            await self.verify(serializable=True)
            if not self._revisions.partial:  # else the rest of a revision is on its way, and the next proof covers it
                proven = max(revision, self._revisions.cursor)
                self._revisions.cursor = self._verified = proven
                self._push_progress(proven)
            await asyncio.sleep(self._proof_s / 2)

    async def verify(self, *, serializable: bool = False) -> None:
        """Read at the revision that is known to be whole; `RevisionExpired` when it is compacted, or in the future."""
        request = Range(key=self._key, revision=self._verified, limit=1, keys_only=True, serializable=serializable)
        await self.call("KV.Range", request)

    async def call(self, name: str, request: Any) -> Any:
        """A call to the member that serves this watch."""
        assert self._connection is not None  # noqa: S101  set by `open`
        limit_s = min(self._client.timing.request_s, max(self._proof_s / 2, 0.5))
        return await self._connection.call(name, request, metadata=self._metadata, timeout_s=limit_s)

    async def send(self, request: Any) -> None:
        """Write to the stream."""
        assert self._stream is not None  # noqa: S101  set by `open`
        self._asked_at = self._loop.time()
        await self._stream.write(request)

    async def answered(self, answer: asyncio.Future[Any]) -> Any:
        """Wait for what the stream must bring.

        It is suspect when it is read, and silent for half of `proof_s`. Then the member is asked directly. One that
        does not answer is dead. One that does may be at work on a batch for us (60,000 events with their past take etcd
        3.4 many seconds); the sign of life is handed on, and it is waited for, `PATIENCE_S` at most.
        """
        limit_s = self._proof_s / 2
        while True:
            since = self._reading_since
            silent_s = 0.0 if since is None else self._loop.time() - max(since, self._heard_at, self._asked_at)
            left_s = limit_s - silent_s
            if left_s <= 0:
                if silent_s > PATIENCE_S:
                    raise CallFailed("DEADLINE_EXCEEDED", "", self._endpoint)
                await self.verify()
                if not self._revisions.partial:
                    self._push_progress(self._revisions.cursor, current=False)
                left_s = limit_s
            done, _ = await asyncio.wait([answer], timeout=left_s)
            if done:
                return answer.result()

    # --- ending

    @property
    def _endpoint(self) -> str:
        return self._connection.endpoint if self._connection is not None else "?"

    def _ended(self, failure: CallFailed) -> HerzError:
        """The error for a call that failed; the next watch gets another endpoint, or another token."""
        self._client.blame(self._endpoint)
        if token_expired(failure.details):
            self._client.forget(self._token)
            failure = CallFailed("UNAVAILABLE", "the login has expired", failure.endpoint)
        return translated(failure, self._doing)

    def fail(self, error: HerzError) -> None:
        """End the watch: what has arrived is handed on first, then the error; after `NotRunning` nothing is."""
        if self._failure is None or isinstance(error, NotRunning):
            self._failure = error
            if isinstance(error, NotRunning):
                self._items.clear()
        self._wake()

    async def close(self) -> None:
        """Let go of the connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # a cancellation of our own still comes out of this
        if self._stream is not None:
            self._stream.cancel()
        if self._connection is not None:
            await self._connection.close()
