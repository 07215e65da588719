"""Planes over real stores, and really running servers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from herz.release.content import Content, LayerText
from herz.server.audit import By
from herz.server.opening import open_store
from herz.server.plane import Plane
from herz.server.settings import ServerSettings
from herz.testing.etcd_cluster import EtcdCluster
from herz.testing.memory_store import MemoryStore

BEN = By("ben")
START_S = 15.0


class MovableClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(1) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.slow)])
def store_url(request, tmp_path) -> str:
    """The address of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/herz.db"
    cluster = request.getfixturevalue("etcd")
    endpoint = cluster.endpoints[0].removeprefix("http://")
    return f"etcd://{endpoint}"


@pytest.fixture
async def store(store_url):
    """A real store, empty."""
    made = open_store(store_url)
    await made.delete_prefix("")
    yield made
    await made.close()


@pytest.fixture
async def memory():
    made = MemoryStore()
    yield made
    await made.close()


@pytest.fixture
def plane(store, clock) -> Plane:
    return Plane.over(store, ServerSettings(), clock)


@pytest.fixture
def light(memory, clock) -> Plane:
    """A plane over a store in memory."""
    return Plane.over(memory, ServerSettings(), clock)


def content(text: str, **further: str) -> Content:
    """One layer, and further ones by their names."""
    layers = {"application": text, **further}
    return Content(layers=tuple(LayerText(name=name, text=said) for name, said in layers.items()))


def layers_of(text: str) -> dict[str, Any]:
    """One layer, as the API takes it."""
    return {"layers": [{"name": "application", "text": text}]}


class Server:
    """A running `herz serve`, and a client of it."""

    def __init__(self, process: subprocess.Popen[str], said: dict[str, Any], log: Path, verify: Any = True) -> None:
        self.process, self.said, self.log = process, said, log
        self.url: str = said["listening"][0]
        self.token: str | None = said["token"]
        headers = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=verify)

    def api(self, method: str, path: str, body: Any = None, **further: Any) -> httpx.Response:
        return self.client.request(method, f"/api/v1{path}", json=body, **further)

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


def started(folder: Path, *arguments: str, verify: Any = True, log: str = "serve.log") -> Server:
    """A `herz serve` with these arguments, once it takes connections; `AssertionError` with its log otherwise."""
    with (folder / log).open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "herz.cli.main", "serve", "--json", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        )
    assert process.stdout is not None
    deadline = time.monotonic() + START_S
    ready = select.select([process.stdout], [], [], deadline - time.monotonic())[0]
    line = process.stdout.readline() if ready else ""
    if not line.startswith("{") or "listening" not in line:
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"it did not start: {line}{(folder / log).read_text()}")
    return Server(process, json.loads(line), folder / log, verify)


@pytest.fixture
def serve(tmp_path) -> Iterator[Any]:
    """Starts servers in the test's folder, and ends them."""
    servers: list[Server] = []

    def start(*arguments: str, verify: Any = True) -> Server:
        if "--listen" not in arguments:
            arguments = ("--listen", "http://127.0.0.1:0", *arguments)
        servers.append(started(tmp_path, *arguments, verify=verify, log=f"serve-{len(servers)}.log"))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """One open server for all tests of a module; each takes an application of its own."""
    running = started(tmp_path_factory.mktemp("serve"), "--listen", "http://127.0.0.1:0")
    yield running
    running.stop()


@pytest.fixture
def app(request) -> str:
    """An application that no other test uses."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:100]
