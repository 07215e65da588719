"""The state of the audit log's chain, as this server found it last: computed on demand, one computation at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import Final, NamedTuple

from herz.errors import HerzError
from herz.server.audit import AuditHead, Verified
from herz.server.console.changes import Changes
from herz.server.plane import Plane

_log = logging.getLogger("herz")

TOPIC: Final = "chain"
"""What changes while the chain is computed."""
TELL_S: Final = 0.25
"""Seconds between two tellings of how far it is."""


class Checked(NamedTuple):
    """What one computation found: by whom it was asked for, when it ended, and how long it took.

    `anchor` is the head that it was held against, `failure` why it did not come to an end.
    """

    at: datetime
    by: str
    took_s: float
    anchor: AuditHead | None
    verified: Verified | None
    failure: str | None = None


class ChainCheck:
    """Computes the chain in the background. `reached` of `total` entries hold so far, while `running`."""

    def __init__(self, plane: Plane) -> None:
        self.last: Checked | None = None
        self.reached = self.total = 0
        self._plane = plane
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the chain is being computed now."""
        return self._task is not None and not self._task.done()

    async def start(self, by: str, anchor: AuditHead | None) -> bool:
        """Begin, unless it is under way; whether it was not."""
        head = await self._plane.audit.head()
        if self.running:
            return False
        self.reached, self.total = 0, head.number
        self._task = asyncio.get_running_loop().create_task(self._run(by, anchor), name="herz-audit-chain")
        self._tell()
        return True

    async def done(self) -> None:
        """Wait for the computation that is under way."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, by: str, anchor: AuditHead | None) -> None:
        begun = told = time.monotonic()

        def reached(number: int) -> None:
            nonlocal told
            self.reached = number
            if time.monotonic() - told >= TELL_S:
                told = time.monotonic()
                self._tell()

        verified: Verified | None = None
        failure: str | None = None
        try:
            verified = await self._plane.audit.verify(anchor, reached=reached)
        except HerzError as error:
            failure = str(error)
        except Exception as error:
            _log.exception("herz: the audit log could not be verified")
            failure = f"an unexpected error, {type(error).__name__}: look into the server's log"
        took_s = time.monotonic() - begun
        self.last = Checked(self._plane.clock.now(), by, took_s, anchor, verified, failure)
        if verified is not None and not verified.ok:
            _log.error("herz: the audit log is broken at entry %s: %s", verified.broken_at, verified.why)
        asyncio.get_running_loop().call_soon(self._tell)  # not `running` any more by then

    def _tell(self) -> None:
        self._plane.of(Changes).touch(TOPIC)


def chain_of(plane: Plane) -> ChainCheck:
    """The one of this server."""
    return plane.find(ChainCheck) or plane.offer(ChainCheck(plane))
