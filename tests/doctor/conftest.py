"""A project of its own for each test, and the doctor called to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import herz
from herz.cli.main import main


class Visit(NamedTuple):
    status: int
    findings: list[dict[str, Any]]

    @property
    def codes(self) -> list[str]:
        return [one["code"] for one in self.findings]

    def of(self, code: str) -> dict[str, Any]:
        """The one finding of this code."""
        found = [one for one in self.findings if one["code"] == code]
        assert len(found) == 1, self.findings
        return found[0]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if "__" in name or name.startswith("HERZ_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def doctor(project, capsys):
    def visit(*arguments: object) -> Visit:
        status = main(["doctor", "--json", *map(str, arguments)])
        said = json.loads(capsys.readouterr().out)
        return Visit(status, said["findings"])

    return visit


@pytest.fixture
def doctor_without_rights(project):
    """The doctor in a process that may only do what file modes allow: root's privilege to pass them is taken away."""

    def visit(*arguments: str) -> Visit:
        command = [sys.executable, "-m", "herz.cli.main", "doctor", "--json", *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
        environment = {"PYTHONPATH": str(Path(herz.__file__).parents[1]), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, timeout=60, check=False)
        return Visit(done.returncode, json.loads(done.stdout)["findings"])

    return visit


@pytest.fixture
def module(project, request):
    """Writes the application's module under a name of its own, and forgets it afterwards."""
    name = f"shop_{abs(hash(request.node.nodeid)):x}"
    path = list(sys.path)

    def write(text: str, file: str = "") -> str:
        target = project / (file or f"{name}.py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return f"{name}:herz"

    yield write
    sys.path[:] = path
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]
