"""A program that ends without `stop` ends quietly, in time, and with everything closed."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

import herz as herz_package
from herz import Herz
from herz.threads import DaemonThreads

SOURCE = str(Path(herz_package.__file__).parents[1])

PROLOGUE = """
import logging, os, sys, threading, time
logging.basicConfig(format="%(message)s")
from herz import Herz
from herz.app import process

def said(text):
    os.write(1, (text + "\\n").encode())
"""


def run(folder: Path, program: str, *, limit_s: float = 20) -> tuple[str, str]:
    """What `program` wrote to its output and its errors; it ended well, within `limit_s`."""
    environment = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "default"}
    ended = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(program)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # The development mode also tells of every step of a loop that took 0.1 s, as imports do on a busy machine.
    errors = [
        line for line in ended.stderr.splitlines(keepends=True) if not re.match(r"Executing <.* took [\d.]+", line)
    ]
    return ended.stdout, "".join(errors)


def test_a_program_that_forgets_to_stop_ends_quietly_with_its_objects_closed(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text("a: 1\n")
    program = """
        herz = Herz("app.yml", "sqlite:///store.db#app", last_good="last-good.json")
        herz.on_change(print)

        @herz.refresh_scope(eager=True)
        class Pool:
            def close(self): said("pool closed")

        @herz.refresh_scope(eager=True)
        class Client:
            def __init__(self, pool: Pool): ...
            async def aclose(self): said("client closed")

        herz.start()
        said("end")
    """
    assert run(tmp_path, program) == ("end\nclient closed\npool closed\n", "")


def test_an_asynchronous_program_that_forgets_to_stop_ends_quietly(tmp_path: Path) -> None:
    program = """
        import asyncio
        herz = Herz({"a": 1})

        @herz.refresh_scope(eager=True)
        class Pool:
            def close(self): said("closed")

        asyncio.run(herz.astart())
        said("end")
    """
    assert run(tmp_path, program) == ("end\nclosed\n", "")


def test_changes_arrive_while_threads_serve_on_after_the_main_thread_has_ended(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text("a: 1\n")
    program = """
        herz = Herz("app.yml", "optional:sqlite:///store.db#app")

        @herz.refresh_scope(eager=True)
        class Pool:
            def close(self): said("closed")

        herz.start()

        def serve():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            for n in range(2, 5):
                with open("app.yml", "w") as file:
                    file.write(f"a: {n}\\n")
                herz.wait_for(lambda snapshot: snapshot["a"] == n, 10)
            said(herz.freshness)

        threading.Thread(target=serve).start()
    """
    assert run(tmp_path, program) == ("CURRENT\nclosed\n", "")


def test_a_close_that_hangs_holds_up_the_end_for_a_limited_time_and_is_told(tmp_path: Path) -> None:
    program = """
        process.LEAVE_S = 0.5
        herz = Herz({"a": 1})

        @herz.refresh_scope(eager=True)
        class Pool:
            def close(self): time.sleep(60)

        herz.start()
    """
    out, err = run(tmp_path, program, limit_s=15)
    assert out == ""
    assert "not everything could be closed" in err


def test_what_is_still_leased_is_closed_at_once(tmp_path: Path) -> None:
    program = """
        herz = Herz({"a": 1})

        @herz.refresh_scope
        class Pool:
            def close(self): said("closed")

        herz.start()
        lease = herz.lease(Pool)
        lease.__enter__()
        began = time.monotonic()
        process._leave()
        assert time.monotonic() - began < 4
    """
    out, err = run(tmp_path, program)
    assert out == "closed\n"
    assert "is still held at the stop" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_ends_like_a_program_closes_its_own_objects_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text("a: 1\n")
    program = """
        herz = Herz("app.yml")

        @herz.refresh_scope(eager=True)
        class Pool:
            def __init__(self): self.maker = os.getpid()
            def close(self): said(f"{'parent' if os.getpid() == parent else 'child'} {self.maker == os.getpid()}")

        parent = os.getpid()
        herz.start()
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        said("end")
    """
    out, err = run(tmp_path, program)
    assert out == "child True\nend\nparent True\n"
    assert err == ""


def test_a_program_that_stopped_ends_without_a_second_stop(tmp_path: Path) -> None:
    program = """
        herz = Herz({"a": 1})

        @herz.refresh_scope(eager=True)
        class Pool:
            def close(self): said("closed")

        with herz:
            pass
    """
    assert run(tmp_path, program) == ("closed\n", "")


def test_a_herz_that_nobody_keeps_is_collected() -> None:
    kept = Herz({"a": 1}, environment={})
    with kept:
        pass
    known = weakref.ref(kept)
    del kept
    gc.collect()
    assert known() is None


# --- the threads that work until the end ----------------------------------------------------------


def test_daemon_threads_work_side_by_side_up_to_their_number() -> None:
    threads, barrier = DaemonThreads(3), threading.Barrier(3)
    assert len({future.result(10) for future in [threads.submit(barrier.wait) for _ in range(3)]}) == 3
    assert [future.result(10) for future in [threads.submit(pow, n, 2) for n in range(50)]] == [
        n * n for n in range(50)
    ]
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(pow, 1, 2)


def test_a_single_daemon_thread_keeps_the_order() -> None:
    threads: DaemonThreads = DaemonThreads(1)
    done: list[int] = []
    for n in range(200):
        threads.submit(done.append, n)
    threads.shutdown()
    assert done == list(range(200))


def test_what_was_cancelled_before_its_turn_is_not_called() -> None:
    threads, gate = DaemonThreads(1), threading.Event()
    called: list[int] = []
    threads.submit(gate.wait)
    waiting: Future[None] = threads.submit(called.append, 1)
    assert waiting.cancel()
    gate.set()
    threads.shutdown()
    assert called == []
    with pytest.raises(CancelledError):
        waiting.result(0)


def test_a_failure_is_handed_to_whoever_waits_and_the_thread_goes_on() -> None:
    threads = DaemonThreads(1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(10)
    with pytest.raises(SystemExit):
        threads.submit(sys.exit, 3).result(10)
    assert threads.submit(pow, 2, 3).result(10) == 8
    threads.shutdown()


def test_where_no_thread_can_be_started_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    threads = DaemonThreads(2)
    monkeypatch.setattr(threading.Thread, "start", refuses)
    assert threads.submit(threading.current_thread).result(0) is threading.current_thread()


def test_a_shutdown_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herz.threads.LAST_S", 0.05)
    threads, gate = DaemonThreads(1), threading.Event()
    threads.submit(gate.wait, 30)
    began = time.monotonic()
    threads.shutdown()
    assert time.monotonic() - began < 5
    gate.set()
