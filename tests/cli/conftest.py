"""A folder of its own for each test, and the command run in it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from herz.cli.main import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HERZ_SOURCES", "HERZ_STORE", "HERZ_PROFILES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def herz(folder, capsys):
    def run(*arguments: object) -> Ran:
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


@pytest.fixture
def application(folder):
    (folder / "application.yml").write_text(
        "herz:\n  service:\n    timeout: 3s\n    retries: 3\ndb:\n  password: hunter2\n  url: pg://app:${db.password}@db\n"
    )
    return folder
