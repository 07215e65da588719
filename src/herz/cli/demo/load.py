"""The load: steady requests over keep-alive connections, each answer checked. A process of its own.

Requests leave by the clock, not when the one before was answered, and latency counts from the moment when a request
was due: a service that stands still for a while cannot hide it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque
from itertools import count
from typing import Any, Final

from herz.cli.demo.http import Connection
from herz.cli.demo.process import announce, dismissed

REPORT_S: Final = 0.2
"""How often the counts are told."""
RECENT: Final = 600
"""How many latencies the live percentiles are taken from."""


class Load:
    """`rate` requests a second over `connections` connections, and what came of them.

    An answer is torn when it was made from more than one configuration: the generation or any value moved while the
    request ran, an object was built from other values than its neighbours, two values that are always written
    together differ, one generation showed two sets of values, or a connection saw an older one again.
    """

    def __init__(self, host: str, port: int, *, rate: float, connections: int) -> None:
        self._address = (host, port)
        self._interval_s = 1 / rate
        self._connections = connections
        self._orders = count()
        self._stopping = False
        self._known: dict[int, Any] = {}
        self._latencies: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._first_fault: str | None = None
        self._started = time.perf_counter()
        self.requests = self.failed = self.torn = 0

    async def run(self) -> None:
        """Send until `stop`, then finish what is under way."""
        connections = [Connection(*self._address) for _ in range(self._connections)]
        for connection in connections:  # the first answer of a new process and connection is no measure of it
            await self._send(connection, 0, None, 0)
        self._started = time.perf_counter()
        await asyncio.gather(*map(self._client, connections))

    def stop(self) -> None:
        """Send nothing more."""
        self._stopping = True

    async def _client(self, connection: Connection) -> None:
        newest = 0
        while not self._stopping:
            order = next(self._orders)
            due = self._started + order * self._interval_s
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            newest = await self._send(connection, order, due, newest)
        connection.close()

    async def _send(self, connection: Connection, order: int, due: float | None, newest: int) -> int:
        self.requests += 1
        try:
            status, answer = await connection.request("GET", f"/checkout/{order}")
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.failed += 1
            self._fault(f"order {order}: {type(error).__name__}: {error}")
            await asyncio.sleep(0.05)  # no storm of connects at a service that is down
            return newest
        if due is not None:
            latency = (time.perf_counter() - due) * 1000
            self._latencies.append(latency)
            self._recent.append(latency)
        if status != 200 or answer["order"] != order:
            self.failed += 1
            self._fault(f"order {order}: {status} {answer}")
            return newest
        if wrong := self._torn(answer, newest):
            self.torn += 1
            self._fault(f"order {order}: {wrong}: {answer}")
        return max(newest, int(answer["before"]["generation"]))

    def _torn(self, answer: dict[str, Any], newest: int) -> str | None:
        seen = answer["before"]
        if answer["after"] != seen:
            return "the configuration moved while the request ran"
        if seen["pool_size"] != seen["configured_size"] or seen["pool"] != seen["pool_of_client"]:
            return "objects of different generations"
        if seen["price_edition"] != seen["receipt_edition"]:
            return "half of a change"
        if self._known.setdefault(seen["generation"], seen) != seen:
            return "two sets of values in one generation"
        if seen["generation"] < newest:
            return "an older generation again"
        return None

    def _fault(self, text: str) -> None:
        self._first_fault = self._first_fault or text

    def report(self, *, final: bool = False) -> dict[str, Any]:
        """The counts; percentiles of the last requests, or of all when `final`, in milliseconds."""
        latencies = sorted(self._latencies if final else self._recent)
        return {
            "requests": self.requests,
            "failed": self.failed,
            "torn": self.torn,
            "per_second": self.requests / max(time.perf_counter() - self._started, 0.001),
            "p50_ms": percentile(latencies, 0.50),
            "p99_ms": percentile(latencies, 0.99),
            "first_fault": self._first_fault,
        }


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the ordered ones lie; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def main() -> None:
    """Load the service named on the command line until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--connections", type=int, default=8)
    given = parser.parse_args()
    load = Load(given.host, given.port, rate=given.rate, connections=given.connections)
    sending = asyncio.create_task(load.run())
    leaving = asyncio.create_task(dismissed())
    announce(rate=given.rate, connections=given.connections)
    while not (await asyncio.wait({leaving, sending}, timeout=REPORT_S))[0]:
        announce(**load.report())
    load.stop()
    await sending
    announce(**load.report(final=True), final=True)


if __name__ == "__main__":
    asyncio.run(main())
