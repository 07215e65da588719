"""The demo of faults, run as a user runs it, on a real etcd."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from herz.cli.demo import faults
from herz.cli.demo.faults_story import NUMBERS, TOLD, herz_line, plain_line, table
from herz.cli.main import main
from herz.errors import MissingExtra
from herz.testing.etcd_programs import EtcdPrograms

SOURCES = Path(__file__).parents[2] / "src"
NONE = dict.fromkeys(NUMBERS, 0)

needs_etcd = pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd: apt-get install etcd-server etcd-client")


def started(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "herz.cli.demo", "--faults", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def servers() -> set[str]:
    """The process ids of the etcd members that children of this test's demo started, by their data folders."""
    found = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and b"/herz-etcd-" in (process / "cmdline").read_bytes():
                found.add(process.name)
    return found


def outcome(**said: object) -> dict[str, object]:
    return {"id": 5, "name": "x", "naive": NONE, "herz": NONE, "did": {}, "notes": {}, "error": None} | said


@needs_etcd
@pytest.mark.slow
def test_herz_loses_nothing_where_the_plain_client_does_and_the_last_line_says_so(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    demo = started(tmp_path, "--json", "--seconds", "0", "--events", "3000")
    out, told = demo.communicate(timeout=55)
    said = json.loads(out.splitlines()[-1])
    assert said["ok"] is True
    assert [case["id"] for case in said["cases"]] == [1, 3, 5, 7, 10, 15]
    for case in said["cases"]:
        assert case["name"]
        assert set(case["naive"]) == set(case["herz"]) == {"lost", "twice", "reordered", "unnoticed"}
        assert case["herz"] == NONE, case
    assert sum(case["naive"]["lost"] for case in said["cases"]) > 0
    assert sum(case["naive"]["unnoticed"] for case in said["cases"]) == 1
    assert demo.returncode == 0
    assert not list(tmp_path.iterdir())
    assert len(told.splitlines()) < 70, told
    assert "watch failed" not in told  # Herz's own log, and grpc's, are not part of the story
    assert "E0000" not in told


@needs_etcd
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_an_interrupted_demo_of_faults_leaves_no_server_and_no_file_behind(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    before = servers()
    demo = started(tmp_path, "--seconds", "0")
    assert demo.stdout is not None
    while not demo.stdout.readline().startswith("1  "):  # the first case begins
        assert demo.poll() is None
    ours = servers() - before
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=20)
    assert demo.returncode == 130
    deadline = time.monotonic() + 10
    while servers() & ours:
        assert time.monotonic() < deadline, "members of the demo go on"
        time.sleep(0.02)
    assert not list(tmp_path.iterdir())


def test_without_a_library_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "NEEDED", ("grpc", "no_such_package.inside"))
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(["demo", "--faults"]) == 1
    assert "no_such_package.inside" in said.getvalue()
    assert "pip install 'herz[etcd]'" in said.getvalue()


def test_without_the_server_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(version: object = None) -> EtcdPrograms:
        raise MissingExtra("no etcd found", where="PATH", remedy="apt-get install etcd-server etcd-client")

    monkeypatch.setattr(faults, "NEEDED", ())
    monkeypatch.setattr(EtcdPrograms, "find", none)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(["demo", "--faults"]) == 1
    assert "apt-get install etcd-server" in said.getvalue()


@pytest.mark.parametrize("number", NUMBERS)
def test_whatever_herz_does_wrong_is_no_success(number: str) -> None:
    well, said = herz_line(outcome(herz=NONE | {number: 1}))
    assert not well
    assert "1" in said or "a rewind" in said


def test_a_case_that_does_not_come_to_its_end_is_no_success() -> None:
    assert herz_line(outcome(error="it did not settle")) == (False, "Herz: it did not settle")


def test_values_that_the_plain_client_has_wrong_are_told_even_if_no_revision_is_lost() -> None:
    assert plain_line(outcome(did={"wrong": 2})) == (False, "plain client: nothing lost; 2 values wrong from now on")


def test_every_sentence_can_be_told_of_a_case_that_went_otherwise() -> None:
    for told in TOLD:
        for said in (outcome(), outcome(did={"streams": 3, "resets": 1}, naive=NONE | {"lost": 1})):
            assert told.plain(said)
            assert told.herz(said)


def test_the_table_fits_a_terminal_of_80_columns_and_sums_up() -> None:
    lines = table([outcome(naive=NONE | {"lost": 12_345}), outcome(naive=NONE | {"lost": 1})])
    assert max(map(len, lines)) <= 80
    assert "12,346" in next(line for line in lines if line.startswith("all"))
