"""Three real instances, a real control plane, and the commands of the example."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from herz.cli.main import main
from herz.client import ControlPlane
from herz.testing.control_plane import ControlPlaneServer


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlaneServer]:
    with ControlPlaneServer() as server:
        monkeypatch.setenv("HERZ_SERVER", server.url)
        yield server


@pytest.fixture
def start(plane: ControlPlaneServer, folder: Path) -> Iterator[Callable[[str], Iterator[str]]]:
    """Starts an instance; what it prints."""
    started: list[subprocess.Popen[str]] = []

    def run(name: str) -> Iterator[str]:
        process = subprocess.Popen(
            [sys.executable, "app.py", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"HERZ_SERVER": plane.url},
        )
        started.append(process)
        assert process.stdout is not None
        return iter(process.stdout)

    yield run
    for process in started:
        process.communicate("\n", timeout=20)
        assert process.returncode == 0


def herz(*words: str) -> int:
    return main([*words, "--app", "pay"])


def connected(url: str, count: int) -> bool:
    with ControlPlane.blocking(url) as plane:
        deadline = time.monotonic() + 20
        while len(plane.namespace("pay").instances()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(plane.namespace("pay").instances()) == count


@pytest.mark.slow
def test_a_good_release_reaches_everybody_and_one_that_cannot_be_built_nobody(plane, start):
    assert herz("draft", "write", "pay.yml", "-m", "as it was") == 0
    assert herz("release", "create", "-m", "as it was") == 0
    instances = {name: start(name) for name in ("pay-1", "pay-2", "pay-3")}
    for name, lines in instances.items():
        assert next(lines) == f"{name}: a pool of 5\n"
    assert connected(plane.url, 3)

    assert herz("draft", "set", "db.pool=20") == 0
    assert herz("release", "create", "--dormant", "-m", "more load") == 0
    assert herz("rollout", "start", "2", "--batches", "30%,100%", "--bake", "100ms", "--watch") == 0
    for name, lines in instances.items():
        assert next(lines) == f"{name}: a pool of 20\n"
    assert herz("verify", "--version", "pay@2") == 0

    assert herz("draft", "set", "db.pool=500") == 0
    assert herz("release", "create", "--dormant", "-m", "much more load") == 0
    assert herz("rollout", "start", "3", "--batches", "30%,100%", "--bake", "100ms", "--watch") == 1
    assert herz("verify", "--version", "2") == 0

    assert herz("release", "rollback", "1", "-m", "as it was") == 0
    for name, lines in instances.items():  # nothing was heard of 500
        assert next(lines) == f"{name}: a pool of 5\n"
