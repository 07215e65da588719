"""Canary against baseline: an exact test of ranks that may be looked at again and again.

`compare` is a permutation test of mid-ranks: under the null hypothesis every division of the pooled sample is equally
likely, so the chance of a rank sum at least as bad as the canary's is counted, not approximated (Lehmann,
*Nonparametrics*, 1975, chapter 1). Beyond a size where counting takes too long it is the normal approximation with
correction for ties and continuity. Of `look` k only alpha × 6/(π² k²) is spent: these sum to alpha, so that however
often a rollout looks, a good canary fails with a chance of at most alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from herz.release.record import Record


class Outcome(StrEnum):
    """What a check or comparison says."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    """Not enough was seen to say either."""


class Worse(StrEnum):
    """Which direction is bad."""

    HIGHER = "higher"
    """Latency, errors."""
    LOWER = "lower"
    """Throughput, hits."""
    EITHER = "either"
    """Any move: two one-sided tests, each with half of alpha."""


class Comparison(Record, frozen=True, kw_only=True):
    """The outcome of one look. `p` is one-sided, None when nothing was tested; `alpha` is what this look may spend.

    `effect` is the chance that a value of the canary is worse than one of the baseline (ties count half; 0.5 is no
    difference), `shift` the relative difference of the means, positive when worse. `reason` is for people.
    """

    outcome: Outcome
    reason: str
    p: float | None = None
    alpha: float | None = None
    effect: float | None = None
    shift: float | None = None
    baseline: int = 0
    canary: int = 0
    exact: bool = True


def compare(
    baseline: Sequence[float],
    canary: Sequence[float],
    *,
    worse: Worse = Worse.HIGHER,
    alpha: float = 0.05,
    look: int = 1,
    sample_min: int = 8,
    effect_min: float = 0.6,
    shift_min: float = 0.05,
) -> Comparison:
    """Whether `canary` is worse than `baseline`.

    INCONCLUSIVE below `sample_min` values on either side. FAIL when the difference is significant at this `look`
    (from 1) and not negligible: `effect` reaches `effect_min` and `shift` reaches `shift_min`. PASS otherwise.
    Values that are not finite are an error of the metric: `UsageError`.
    """
    raise NotImplementedError


def spent(alpha: float, look: int) -> float:
    """What `look` k (from 1) may spend of `alpha`: alpha × 6/(π² k²)."""
    raise NotImplementedError
