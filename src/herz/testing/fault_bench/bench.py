"""What a case of the bench works with: a cluster, a proxy before each member, a writer with its log, two followers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from herz.errors import SourceError
from herz.store.base import Changes, Compare, Delete, Operation, Put, Txn
from herz.store.etcd.store import EtcdStore
from herz.testing.etcd_cluster import EtcdCluster
from herz.testing.fault_bench.hot import HotClient
from herz.testing.fault_bench.naive import NaiveClient
from herz.testing.fault_bench.tally import Count, Heard, Log, count
from herz.testing.fault_proxy import FaultProxy
from herz.watch.session import Session

WRITERS: Final = 8
"""Writers at work at once, each with keys of its own."""
SETTLE_S: Final = 90.0
"""How long a follower may take to catch up after the last fault."""


class NotSettled(AssertionError):
    """A follower did not catch up in time."""


class Stage:
    """What every case has: choices that `seed` repeats, a folder, a share of `events`, and figures to tell.

    `say` tells people what happens; `written` and `notes` are the case's to fill, and `counted` too unless it is a
    `Bench`, which counts by itself.
    """

    def __init__(
        self, name: str, *, seed: int, events: int, say: Callable[[str], None] = lambda line: None, folder: Path
    ) -> None:
        self.name, self.seed, self.events, self.say, self.folder = name, seed, events, say, folder
        self.rng = random.Random(f"{seed}/{name}")  # noqa: S311  a seed
        self.written = 0
        self.revisions = self.single = 0
        """How many revisions they made, and how many of those were of one key."""
        self.notes: dict[str, Any] = {}
        """Figures that a case wants to be told, by name."""
        self.servers: dict[str, str] = {}
        """Servers that the case started by itself, and their versions."""
        self.counted: dict[str, Count] = {"naive": Count(), "herz": Count()}

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = SETTLE_S) -> float:
        """Wait until `condition` holds; the seconds it took. `NotSettled` names `what` never came."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > limit_s:
                raise NotSettled(f"{what}: not within {limit_s:g} s; {self.situation()}")
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    def situation(self) -> str:
        """How Herz is doing, for messages."""
        return "nothing more is known"

    async def finish(self) -> None:
        """What is due after the story."""

    def counts(self) -> dict[str, Count]:
        """What went wrong, for the plain client and for Herz."""
        return self.counted

    def did(self) -> dict[str, int]:
        """What the followers did about it, by name; empty where nobody looked."""
        return {}

    async def close(self) -> None:
        """End what is still at work."""


class Bench(Stage):
    """One case: `write` while something breaks, `settle`, and `counts` what went wrong.

    Both followers reach the members through `proxies`, one for each member, the writer reaches them directly.
    With `writer_login` and `reader_login` (user and password) they log in.
    """

    def __init__(
        self,
        cluster: EtcdCluster,
        name: str,
        *,
        seed: int,
        events: int,
        say: Callable[[str], None] = lambda line: None,
        folder: Path,
        writer_login: tuple[str, str] | None = None,
        reader_login: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(name, seed=seed, events=events, say=say, folder=folder)
        self.cluster = cluster
        self._writer_login, self._reader_login = writer_login, reader_login
        self.prefix = f"/faults/{name}-{seed}-{self.rng.getrandbits(32):08x}/"
        self.proxies = [FaultProxy(member.endpoint, rng=self.rng) for member in cluster.members]
        self.writer = self._direct(cluster.endpoints)
        self.log = Log(0)
        self.hot: HotClient
        self.naive: NaiveClient
        self._number = 0
        self._behind: dict[str, int] = {"naive": 0, "herz": 0}
        self._keys: dict[int, set[str]] = {}
        self._at: dict[str, int] = {}

    # --- its life -----------------------------------------------------------------------------

    async def start(
        self,
        *,
        endpoints: Sequence[str] | None = None,
        consume: Callable[[], None] | None = None,
        naive_consume: Callable[[], Awaitable[None]] | None = None,
        query: str = "",
        last_good: str | None = None,
    ) -> None:
        """Write a first key, and let both followers begin behind the same revision."""
        self.log.start = await self.writer.put(self.prefix + "first", b"0")
        self.log.state[self.prefix + "first"] = "0"
        reached = list(endpoints) if endpoints is not None else [proxy.address for proxy in self.proxies]
        login = f"{self._reader_login[0]}:{self._reader_login[1]}@" if self._reader_login is not None else ""
        url = f"etcd://{login}{','.join(reached)}{self.prefix.rstrip('/')}{query}"
        self.hot = HotClient(url, self.prefix, consume=consume, last_good=last_good)
        self.naive = NaiveClient(reached, self.prefix, consume=naive_consume, login=self._reader_login)
        await self.hot.start()
        await self.naive.start()
        await self.until(lambda: str(self.hot.herz.state) == "WATCHING", "Herz watches")

    async def close(self) -> None:
        """End the followers and the proxies; the cluster stays."""
        for follower in ("hot", "naive"):
            if hasattr(self, follower):
                await getattr(self, follower).stop()
        for proxy in self.proxies:
            await asyncio.to_thread(proxy.close)
        await self.writer.close()

    def _direct(self, endpoints: Sequence[str]) -> EtcdStore:
        username, password = self._writer_login or (None, None)
        return EtcdStore(endpoints, username=username, password=password)

    # --- writing ------------------------------------------------------------------------------

    async def write(self, events: int | None = None, *, until: Callable[[], bool] | None = None) -> None:
        """Write `events` keys (all that are left of the case's share, by default), or until told to stop.

        Transactions of 1 to 32 keys, a tenth of them deletions, from several writers at once. What is acknowledged
        goes into the log; where the answer was lost the store is asked.
        """
        left = self.events - self.written if events is None else events
        budget = [max(0, left)]
        await asyncio.gather(*(self._write(writer, budget, until) for writer in range(WRITERS)))

    async def _write(self, writer: int, budget: list[int], until: Callable[[], bool] | None) -> None:
        keys = self._keys.setdefault(writer, set())
        while budget[0] > 0 and not (until is not None and until()):
            size = min(budget[0], self.rng.choice((1, 1, 1, 2, 8, 32)))
            budget[0] -= size
            operations: list[Operation] = []
            for slot in self.rng.sample(range(32), size):
                key = f"{self.prefix}w{writer}/k{slot}"
                self._number += 1
                if key in keys and self.rng.random() < 0.1:
                    operations.append(Delete(key))
                else:
                    operations.append(Put(key, f"v{self._number}".encode()))
            if await self.txn(operations):
                self.written += size
                self.revisions += 1
                self.single += size == 1
                for operation in operations:
                    (keys.add if isinstance(operation, Put) else keys.discard)(operation.key)  # type: ignore[union-attr]

    async def txn(self, operations: Sequence[Operation]) -> bool:
        """One transaction, logged; tried again until it is known to have happened.

        Each is conditional on a key that it writes: a request that a frozen member had in its socket may be carried out
        when the member wakes, long after it was given up and repeated elsewhere, and must not undo what came since.
        """
        guard = next((each for each in operations if isinstance(each, Put)), operations[0])
        assert isinstance(guard, Put | Delete)  # noqa: S101  nothing else is written
        while True:
            unchanged = Compare.unchanged(guard.key, self._at.get(guard.key, 0))
            try:
                result = await self.writer.txn(Txn((unchanged,), tuple(operations)))
                if result.succeeded:
                    revision = result.revision
                    break
                found = await self.writer.get(guard.key)
            except SourceError:
                await asyncio.sleep(0.02)
                continue
            if isinstance(guard, Put) if found is None else guard != Put(guard.key, found.value):
                self._at[guard.key] = 0 if found is None else found.mod_revision  # written otherwise, or restored
                continue
            revision = 0 if found is None else found.mod_revision  # an attempt without an answer was carried out
            break
        if revision:
            self.log.wrote(revision)
        for operation in operations:
            if isinstance(operation, Put):
                self.log.state[operation.key] = operation.value.decode()
                self._at[operation.key] = revision
            elif isinstance(operation, Delete):
                self.log.state.pop(operation.key, None)
                self._at.pop(operation.key, None)
        return True

    async def refused(self, operations: Sequence[Operation], *, becomes: Callable[[], bool] | None = None) -> None:
        """A transaction that Herz is going to refuse, or the one that takes such back; waits until it has told so."""
        before = len(self.hot.rejected)
        revision = (await self.writer.txn(Txn(then=operations))).revision
        self.log.refused.add(revision)
        await self.until(becomes or (lambda: len(self.hot.rejected) > before), f"revision {revision} is refused")

    # --- going back in time -------------------------------------------------------------------

    async def restore(self, snapshot: Path, revision: int, state: dict[str, str]) -> None:
        """Restore the cluster from a backup that was made at `revision` with `state` under the prefix."""
        for name, heard in (("naive", self.naive.heard), ("herz", self.hot.heard)):
            self._behind[name] += bool(heard) and max(one.revision for one in heard) > revision
        await self.writer.close()
        await self.cluster.restore(snapshot)
        self.writer = self._direct(self.cluster.endpoints)
        self.log.restored(revision, state)
        self._keys.clear()
        self._at.clear()

    # --- waiting and counting -----------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The watch session of Herz."""
        runtime = self.hot.herz.runtime
        session = runtime.feeds[0].session
        assert session is not None  # noqa: S101  it watches
        return session

    def hurry(self) -> None:
        """End the wait of Herz's session for its next attempt, if it waits."""
        self.hot.herz._life.engine.loop.call_soon_threadsafe(self.session.hurry)

    def situation(self) -> str:
        """How Herz is doing, for messages."""
        row = self.hot.health
        return f"{row.state} {row.freshness} at revision {row.revision}: {row.error or 'no error'}"

    async def present(self) -> dict[str, str]:
        """What is there, read linearizably."""
        answer = await self.writer.range(self.prefix)
        return {entry.key: entry.value.decode(errors="replace") for entry in answer.entries}

    async def settle(self) -> None:
        """Wait until Herz holds what the store holds, and the log agrees with both."""
        present = await self.present()
        assert present == self.log.state, "the writer's log and the store disagree"  # noqa: S101  the oracle
        await self.until(lambda: self.hot.state == present, "Herz holds what the store holds")
        newest = max(self.log.written, default=0)
        await self.until(lambda: not newest or self.hot.has_heard(newest), "Herz has heard the newest revision")
        await asyncio.sleep(0.2)  # what comes a second time should have come by now

    async def finish(self) -> None:
        """Wait until Herz is where the writer is, and hold the log against the members."""
        await self.settle()
        await self.check_history()

    async def check_history(self) -> None:
        """Hold the log against what each member itself hands over, as far as its history reaches back."""
        compacted = (await self.writer.status()).compacted
        begin = max(self.log.start, compacted)
        for member in self.cluster.members:
            raw = self._direct([member.endpoint])
            try:
                newest = (await raw.range(self.prefix, limit=1)).revision
                seen: set[int] = set()
                async with raw.watch(self.prefix, begin) as changes:
                    async for change in changes:
                        if isinstance(change, Changes):
                            seen.add(change.revision)
                        if change.revision >= newest:
                            break
            finally:
                await raw.close()
            missing = {revision for revision in self.log.written if begin < revision <= newest} - seen
            assert not missing, f"{member.name} does not have what it acknowledged: {sorted(missing)[:5]}"  # noqa: S101
            self.log.written.update(seen)  # deletions whose answer was lost

    def did(self) -> dict[str, int]:
        """Keys that the plain client has wrong in the end, its streams; what Herz's session went through."""
        if not hasattr(self, "naive"):
            return {}
        session = self.session
        keys = self.log.state.keys() | self.naive.state.keys()
        return {
            "wrong": sum(self.log.state.get(key) != self.naive.state.get(key) for key in keys),
            "streams": self.naive.streams,
            "reconnects": session.reconnects,
            "resets": session.resets,
            "rewinds": session.rewinds,
            "broken": session.broken,
        }

    def counts(self) -> dict[str, Count]:
        """What went wrong, for the plain client and for Herz."""
        if not hasattr(self, "naive"):
            return self.counted
        heard: dict[str, list[Heard]] = {"naive": self.naive.heard, "herz": self.hot.heard}
        return {name: count(self.log, list(items), rewinds=self._behind[name]) for name, items in heard.items()}
