"""The console without a browser: the whole server in this process, on a store in memory, asked over ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar

from herz.release.content import Content, LayerText
from herz.server.app import create_app
from herz.server.audit import By
from herz.server.hub import Hub
from herz.server.parts import all_parts
from herz.server.plane import Plane
from herz.server.settings import ServerSettings
from herz.testing.memory_store import MemoryStore

ADA, BEN = By("ada"), By("ben")
URL = "http://127.0.0.1:4379"
OWN = {"sec-fetch-site": "same-origin"}
"""What a browser says of a form that a page of the server sends."""


@pytest.fixture
def settings() -> ServerSettings:
    """An open server; a test module may have another."""
    return ServerSettings(name="test", user="ada")


@pytest.fixture
async def server(settings: ServerSettings) -> AsyncIterator[Litestar]:
    store = MemoryStore()
    app = create_app(store, settings, parts=all_parts())
    ready, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():  # entered and left in one task, as it must be
            ready.set()
            await over.wait()

    living = asyncio.create_task(live())
    await asyncio.wait({living, waiting := asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    yield app
    over.set()
    await living
    await store.close()


@pytest.fixture
def plane(server: Litestar) -> Plane:
    found: Plane = server.state.plane
    return found


@pytest.fixture
async def browser(server: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """Asks as a browser does; redirects are not followed."""
    transport = httpx.ASGITransport(app=server)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=OWN) as client:
        yield client


async def written(plane: Plane, *texts: str, app: str = "pay", namespace: str = "default") -> None:
    """A draft with these texts as its layers."""
    layers = tuple(LayerText(name=f"layer-{number}.yml", text=text) for number, text in enumerate(texts))
    await plane.desk.drafts.write(app, namespace, Content(layers=layers), by=ADA, expect=None)


async def released(plane: Plane, *texts: str, app: str = "pay", namespace: str = "default", message: str = "go") -> int:
    """A release with these texts as its layers, live."""
    await written(plane, *texts, app=app, namespace=namespace)
    made = await plane.desk.create(app, namespace, by=ADA, message=message)
    await plane.of(Hub).reached(await _revision(plane), 5.0)
    return made.number


async def _revision(plane: Plane) -> int:
    return (await plane.store.status()).revision


@pytest.fixture
async def memory_store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    yield store
    await store.close()
