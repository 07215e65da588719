"""One real control plane for all tests of the client; each test has an application of its own on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

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
