"""Refreshing on request: one look at the sources at a time, whoever asks and however often."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Final

from herz.app.herz import Herz
from herz.errors import HerzError, NotRunning

logger = logging.getLogger("herz")

LIMIT_S: Final = 60.0
"""How long a request waits for its refresh, which then goes on without it."""

GLANCE_S: Final = 0.25
"""How often a waiting request looks whether Herz was stopped meanwhile."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a refresh. `error` is what was refused; what could be put in force was, nevertheless."""

    changed: tuple[str, ...]
    rebuilt: tuple[str, ...]
    kept: tuple[str, ...]
    duration_ms: float
    error: BaseException | None = None
    frozen: bool = False


class Refreshing:
    """Runs refreshes in a thread of its own, one at a time.

    Who asks while one runs is given the next: the running one may have looked before what the caller knows of. All
    who wait for the next share it, so that a thousand requests cost two looks.
    """

    def __init__(self, herz: Herz) -> None:
        self._herz = herz
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._running: Future[Outcome] | None = None
        self._next: Future[Outcome] | None = None

    def wait(self) -> Outcome:
        """Refresh, and block until it is done. `NotRunning` when Herz stops first, `TimeoutError` after `LIMIT_S`."""
        future, deadline = self._asked(), time.monotonic() + LIMIT_S
        while True:
            try:
                return future.result(GLANCE_S)
            except TimeoutError:
                self._look_up(deadline)

    async def await_(self) -> Outcome:
        """The same without blocking the loop. Cancelling the wait does not cancel the refresh."""
        future, deadline = asyncio.wrap_future(self._asked()), time.monotonic() + LIMIT_S
        while not (await asyncio.wait({future}, timeout=GLANCE_S))[0]:
            self._look_up(deadline)
        return future.result()

    def _look_up(self, deadline: float) -> None:
        look_up(self._herz, deadline)

    def _asked(self) -> Future[Outcome]:
        if self._pid != os.getpid():  # the thread that would have answered stayed in the parent
            self._begin_anew()
        with self._lock:
            if self._running is not None:
                if self._next is None:
                    self._next = _future()
                return self._next
            mine = self._running = _future()
            try:
                threading.Thread(target=self._run, args=(mine,), name="herz actuator refresh", daemon=True).start()
            except RuntimeError:  # no thread can be had, as at the interpreter's end
                self._running = None
                raise NotRunning("no thread can be started for the refresh") from None
            return mine

    def _run(self, turn: Future[Outcome] | None) -> None:
        while turn is not None:
            try:
                outcome = self._refresh()
            except BaseException as error:
                self._advance()
                turn.set_exception(error)
                raise
            following = self._advance()
            turn.set_result(outcome)
            turn = following

    def _advance(self) -> Future[Outcome] | None:
        with self._lock:
            self._running, self._next = self._next, None
            return self._running

    def _runs(self) -> bool:
        return self._herz.state.running

    def _refresh(self) -> Outcome:
        herz, started = self._herz, time.perf_counter()
        error: BaseException | None = None
        keys: tuple[str, ...] | None = None
        try:
            look_up(herz)
            updater = herz.runtime.updater
            before, frozen = updater.generation, updater.frozen
        except HerzError as fault:
            return Outcome((), (), (), 0.0, fault)
        try:
            keys = tuple(herz.refresh())
        except HerzError as fault:
            error = fault
        except (CancelledError, asyncio.CancelledError, RuntimeError) as fault:
            if self._runs() and not isinstance(fault, (CancelledError, asyncio.CancelledError)):
                error = fault
                logger.exception("the refresh that the actuator was asked for failed")
            else:  # the engine ended under our hands
                error = NotRunning("Herz was stopped during the refresh")
        except Exception as fault:
            error = fault
            logger.exception("the refresh that the actuator was asked for failed")
        applied = [one for one in tuple(updater.recent) if one.generation > before]
        if keys is None:
            keys = tuple(sorted({key for one in applied for key in one.change_set.keys}))
        reports = [report for report, _ in tuple(updater.refreshes) if report.generation > before]
        rebuilt = tuple(dict.fromkeys(name for report in reports for name in report.rebuilt))
        kept = tuple(name for name in herz.scope.current.objects.names if name not in rebuilt)
        return Outcome(keys, rebuilt, kept, (time.perf_counter() - started) * 1000, error, frozen)


def look_up(herz: Herz, deadline: float = math.inf) -> None:
    """Go on waiting, unless Herz does not run (`NotRunning`) or it is past `deadline` (`TimeoutError`)."""
    if not herz.state.running:
        raise NotRunning("Herz is not running", remedy="try again once it has started")
    if time.monotonic() > deadline:
        raise TimeoutError


def _future() -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_running_or_notify_cancel()  # from now on a waiter that gives up cannot cancel it for the others
    return future
