"""The demo, run as a user runs it: processes, sockets, files and signals are real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"
KEYS = ["ok", "requests", "failed", "torn", "reloads", "rebuilt", "refused"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc"),
]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder in which the demo makes its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def start(temporary: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        with (tmp_path / f"stderr{len(started)}").open("w") as stderr:
            demo = subprocess.Popen(
                [sys.executable, *(command or ("-m", "herz.cli.demo", "--json", "--seconds", "5"))],
                cwd="/proc",  # nobody can write there
                env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(temporary)},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        started.append(demo)
        return demo

    yield start
    for demo in started:
        demo.kill()
        demo.communicate()


def processes_in(folder: Path) -> dict[int, str]:
    """The processes that run in a folder below `folder`, and what they were started as."""
    found: dict[int, str] = {}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and os.readlink(process / "cwd").startswith(str(folder)):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def serving(temporary: Path) -> int:
    """The process of the service, once the load has begun."""
    wait_until(lambda: any("demo.load" in line for line in processes_in(temporary).values()), "the load runs")
    return next(number for number, line in processes_in(temporary).items() if "demo.service" in line)


def test_the_demo_ends_well_and_its_last_line_is_the_outcome(start: Start, temporary: Path):
    demo = start()
    out, _ = demo.communicate(timeout=50)
    outcome = json.loads(out.splitlines()[-1])
    assert list(outcome) == KEYS
    assert outcome.pop("requests") > 100
    assert outcome == {"ok": True, "failed": 0, "torn": 0, "reloads": 5, "rebuilt": 9, "refused": 1}
    assert demo.returncode == 0
    assert not processes_in(temporary)
    assert not list(temporary.iterdir())


def test_two_demos_at_once_do_not_meet(start: Start):
    demos = [start(), start()]
    for demo in demos:
        out, _ = demo.communicate(timeout=55)
        assert (demo.returncode, json.loads(out)["ok"]) == (0, True)


@pytest.mark.parametrize("wrong", ["rebuilt=('Pool',)", "reloads=2", "refused=1", "health='DOWN'"])
def test_a_fact_that_differs_from_the_story_is_exit_status_1(start: Start, wrong: str):
    demo = start(
        "-c",
        "import sys, dataclasses\n"
        "from herz.cli.demo import stage, story\n"
        "story.ARRIVE_S = 1.0\n"
        f"step = dataclasses.replace(story.ACTS[0].steps[0], {wrong})\n"
        "story.ACTS = (dataclasses.replace(story.ACTS[0], steps=(step,)),)\n"
        "sys.exit(stage.play(json=True, seconds=0, stdout=sys.stdout))",
    )
    out, _ = demo.communicate(timeout=50)
    outcome = json.loads(out.splitlines()[-1])
    assert (outcome["ok"], outcome["failed"], outcome["torn"], outcome["rebuilt"]) == (False, 0, 0, 2)
    assert demo.returncode == 1


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_nothing_behind(start: Start, temporary: Path, sent: signal.Signals, status: int):
    demo = start()
    serving(temporary)
    demo.send_signal(sent)
    demo.communicate(timeout=20)
    assert demo.returncode == status
    assert not processes_in(temporary)
    assert not list(temporary.iterdir())


def test_a_killed_demo_leaves_no_process_behind(start: Start, temporary: Path):
    demo = start()
    serving(temporary)
    demo.kill()
    wait_until(lambda: not processes_in(temporary), "its processes have noticed")


def test_a_service_that_dies_is_named_and_exit_status_1(start: Start, temporary: Path, tmp_path: Path):
    demo = start()
    os.kill(serving(temporary), signal.SIGKILL)
    out, _ = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert json.loads(out.splitlines()[-1])["ok"] is False
    assert "the service ended unasked" in (tmp_path / "stderr0").read_text()
    assert not processes_in(temporary)
    assert not list(temporary.iterdir())


def test_a_missing_library_is_told_with_the_line_that_installs_it(start: Start, tmp_path: Path):
    demo = start(
        "-c",
        "import sys\n"
        "from herz.cli.demo import stage\n"
        "from herz.cli.main import main\n"
        "stage.NEEDED = ('no_such_library',)\n"
        "sys.exit(main(['demo', '--json']))",
    )
    demo.communicate(timeout=30)
    assert demo.returncode == 1
    said = (tmp_path / "stderr0").read_text()
    assert "no_such_library" in said
    assert "pip install 'herz[demo]'" in said
