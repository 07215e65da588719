"""One real control plane for all tests of the client; each test has an application of its own on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from herz import Herz
from herz.client import ControlPlane, Namespace
from herz.testing.control_plane import ControlPlaneServer

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[ControlPlaneServer]:
    with ControlPlaneServer() as server:
        yield server


@pytest.fixture
def app() -> str:
    return f"app-{next(_numbers)}"


@pytest.fixture
async def plane(server: ControlPlaneServer) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(server.url, author="ada") as plane:
        yield plane


@pytest.fixture
def pay(plane: ControlPlane, app: str) -> Namespace:
    return plane.namespace(app)


@dataclass(frozen=True)
class DatabaseConfig:
    pool: int


class Pool:
    def __init__(self, config: DatabaseConfig) -> None:
        if config.pool > 100:
            raise ValueError("100 sessions at most")
        self.size = config.pool


Run = Callable[..., Herz]


@pytest.fixture
def sessions() -> Callable[[Herz], int]:
    """How large the pool of an instance is."""
    return lambda herz: herz.get(Pool).size


@pytest.fixture
def instance(server: ControlPlaneServer, app: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Starts an instance of the test's application; all are stopped at its end."""
    started: list[Herz] = []

    def run(name: str, *more: str, patch: str | None = None, **labels: str) -> Herz:
        if patch is not None:
            monkeypatch.setenv("HERZ_PATCH_ID", patch)
        query = "".join(f"&label.{label}={value}" for label, value in labels.items())
        herz = Herz(f"{server.source}/{app}?instance={name}{query}", *more)
        herz.properties("db")(DatabaseConfig)
        herz.refresh_scope(eager=True)(Pool)
        herz.start()
        started.append(herz)
        return herz

    yield run
    for herz in started:
        herz.stop()
