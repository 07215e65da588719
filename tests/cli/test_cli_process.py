"""The command as a process: help, signals, pipes, terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import herz as herz_package

HERZ = [sys.executable, "-m", "herz.cli.main"]
COMMANDS = ["get", "explain", "set", "unset", "history", "rollback", "diff", "watch", "fingerprint", "doctor", "demo"]


@pytest.fixture
def environment():
    source = Path(herz_package.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(source), "PYTHONUNBUFFERED": "1"}


def test_the_help_teaches_the_common_flows(herz):
    ran = herz("--help")
    assert ran.status == 0
    for text in ("common flows", "herz explain", "herz doctor", "exit status"):
        assert text in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_and_json(herz, command):
    out = herz(command, "--help").out
    assert "--json" in out
    assert f"herz {command}" in out.partition("examples:")[2] or command == "demo"


def test_the_version_is_that_of_the_package(herz):
    assert herz("--version").out == f"herz {herz_package.__version__}\n"


def test_no_command_is_a_usage_error_with_the_help(herz):
    ran = herz()
    assert ran.status == 2
    assert "common flows" in ran.err


def test_an_unknown_command_is_a_usage_error(herz):
    assert herz("gett").status == 2


def test_a_closed_pipe_is_no_traceback(application, environment):
    (application / "large.json").write_text(json.dumps({f"k{index}": index for index in range(50_000)}))
    with subprocess.Popen(
        [*HERZ, "get", "-s", "large.json"],
        env=environment,
        cwd=application,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


def _lines(process: Any, count: int, seconds: float = 20) -> list[str]:
    found, deadline = b"", time.monotonic() + seconds
    while found.count(b"\n") < count and time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.2)[0]:
            found += os.read(process.stdout.fileno(), 65536)
    return found.decode().splitlines()


def _started(process: Any) -> None:
    """The watch says on standard error that it follows."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if select.select([process.stderr], [], [], 0.2)[0]:
            assert b"watching" in os.read(process.stderr.fileno(), 65536)
            return
    raise AssertionError("the watch did not start")


def test_a_watch_prints_each_change_until_ctrl_c_and_ends_with_0(application, environment):
    with subprocess.Popen(
        [*HERZ, "watch", "herz"], env=environment, cwd=application, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _started(process)
        text = (application / "application.yml").read_text()
        (application / "application.yml").write_text(text.replace("3s", "4s"))
        said = "\n".join(_lines(process, 2))
        assert "herz.service.timeout: 3s → 4s" in said
        assert "application.yml:3" in said
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert b"Traceback" not in process.communicate()[1]


def _refusal(process: Any) -> bytes:
    said, deadline = b"", time.monotonic() + 20
    while b"refused" not in said and time.monotonic() < deadline:
        if select.select([process.stderr], [], [], 0.2)[0]:
            said += os.read(process.stderr.fileno(), 65536)
    return said


def test_a_watch_tells_what_is_refused_and_goes_on(application, environment):
    with subprocess.Popen(
        [*HERZ, "watch", "--count", "1"],
        env=environment,
        cwd=application,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        _started(process)
        text = (application / "application.yml").read_text()
        (application / "application.yml").write_text("a: [\n")
        said = _refusal(process)
        assert said.count(b"application.yml:") == 2  # the source's name, and the place: told once
        (application / "application.yml").write_text(text.replace("3s", "9s"))
        assert "9s" in "\n".join(_lines(process, 2))
        assert process.wait(20) == 0


def test_a_watch_as_json_prints_one_line_for_each_change_set(folder, environment, herz):
    store = "sqlite:///herz.db#pay"
    herz("set", "a=1", "--store", store)
    with subprocess.Popen(
        [*HERZ, "watch", "--json", "--count", "2", "-s", store],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        found: list[str] = []
        value = 1
        # Nothing says that a silent watch has begun, so changes are made until it has told of two.
        deadline = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < deadline:
            value += 1
            herz("set", f"a={value}", "--store", store)
            found += _lines(process, 1, seconds=0.3)
        assert process.wait(20) == 0
    first = json.loads(found[0])
    assert first["changes"][0]["key"] == "a"
    assert first["source"] == "sqlite:herz.db#pay"


def test_a_watch_whose_time_is_up_before_its_count_ends_with_1(application, herz):
    assert herz("watch", "--count", "1", "--timeout", "0.2").status == 1


def _on_a_terminal(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*HERZ, *arguments], env=environment, cwd=folder, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while block := os.read(ours, 65536):
                said += block
        except OSError:  # the other side has closed
            pass
        process.wait(20)
    os.close(ours)
    return said.decode()


def test_colours_are_for_terminals_and_no_color_turns_them_off(application, environment):
    (application / "b.yml").write_text("x: 1")
    coloured = {**environment, "TERM": "xterm"}
    coloured.pop("NO_COLOR", None)
    arguments = ["diff", "application.yml", "b.yml"]
    assert "\x1b[" in _on_a_terminal(arguments, application, coloured)
    assert "\x1b[" not in _on_a_terminal(arguments, application, {**coloured, "NO_COLOR": "1"})
    piped = subprocess.run(
        [*HERZ, *arguments], env=coloured, cwd=application, capture_output=True, timeout=20, check=True
    )
    assert not re.search(rb"\x1b\[", piped.stdout)


def test_the_author_is_gits_user_or_user_at_host(folder, herz, monkeypatch):
    store = ("--store", "sqlite:///herz.db#pay")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("LOGNAME", "ada")
    herz("set", "a=1", *store)
    (folder / "gitconfig").write_text("[user]\n\tname = Grace\n\temail = grace@example.org\n")
    herz("set", "a=2", *store)
    authors = [one["author"] for one in herz("history", "--json", *store).json]
    assert authors[0] == "Grace <grace@example.org>"
    assert authors[1].startswith("ada@")


def test_a_terminal_without_unicode_gets_the_text_all_the_same(application, environment):
    done = subprocess.run(
        [*HERZ, "get", "db"],
        env={**environment, "PYTHONIOENCODING": "ascii"},
        cwd=application,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.startswith(b"password: ")


def test_a_folder_that_is_gone_is_told_without_a_traceback(folder, environment):
    (folder / "gone").mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh", *HERZ, "get", "a"],
        env=environment,
        cwd=folder,
        capture_output=True,
        timeout=20,
    )
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"herz:")


@pytest.mark.parametrize("command", [["history", "-n", "0"], ["watch", "--count", "-1"], ["rollback", "soon"]])
def test_a_number_that_makes_no_sense_is_a_usage_error(herz, command):
    assert herz(*command).status == 2
