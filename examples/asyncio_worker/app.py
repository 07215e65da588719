"""An asyncio worker: an `httpx.AsyncClient` and a connection pool, both replaced while orders flow: `python app.py`.

The pool is one as asyncpg has it: opened and closed on the loop, connections acquired with `async with`. An order
is paid inside a pin: bank and pool belong together, and a change in the middle of it closes nothing under its hands.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, Field

from herz import Herz, Precision

herz = Herz("application.yml")


@herz.properties("bank")
class BankConfig(BaseModel):
    """Who takes the money."""

    url: str
    timeout: Annotated[timedelta, Precision("ms")]


@herz.properties("ledger")
class LedgerConfig(BaseModel):
    """How many connections the ledger has."""

    connections: int = Field(ge=1)


class Pool:
    """Connections to the ledger."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = False
        self.lines: list[str] = []
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for number in range(size):
            self._free.put_nowait(number)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[int]:
        """A connection, for as long as it is needed. `RuntimeError` when the pool is closed meanwhile."""
        connection = await self._free.get()
        try:
            yield connection
            if self.closed:
                raise RuntimeError("the pool was closed under our hands")
        finally:
            self._free.put_nowait(connection)

    async def aclose(self) -> None:
        """Close every connection."""
        self.closed = True


@herz.refresh_scope(grace_s=0)
async def bank(config: BankConfig) -> httpx.AsyncClient:
    """A client with keep-alive connections, bound to the application's loop."""
    return httpx.AsyncClient(base_url=config.url, timeout=config.timeout.total_seconds(), trust_env=False)


@herz.refresh_scope(grace_s=0)
async def ledger(config: LedgerConfig) -> Pool:
    """The pool, open."""
    return Pool(config.connections)


@dataclass
class Worker:
    """Takes orders from a queue and pays them. It is no part of the scope: it asks for what it uses, each time."""

    orders: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    paid: list[dict[str, Any]] = field(default_factory=list)

    async def run(self) -> None:
        """Pay until cancelled."""
        while True:
            order = await self.orders.get()
            with herz.pin() as generation:
                client, pool = await generation.aget(httpx.AsyncClient), await generation.aget(Pool)
                async with pool.acquire():
                    answer = await client.post("/pay", json={"order": order})
                answer.raise_for_status()
                self.paid.append({**answer.json(), "connections": pool.size})
            self.orders.task_done()


@asynccontextmanager
async def local_bank(name: str) -> AsyncIterator[str]:
    """A bank that speaks HTTP on a free port of this machine; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length")
                )
                order = json.loads(await reader.readexactly(length))["order"]
                body = json.dumps({"order": order, "bank": name}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                )
                writer.write(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def edit(*replacements: tuple[str, str]) -> None:
    """What an operator does with an editor."""
    file = Path("application.yml")
    text = file.read_text()
    for old, new in replacements:
        text = text.replace(old, new)
    file.write_text(text)


async def main(orders: int = 300) -> list[dict[str, Any]]:
    """Pay orders, and change the bank and the pool in the middle of it."""
    async with local_bank("north") as north, local_bank("south") as south:
        edit(("http://127.0.0.1:9", north))
        async with herz:
            worker = Worker()
            running = [asyncio.create_task(worker.run()) for _ in range(4)]
            old_client, old_pool = await herz.aget(httpx.AsyncClient), await herz.aget(Pool)
            for order in range(orders):
                worker.orders.put_nowait(order)
            edit((north, south), ("connections: 2", "connections: 6"))
            await herz.await_for(lambda snapshot: snapshot["bank.url"] == south, timeout=10)
            for order in range(orders, orders + 20):
                worker.orders.put_nowait(order)
            await worker.orders.join()
            async with asyncio.timeout(10):
                while not (old_client.is_closed and old_pool.closed):  # noqa: ASYNC110  nobody tells
                    await asyncio.sleep(0.01)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return worker.paid


if __name__ == "__main__":
    paid = asyncio.run(main())
    for name in ("north", "south"):
        print(name, sum(one["bank"] == name for one in paid), "orders")
