"""The demo's service: a shop made of five objects, each built from configuration and rebuilt when that changes.

Nothing in here knows about the demo's acts. It reads `application.yml` and the mounted folder, serves, and tells
under `/facts` what was built and closed, counted by the objects themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field, model_validator

from herz import ChangeSet, Herz, Rejected
from herz.actuator.pinning import PinMiddleware
from herz.cli.demo.pool import ConnectionPool
from herz.cli.demo.process import announce, dismissed

herz = Herz("application.yml", "mounted/", environment={})

built: Counter[str] = Counter()
closed: Counter[str] = Counter()


# --- what configuration says ----------------------------------------------------------------------


@herz.properties("database")
class DatabaseConfig(BaseModel):
    """Where payments are kept, and over how many connections."""

    host: str
    port: int
    pool_size: int = Field(ge=1, le=64)


@herz.properties("payment")
class PaymentConfig(BaseModel):
    """How payments are made."""

    timeout: timedelta
    retries: int = Field(ge=0)
    fee: float


@herz.properties("prices")
class PriceConfig(BaseModel):
    """What things cost."""

    edition: int
    book: float


@herz.properties("receipts")
class ReceiptConfig(BaseModel):
    """What receipts say; `edition` is that of the prices they belong to."""

    edition: int
    greeting: str


@herz.properties("limits")
class LimitConfig(BaseModel):
    """How many requests are let in."""

    per_second: int = Field(ge=1)
    burst: int = Field(ge=1)

    @model_validator(mode="after")
    def burst_is_enough(self) -> LimitConfig:
        """A burst holds at least a second's requests."""
        if self.burst < self.per_second:
            raise ValueError("burst is less than per-second")
        return self


# --- what is built from it ------------------------------------------------------------------------


class Part:
    """Counts what is built, and numbers it."""

    def __init__(self) -> None:
        built[type(self).__name__] += 1
        self.number = built[type(self).__name__]


class Pool(ConnectionPool, Part):
    """The connection pool, numbered."""

    def __init__(self, sessions: list[Any]) -> None:
        ConnectionPool.__init__(self, sessions)
        Part.__init__(self)

    async def aclose(self) -> None:
        """Close every session."""
        await super().aclose()
        closed["Pool"] += 1


@herz.refresh_scope(eager=True)
async def connected(config: DatabaseConfig) -> Pool:
    """A pool whose sessions are open: one that cannot connect never gets into service."""
    return await Pool.open(config.host, config.port, config.pool_size)


@herz.refresh_scope(eager=True)
class PaymentClient(Part):
    """Pays over the pool."""

    def __init__(self, config: PaymentConfig, pool: Pool) -> None:
        super().__init__()
        self.config, self.pool = config, pool

    async def pay(self, order: int, cents: int) -> int:
        """The database session that took the payment. `TimeoutError`, `ConnectionError` or `PoolClosed` otherwise."""
        async with asyncio.timeout(self.config.timeout.total_seconds()), self.pool.connection() as (reader, writer):
            writer.write(b"PAY %d %d\n" % (order, cents + round(100 * self.config.fee)))
            answer = (await reader.readline()).split()
        if len(answer) != 3 or int(answer[1]) != order:
            raise ConnectionError(f"the database answered {answer!r} to order {order}")
        return int(answer[2])


@herz.refresh_scope(eager=True)
class PriceList(Part):
    """Knows what an order costs."""

    def __init__(self, config: PriceConfig) -> None:
        super().__init__()
        self.config = config

    def cents(self, order: int) -> int:
        """The price of an order of one to three books."""
        return round(100 * self.config.book) * (1 + order % 3)


@herz.refresh_scope(eager=True)
class ReceiptPrinter(Part):
    """Writes receipts."""

    def __init__(self, config: ReceiptConfig) -> None:
        super().__init__()
        self.config = config

    def receipt(self, order: int, cents: int) -> str:
        """One line for the customer."""
        return f"{order}: {cents / 100:.2f}. {self.config.greeting}"


@herz.refresh_scope(eager=True)
class RateLimiter(Part):
    """A token bucket."""

    def __init__(self, config: LimitConfig) -> None:
        super().__init__()
        self._config = config
        self._tokens = float(config.burst)
        self._at = time.monotonic()

    def admit(self) -> bool:
        """Whether there is room for one more."""
        now = time.monotonic()
        self._tokens = min(self._config.burst, self._tokens + (now - self._at) * self._config.per_second)
        self._at = now
        self._tokens -= 1
        return self._tokens >= 0


# --- what happened --------------------------------------------------------------------------------

changes: list[dict[str, Any]] = []
refusals: list[str] = []


@herz.on_change
def changed(change_set: ChangeSet) -> None:
    """Note what changed, and when it was in force."""
    changes.append(
        {
            "at_s": time.monotonic(),
            "keys": [[one.key, str(one.before), str(one.after), one.cause] for one in change_set.changes],
        }
    )


@herz.on_rejected
def rejected(event: Rejected) -> None:
    """Note what was refused, and why."""
    refusals.append(str(event.error))


# --- what is served -------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Hold the configuration, and what is built from it, for as long as the service runs."""
    async with herz:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(PinMiddleware, herz=herz)
app.mount("/actuator", herz.actuator())


def seen() -> dict[str, Any]:
    """The configuration and the objects as this request sees them now."""
    return {
        "generation": herz.snapshot.generation,
        "configured_size": herz.get(DatabaseConfig).pool_size,
        "pool_size": herz.get(Pool).size,
        "pool": herz.get(Pool).number,
        "pool_of_client": herz.get(PaymentClient).pool.number,
        "client": herz.get(PaymentClient).number,
        "price_edition": herz.get(PriceList).config.edition,
        "receipt_edition": herz.get(ReceiptPrinter).config.edition,
    }


@app.get("/checkout/{order}")
async def checkout(order: int) -> dict[str, Any]:
    """Sell something: limiter, prices, client, pool and printer, and what they were made from before and after."""
    before = seen()
    if not herz.get(RateLimiter).admit():
        raise HTTPException(429, "too many requests")
    cents = herz.get(PriceList).cents(order)
    session = await herz.get(PaymentClient).pay(order, cents)
    receipt = herz.get(ReceiptPrinter).receipt(order, cents)
    return {
        "order": order,
        "receipt": receipt,
        "session": session,
        "before": before,
        "after": seen(),
    }


@app.get("/facts")
async def facts() -> dict[str, Any]:
    """What was built, closed, changed and refused since the start."""
    return {
        "built": built,
        "closed": closed,
        "changes": changes,
        "refusals": refusals,
        "fingerprint": herz.snapshot.fingerprint,
        "pool_size": herz.get(Pool).size,
    }


async def main() -> None:
    """Serve on the given port, or a free one, until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    port = parser.parse_args().port
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    if not serving.done():
        announce(port=server.servers[0].sockets[0].getsockname()[1])
        leaving = asyncio.create_task(dismissed())
        await asyncio.wait({leaving, serving}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
