"""One browser and one real control plane for all tests here; each test has an application and visitors of its own.

The browser belongs to one event loop, so that all tests of this folder, and their fixtures, run on the session's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page

from herz import Herz
from herz.client import ControlPlane, Namespace
from herz.testing.browser import AXE, Chromium, Visit, accessibility
from herz.testing.control_plane import ControlPlaneServer

ROOT = Path(__file__).parents[2]
_numbers = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_the_sessions_loop = pytest.mark.asyncio(loop_scope="session")
    for item in items:  # those of every folder
        if item.path.is_relative_to(Path(__file__).parent) and pytest_asyncio.is_async_test(item):
            item.add_marker(on_the_sessions_loop, append=False)


@pytest.fixture(scope="session")
def server() -> Iterator[ControlPlaneServer]:
    """Open to everybody on this machine."""
    with ControlPlaneServer() as server:
        yield server


@pytest.fixture(scope="session")
def closed_server() -> Iterator[ControlPlaneServer]:
    """Asks everybody who they are."""
    with ControlPlaneServer("--require-tokens") as server:
        yield server


@pytest.fixture
def app() -> str:
    return f"app-{next(_numbers)}"


@pytest_asyncio.fixture(loop_scope="session")
async def plane(server: ControlPlaneServer) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(server.url, author="ada") as plane:
        yield plane


@pytest.fixture
def pay(plane: ControlPlane, app: str) -> Namespace:
    """The test's application."""
    return plane.namespace(app)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    if Chromium.program() is None:
        pytest.skip("no Chromium: tools/servers installs it")
    async with Chromium() as chromium:
        yield chromium


Visits = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(loop_scope="session")
async def visits(chromium: Chromium, server: ControlPlaneServer) -> AsyncIterator[Visits]:
    """Makes visitors of `server`, or of the URL named, with `Chromium.visit`'s options; none may end with a fault."""
    made: list[Visit] = []

    async def visit(url: str = server.url, **options: object) -> Visit:
        made.append(await chromium.visit(url, **options))  # type: ignore[arg-type]
        return made[-1]

    yield visit
    for one in made:
        await one.context.close()
    for one in made:
        one.check()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(visits: Visits) -> Visit:
    """Somebody at a desk in daylight, who reads English in UTC."""
    return await visits()


@pytest_asyncio.fixture(loop_scope="session")
async def page(visit: Visit) -> Page:
    """Their tab; addresses are relative to the server's."""
    return await visit.page()


Axe = Callable[[Page], Awaitable[list[str]]]


@pytest.fixture(scope="session")
def axe() -> Axe:
    """What axe finds serious in a page as it is now, a line for each element."""
    script = (ROOT / AXE).read_text(encoding="utf-8")  # `make assets` puts it there

    async def look(page: Page) -> list[str]:
        return await accessibility(page, script)

    return look


@dataclass(frozen=True)
class DatabaseConfig:
    pool: int


class Pool:
    """What an instance rebuilds when its configuration changes; one of more than 100 sessions cannot be made."""

    def __init__(self, config: DatabaseConfig) -> None:
        if config.pool > 100:
            raise ValueError("100 sessions at most")
        self.size = config.pool


Instances = Callable[..., Herz]


@pytest.fixture
def instance(server: ControlPlaneServer, app: str) -> Iterator[Instances]:
    """Starts an instance of the test's application (it needs `db.pool`); all are stopped at its end.

    It waits for the first configuration, for which something must be released, and blocks meanwhile.
    """
    started: list[Herz] = []

    def run(name: str, **labels: str) -> Herz:
        query = "".join(f"&label.{label}={value}" for label, value in labels.items())
        herz = Herz(f"{server.source}/{app}?instance={name}{query}")
        herz.properties("db")(DatabaseConfig)
        herz.refresh_scope(eager=True)(Pool)
        herz.start()
        started.append(herz)
        return herz

    yield run
    for herz in started:
        herz.stop()
