"""The load on a fleet: the same few requests a second for every instance, each answer checked. Its own process."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque
from itertools import count
from typing import Any

from herz.cli.demo.http import Connection
from herz.cli.demo.load import RECENT, REPORT_S, percentile
from herz.cli.demo.process import announce, dismissed


class FleetLoad:
    """`rate` requests a second to each of some addresses, and what came of them.

    An answer is mixed when its two editions differ: the request met two releases. A request failed when there was no
    answer, or the service says that it could not pay.
    """

    def __init__(self, addresses: list[str], *, rate: float) -> None:
        self._addresses = addresses
        self._interval_s = 1 / rate
        self._orders = count()
        self._stopping = False
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._first_fault: str | None = None
        self.requests = self.failed = self.mixed = 0

    async def run(self) -> None:
        """Send until `stop`, then finish what is under way."""
        await asyncio.gather(*map(self._client, self._addresses, range(len(self._addresses))))

    def stop(self) -> None:
        """Send nothing more."""
        self._stopping = True

    async def _client(self, address: str, number: int) -> None:
        host, _, port = address.rpartition(":")
        connection = Connection(host, int(port))
        due = time.perf_counter() + self._interval_s * number / len(self._addresses)  # not all at one moment
        while not self._stopping:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            await self._send(connection, address, due)
            due += self._interval_s
        connection.close()

    async def _send(self, connection: Connection, address: str, due: float) -> None:
        order = next(self._orders)
        self.requests += 1
        try:
            status, answer = await connection.request("GET", f"/checkout/{order}")
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self._fail(f"{address}, order {order}: {type(error).__name__}: {error}")
            return
        self._recent.append((time.perf_counter() - due) * 1000)
        if status != 200 or answer["order"] != order:
            self._fail(f"{address}, order {order}: {status} {answer}")
            return
        first, last = answer["editions"]
        self.mixed += first != last

    def _fail(self, fault: str) -> None:
        self.failed += 1
        self._first_fault = self._first_fault or fault

    def report(self) -> dict[str, Any]:
        """The counts; percentiles of the last requests, in milliseconds."""
        latencies = sorted(self._recent)
        return {
            "requests": self.requests,
            "failed": self.failed,
            "mixed": self.mixed,
            "p50_ms": percentile(latencies, 0.50),
            "p99_ms": percentile(latencies, 0.99),
            "first_fault": self._first_fault,
        }


async def main() -> None:
    """Load the instances named on the command line until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("addresses", nargs="+")
    given = parser.parse_args()
    load = FleetLoad(given.addresses, rate=given.rate)
    sending = asyncio.create_task(load.run())
    leaving = asyncio.create_task(dismissed())
    announce(rate=given.rate)
    while not (await asyncio.wait({leaving, sending}, timeout=REPORT_S))[0]:
        announce(**load.report())
    load.stop()
    await sending
    announce(**load.report(), final=True)


if __name__ == "__main__":
    asyncio.run(main())
