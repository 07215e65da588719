"""Writing what many instances say in few transactions: gathered for some milliseconds, then written together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from herz.errors import HerzError, LeaseLost, NotRunning, StoreFull
from herz.server.counts import Counts
from herz.server.leases import ServerLease
from herz.store.base import OVERHEAD_BYTES, Compare, Delete, Put, Store, Txn

_log = logging.getLogger("herz")

GATHER_S: Final = 0.01
"""Seconds that the first of a batch waits for others."""
OPERATIONS: Final = 120
"""Writes in one transaction; etcd takes 128."""
BATCH_BYTES: Final = 1_200_000
"""What they hold; etcd takes 1.5 MiB."""
RETRY_S: Final = 0.5


class Batches:
    """Keys that are to be written under the server's lease, the newest value of each.

    What could not be written stays to be written; a value that came later replaces it. `wanted` says of a key whether
    it still is to be written at the moment when its batch is made.
    """

    def __init__(self, store: Store, lease: ServerLease, counts: Counts) -> None:
        self.wanted: Callable[[str], bool] = lambda key: True
        self._store, self._lease, self._counts = store, lease, counts
        self._puts: dict[str, bytes] = {}
        self._deletes: list[str] = []
        self._some = asyncio.Event()

    def put(self, key: str, value: bytes) -> None:
        """Write `key` soon."""
        self._puts[key] = value
        self._some.set()

    def delete(self, key: str) -> None:
        """Delete `key` soon, unless another server has written it since, or it is to be written again."""
        self._deletes.append(key)
        self._some.set()

    def look(self) -> None:
        """Go on: there is a lease again."""
        self._some.set()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while this lasts; what is left at the end is tried once."""
        task = asyncio.create_task(self._run(), name="herz-reports")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            try:
                await self._flush()
            except HerzError as error:
                _log.info("herz: the last reports were not written: %s", error)

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self._flush()
            except NotRunning:
                return
            except HerzError as error:
                level = logging.ERROR if isinstance(error, StoreFull) else logging.INFO
                _log.log(level, "herz: reports of instances are written later: %s", error)
                await asyncio.sleep(RETRY_S)
            except Exception:
                _log.exception("herz: writing reports of instances failed")
                await asyncio.sleep(RETRY_S)

    async def _flush(self) -> None:
        while self._puts or self._deletes:
            lease = self._lease.current
            if lease is None:  # whoever grants the next one has all written again
                self._some.clear()
                return
            if self._puts:
                await self._write(lease)
            else:
                await self._remove(lease)
        self._some.clear()

    async def _write(self, lease: int) -> None:
        batch: dict[str, bytes] = {}
        size = 0
        for key, value in list(self._puts.items()):
            size += len(key) + len(value) + OVERHEAD_BYTES
            if batch and (size > BATCH_BYTES or len(batch) == OPERATIONS):
                break
            if self.wanted(key):
                batch[key] = value
            else:
                del self._puts[key]
        if not batch:
            return
        try:
            await self._store.txn(Txn(then=[Put(key, value, lease) for key, value in batch.items()]))
        except LeaseLost:
            self._lease.gone(lease)
            return
        self._counts.batches += 1
        self._counts.batch_writes += len(batch)
        for key, value in batch.items():
            if self._puts.get(key) is value:
                del self._puts[key]

    async def _remove(self, lease: int) -> None:
        """Delete what hangs on our lease; what another server has written by now hangs on its own."""
        some = self._deletes[: OPERATIONS // 2]
        keys = [key for key in dict.fromkeys(some) if key not in self._puts]
        ours = [Compare(key, "lease", "=", lease) for key in keys]
        if not (await self._store.txn(Txn(ours, [Delete(key) for key in keys]))).succeeded:
            for compare in ours:
                await self._store.txn(Txn((compare,), (Delete(compare.key),)))
        del self._deletes[: len(some)]
