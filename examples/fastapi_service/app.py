"""A FastAPI service: `uvicorn app:app`.

Edit application.yml while it runs. A new fee is in force with the next request; a new pool size opens a new pool, lets
the requests under way finish on the old one, and closes it. A request sees one generation from start to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field

from herz import Herz
from herz.actuator.pinning import PinMiddleware

herz = Herz("application.yml")


@herz.properties("database")
class DatabaseConfig(BaseModel):
    """Where prices are, and over how many connections."""

    host: str
    pool_size: int = Field(ge=1, le=64)


@herz.properties("quotes")
class QuoteConfig(BaseModel):
    """What is added to a price, and how long a quote holds."""

    fee: float = Field(ge=0)
    valid_for: timedelta


class Pool:
    """A pool of connections, as a database client has one."""

    def __init__(self, config: DatabaseConfig) -> None:
        self.size = config.pool_size
        self.closed = False
        self._free = asyncio.Semaphore(config.pool_size)

    async def price(self, item: int) -> float:
        """The price of an item. `RuntimeError` after the pool was closed."""
        async with self._free:
            await asyncio.sleep(0.01)
            if self.closed:
                raise RuntimeError("the pool is closed")
            return 10.0 * item

    async def aclose(self) -> None:
        """Close all connections."""
        self.closed = True


@herz.refresh_scope(eager=True, grace_s=0)
async def pool(config: DatabaseConfig) -> Pool:
    """Open the pool on the loop that it is used on."""
    return Pool(config)


@herz.refresh_scope
class Quotes:
    """Quotes prices; built from the pool, and so rebuilt with it."""

    def __init__(self, config: QuoteConfig, pool: Pool) -> None:
        self.config, self.pool = config, pool

    async def quote(self, item: int) -> dict[str, Any]:
        """What an item costs now."""
        price = await self.pool.price(item)
        return {
            "item": item,
            "total": price + self.config.fee,
            "valid_s": self.config.valid_for.total_seconds(),
            "pool": self.pool.size,
        }


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the configuration for as long as the service runs."""
    async with herz:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(PinMiddleware, herz=herz)
app.mount("/actuator", herz.actuator())


@app.get("/quotes/{item}")
async def quote(item: int, quotes: Annotated[Quotes, Depends(herz.aprovider(Quotes))]) -> dict[str, Any]:
    return await quotes.quote(item)
