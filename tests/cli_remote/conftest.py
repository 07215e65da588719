"""One real control plane for all tests of the commands; each test has an application and a folder of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import pytest

from herz import Herz
from herz.cli.main import main
from herz.testing.control_plane import ControlPlaneServer

_numbers = count(1)


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def server() -> Iterator[ControlPlaneServer]:
    with ControlPlaneServer() as server:
        yield server


@pytest.fixture
def app() -> str:
    return f"app-{next(_numbers)}"


@pytest.fixture
def herz(server, app, tmp_path, monkeypatch, capsys) -> Run:
    """Runs the command as in a shell that has HERZ_SERVER and HERZ_APP, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERZ_SERVER", server.url)
    monkeypatch.setenv("HERZ_APP", app)

    def run(*arguments: object) -> Ran:
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


@pytest.fixture
def drafted(herz, tmp_path) -> Run:
    """`herz`, where there is a draft of two keys already."""
    (tmp_path / "pay.yml").write_text("db:\n  pool: 5  # sessions\ntimeout: 3s\n")
    assert herz("draft", "write", "pay.yml", "--author", "ada", "-m", "first").status == 0
    return herz


@pytest.fixture
def released(drafted) -> Run:
    """`herz`, where release 1 is live."""
    assert drafted("release", "create", "-m", "first", "--author", "ada").status == 0
    return drafted


@dataclass(frozen=True)
class DatabaseConfig:
    pool: int


class Pool:
    def __init__(self, config: DatabaseConfig) -> None:
        if config.pool > 100:
            raise ValueError("100 sessions at most")
        self.size = config.pool


Start = Callable[..., Herz]


@pytest.fixture
def instance(server: ControlPlaneServer, app: str) -> Iterator[Start]:
    """Starts an instance of the test's application; all are stopped at its end."""
    started: list[Herz] = []

    def run(name: str, *more: str, zone: str = "eu") -> Herz:
        herz = Herz(f"{server.source}/{app}?instance={name}&label.zone={zone}", *more)
        herz.properties("db")(DatabaseConfig)
        herz.refresh_scope(eager=True)(Pool)
        herz.start()
        started.append(herz)
        return herz

    yield run
    for herz in started:
        herz.stop()


@pytest.fixture
def fleet(released: Run, instance: Start) -> list[Herz]:
    """Two instances, which have reported that they run release 1."""
    started = [instance("pay-1"), instance("pay-2", zone="us")]
    wait_until(lambda: len(released("fleet", "--json").json) == 2)
    return started


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
