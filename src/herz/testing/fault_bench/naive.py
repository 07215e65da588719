"""A plain client of etcd, written the way the field writes it. It is here to lose events where they are lost.

* One connection for everything: every watch and every call.
* A queue of 1,024 between the stream and the consumer; when it is full, the newest is dropped.
* The consumer blocks for as long as it likes.
* When the stream ends it is opened again at once, from "now" (no start revision), and what was between is gone.
* It logs in once, and keeps that token for ever.
* No look at fragments, `prev_kv`, compaction, the cluster's identity, or whether a member is alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from herz.store.etcd.messages import message
from herz.store.etcd.rpc import CallFailed, Connection, Metadata, Timing
from herz.store.etcd.translate import bounds
from herz.testing.fault_bench.tally import Heard

QUEUE: Final = 1024
"""Events between the stream and the consumer."""


class NaiveClient:
    """Follows a prefix and notes what it heard; `state` is what its application would use."""

    def __init__(
        self,
        endpoints: Sequence[str],
        prefix: str,
        *,
        consume: Callable[[], Awaitable[None]] | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.heard: list[Heard] = []
        self.state: dict[str, str] = {}
        self.streams = 0
        self._endpoints, self._prefix, self._consume, self._login = list(endpoints), prefix, consume, login
        self._metadata: Metadata = ()
        self._queue: asyncio.Queue[Any] = asyncio.Queue(QUEUE)
        self._tasks: list[asyncio.Task[None]] = []
        self._watching = asyncio.Event()

    async def start(self) -> None:
        """Connect, read what is there, and watch from now on."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._apply())]
        await asyncio.wait_for(self._watching.wait(), 10)

    async def stop(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        timing = Timing(3.0, 5.0, 10.0, 20.0)
        turn, first = 0, True
        while True:
            connection = Connection(self._endpoints[turn % len(self._endpoints)], timing=timing)
            turn += 1
            try:
                await connection.dial()
                if first:
                    await self._log_in(connection)
                    await self._read(connection)
                    first = False
                await self._follow(connection)
            except CallFailed:
                await asyncio.sleep(0.05)
            finally:
                with contextlib.suppress(CallFailed):
                    await connection.close()

    async def _log_in(self, connection: Connection) -> None:
        if self._login is not None:
            name, password = self._login
            request = message("AuthenticateRequest")(name=name, password=password)
            self._metadata = (("token", (await connection.call("Auth.Authenticate", request)).token),)

    async def _read(self, connection: Connection) -> None:
        key, end = bounds(self._prefix)
        request = message("RangeRequest")(key=key, range_end=end)
        response = await connection.call("KV.Range", request, metadata=self._metadata)
        self.state = {pair.key.decode(): pair.value.decode() for pair in response.kvs}

    async def _follow(self, connection: Connection) -> None:
        key, end = bounds(self._prefix)
        stream = connection.stream("Watch.Watch", metadata=self._metadata)
        try:
            create = message("WatchCreateRequest")(key=key, range_end=end)
            await stream.write(message("WatchRequest")(create_request=create))
            while True:
                response = await stream.read()
                if response.created:
                    self.streams += 1
                    self._watching.set()
                for event in response.events:
                    with contextlib.suppress(asyncio.QueueFull):
                        self._queue.put_nowait(event)
        finally:
            stream.cancel()

    async def _apply(self) -> None:
        last = 0
        while True:
            event = await self._queue.get()
            if self._consume is not None:
                await self._consume()
            revision = event.kv.mod_revision
            if revision != last:  # all events of one transaction are one change
                self.heard.append(Heard(revision))
            last = revision
            if event.type == 0:
                self.state[event.kv.key.decode()] = event.kv.value.decode(errors="replace")
            else:
                self.state.pop(event.kv.key.decode(), None)
