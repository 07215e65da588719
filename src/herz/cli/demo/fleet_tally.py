"""What is known of the fleet while `herz demo --fleet` runs: the load's counts, what instances report, the proofs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from herz.client import Instance
from herz.release.channel import STABLE
from herz.release.report import Status


class Cell(NamedTuple):
    """One instance in the live table."""

    text: str
    style: str


@dataclass
class FleetTally:
    """What has been counted so far. `as_dict` is what `--json` prints; `mixed` is at the end what services counted."""

    instances: int
    ok: bool = True
    promoted: bool = False
    rolled_back: bool = False
    mixed: int = 0
    verify_ms: list[float] = field(default_factory=list)
    rollback_s: float | None = None
    requests: int = 0
    failed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    first_fault: str | None = None
    reports: Sequence[Instance] = ()

    def as_dict(self) -> dict[str, Any]:
        """The outcome, without what only eyes need."""
        return {
            "ok": self.ok,
            "instances": self.instances,
            "promoted": self.promoted,
            "rolled_back": self.rolled_back,
            "mixed": self.mixed,
            "verify_ms_mean": round(self.verify_ms_mean, 1),
            "rollback_s": None if self.rollback_s is None else round(self.rollback_s, 3),
        }

    @property
    def verify_ms_mean(self) -> float:
        """Milliseconds that a proof took, over all proofs that succeeded."""
        return fmean(self.verify_ms) if self.verify_ms else 0.0

    def loaded(self, report: Mapping[str, Any]) -> None:
        """Take over what the load says."""
        for name in ("requests", "failed", "mixed", "p50_ms", "p99_ms", "first_fault"):
            setattr(self, name, report[name])

    def cells(self) -> list[Cell]:
        """Every instance with the release it runs: `·` stable, `◐` has built another, `●` in a batch, `✗` failed."""
        return [_cell(report) for report in self.reports]

    def counters(self) -> list[tuple[str, str, bool]]:
        """Names, values, and whether each value is as it should be."""
        return [
            ("instances", f"{len(self.reports)}", True),
            ("requests", f"{self.requests:,}", True),
            ("mixed", f"{self.mixed}", self.mixed == 0),
            ("failed", f"{self.failed}", True),
            ("p99", f"{self.p99_ms:.0f} ms", True),
            ("proofs", f"{len(self.verify_ms)}", True),
            ("a proof", f"{self.verify_ms_mean:.0f} ms" if self.verify_ms else "–", True),
            ("rollback", "–" if self.rollback_s is None else f"{self.rollback_s:.2f} s", True),
        ]

    def summary(self) -> list[str]:
        """The outcome in numbers."""
        lines = [f"{self.instances} instances, {self.requests:,} requests, {self.mixed} saw two releases"]
        if self.verify_ms:
            lines.append(f"{len(self.verify_ms)} proofs, {self.verify_ms_mean:.0f} ms each on average")
        if self.rollback_s is not None:
            lines[-1] += f"; canaries back {self.rollback_s:.2f} s after the failing probe"
        if not self.ok and self.first_fault:
            lines.append(f"first fault: {self.first_fault}")
        return lines


def _cell(report: Instance) -> Cell:
    number = report.instance.rpartition("-")[2]
    release = "–" if report.config_version is None else str(report.config_version)
    if report.status is Status.FAILED or (report.rehearsed is not None and not report.rehearsed.ok):
        return Cell(f"{number} ✗{release}", "bold red")
    if report.assigned != STABLE:
        built = report.rehearsed is not None and report.rehearsed.number != report.config_version
        return Cell(f"{number} ◐{release}", "yellow") if built else Cell(f"{number} ●{release}", "bold green")
    return Cell(f"{number} ·{release}", "")
