"""What the benchmarks on etcd share: the servers that are installed, and who writes into one."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from benchmarks.workload import tree
from herz.model.tree import leaves as leaves_of
from herz.store.base import Put, Txn
from herz.store.etcd.store import EtcdStore
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer

T = TypeVar("T")

PUTS: Final = 100
"""Keys of one transaction: etcd takes 128."""
FLIGHT: Final = 4
"""Transactions under way at once while a backlog is written."""


class Writer:
    """Writes into etcd from a loop in a thread of its own."""

    def __init__(self, endpoints: Sequence[str], request_timeout_s: float = 30.0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.store = EtcdStore(endpoints, request_timeout_s=request_timeout_s)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(300)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        """Goes on in the background; `.result()` waits for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        self.run(self.store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fill(self, prefix: str, leaves: int) -> int:
        """`leaves` keys of the workload and the mark that is looked at; the revision afterwards."""
        found = [("/".join(path), str(value)) for path, value in leaves_of(tree(leaves), ())]
        return self.run(self.transactions(prefix, [("service/mark", "start"), *found]))

    async def transactions(self, prefix: str, pairs: Sequence[tuple[str, str]], puts: int = PUTS) -> int:
        """All pairs, in transactions; the last revision."""
        starts = iter(range(0, len(pairs), puts))
        revisions = [0]

        async def write() -> None:
            for start in starts:
                operations = [Put(prefix + name, value.encode()) for name, value in pairs[start : start + puts]]
                revisions.append((await self.store.txn(Txn(then=operations))).revision)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(FLIGHT):
                tasks.create_task(write())
        return max(revisions)


@contextmanager
def writing(endpoints: Sequence[str], request_timeout_s: float = 30.0) -> Iterator[Writer]:
    writer = Writer(endpoints, request_timeout_s)
    try:
        yield writer
    finally:
        writer.close()


_marks = itertools.count()


def changing(leaves: int, transactions: int, puts: int = PUTS) -> list[tuple[str, str]]:
    """Pairs for so many transactions over the keys of the workload, with values that no key had before."""
    names = ["/".join(path) for path, _ in leaves_of(tree(leaves), ())]
    return [(names[at % len(names)], f"w{next(_marks)}") for at in range(transactions * puts)]


# --- servers ------------------------------------------------------------------------------------


def versions() -> list[str | None]:
    """The servers that are installed, the newest last."""
    found: list[str | None] = [version for version in ("3.4", "3.5") if EtcdPrograms.available(version)]
    return found or [None]


def server_of(version: str | None) -> EtcdServer:
    """A server that keeps many revisions; of the version named."""
    return EtcdServer(version=version, progress_interval_s=600, options=("--quota-backend-bytes=8589934592",))
