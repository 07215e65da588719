"""What rollouts meet, for real: HTTP servers on loopback, and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from herz.server.rollouts.outbound import Outbound


async def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait in real time until `condition` holds; what it gave."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"never held: {condition}"
        await asyncio.sleep(0.005)
    return found


@pytest.fixture(name="eventually")
def eventually_() -> Callable[..., Awaitable[Any]]:
    return eventually


@dataclass
class Place:
    """An HTTP server that remembers what it was asked, and answers as told."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    answer: Callable[[web.Request, bytes], web.Response | None] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append((request.method, request.path_qs, body))
        await self.hold.wait()
        if self.answer is not None and (said := self.answer(request, body)) is not None:
            return said
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    there = Place()
    there.hold.set()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", there.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield there
    there.hold.set()
    await runner.cleanup()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound(limit_s=5)
    yield outbound
    await outbound.close()
