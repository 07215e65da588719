"""What the process does to every `Herz` in it: a fork begins a new life in the child, the end of the program stops it.

A program that ends without `stop` ends quietly: its objects are closed, within a limit. That happens when all
threads have ended that are no daemons, for until then somebody may be reading.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import time
import weakref
from typing import Final, Protocol

logger = logging.getLogger("herz")

LEAVE_S: Final = 10.0
"""How long the end of the program waits for all that is to be closed."""


class Life(Protocol):
    """What lives in the process."""

    def _after_fork(self) -> None:
        """In a forked child: begin anew. It must not wait."""

    def _leave(self, limit_s: float) -> None:
        """The program ends: close everything, within `limit_s`."""


_lives: weakref.WeakSet[Life] = weakref.WeakSet()


def enroll(life: Life) -> None:
    """Have `life` told of forks and of the end, for as long as somebody else keeps it."""
    _lives.add(life)


def _forked() -> None:
    for life in list(_lives):
        life._after_fork()


def _leave() -> None:
    deadline = time.monotonic() + LEAVE_S
    for life in list(_lives):
        try:
            life._leave(max(0.1, deadline - time.monotonic()))
        except Exception as error:
            logger.error("at the end of the program: %s", error, exc_info=error)


if hasattr(os, "register_at_fork"):
    # Handlers run in the order of registration, and this one starts a thread that uses executors: theirs, which makes
    # their lock anew, must have run before it. Importing the module registers it.
    importlib.import_module("concurrent.futures.thread")
    os.register_at_fork(after_in_child=_forked)

# The last registered runs first, and finalizers (inotify's among them) are run by one such function, which the first
# of them registers: so there has to be one before ours.
weakref.finalize(_lives, id, None).atexit = False
atexit.register(_leave)
