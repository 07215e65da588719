"""Long work pauses, and keeps the collector from running only while it lasts."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest

from herz.formats import pace
from herz.formats.pace import Pace, uncollected


def test_a_pace_pauses_only_when_a_slice_of_time_has_passed(monkeypatch):
    now = [0.0]
    slept: list[float] = []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    pause = Pace()
    pause()
    assert slept == []
    now[0] += pace.SLICE_S
    pause()
    pause()
    assert len(slept) == 1


def test_the_collector_is_off_within_the_outermost_of_overlapping_windows():
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with uncollected():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with uncollected():
        thread.start()
        assert entered.wait(10)
        assert not gc.isenabled()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_the_collector_is_on_again_after_a_fault():
    with pytest.raises(ZeroDivisionError), uncollected():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_who_has_switched_the_collector_off_finds_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_within_a_window_collects():
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with uncollected():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        good = gc.isenabled()
        with uncollected():
            good = good and not gc.isenabled()
        os._exit(0 if good and gc.isenabled() else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()
