"""A process that does the work `count` whenever it is its turn: each step is one fenced write of its own name."""

import asyncio
import sys

from herz.server.work import Held, held_forever
from herz.store.base import Compare, Put, Txn
from herz.store.etcd.store import EtcdStore
from herz.store.sqlite import SqliteStore

KEY = "/test/log"


async def main(store_at: str, name: str) -> None:
    store = EtcdStore([store_at.removeprefix("etcd://")]) if store_at.startswith("etcd://") else SqliteStore(store_at)

    async def work(held: Held) -> None:
        while True:
            entry = await store.get(KEY)
            revision, log = (0, b"") if entry is None else (entry.mod_revision, entry.value)
            line = b"%s %d\n" % (name.encode(), held.revision)
            await held.txn(Txn((Compare.unchanged(KEY, revision),), (Put(KEY, (log + line)[-100_000:]),)))
            await asyncio.sleep(0.005)

    await held_forever(store, "count", work, ttl_s=1.0)


asyncio.run(main(sys.argv[1], sys.argv[2]))
