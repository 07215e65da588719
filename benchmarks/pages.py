"""Pages of the console by the hundred in one process: each has the live stream and asks for itself again as `live.js` does.

What a browser would do with a page is not measured; what is asked of the server is the same. `benchmarks.processes`
makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Final

import aiohttp
import uvloop

from herz.testing.loop_thread import LoopThread

AT_ONCE: Final = 50
PAUSE_S: Final = 0.3
"""Between two readings of one page."""
PATIENCE_S: Final = 30.0


class Page:
    """One page: its address, and how often it held the mark that is looked for, by the clock that all processes share."""

    def __init__(self, session: aiohttp.ClientSession, server: str, path: str, topic: str) -> None:
        self.seen: list[tuple[float, int]] = []
        self.readings = self.failures = 0
        self.mark = ""
        self._session, self._server, self._path, self._topic = session, server, path, topic
        self._stream: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._again = False

    async def open(self) -> None:
        told = asyncio.get_running_loop().create_future()
        self._stream = asyncio.create_task(self._follow(told))
        await asyncio.wait_for(told, PATIENCE_S)

    async def _follow(self, told: asyncio.Future[None]) -> None:
        kind = b""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"{self._server}/console/live", timeout=timeout) as stream:
            async for line in stream.content:
                if line.startswith(b"event: "):
                    kind = line[7:].strip()
                elif line.startswith(b"data: ") and kind == b"hello":
                    if not told.done():
                        told.set_result(None)
                elif line.startswith(b"data: ") and kind == b"changed":
                    topics = json.loads(line[6:])
                    if self._topic in topics or "*" in topics:
                        self._refresh()

    def _refresh(self) -> None:
        self._again = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self._again:
            self._again = False
            self.readings += 1
            async with self._session.get(self._server + self._path, headers={"x-herz-live": "1"}) as answer:
                text = await answer.read()
                self.failures += answer.status != 200
            self.seen.append((time.monotonic(), text.count(self.mark.encode())))
            await asyncio.sleep(PAUSE_S)

    async def close(self) -> None:
        tasks = [one for one in (self._stream, self._reading) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class OpenPages:
    """Pages at these addresses, in turn."""

    def __init__(self, server: str, topic: str, count: int, paths: list[str]) -> None:
        logging.disable(logging.ERROR)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        self._server, self._topic, self._count, self._paths = server, topic, count, paths
        self._thread = LoopThread("pages")
        self._pages: list[Page] = []
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> float:
        """Seconds until all of them have their stream."""
        begin = time.monotonic()
        self._thread.run(self._start())
        return time.monotonic() - begin

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        for number in range(self._count):
            path = self._paths[number % len(self._paths)]
            self._pages.append(Page(self._session, self._server, path, self._topic))
        for at in range(0, self._count, AT_ONCE):
            await asyncio.gather(*(one.open() for one in self._pages[at : at + AT_ONCE]))

    def look_for(self, mark: str) -> bool:
        """Count `mark` in what is read from now on."""
        for page in self._pages:
            page.mark, page.seen = mark, []
        return True

    def current(self, expected: list[int]) -> list[float | None]:
        """When each page held the mark as often as its address is to; None where one does not within `PATIENCE_S`."""
        wanted = [expected[number % len(self._paths)] for number in range(self._count)]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = [
                next((at for at, count in page.seen if count == times), None)
                for page, times in zip(self._pages, wanted, strict=True)
            ]
            if None not in found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def counts(self) -> list[int]:
        """How often pages were read, and how often that failed."""
        return [sum(page.readings for page in self._pages), sum(page.failures for page in self._pages)]

    def stop(self) -> bool:
        """Close them."""
        self._thread.run(self._stop())
        self._thread.stop()
        return True

    async def _stop(self) -> None:
        await asyncio.gather(*(one.close() for one in self._pages))
        if self._session is not None:
            with contextlib.suppress(aiohttp.ClientError):
                await self._session.close()
