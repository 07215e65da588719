"""One instance of the fleet that `herz demo --fleet` releases to: a shop that follows its channel on the control plane.

Nothing in here knows about rollouts. It reads `herz://…`, builds four objects from what it is given, serves, pins each
request, and counts by itself what it must never see: a request that met two releases.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

import uvicorn

from herz import Herz
from herz.actuator.pinning import PinMiddleware
from herz.cli.demo.pool import Streams, session
from herz.cli.demo.process import announce, dismissed

RECENT: Final = 12
"""How many of the last payments health looks at."""

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class DatabaseConfig:
    """Where payments are kept."""

    host: str
    port: int
    pool_size: int


@dataclass(frozen=True)
class PaymentConfig:
    """How payments are made."""

    timeout: timedelta


@dataclass(frozen=True)
class PriceConfig:
    """What things cost."""

    edition: int
    book: float


@dataclass(frozen=True)
class ReceiptConfig:
    """What receipts say; every release writes the edition of its prices here as well."""

    edition: int
    greeting: str


class Bank:
    """`pool_size` sessions with the database, open when it is built: without them it never gets into service."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._idle: asyncio.LifoQueue[Streams | None] = asyncio.LifoQueue()

    @classmethod
    async def open(cls, config: DatabaseConfig) -> Bank:
        """The bank, once every session is open. `OSError` when nobody listens there."""
        bank = cls(config)
        for _ in range(config.pool_size):
            bank._idle.put_nowait(await session(config.host, config.port))
        return bank

    async def pay(self, order: int, cents: int, timeout_s: float) -> None:
        """Pay, or `TimeoutError`: the session is not used again then, for its answer would be another's."""
        streams = await self._idle.get()
        try:
            async with asyncio.timeout(timeout_s):
                if streams is None:
                    streams = await session(self._config.host, self._config.port)
                reader, writer = streams
                writer.write(b"PAY %d %d\n" % (order, cents))
                if int((await reader.readline()).split()[1]) != order:
                    raise ConnectionError("the database answered another order")
        except BaseException:
            if streams is not None:
                streams[1].close()
            streams = None
            raise
        finally:
            self._idle.put_nowait(streams)

    async def aclose(self) -> None:
        """Close every session."""
        while not self._idle.empty():
            streams = self._idle.get_nowait()
            if streams is not None:
                streams[1].close()


class PaymentClient:
    """Pays at the bank, within a time."""

    def __init__(self, config: PaymentConfig, bank: Bank) -> None:
        self._timeout_s, self._bank = config.timeout.total_seconds(), bank

    async def pay(self, order: int, cents: int) -> None:
        """Pay, or `TimeoutError`."""
        await self._bank.pay(order, cents, self._timeout_s)


class PriceList:
    """Knows what an order costs."""

    def __init__(self, config: PriceConfig) -> None:
        self.edition, self._cents = config.edition, round(100 * config.book)

    def cents(self, order: int) -> int:
        """The price of an order of one to three books."""
        return self._cents * (1 + order % 3)


class ReceiptPrinter:
    """Writes receipts."""

    def __init__(self, config: ReceiptConfig) -> None:
        self.edition, self._greeting = config.edition, config.greeting

    def receipt(self, order: int, cents: int) -> str:
        """One line for the customer."""
        return f"{order}: {cents / 100:.2f}. {self._greeting}"


class Shop:
    """The service, and what it counts."""

    def __init__(self, source: str) -> None:
        self.herz = herz = Herz(source, environment={})
        herz.properties("database")(DatabaseConfig)
        herz.properties("payment")(PaymentConfig)
        herz.properties("prices")(PriceConfig)
        herz.properties("receipts")(ReceiptConfig)

        @herz.refresh_scope(eager=True)
        async def opened(config: DatabaseConfig) -> Bank:
            return await Bank.open(config)

        for kind in (PaymentClient, PriceList, ReceiptPrinter):
            herz.refresh_scope(eager=True)(kind)
        self.served = self.failed = self.mixed = 0
        self._recent: deque[bool] = deque(maxlen=RECENT)

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Serve one request (ASGI), which `PinMiddleware` has pinned to a generation."""
        _, place, order = scope["path"].rpartition("/")
        if scope["path"].startswith("/checkout/"):
            await _answer(send, *await self.checkout(int(order)))
        elif place and order == "health":
            await _answer(send, *self.health())
        else:
            await _answer(send, 200, {"served": self.served, "failed": self.failed, "mixed": self.mixed})

    async def checkout(self, order: int) -> tuple[int, dict[str, Any]]:
        """Sell something with four objects; the editions of the first and the last one used go into the answer."""
        self.served += 1
        prices = self.herz.get(PriceList)
        cents = prices.cents(order)
        try:
            await self.herz.get(PaymentClient).pay(order, cents)
            paid = True
        except (TimeoutError, ConnectionError):
            paid = False
            self.failed += 1
        self._recent.append(paid)
        printer = self.herz.get(ReceiptPrinter)
        editions = [prices.edition, printer.edition]
        self.mixed += editions[0] != editions[1]
        said = {"order": order, "editions": editions, "receipt": printer.receipt(order, cents)}
        return 200 if paid else 504, said

    def health(self) -> tuple[int, dict[str, Any]]:
        """DOWN while most of the last payments failed."""
        failed = self._recent.count(False)
        down = failed * 2 > len(self._recent)
        return 503 if down else 200, {"status": "DOWN" if down else "UP", "failed": failed, "of": len(self._recent)}


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def main() -> None:
    """Serve on a free port until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--zone", required=True)
    given = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    labels = {"instance": given.instance, "label.zone": given.zone, "label.http": address}
    shop = Shop(f"{given.source}?{urlencode(labels)}")
    config = uvicorn.Config(
        PinMiddleware(shop, herz=shop.herz),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    async with shop.herz:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn has no event to wait for
            await asyncio.sleep(0.01)
        if not serving.done():
            announce(instance=given.instance, address=address)
            leaving = asyncio.create_task(dismissed())
            await asyncio.wait({leaving, serving}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main())
