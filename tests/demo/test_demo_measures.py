"""What the demo measures with can see what it is there to see: torn answers, failures, cut sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from herz.cli.demo.database import Database
from herz.cli.demo.load import Load
from herz.cli.demo.pool import ConnectionPool, PoolClosed

WHOLE = {
    "generation": 3,
    "configured_size": 4,
    "pool_size": 4,
    "pool": 1,
    "pool_of_client": 1,
    "client": 1,
    "price_edition": 7,
    "receipt_edition": 7,
}


def answer(order: int, after: dict[str, Any] | None = None, **seen: Any) -> dict[str, Any]:
    before = {**WHOLE, **seen}
    return {"order": order, "before": before, "after": {**before, **(after or {})}}


@asynccontextmanager
async def service(reply: Callable[[int], tuple[int, Any]]) -> AsyncIterator[int]:
    """A server that answers each order with what `reply` says; its port."""
    open_streams: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_streams.append(writer)
        while head := await reader.readuntil(b"\r\n\r\n"):
            status, body = reply(int(head.split()[1].rpartition(b"/")[2]))
            if status == 0:
                break
            text = json.dumps(body).encode()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)
        writer.close()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_streams:
            writer.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  counts of another task, which sets no event
            await asyncio.sleep(0.01)


async def loaded(reply: Callable[[int], tuple[int, Any]]) -> dict[str, Any]:
    async with service(reply) as port:
        load = Load("127.0.0.1", port, rate=500, connections=1)
        running = asyncio.create_task(load.run())
        await until(lambda: load.requests >= 20)
        load.stop()
        await running
        return load.report(final=True)


async def test_whole_answers_are_neither_failed_nor_torn():
    report = await loaded(lambda order: (200, answer(order)))
    assert (report["failed"], report["torn"], report["first_fault"]) == (0, 0, None)
    assert 0 < report["p50_ms"] <= report["p99_ms"]


@pytest.mark.parametrize(
    ("torn", "why"),
    [
        (lambda order: answer(order, after={"generation": 4}), "moved while the request ran"),
        (lambda order: answer(order, after={"client": 2}), "moved while the request ran"),
        (lambda order: answer(order, configured_size=8), "different generations"),
        (lambda order: answer(order, pool_of_client=2), "different generations"),
        (lambda order: answer(order, receipt_edition=8), "half of a change"),
        (lambda order: answer(order, client=order), "two sets of values in one generation"),
        (lambda order: answer(order, generation=1000 - order), "an older generation again"),
    ],
)
async def test_every_kind_of_torn_answer_is_counted(torn: Callable[[int], dict[str, Any]], why: str):
    report = await loaded(lambda order: (200, torn(order)))
    assert report["torn"] >= report["requests"] - 2  # the first one or two have nothing to differ from
    assert why in report["first_fault"]
    assert report["failed"] == 0


@pytest.mark.parametrize(
    "reply",
    [
        lambda order: (500, {"detail": "the connection pool is closed"}),
        lambda order: (200, answer(order + 1)),
        lambda order: (0, None),
    ],
)
async def test_every_kind_of_bad_answer_is_counted_as_failed(reply: Callable[[int], tuple[int, Any]]):
    report = await loaded(reply)
    assert report["failed"] == report["requests"] >= 20
    assert report["first_fault"]


async def test_the_database_counts_a_session_that_ends_during_a_payment_as_cut():
    database = Database()
    server = await asyncio.start_server(database.serve, "127.0.0.1", 0)
    pool = await ConnectionPool.open("127.0.0.1", server.sockets[0].getsockname()[1], 2)
    async with pool.connection() as (reader, writer):
        writer.write(b"PAY 1 100\n")
        await writer.drain()
        await pool.aclose()
        assert await reader.readline() == b""
    await until(lambda: database.closed == 2)
    assert (database.opened, database.cut) == (2, 1)
    with pytest.raises(PoolClosed):
        async with pool.connection():
            pass
    server.close()
