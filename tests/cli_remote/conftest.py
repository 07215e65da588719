"""One real control plane for all tests of the commands; each test has an application and a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest

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
