"""What the service and the load have counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """What the service and the load have counted so far. `as_dict` is what `--json` prints."""

    ok: bool = True
    requests: int = 0
    failed: int = 0
    torn: int = 0
    reloads: int = 0
    rebuilt: int = 0
    refused: int = 0
    per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    reload_ms: list[float] = field(default_factory=list)
    first_fault: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The outcome, without what only eyes need."""
        names = ("ok", "requests", "failed", "torn", "reloads", "rebuilt", "refused")
        return {name: getattr(self, name) for name in names}

    def loaded(self, report: Mapping[str, Any]) -> None:
        """Take over what the load says."""
        for name in ("requests", "failed", "torn", "per_second", "p50_ms", "p99_ms", "first_fault"):
            setattr(self, name, report[name])

    def counters(self) -> list[tuple[str, str, bool]]:
        """Names, values, and whether each value is as it should be."""
        return [
            ("requests", f"{self.requests:,}", True),
            ("failed", f"{self.failed}", self.failed == 0),
            ("torn", f"{self.torn}", self.torn == 0),
            ("p50", f"{self.p50_ms:.1f} ms", True),
            ("p99", f"{self.p99_ms:.1f} ms", True),
            ("reloads", f"{self.reloads}", True),
            ("reload", f"{self.reload_ms[-1]:.0f} ms" if self.reload_ms else "–", True),
            ("rebuilt", f"{self.rebuilt}", True),
            ("refused", f"{self.refused}", True),
        ]

    def summary(self) -> list[str]:
        """The outcome in numbers."""
        lines = [
            f"{self.requests:,} requests, {self.failed} failed, {self.torn} torn, p50 {self.p50_ms:.1f} ms,"
            f" p99 {self.p99_ms:.1f} ms",
            f"{self.reloads} reloads, {self.rebuilt} objects rebuilt, {self.refused} refused",
        ]
        if self.reload_ms:
            lines[1] += f"; in force {min(self.reload_ms):.0f} to {max(self.reload_ms):.0f} ms after saving"
        if self.first_fault:
            lines.append(f"first fault: {self.first_fault}")
        return lines
