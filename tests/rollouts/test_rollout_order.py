"""An instance that follows a store by two watches sees channel and mailbox together, in whatever order they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from herz.release.channel import Channel, Mailbox, Pointer, ReleaseRef
from herz.release.record import encode
from herz.sources.released_link import Told
from herz.sources.released_store import StoreLink
from herz.store.base import Changes, Progress, Put, Txn
from herz.store.plane import all_prefix, channel_key, mailbox_key
from herz.testing.memory_store import MemoryStore

OLD, NEW = (ReleaseRef(number=n, digest=f"sha256:{n:064}", fingerprint=f"sha256:{n:064}") for n in (1, 2))


class Late(MemoryStore):
    """What everybody follows comes late, once `late` is set; what one instance follows comes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.late = False
        self.delivered = asyncio.Event()
        self.go = asyncio.Event()

    @asynccontextmanager
    async def watch(
        self, prefix: str, after: int, *, previous: bool = True
    ) -> AsyncIterator[AsyncIterator[Changes | Progress]]:
        async with super().watch(prefix, after, previous=previous) as items:
            yield self._held(items) if prefix == all_prefix("pay", "default") else items

    async def _held(self, items: AsyncIterator[Changes | Progress]) -> AsyncIterator[Changes | Progress]:
        async for item in items:
            if self.late and isinstance(item, Changes):
                await self.go.wait()
            yield item


@pytest.mark.parametrize("promoted", [True, False])
async def test_a_mailbox_that_is_emptied_does_not_lead_back_before_the_channel_is_seen(promoted):
    store = Late()
    batch = Channel(stable=Pointer(release=OLD), cohorts={"r1-b1": Pointer(release=NEW, rollout="r1")})
    box = Mailbox(cohort="r1-b1", rollout="r1")
    channel, mailbox = channel_key("pay", "default"), mailbox_key("pay", "default", "a")
    await store.txn(Txn(then=(Put(channel, encode(batch)), Put(mailbox, encode(box)))))
    link = StoreLink(store, "pay", "default", lambda: "a")
    _, told = await link.read()
    seen: list[int] = []
    async with link.follow(told.revision) as words:
        first = await anext(words)
        assert isinstance(first, Told)
        store.late = True
        after = Channel(stable=Pointer(release=NEW if promoted else OLD))
        await store.put(channel, encode(after))
        await store.delete(mailbox)  # comes first
        async for word in words:
            if isinstance(word, Told):
                assert word.pointer.release is not None
                seen.append(word.pointer.release.number)
                if word.cohort == "stable":
                    break
        store.go.set()
        await store.put(channel, encode(Channel(stable=after.stable, cohorts={"r2-b1": Pointer(release=OLD)})))
        async for word in words:
            if isinstance(word, Told):
                assert word.pointer.release is not None
                seen.append(word.pointer.release.number)
                break
    assert set(seen) == {2 if promoted else 1}
    await link.close()
