"""Proving up to which revision a watch has handed over everything, on servers whose progress notices may lie.

A progress notice that was asked for bears watch id -1 and the member's revision. Servers before 3.4.25 and 3.5.8
send it around the queue of events, so it can name revisions whose events are still to come (etcd#15220). On
newer ones it is in order, and is taken. On older ones two *probes* take its place: watches of the same prefix that
begin before all history. The loop of the server that brings watches up to date (every 100 ms) refuses them, through
the same queue as the events:

* when probe A is confirmed with revision R, every event up to R is in the queue, or its watch waits for that loop;
* when A is refused, that loop has run since: what was in the queue then has been read, and what the loop
  added on that very turn follows;
* when B, begun after that, is refused as well, that has been read too, unless there was so much that
  the watch is still catching up, which shows: between the two came events older than their header, or very many.
  Then one more probe is sent.

A notice that the server sends on its own (`progress_notify`) goes through the queue in every version and bears our id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from herz.store.etcd.messages import message

if TYPE_CHECKING:
    from herz.store.etcd.watch import EtcdWatch

BEFORE_HISTORY: Final = -2
"""Smaller than any compacted revision, and than the -1 that stands for none."""

MANY: Final = 64
"""Responses between two probes after which the server's queue (128 long) may have been full."""

_Request = message("WatchRequest")


def version_of(text: str) -> tuple[int, ...]:
    """`3.4.23` as numbers; what follows a dash is left out."""
    return tuple(int(part) for part in text.partition("-")[0].split(".") if part.isdigit())


def orders_progress(version: tuple[int, ...]) -> bool:
    """Whether a server answers a progress request only after the events that it covers."""
    return version >= (3, 6) or (3, 5, 8) <= version < (3, 6) or (3, 4, 25) <= version < (3, 5)


class _Seen(NamedTuple):
    """What came between two probes."""

    behind: bool
    responses: int


class Prober:
    """Asks the server, and understands the answers, which `takes` is shown with everything else that arrives."""

    def __init__(self, watch: EtcdWatch, version: str, watch_id: int) -> None:
        self._watch, self._watch_id = watch, watch_id
        self._orders = orders_progress(version_of(version))
        self._last_id = watch_id
        self._created: dict[int, asyncio.Future[int]] = {}
        self._refused: dict[int, asyncio.Future[_Seen]] = {}
        self._progress: asyncio.Future[int] | None = None
        self._notified = 0
        self._probing = False
        self._behind, self._responses = False, 0

    async def proof(self) -> int:
        """A revision up to which every event has been read from the stream when this returns."""
        if self._notified:
            revision, self._notified = self._notified, 0
            return revision
        if self._orders:
            return await self._requested()
        self._probing = True
        revision, _ = await self._probed()
        while True:
            later, seen = await self._probed()
            if not seen.behind and seen.responses < MANY:
                self._probing = False
                return revision
            revision = later

    def takes(self, response: Any) -> bool:
        """Whether `response` was an answer to the prober, or says nothing but progress."""
        watch_id = response.watch_id
        if watch_id in self._created or watch_id in self._refused:
            if response.created and (created := self._created.get(watch_id)) is not None and not created.done():
                created.set_result(response.header.revision)
            if response.canceled and (refused := self._refused.get(watch_id)) is not None and not refused.done():
                refused.set_result(_Seen(self._behind, self._responses))
                self._behind, self._responses = False, 0
            return True
        if response.canceled or response.created:
            return bool(watch_id > self._watch_id)  # a probe that is over
        if response.events:
            if self._probing and watch_id == self._watch_id:
                self._responses += 1
                self._behind |= response.fragment or response.header.revision > response.events[-1].kv.mod_revision
        elif watch_id == self._watch_id:
            self._notified = response.header.revision
        elif watch_id == -1:
            if self._progress is not None and not self._progress.done():
                self._progress.set_result(response.header.revision)
            return True
        return False

    async def _probed(self) -> tuple[int, _Seen]:
        """Send a probe and wait for both answers."""
        loop = asyncio.get_running_loop()
        self._last_id += 1
        probe = self._last_id
        created = self._created[probe] = loop.create_future()
        refused = self._refused[probe] = loop.create_future()
        try:
            await self._watch.send(self._watch.create_request(probe, BEFORE_HISTORY))
            revision = await self._watch.answered(created)
            seen = await self._watch.answered(refused)
        finally:
            del self._created[probe], self._refused[probe]
        # The server keeps a refused watch in its books until it is cancelled.
        await self._watch.send(_Request(cancel_request=message("WatchCancelRequest")(watch_id=probe)))
        return revision, seen

    async def _requested(self) -> int:
        self._progress = asyncio.get_running_loop().create_future()
        await self._watch.send(_Request(progress_request=message("WatchProgressRequest")()))
        return int(await self._watch.answered(self._progress))
