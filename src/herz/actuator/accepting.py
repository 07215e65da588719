"""Accepting on request: a source's sudden emptiness is taken as meant, because an operator says so."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import CancelledError

from herz.actuator.refreshing import GLANCE_S, LIMIT_S, look_up
from herz.app.herz import Herz
from herz.errors import NotRunning

logger = logging.getLogger("herz")


class Accepting:
    """Runs `Herz.accept` for a request, and leaves a line in the log of what was accepted."""

    def __init__(self, herz: Herz) -> None:
        self._herz = herz

    def wait(self, source: str | None) -> tuple[str, ...]:
        """Accept, and block until it is done. What `Herz.accept` raises; `NotRunning` when Herz stops first."""
        look_up(self._herz)
        try:
            return self._told(self._herz.accept(source))
        except CancelledError:  # the engine ended under our hands
            raise NotRunning("Herz was stopped meanwhile") from None

    async def await_(self, source: str | None) -> tuple[str, ...]:
        """The same without blocking the loop; `TimeoutError` after `LIMIT_S`, and then it goes on."""
        look_up(self._herz)
        task, deadline = asyncio.ensure_future(self._herz.aaccept(source)), time.monotonic() + LIMIT_S
        task.add_done_callback(_seen)
        while not (await asyncio.wait({task}, timeout=GLANCE_S))[0]:
            look_up(self._herz, deadline)
        if task.cancelled():  # the engine ended under our hands
            raise NotRunning("Herz was stopped meanwhile")
        return self._told(task.result())

    def _told(self, places: tuple[str, ...]) -> tuple[str, ...]:
        if places:
            logger.warning("emptied as meant, says an operator: %s", ", ".join(places))
        return places


def _seen(task: asyncio.Future[tuple[str, ...]]) -> None:
    """Look at the outcome, so that one that nobody waits for any more is no unhandled exception."""
    if not task.cancelled():
        task.exception()
