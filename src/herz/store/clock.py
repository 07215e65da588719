"""The clock by which leases expire: shared by every process that opens one embedded store.

Deadlines of leases are written into the store's file, so they must mean the same in each process.
A wall clock does, but it jumps (NTP, an administrator, a resumed virtual machine): forwards, and every
lease expires at once; backwards, and the dead live on. Linux counts the seconds since it was booted,
suspended time included, for all processes alike (CLOCK_BOOTTIME), and names each boot. The embedded
store is used on one machine only (SQLite's WAL needs shared memory), so that clock is taken where it
exists. Across a boot the numbers mean nothing; `origin` says so, and the store starts such deadlines anew.
"""

# What the two methods promise stands in `LeaseClock`.
# ruff: noqa: D102

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol


class LeaseClock(Protocol):
    """Seconds that all processes of this machine agree on."""

    @property
    def origin(self) -> str:
        """Names the zero of this clock: readings of two origins cannot be compared."""

    def now(self) -> float:
        """Seconds since the origin."""


class BootClock:
    """Seconds since the machine was booted; never jumps."""

    def __init__(self) -> None:
        self._origin = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        self.now()

    @property
    def origin(self) -> str:
        return self._origin

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class WallClock:
    """Seconds since 1970. A jump forwards can end leases early, one backwards prolongs them by one TTL at most."""

    origin = "1970"

    def now(self) -> float:
        return time.time()


def lease_clock() -> LeaseClock:
    """The best clock this machine has."""
    try:
        return BootClock()
    except (OSError, AttributeError):
        return WallClock()
