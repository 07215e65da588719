"""The record of attempts that failed: each an entry in the audit log, until there are too many; then they are counted.

Anybody on the network can fail. So the log takes `SINGLE` failures a window one by one, and one entry for all others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from herz.errors import HerzError
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.store.base import Txn

logger = logging.getLogger("herz")

WINDOW_S: Final = 60.0
SINGLE: Final = 60
SHOWN: Final = 10
"""Addresses that the entry of a window names."""
NOBODY: Final = By("anonymous")


class Attempts:
    """The failures that one server saw."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit, self._clock = audit, clock
        self._since = clock.monotonic()
        self._single = 0
        self._reasons: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    async def failed(self, user: str | None, reason: str, address: str) -> None:
        """Record a failure. `user` is who exists by the name that was given.

        A name that nobody has is not kept: people type their password there.
        """
        if self._clock.monotonic() - self._since >= WINDOW_S:
            await self.flush()
        if reason == "throttled" or self._single >= SINGLE:
            self._reasons[reason] += 1
            if address in self._addresses or len(self._addresses) < 1000:
                self._addresses[address] += 1
            return
        self._single += 1
        await self._audit.commit(
            Txn(),
            NOBODY,
            "login.failed",
            "user (unknown)" if user is None else f"user {user}",
            details={"reason": reason, "address": address},
        )

    async def flush(self) -> None:
        """Write the entry of the window that is over, if anything was counted."""
        reasons, addresses = self._reasons, self._addresses
        self._reasons, self._addresses = Counter(), Counter()
        self._single, self._since = 0, self._clock.monotonic()
        if not reasons:
            return
        details = {
            "attempts": reasons.total(),
            "reasons": [f"{reason}: {count}" for reason, count in reasons.most_common()],  # a key may be masked
            "addresses": dict(addresses.most_common(SHOWN)),
        }
        try:
            await self._audit.commit(Txn(), NOBODY, "login.throttled", "login", details=details)
        except HerzError:
            self._reasons += reasons
            self._addresses += addresses
            raise

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Write each window's entry while this lasts, and the last one at the end."""
        task = asyncio.create_task(self._windows(), name="herz-attempts")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._flushed()

    async def _windows(self) -> None:
        while True:
            await asyncio.sleep(WINDOW_S)
            await self._flushed()

    async def _flushed(self) -> None:
        try:
            await self.flush()
        except HerzError as error:
            logger.warning("herz: failed logins could not be written to the audit log: %s", error)
