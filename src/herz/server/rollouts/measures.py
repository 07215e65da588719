"""What verifications and rollouts have measured since the server started, as plain numbers for `/metrics`."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from herz.release.atomicity import Verdict

BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of verifications; the targets are 0.2 s in the mean, 0.5 s at the 99th percentile."""


class Durations:
    """A histogram of seconds. `counts` has one more entry than bounds: what is beyond the last."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Bucket bounds as Prometheus spells them, and how many lie at or below."""
        total = 0
        found = []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, total))
        return found


class Measures:
    """Numbers by (application, namespace)."""

    def __init__(self) -> None:
        self.durations: dict[tuple[str, str], Durations] = {}
        self.verdicts: dict[tuple[str, str, bool], int] = {}
        """How many verifications said yes, and no."""
        self.drift: dict[tuple[str, str], float] = {}
        """The share of instances that differed at the last verification; 0 for a promoted batch."""

    def verified(self, app: str, namespace: str, verdict: Verdict, took_s: float) -> None:
        """One verification is over."""
        place = (app, namespace)
        self.durations.setdefault(place, Durations()).add(took_s)
        key = (app, namespace, verdict.verified)
        self.verdicts[key] = self.verdicts.get(key, 0) + 1
        self.drift[place] = verdict.differing / verdict.members if verdict.members else 0.0
