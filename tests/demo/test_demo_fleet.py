"""The demo of a fleet: run as a user runs it, and what it measures with can see what it is there to see."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from herz.cli.demo import fleet
from herz.cli.demo.database import Database
from herz.cli.demo.fleet_load import FleetLoad
from herz.cli.demo.fleet_service import Shop
from herz.cli.demo.fleet_tally import FleetTally
from herz.cli.main import main
from herz.client import Instance
from herz.release.report import Rehearsed, Status

SOURCES = Path(__file__).parents[2] / "src"
KEYS = ["ok", "instances", "promoted", "rolled_back", "mixed", "verify_ms_mean", "rollback_s"]

real = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def start(temporary: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        with (tmp_path / "stderr").open("w") as stderr:
            demo = subprocess.Popen(
                [sys.executable, *(command or ("-m", "herz.cli.demo", "--fleet", "3", "--seconds", "0", "--json"))],
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
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def loading(temporary: Path) -> dict[int, str]:
    """The demo's processes, once the load has begun."""
    wait_until(lambda: any("fleet_load" in line for line in processes_in(temporary).values()), "the load runs")
    return processes_in(temporary)


@real
@pytest.mark.slow
def test_a_good_release_is_promoted_a_bad_one_rolled_back_and_the_last_line_says_so(start, temporary, tmp_path):
    demo = start()
    out, _ = demo.communicate(timeout=58)
    said = json.loads(out.splitlines()[-1])
    assert list(said) == KEYS, (tmp_path / "stderr").read_text()
    assert demo.returncode == 0, (tmp_path / "stderr").read_text()
    known = {name: said[name] for name in KEYS[:5]}
    assert known == {"ok": True, "instances": 3, "promoted": True, "rolled_back": True, "mixed": 0}
    assert 0 < said["verify_ms_mean"] < 2000
    assert 0 < said["rollback_s"] < 10
    assert not processes_in(temporary)
    assert not list(temporary.iterdir())
    told = (tmp_path / "stderr").read_text()
    for act in ("A good release", "cannot be built", "does harm"):
        assert act in told


@real
@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_ends_all_its_processes(start, temporary, sent, status):
    demo = start()
    assert len(loading(temporary)) == 6  # control plane, bank, three services, load
    demo.send_signal(sent)
    demo.communicate(timeout=30)
    assert demo.returncode == status
    assert not processes_in(temporary)
    assert not list(temporary.iterdir())


@real
@pytest.mark.slow
def test_one_that_is_interrupted_while_its_services_start_leaves_nothing_either(start, temporary):
    demo = start()
    wait_until(lambda: any("fleet_service" in line for line in processes_in(temporary).values()), "a service starts")
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=30)
    assert demo.returncode == 143
    wait_until(lambda: not processes_in(temporary), "they have noticed")
    assert not list(temporary.iterdir())


@real
@pytest.mark.slow
def test_a_killed_demo_leaves_no_process_behind(start, temporary):
    demo = start()
    loading(temporary)
    demo.kill()
    wait_until(lambda: not processes_in(temporary), "its processes have noticed")


@real
@pytest.mark.slow
def test_a_control_plane_that_dies_is_named_and_exit_status_1(start, temporary, tmp_path):
    demo = start()
    there = loading(temporary)
    os.kill(next(number for number, line in there.items() if "control_plane" in line), signal.SIGKILL)
    out, _ = demo.communicate(timeout=40)
    assert demo.returncode == 1
    assert json.loads(out.splitlines()[-1])["ok"] is False
    assert "the control_plane ended unasked" in (tmp_path / "stderr").read_text()
    assert not processes_in(temporary)


@real
@pytest.mark.slow
def test_a_release_that_is_promoted_though_it_should_not_be_is_exit_status_1(start, tmp_path):
    demo = start(
        "-c",
        "import dataclasses, sys\n"
        "from herz.cli.demo import fleet, fleet_story\n"
        "acts = fleet_story.acts\n"
        "def gentle(port):\n"
        "    return (*acts(port)[:1], dataclasses.replace(acts(port)[2], bake_s=0.5,\n"
        "            changes={'prices.edition': 9, 'receipts.edition': 9}))\n"
        "fleet_story.acts = gentle\n"
        "sys.exit(fleet.play_fleet(json=True, seconds=0, instances=2, stdout=sys.stdout))",
    )
    out, _ = demo.communicate(timeout=58)
    said = json.loads(out.splitlines()[-1])
    assert (said["ok"], said["promoted"], said["rolled_back"], demo.returncode) == (False, True, False, 1)
    assert "expected ROLLED_BACK, and it is PROMOTED" in (tmp_path / "stderr").read_text()


# --- what it measures with ------------------------------------------------------------------------


@asynccontextmanager
async def service(reply: Callable[[int], tuple[int, Any]]) -> AsyncIterator[str]:
    """A server that answers each order with what `reply` says; its address."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = reply(int(head.split()[1].rpartition(b"/")[2]))
                text = json.dumps(body).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def loaded(reply: Callable[[int], tuple[int, Any]]) -> dict[str, Any]:
    async with service(reply) as address:
        load = FleetLoad([address, address], rate=200)
        running = asyncio.create_task(load.run())
        async with asyncio.timeout(10):
            while load.requests < 20:  # noqa: ASYNC110  counts of another task, which sets no event
                await asyncio.sleep(0.01)
        load.stop()
        await running
        return load.report()


async def test_whole_answers_are_neither_failed_nor_mixed():
    report = await loaded(lambda order: (200, {"order": order, "editions": [7, 7]}))
    assert (report["failed"], report["mixed"], report["first_fault"]) == (0, 0, None)
    assert 0 < report["p50_ms"] <= report["p99_ms"]


async def test_an_answer_of_two_releases_is_counted_as_mixed():
    report = await loaded(lambda order: (200, {"order": order, "editions": [7, 8]}))
    assert report["mixed"] == report["requests"] >= 20


async def test_an_answer_that_says_that_it_could_not_pay_is_counted_as_failed():
    report = await loaded(lambda order: (504, {"order": order, "editions": [7, 7]}))
    assert report["failed"] == report["requests"] >= 20
    assert "504" in report["first_fault"]


@asynccontextmanager
async def shop(folder: Path, *, receipts: int = 7, within: str = "3s") -> AsyncIterator[Shop]:
    """One service, configured by a file, with a bank that takes 20 ms."""
    bank = await asyncio.start_server(Database(work_s=0.02).serve, "127.0.0.1", 0)
    file = folder / "shop.yml"
    file.write_text(
        f"database: {{host: 127.0.0.1, port: {bank.sockets[0].getsockname()[1]}, pool-size: 1}}\n"
        f"payment: {{timeout: {within}}}\nprices: {{edition: 7, book: 12.5}}\n"
        f"receipts: {{edition: {receipts}, greeting: Thanks}}\n"
    )
    one = Shop(str(file))
    async with one.herz:
        yield one
    bank.close()


async def test_a_service_counts_a_request_that_met_two_releases_by_itself(tmp_path):
    async with shop(tmp_path, receipts=8) as one:
        status, said = await one.checkout(1)
        assert (status, said["editions"]) == (200, [7, 8])
        assert (one.served, one.mixed) == (1, 1)


async def test_a_service_whose_payments_time_out_is_down_and_up_again_when_they_do_not(tmp_path):
    async with shop(tmp_path, within="1ms") as one:
        assert one.health()[0] == 200
        for order in range(4):
            assert (await one.checkout(order))[0] == 504
        assert one.health()[0] == 503
        file = tmp_path / "shop.yml"
        file.write_text(file.read_text().replace("1ms", "3s"))
        async with asyncio.timeout(10):
            while (await one.checkout(9))[0] != 200:
                pass
        for order in range(12):
            await one.checkout(order)
        assert (one.health()[0], one.mixed) == (200, 0)


def instance(name: str, **facts: Any) -> Instance:
    known: dict[str, Any] = {"app": "shop", "namespace": "default", "status": Status.APPLIED, "config_version": 2}
    return Instance(instance=name, time=datetime(2026, 3, 1, tzinfo=UTC), **{**known, **facts})


def test_the_live_table_shows_who_runs_what():
    built = Rehearsed(number=3, digest="d", fingerprint="f")
    broken = Rehearsed(number=3, digest="d", fingerprint="f", error="no")
    tally = FleetTally(5)
    tally.reports = [
        instance("shop-01"),
        instance("shop-02", assigned="r1-b1", rehearsed=built),
        instance("shop-03", assigned="r1-b1", config_version=3),
        instance("shop-04", assigned="r1-b1", rehearsed=broken),
        instance("shop-05", status=Status.FAILED),
    ]
    assert [cell.text for cell in tally.cells()] == ["01 ·2", "02 ◐2", "03 ●3", "04 ✗2", "05 ✗2"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_panel_fits_the_terminal(columns, monkeypatch):
    pytest.importorskip("rich")
    from herz.cli.demo.fleet_screen import FleetScreen

    monkeypatch.setenv("COLUMNS", str(columns))
    tally = FleetTally(30, requests=1_234_567, verify_ms=[1234.0], rollback_s=12.34)
    tally.reports = [instance(f"shop-{number:02d}", config_version=12) for number in range(1, 31)]
    out = io.StringIO()
    screen = FleetScreen(tally, out)
    screen._console.print(screen._panel())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert "30 ·12" in out.getvalue() or "30 -12" in out.getvalue()


def test_the_outcome_has_exactly_the_keys_that_programs_expect():
    assert list(FleetTally(3).as_dict()) == KEYS


@pytest.mark.parametrize("number", ["1", "0", "100", "x", "-3"])
def test_a_fleet_that_is_none_is_not_understood(number, capsys):
    assert main(["demo", "--fleet", number]) == 2
    assert "2 to 99" in capsys.readouterr().err or number.startswith("-")


def test_a_missing_library_is_told_with_the_line_that_installs_it(monkeypatch, capsys):
    monkeypatch.setattr(fleet, "NEEDED", ("no_such_library",))
    assert main(["demo", "--fleet", "2"]) == 1
    said = capsys.readouterr().err
    assert "no_such_library" in said
    assert "pip install 'herz[demo]'" in said
