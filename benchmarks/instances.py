"""Instances by the hundred in one process, each a real watch session over a real source of releases, as applications have.

What a process would do once for itself and is not delivery (composing a snapshot, fingerprints) is shared by the
instances here that run the same content; everything on the way to it is each one's own: stream, frames, digest,
decoding, session, report, answers. `benchmarks.processes` makes them.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import logging
import re
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from herz.app.models import Models
from herz.live.providers import Providers
from herz.merge.composition import Composition
from herz.merge.fingerprint import fingerprint_of
from herz.merge.overlay import merged
from herz.model.document import Batch, Document, Reset, Revision
from herz.model.layer import Layer
from herz.model.secret import SecretKeys
from herz.model.snapshot import Snapshot
from herz.sources.base import Item, Running
from herz.sources.released import ReleasedSource
from herz.testing.loop_thread import LoopThread
from herz.watch.session import Session

AT_ONCE: Final = 50
PATIENCE_S: Final = 60.0
BINDER: Final = Models(Providers())
YOUNG: Final = (100_000, 20, 50)
"""When the collector looks: at 700, five hundred instances set it off all the time, while one alone does not at all."""
_shared: dict[str, tuple[str, Snapshot]] = {}


class Instance:
    """One of them. `at` says when each release was in force, on the clock that all processes share."""

    def __init__(self, url: str) -> None:
        self.at: dict[int, float] = {}
        self.number = 0
        self.source = ReleasedSource.from_url(url)
        self.session = Session(self.source, self._deliver, self._applied, read_first=True)
        self._revision: Revision = -1
        self._document: Document | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.session.run())
        deadline = time.monotonic() + PATIENCE_S
        while self._document is None or self.session.state != "ACTIVE":
            assert time.monotonic() < deadline, self.session.error
            await asyncio.sleep(0.01)
        self.source.attach(self._running, dict[str, Any](properties=[], scoped=[]).copy)

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        await self.source.detach()
        await self.source.close()

    async def _deliver(self, item: Item) -> None:
        if isinstance(item, Batch | Reset):
            document = item.document
            self._document, self._revision = document, document.revision
            ref = self.source._released.ref
            self.number = 0 if ref is None else ref.number
            self.at[self.number] = time.monotonic()
            self.source.moved()
        else:
            self._revision = max(self._revision, item.revision)

    async def _applied(self) -> Revision:
        return self._revision

    def _running(self) -> Running:
        document = self._document
        assert document is not None
        ref = self.source._released.ref
        key = "" if ref is None else ref.digest
        if key not in _shared:
            parts = document.parts or (document,)
            layers = [Layer(part.origin.name, part, at, "herz") for at, part in enumerate(parts)]
            snapshot = Snapshot(Composition.of(layers), generation=1, revisions={}, epoch=0, binder=BINDER)
            _shared[key] = fingerprint_of(merged([part.tree for part in parts]), SecretKeys()), snapshot
        fingerprint, snapshot = _shared[key]
        return Running(document, fingerprint, snapshot)


class Instances:
    """Instances of one application, named by their numbers."""

    kind: type[Instance] = Instance

    def __init__(self, url: str, first: int, count: int) -> None:
        logging.disable(logging.ERROR)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # they cost less than applications do
        self._instances = [self.kind(f"{url}?instance=i{number}") for number in range(first, first + count)]
        self._thread = LoopThread("instances")

    def start(self) -> float:
        """Seconds until all of them follow."""
        begin = time.monotonic()
        self._thread.run(self._start())
        gc.freeze()  # an application has one instance, and its collector does not look through five hundred
        gc.set_threshold(*YOUNG)
        return time.monotonic() - begin

    async def _start(self) -> None:
        for at in range(0, len(self._instances), AT_ONCE):
            await asyncio.gather(*(one.start() for one in self._instances[at : at + AT_ONCE]))

    def applied(self, number: int) -> list[float]:
        """When each had release `number` in force, waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(number in one.at for one in self._instances):
            assert time.monotonic() < deadline, f"release {number} did not reach everybody"
            time.sleep(0.05)
        return [one.at[number] for one in self._instances]

    def cpu(self) -> float:
        """CPU seconds of this process so far."""
        return time.process_time()

    def stop(self) -> bool:
        """End them."""
        self._thread.run(self._stop())
        self._thread.stop()
        return True

    async def _stop(self) -> None:
        for at in range(0, len(self._instances), AT_ONCE):
            await asyncio.gather(*(one.stop() for one in self._instances[at : at + AT_ONCE]))


class Idle:
    """Streams that only wait, by the thousand: sockets and nothing else, so that the server's share can be told."""

    def __init__(self, host: str, port: int, first: int, count: int) -> None:
        self._host, self._port, self._numbers = host, port, range(first, first + count)
        self._thread = LoopThread("idle")
        self._streams: list[asyncio.Transport] = []
        self._sessions: dict[int, str] = {}

    def start(self) -> float:
        """Seconds until every one of them was told its state."""
        begin = time.monotonic()
        for at in range(0, len(self._numbers), 500):
            self._thread.run(self._open(self._numbers[at : at + 500]))
        return time.monotonic() - begin

    async def _open(self, numbers: range) -> None:
        for at in range(0, len(numbers), AT_ONCE):
            await asyncio.gather(*(self._one(number) for number in numbers[at : at + AT_ONCE]))

    async def _one(self, number: int) -> None:
        transport, protocol = await asyncio.get_running_loop().create_connection(_Waiting, self._host, self._port)
        transport.write(
            b"GET /api/v1/apps/idle/namespaces/default/stream?instance=idle-%d HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: Python/3.11 aiohttp/3.14\r\n\r\n" % number
        )
        async with asyncio.timeout(PATIENCE_S):
            await protocol.told
        self._streams.append(transport)
        self._sessions[number] = protocol.session

    def report(self) -> bool:
        """Let each say what it runs, as an instance does."""
        connection = http.client.HTTPConnection(self._host, self._port)
        digest = f"sha256:{'a' * 64}"
        report = {
            "app": "idle",
            "namespace": "default",
            "status": "APPLIED",
            "time": "2026-01-01T00:00:00Z",
            "started": "2026-01-01T00:00:00Z",
            "patch_id": "patch-1",
            "config_version": 1,
            "generation": 3,
            "labels": {"zone": "eu", "container": "main"},
            **dict.fromkeys(("digest", "fingerprint", "effective", "graph"), digest),
        }
        for number, session in self._sessions.items():
            path = f"/api/v1/apps/idle/namespaces/default/instances/idle-{number}/report"
            body = json.dumps({**report, "instance": f"idle-{number}"})
            connection.request("PUT", path, body, {"X-Herz-Stream": session})
            response = connection.getresponse()
            response.read()
            assert response.status == 204, response.status
        connection.close()
        return True

    def alive(self) -> int:
        """How many still stand."""
        return sum(not one.is_closing() for one in self._streams)

    def stop(self) -> bool:
        """End them."""
        for one in self._streams:
            self._thread._loop.call_soon_threadsafe(one.abort)
        return True


class _Waiting(asyncio.Protocol):
    def __init__(self) -> None:
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = ""
        self._begin = b""

    def data_received(self, data: bytes) -> None:
        if not self.told.done():
            self._begin += data
            if b'"type":"state"' in self._begin:
                self.session = re.search(rb'"stream":"(\w+)"', self._begin)[1].decode()  # type: ignore[index]
                self.told.set_result(None)
                self._begin = b""

    def connection_lost(self, error: Exception | None) -> None:
        if not self.told.done():
            self.told.set_exception(ConnectionError(f"closed: {self._begin[:200]!r}"))


def process_memory(pid: int) -> float:
    """KiB that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


def process_cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
