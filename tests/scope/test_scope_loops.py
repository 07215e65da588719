"""Async code runs on the application's loop, for clients and pools belong to the loop they are used on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from herz.errors import BuildError


@dataclass
class Upstream:
    url: str = "http://127.0.0.1:1"
    size: int = 2


class Engine:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


class Pool:
    """A pool as asyncpg's: it can be used and closed only on the loop it was made on."""

    def __init__(self, size: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.free: asyncio.Queue[int] = asyncio.Queue()
        for number in range(size):
            self.free.put_nowait(number)
        self.size = size
        self.closed = 0

    def _check(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("attached to a different loop")
        if self.closed:
            raise RuntimeError("pool is closed")

    async def query(self) -> int:
        self._check()
        connection = await self.free.get()
        await asyncio.sleep(0.001)
        self._check()
        self.free.put_nowait(connection)
        return self.size

    async def close(self) -> None:
        self._check()
        for _ in range(self.size):
            await self.free.get()
        self.closed += 1


@dataclass
class Server:
    port: int = 0
    served: list[str] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                self.served.append(request.decode().split()[1])
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def test_an_httpx_client_is_built_used_and_closed_on_the_applications_loop(
    driver: Any, engine: Engine, until: Callable[..., Any]
) -> None:
    server = Server()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    driver.scope.declare_properties(Upstream, "up")

    async def make_client(config: Upstream) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=config.url)
        (await client.get("/hello")).raise_for_status()
        return client

    driver.scope.declare(make_client, grace_s=0)
    driver.scope.runner.capture(asyncio.get_running_loop())
    await engine.do(driver.open({"up": {"url": f"http://127.0.0.1:{port}"}}))
    client = await driver.scope.aget(httpx.AsyncClient)
    assert (await client.get("/one")).text == "ok"
    async with driver.scope.lease(httpx.AsyncClient) as leased:
        await engine.do(driver.refresh({"up": {"url": f"http://localhost:{port}"}}))
        assert (await leased.get("/two")).text == "ok"
    await until(lambda: client.is_closed)
    assert (await driver.scope.get(httpx.AsyncClient).get("/three")).text == "ok"
    assert server.served == ["/hello", "/one", "/hello", "/two", "/three"]
    newest = driver.scope.get(httpx.AsyncClient)
    await engine.do(driver.scope.close())
    assert newest.is_closed
    assert driver.notices == []
    listening.close()
    await listening.wait_closed()


async def test_a_loop_bound_pool_is_replaced_under_load_without_a_failed_query(driver: Any, engine: Engine) -> None:
    pools: list[Pool] = []

    async def make_pool(config: Upstream) -> Pool:
        pools.append(Pool(config.size))
        return pools[-1]

    driver.scope.declare_properties(Upstream, "up")
    driver.scope.declare(make_pool, grace_s=0)
    driver.scope.runner.capture(asyncio.get_running_loop())
    await engine.do(driver.open({"up": {"size": 2}}))
    await driver.scope.aget(Pool)
    done, queries = asyncio.Event(), []

    async def request() -> None:
        while not done.is_set():
            async with driver.scope.lease(Pool) as pool:
                queries.append(await pool.query())

    requests = [asyncio.create_task(request()) for _ in range(10)]
    for size in range(3, 13):
        await engine.do(driver.refresh({"up": {"size": size}}))
        await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*requests)
    await engine.do(driver.scope.close())
    assert [pool.closed for pool in pools] == [1] * 11
    assert driver.notices == []
    assert {2, 12} <= set(queries)


async def test_without_an_applications_loop_async_code_runs_on_the_engines(driver: Any, engine: Engine) -> None:
    async def make_pool(config: Upstream) -> Pool:
        return Pool(config.size)

    driver.scope.declare_properties(Upstream, "up")
    driver.scope.declare(make_pool)
    await engine.do(driver.open({}))
    pool = driver.scope.get(Pool)  # a synchronous application waits
    assert pool.loop is engine.loop
    await engine.do(driver.scope.close())
    assert pool.closed == 1


async def test_a_blocked_application_loop_ends_a_build_at_its_limit_and_holds_up_no_value(
    driver: Any, engine: Engine
) -> None:
    async def make_pool(config: Upstream) -> Pool:
        return Pool(config.size)

    driver.scope.declare_properties(Upstream, "up")
    driver.scope.declare(make_pool, build_s=0.1)
    driver.scope.runner.capture(asyncio.get_running_loop())
    await engine.do(driver.open({}))
    await driver.scope.aget(Pool)
    refresh = asyncio.run_coroutine_threadsafe(driver.refresh({"up": {"size": 9}}), engine.loop)
    with pytest.raises(BuildError, match=r"took longer than 0\.1 s"):
        refresh.result(5)  # blocks this loop on purpose
    await engine.do(driver.scope.close())


async def test_an_applications_loop_that_is_closed_is_told(driver: Any, engine: Engine) -> None:
    async def make_pool(config: Upstream) -> Pool:
        return Pool(config.size)

    driver.scope.declare_properties(Upstream, "up")
    driver.scope.declare(make_pool)
    gone = asyncio.new_event_loop()
    gone.close()
    driver.scope.runner.capture(gone)
    await engine.do(driver.open({}))
    with pytest.raises(BuildError, match="the application's event loop is closed"):
        await driver.scope.aget(Pool)
    await engine.do(driver.scope.close())
