from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

from herz.actuator.pinning import PinMiddleware


@dataclass
class Config:
    number: int = 0


class Client:
    def __init__(self, config: Config) -> None:
        self.number = config.number


class Other:
    def __init__(self, config: Config) -> None:
        self.number = config.number
        self.open = True

    async def aclose(self) -> None:
        self.open = False


class Service:
    """A FastAPI application whose requests read at several moments, and wait in between where a test wants it."""

    def __init__(self, configured: Any, *, pinned: bool = True) -> None:
        self.configured = configured
        self.herz = herz = configured.herz("service.number: 1", configured.OPEN)
        herz.properties("service")(Config)
        herz.refresh_scope(Client)

        async def other(config: Config) -> Other:
            return Other(config)

        herz.refresh_scope(other, grace_s=0.0)
        self.entered, self.go = threading.Event(), threading.Event()
        self.spawned: list[asyncio.Task] = []
        self.background: list[int] = []
        app = self.app = FastAPI()
        if pinned:
            app.add_middleware(PinMiddleware, herz=herz)
        app.mount("/actuator", herz.actuator())

        def seen(client: Client, other: Other) -> list[int]:
            return [client.number, other.number, herz.get(Config).number, herz.snapshot["service.number"]]

        @app.get("/async")
        async def asynchronous(
            client: Client = Depends(herz.provider(Client)),  # noqa: B008
            other: Other = Depends(herz.aprovider(Other)),  # noqa: B008
        ) -> list[int]:
            first = seen(client, other)
            await self.pause()
            return [*first, *seen(herz.get(Client), await herz.aget(Other))]

        @app.get("/sync")
        def synchronous(
            client: Client = Depends(herz.provider(Client)),  # noqa: B008
            other: Other = Depends(herz.aprovider(Other)),  # noqa: B008
        ) -> list[int]:
            first = seen(client, other)
            self.entered.set()
            self.go.wait(10)
            assert other.open
            return [*first, *seen(herz.get(Client), other)]

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def lines() -> AsyncIterator[str]:
                for _ in range(2):
                    yield f"{herz.get(Config).number}{(await herz.aget(Other)).number}"
                    await self.pause()

            return StreamingResponse(lines())

        @app.get("/background")
        async def later(tasks: BackgroundTasks) -> int:
            async def work() -> None:
                await self.pause()
                self.background.append(herz.get(Config).number)

            tasks.add_task(work)
            return herz.get(Config).number

        @app.get("/spawn")
        async def spawn() -> int:
            async def work() -> int:
                await self.pause()
                return herz.get(Config).number

            self.spawned.append(asyncio.create_task(work()))
            return herz.get(Config).number

    async def pause(self) -> None:
        self.entered.set()
        await asyncio.to_thread(self.go.wait, 10)

    async def change(self, number: int) -> None:
        self.configured.write(f"service.number: {number}", self.configured.OPEN)
        assert await self.herz.arefresh() == ["service.number"]

    async def during(self, path: str) -> httpx.Response:
        """The answer to a request during which the configuration changed from 1 to 2."""
        async with self.configured.client(self.app) as http:
            request = asyncio.create_task(http.get(path))
            await self.configured.auntil(self.entered.is_set)
            await self.change(2)
            self.go.set()
            return await request


@pytest.mark.parametrize("path", ["/async", "/sync"])
async def test_a_pinned_request_sees_one_generation_though_it_changes_meanwhile(configured, path):
    service = Service(configured)
    async with service.herz:
        assert (await service.during(path)).json() == [1] * 8
        async with configured.client(service.app) as http:
            assert (await http.get(path)).json() == [2] * 8


async def test_without_the_middleware_the_same_request_sees_two(configured):
    service = Service(configured, pinned=False)
    async with service.herz:
        assert set((await service.during("/async")).json()) == {1, 2}


async def test_a_streamed_response_is_of_one_generation_to_its_last_byte(configured):
    service = Service(configured)
    async with service.herz:
        assert (await service.during("/stream")).text == "1111"


async def test_background_tasks_belong_to_the_request(configured):
    service = Service(configured)
    async with service.herz:
        await service.during("/background")
        assert service.background == [1]


async def test_a_spawned_task_that_outlives_the_request_reads_what_is_current(configured):
    service = Service(configured)
    async with service.herz:
        async with configured.client(service.app) as http:
            assert (await http.get("/spawn")).json() == 1
        await service.change(2)
        service.go.set()
        assert await service.spawned[0] == 2


async def test_old_objects_are_closed_once_the_last_request_that_uses_them_has_ended(configured):
    service = Service(configured)
    async with service.herz:
        old = await service.herz.aget(Other)
        async with configured.client(service.app) as http:
            request = asyncio.create_task(http.get("/async"))
            await configured.auntil(service.entered.is_set)
            await service.change(2)
            assert old.open
            service.go.set()
            await request
        await configured.auntil(lambda: not old.open)


async def test_the_pin_holds_below_a_middleware_that_runs_the_application_in_a_task(configured):
    service = Service(configured)

    async def passing(request, call_next):
        return await call_next(request)

    service.app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    async with service.herz:
        assert (await service.during("/async")).json() == [1] * 8


async def test_the_actuator_below_the_middleware_shows_what_is_in_force(configured):
    service = Service(configured)
    async with service.herz, configured.client(service.app) as http:
        configured.write("service.number: 2", configured.OPEN)
        answer = (await http.post("/actuator/refresh")).json()
        assert (answer["changed"], answer["generation"]) == (["service.number"], 2)
        assert (await http.get("/actuator/info")).json()["herz"]["generation"] == 2


async def test_a_pin_ends_with_a_request_that_fails(configured):
    herz = configured.herz()

    async def failing(scope, receive, send):
        raise RuntimeError("as applications do")

    async with herz:
        app: Any = PinMiddleware(failing, herz)
        with pytest.raises(RuntimeError, match="as applications do"):
            await app({"type": "http"}, None, None)
        assert herz.scope.describe()["generations"][0]["pins"] == []


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_what_lives_long_is_not_pinned(configured, kind):
    pins: list[Any] = []
    herz = configured.herz()

    async def app(scope, receive, send):
        pins.append(herz.scope.describe()["generations"][0]["pins"])

    async with herz:
        every: Any = PinMiddleware(app, herz)
        some: Any = PinMiddleware(app, herz, only=lambda scope: scope["path"] != "/sse")
        await every({"type": kind}, None, None)
        await some({"type": "http", "path": "/sse"}, None, None)
    assert pins == [[], []]


async def test_requests_pass_while_herz_does_not_run(configured):
    service = Service(configured)
    async with configured.client(service.app) as http:
        assert (await http.get("/actuator/health/liveness")).status_code == 200
        assert (await http.get("/actuator/health/readiness")).status_code == 503


@pytest.mark.slow
def test_under_load_on_a_real_server_no_request_sees_two_generations(configured):
    service = Service(configured)
    service.go.set()
    done = threading.Event()

    def ask(path: str) -> list[list[int]]:
        found = []
        with httpx.Client(base_url=address) as http:
            while not done.is_set():
                answer = http.get(path)
                assert answer.status_code == 200, answer.text
                found.append(answer.json())
        return found

    with service.herz, configured.served(service.app) as address, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, path) for path in ("/async", "/async", "/sync", "/sync")]
        try:
            for number in range(2, 42):
                configured.write(f"service.number: {number}", configured.OPEN)
                assert httpx.post(f"{address}/actuator/refresh").json()["changed"] == ["service.number"]
        finally:
            done.set()
        answers = [answer for one in asking for answer in one.result()]
    assert [answer for answer in answers if len(set(answer)) != 1] == []
    assert len({answer[0] for answer in answers}) > 10


async def test_a_pin_taken_by_a_plain_yield_dependency_does_not_reach_the_endpoint(configured):
    """Why there is a middleware: FastAPI enters a plain generator in a thread, with a context of its own."""
    service = Service(configured, pinned=False)
    herz = service.herz

    def pinned() -> Iterator[None]:
        with herz.pin():
            yield

    @service.app.get("/yield", dependencies=[Depends(pinned)])
    async def reading() -> list[int]:
        first = herz.get(Config).number
        await service.pause()
        return [first, herz.get(Config).number]

    async with herz:
        assert (await service.during("/yield")).json() == [1, 2]
