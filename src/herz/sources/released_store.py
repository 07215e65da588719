"""Following a channel straight from a store: two small prefixes, contents by their chunks, a report under a lease."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, NamedTuple, TypeVar

from herz.errors import Conflict, HerzError, HistoryBroken, LeaseLost, RevisionExpired, SourceUnavailable
from herz.model.document import Revision
from herz.release.channel import Channel, Mailbox
from herz.release.content import Content, Manifest, unpacked
from herz.release.record import Record, decode, encode
from herz.release.report import Answer, Asks, Graph, Report
from herz.sources.base import Standing
from herz.sources.released_link import Alive, Asked, Contents, Told, Word
from herz.store.base import Changes, Compare, Entry, EventType, Progress, Put, Store, Txn
from herz.store.plane import (
    all_prefix,
    answer_key,
    asks_key,
    channel_key,
    chunk_key,
    content_key,
    graph_key,
    mailbox_key,
    mailbox_prefix,
    report_key,
)

R = TypeVar("R", bound=Record)

TTL_S: Final = 10.0
"""Seconds that a report outlives its process."""
LEAVE_S: Final = 1.0
"""Seconds that a good-bye may take: the lease ends by itself."""
MINE: Final = 1
"""The second of the two watches: that of this instance's own keys."""
RENEWALS: Final = 3
"""Signs of life within that time."""


class _View(NamedTuple):
    """What is written for this instance, as of `revision`: entries by their keys."""

    revision: Revision
    entries: dict[str, Entry]


class StoreLink:
    """The way to the channel of `app` and `namespace` in a store; `instance` names this process.

    The report hangs on a lease of its own. `clock` counts its renewals.
    """

    def __init__(
        self,
        store: Store,
        app: str,
        namespace: str,
        instance: Callable[[], str],
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.contents = Contents()
        self.again: Callable[[], None] = lambda: None
        self._app, self._namespace, self._instance = app, namespace, instance
        self._ttl_s, self._clock = TTL_S if ttl_s is None else ttl_s, clock
        self._lease: int | None = None
        self._own: set[int] = set()
        """Leases that were ours: what hangs on one that we gave up is not another's."""
        self._reported: bytes | None = None
        self._view = _View(-1, {})
        self._process = os.getpid()

    @property
    def proof_s(self) -> float:
        """What the store promises."""
        return self.store.proof_s

    @property
    def renew_s(self) -> float | None:
        """The lease lives for three times as long."""
        return self._ttl_s / RENEWALS

    @property
    def notices(self) -> tuple[str, ...]:
        """What the store lacks."""
        return tuple(getattr(self.store, "notices", ()))

    # --- what is told ---------------------------------------------------------------------------

    async def read(self) -> tuple[str, Told]:
        """The identity of the store, and what is told now."""
        view = await self._read()
        identity = (await self.store.status()).identity
        told = self._told(view)
        self._view = view
        return identity, told

    async def _read(self) -> _View:
        """Channel, questions and mailbox at one revision."""
        for attempt in (1, 2):
            everybody = await self.store.range(all_prefix(self._app, self._namespace))
            try:
                mine = await self.store.range(self._mine, revision=everybody.revision)
            except RevisionExpired:  # compacted in between
                if attempt == 2:
                    raise
                continue
            return _View(everybody.revision, {entry.key: entry for entry in (*everybody.entries, *mine.entries)})
        raise AssertionError("unreachable")

    @property
    def _mine(self) -> str:
        return mailbox_prefix(self._app, self._namespace, self._instance())

    def _told(self, view: _View) -> Told:
        channel = self._record(view, channel_key(self._app, self._namespace), Channel) or Channel()
        mailbox = self._record(view, mailbox_key(self._app, self._namespace, self._instance()), Mailbox) or Mailbox()
        return Told(view.revision, mailbox.cohort, channel.of(mailbox.cohort))

    def _record(self, view: _View, key: str, kind: type[R]) -> R | None:
        entry = view.entries.get(key)
        return None if entry is None else decode(entry.value, kind, f"{key}@{entry.mod_revision}")

    def _asked(self, view: _View, cohort: str) -> list[Asked]:
        asks = self._record(view, asks_key(self._app, self._namespace), Asks) or Asks()
        return [Asked(ask) for ask in asks.open if ask.concerns(self._instance(), cohort)]

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Word]]:
        """What is told now, then whatever changes.

        Everything is read again first, so that nothing is lost however the two watches were apart when they ended.
        """
        view = await self._read()
        if view.revision < after:
            raise RevisionExpired(f"the store is at revision {view.revision}, and was at {after}")
        prefixes = (all_prefix(self._app, self._namespace), self._mine)
        arrived: asyncio.Queue[tuple[int, Changes | Progress | Exception]] = asyncio.Queue(2)
        async with AsyncExitStack() as stack:
            watches = [await stack.enter_async_context(self.store.watch(prefix, view.revision)) for prefix in prefixes]
            pumps = [asyncio.create_task(_pumped(at, watch, arrived)) for at, watch in enumerate(watches)]
            stack.push_async_callback(_ended, pumps)
            yield self._words(view, arrived)

    async def _words(
        self, view: _View, arrived: asyncio.Queue[tuple[int, Changes | Progress | Exception]]
    ) -> AsyncIterator[Word]:
        told = self._told(view)
        self._view = view
        yield told
        for asked in self._asked(view, told.cohort):
            yield asked
        proven: list[Progress | None] = [None, None]
        cursors = [view.revision, view.revision]
        whole = view.revision
        """Up to here everything was read at once."""
        while True:
            at, found = await arrived.get()
            if isinstance(found, Exception):
                raise found
            if isinstance(found, Progress):
                proven[at] = found
                both = [one for one in proven if one is not None]
                if len(both) == len(proven):
                    proven = [None, None]
                    yield Alive(min(one.revision for one in both), all(one.current for one in both))
                continue
            if found.revision <= cursors[at]:
                raise HistoryBroken(
                    f"revision {found.revision} came again",
                    where=f"{found.events[0].entry.key}@{found.revision}",
                    remedy="nothing of it is applied; everything is read again",
                )
            cursors[at] = found.revision
            if found.revision <= whole:
                continue  # the view has it
            if at == MINE:
                # The two watches come in no order to each other. A mailbox is emptied once `stable` has the release of
                # its cohort: seen before that, it would lead back to the release before. So both are read at once.
                view = await self._read()
                whole = view.revision
            else:
                view = _View(max(view.revision, found.revision), _changed(view.entries, found))
            told = self._told(view)
            self._view = view
            yield told
            for asked in self._asked(view, told.cohort):
                yield asked

    async def standing(self, identity: str, after: Revision) -> Standing:
        """Whether it is the same store, not behind, and holds at `after` what was told up to there."""
        status = await self.store.status()
        now = await self._read()
        revision, entry = now.revision, now.entries.get(key := channel_key(self._app, self._namespace))
        if status.identity != identity:
            return Standing(status.identity, revision, False, f"this is another store, {status.identity}")
        if revision < after:
            return Standing(status.identity, revision, False, f"it is at revision {revision}, and was at {after}")
        held = self._view.entries.get(key)
        if held is None or held.mod_revision > after:
            return Standing(status.identity, revision, True)
        try:
            then = await self.store.get(key, revision=after)
        except RevisionExpired:  # what is there now was read as a whole; it must not be older than what was told
            then = held if entry is None or entry.mod_revision > after else entry
        if then is None or (then.mod_revision, then.value) != (held.mod_revision, held.value):
            there = "is not there" if then is None else f"is at revision {then.mod_revision}"
            what = f"{key} was told with revision {held.mod_revision}, and {there}"
            return Standing(status.identity, revision, False, what)
        return Standing(status.identity, revision, True)

    async def differs(self, told: Told) -> bool:
        """Whether a look now finds something else than was told."""
        now = self._told(await self._read())
        return (now.pointer, now.cohort) != (told.pointer, told.cohort)

    # --- contents -------------------------------------------------------------------------------

    async def fetch(self, digest: str) -> Content:
        """The content of `digest` from its manifest and chunks, of which those known already are not read again."""
        found = self.contents.get(digest)
        if found is not None:
            return found
        key = content_key(digest)
        entry = await self.store.get(key)
        if entry is None:
            raise HistoryBroken(f"content {digest[:19]} is missing", where=key, remedy="release it anew")
        manifest = decode(entry.value, Manifest, f"{key}@{entry.mod_revision}")
        if manifest.digest != digest:
            raise HistoryBroken("the manifest is not what its address says", where=key, remedy="release it anew")
        chunks: dict[str, bytes] = {}
        for name in dict.fromkeys(chunk for layer in manifest.layers for chunk in layer.chunks):
            chunk = await self.store.get(chunk_key(name))
            if chunk is not None:
                chunks[name] = chunk.value
        content = await asyncio.to_thread(unpacked, manifest, chunks, key)
        self.contents.keep(digest, content, key)
        return content

    # --- what is said ---------------------------------------------------------------------------

    async def report(self, report: Report) -> None:
        """Write the report under our lease, where no other process has one under this name."""
        self._reported = encode(report)
        await self._write_report()

    async def _write_report(self) -> None:
        assert self._reported is not None  # noqa: S101  asked only with one
        key = report_key(self._app, self._namespace, self._instance())
        lease = await self._held()
        put = Put(key, self._reported, lease)
        try:
            if (await self.store.txn(Txn((Compare(key, "lease", "=", lease),), (put,)))).succeeded:
                return
            found = await self.store.get(key)
            if found is not None and found.lease not in self._own:
                raise Conflict(
                    f"another process reports as {self._instance()}",
                    key=key,
                    actual=found.mod_revision,
                    where=f"{key}@{found.mod_revision}",
                    remedy="give each process an instance name of its own (HERZ_INSTANCE, ?instance=)",
                )
            guard = Compare.unchanged(key, 0 if found is None else found.mod_revision)
            if not (await self.store.txn(Txn((guard,), (put,)))).succeeded:
                self.again()  # somebody wrote in between: look again
        except LeaseLost:
            self._lease = None
            raise

    async def _held(self) -> int:
        if self._process != os.getpid():
            self._process, self._lease, self._own = os.getpid(), None, set()
        if self._lease is None:
            self._lease = (await self.store.grant(self._ttl_s)).id
            self._own.add(self._lease)
        return self._lease

    async def renew(self) -> None:
        """Keep the lease alive, and see to it that the report hangs on it."""
        if self._reported is None:
            return
        lease = await self._held()
        try:
            await self.store.keep_alive(lease)
        except LeaseLost:
            self._lease = None
        found = await self.store.get(report_key(self._app, self._namespace, self._instance()))
        if found is None or found.lease != self._lease:
            self.again()

    async def answer(self, answer: Answer) -> None:
        """Write the answer under our lease: nobody has to clean up after a process that is gone."""
        key = answer_key(self._app, self._namespace, answer.nonce, self._instance())
        try:
            await self.store.put(key, encode(answer), lease=await self._held())
        except LeaseLost:
            self._lease = None
            raise

    async def describe(self, digest: str, graph: Graph) -> None:
        """Write the graph unless it is there."""
        key = graph_key(digest)
        await self.store.txn(Txn((Compare.absent(key),), (Put(key, encode(graph)),)))

    async def leave(self) -> None:
        """Give up the lease, and the report with it."""
        lease, self._lease, self._reported = self._lease, None, None
        if lease is not None and self._process == os.getpid():
            with suppress(HerzError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self.store.revoke(lease)

    async def close(self) -> None:
        """Let go of the store."""
        await self.store.close()


def _changed(entries: dict[str, Entry], changes: Changes) -> dict[str, Entry]:
    found = dict(entries)
    for event in changes.events:
        if event.type is EventType.PUT:
            found[event.entry.key] = event.entry
        else:
            found.pop(event.entry.key, None)
    return found


async def _pumped(
    at: int,
    watch: AsyncIterator[Changes | Progress],
    arrived: asyncio.Queue[tuple[int, Changes | Progress | Exception]],
) -> None:
    """Hand on what a watch tells, and how it ends."""
    try:
        async for change in watch:
            await arrived.put((at, change))
        await arrived.put((at, SourceUnavailable("the watch ended", remedy="it is opened again")))
    except Exception as error:  # it is for whoever follows
        await arrived.put((at, error))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
