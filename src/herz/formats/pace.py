"""Pace: long work gives way to other threads between its slices, and does not make the collector run.

A thread that computes in Python keeps the GIL until another has waited for it for 5 ms
(`sys.setswitchinterval`), and for as long as a C call takes on top. A reader that wakes up meanwhile is that late.
Work that lets go of the GIL by itself every half a millisecond makes it wait that long and no longer.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

SLICE_S: Final = 0.0005
"""Seconds of work between two pauses."""

EDIT_S: Final = 0.003
"""The same where a change is awaited: a pause costs a busy machine a millisecond, and most edits are done by then."""

_PAUSE_S: Final = 1e-5
"""What is slept; with the system's slack some 80 µs, time enough for a waiting thread to wake up and take the GIL."""

Pause: TypeAlias = Callable[[], None]
"""Called between slices of work."""


def onward() -> None:
    """Go on without a pause."""


class Pace:
    """Called between slices of work: lets other threads go first when the last pause is `slice_s` ago or more."""

    __slots__ = ("_next", "_slice_s")

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._next = time.perf_counter() + slice_s

    def __call__(self) -> None:
        """Pause if it is time."""
        if time.perf_counter() >= self._next:
            time.sleep(_PAUSE_S)
            self._next = time.perf_counter() + self._slice_s


_windows = threading.Lock()
_open = 0
_enabled = True


@contextmanager
def uncollected() -> Iterator[None]:
    """No automatic garbage collection in this process meanwhile; for work that makes many objects and no cycles.

    CPython looks for garbage after so many new containers, whatever they are: a tree of 100,000 keys made it run 16
    times, and every seventh time through all objects of the process, which nobody else can run meanwhile (30 ms here,
    more in a large application). What becomes garbage meanwhile is found at the next run. Meant for fractions
    of a second. Windows may overlap; who has collection switched off finds it off.
    """
    global _open, _enabled
    with _windows:
        if _open == 0 and (_enabled := gc.isenabled()):
            gc.disable()
        _open += 1
    try:
        yield
    finally:
        with _windows:
            _open -= 1
            if _open == 0 and _enabled:
                gc.enable()


def _forked() -> None:
    """The thread whose window it was is not in the child."""
    global _windows, _open
    _windows = threading.Lock()
    if _open and _enabled:
        gc.enable()
    _open = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
