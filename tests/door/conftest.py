"""The door of a whole server in this process, with browsers that keep cookies; passwords cost little here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from herz.server.api import part as central
from herz.server.app import create_app
from herz.server.audit import Audit, By
from herz.server.door.door import Door
from herz.server.door.rights import Binding
from herz.server.opening import open_store
from herz.server.parts import all_parts
from herz.server.plane import Plane
from herz.server.settings import ServerSettings
from herz.store.base import Store
from herz.testing.memory_store import MemoryStore

BEN = By("ben")
URL = "http://127.0.0.1:4379"
OWN = {"sec-fetch-site": "same-origin"}
CHEAP = (8, 1, 1)
PASSWORD = "correct horse battery"


class MovableClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Server:
    """A server, and browsers that ask it."""

    def __init__(self, app: Litestar, stack: AsyncExitStack) -> None:
        self.app, self._stack = app, stack
        self.plane: Plane = app.state.plane
        self.door = self.plane.of(Door)

    async def browser(self, *, url: str = URL, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """One with no cookies yet; `address` is where it asks from. Redirects are not followed."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 1234))  # type: ignore[arg-type]
        client = httpx.AsyncClient(transport=transport, base_url=url, headers={**OWN, **headers})
        return await self._stack.enter_async_context(client)

    async def logged_in(self, name: str, password: str = PASSWORD, **further: Any) -> httpx.AsyncClient:
        """A browser in which this user is logged in."""
        client = await self.browser(**further)
        answer = await login(client, name, password)
        assert answer.status_code == 303, answer.text
        return client

    async def user(self, name: str, *roles: str, password: str | None = PASSWORD, **further: Any) -> None:
        """A user with these roles."""
        bindings = [Binding.parse(name, role) for role in roles]
        await self.door.users.add(name, by=BEN, password=password, roles=bindings, **further)

    async def actions(self) -> list[str]:
        """What the audit log holds, in order."""
        return [entry.action for entry in await self.plane.audit.entries(limit=500)]


async def login(client: httpx.AsyncClient, name: str, password: str = PASSWORD, **further: str) -> httpx.Response:
    """What the login page's form is answered."""
    return await client.post("/console/login", data={"name": name, "password": password, **further})


def cookie_of(client: httpx.AsyncClient, name: str = "herz-session") -> str:
    return client.cookies.get(name) or ""


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """In memory; where a test is `on_disk` a real file: there tasks wait, and so get in between each other."""
    made: Store = open_store(f"sqlite:///{tmp_path}/herz.db") if getattr(request, "param", "") else MemoryStore()
    yield made
    await made.close()


on_disk = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture
def settings() -> ServerSettings:
    """A closed server."""
    return ServerSettings(name="test", open=False, argon2=CHEAP)


_FREE: dict[bool, list[Litestar]] = {False: [], True: []}
"""Applications that no test uses now, by whether they know a provider. Their routes are what takes time to make."""


@asynccontextmanager
async def running(store: Any, settings: ServerSettings, clock: Any) -> AsyncIterator[Server]:
    """A server without its background work: what the door does needs none of it."""
    free = _FREE[settings.provider is not None]
    if free:
        app = free.pop()
        app.state.plane = plane = Plane.over(store, settings, clock)
        for make in (central, *all_parts()):
            make(plane)
    else:
        app = create_app(store, settings, parts=all_parts(), clock=clock)
    async with AsyncExitStack() as stack:
        yield Server(app, stack)
    free.append(app)


@pytest.fixture
async def server(store: Store, settings: ServerSettings, clock: MovableClock) -> AsyncIterator[Server]:
    async with running(store, settings, clock) as made:
        yield made


@pytest.fixture
def door(store: Store, settings: ServerSettings, clock: MovableClock) -> Door:
    """A door over a store, without a server."""
    return Door.over(store, Audit(store, clock), clock, settings)
