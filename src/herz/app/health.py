"""Health: how the configuration is doing, one row for each source, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from herz.app.events import Phase

Status = Literal["UP", "WARN", "DOWN"]


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """One source. `revision` is the one in force, `age_s` the time since the source last proved what it holds.

    `freshness` is CURRENT, REFUSED (something newer cannot be used), STALE, REWOUND or HALTED (see the watch
    session). `retries` counts since it was last healthy; `degraded` says that they are spent and it keeps trying at the
    longest interval. The others count since the start: `reconnects`, `resets` (read again as a whole), `rewinds` (the
    place went back in time) and `broken` (what did not continue what came before, and was not taken).
    """

    name: str
    kind: str
    status: Status
    state: str
    freshness: str
    revision: int
    age_s: float
    error: str | None = None
    reconnects: int = 0
    rewinds: int = 0
    degraded: bool = False
    retries: int = 0
    resets: int = 0
    broken: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that works but should be looked at, with what to do."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Health:
    """DOWN when a source is refused, broken or stale, or nothing runs; WARN when only warnings stand; else UP.

    `epoch` counts how often a place was caught going back in time.
    """

    state: str
    freshness: str
    generation: int
    sources: tuple[SourceHealth, ...]
    warnings: tuple[Notice, ...]
    epoch: int = 0

    @property
    def running(self) -> bool:
        """Whether a configuration is in force and is going to stay; not while it stops."""
        return Phase(self.state).running

    @property
    def status(self) -> Status:
        """The worst of all rows."""
        if not self.running or any(row.status == "DOWN" for row in self.sources):
            return "DOWN"
        if self.warnings or any(row.status == "WARN" for row in self.sources):
            return "WARN"
        return "UP"

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "status": self.status,
            "state": self.state,
            "freshness": self.freshness,
            "generation": self.generation,
            "epoch": self.epoch,
            "sources": [asdict(row) for row in self.sources],
            "warnings": [asdict(row) for row in self.warnings],
        }


def freshness_of(rows: Sequence[SourceHealth], *, running: bool, frozen: bool) -> str:
    """CURRENT when every source is; the worst of them otherwise; FROZEN and NOT_RUNNING before all."""
    if not running:
        return "NOT_RUNNING"
    if frozen:
        return "FROZEN"
    for state in ("REWOUND", "HALTED", "STALE", "REFUSED"):
        if any(row.freshness == state for row in rows):
            return state
    return "CURRENT"
