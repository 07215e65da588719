"""Canary against baseline: an exact test of ranks that may be looked at again and again.

`compare` is a permutation test of mid-ranks: under the null hypothesis every division of the pooled sample is equally
likely, so the chance of a rank sum at least as bad as the canary's is counted, not approximated (Lehmann,
*Nonparametrics*, 1975, chapter 1). Beyond a size where counting takes too long it is the normal approximation with
correction for ties and continuity. Of `look` k only alpha × 6/(π² k²) is spent: these sum to alpha, so that however
often a rollout looks, a good canary fails with a chance of at most alpha.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from math import comb, erfc, isfinite, pi, sqrt
from statistics import fmean, median
from typing import Final, NamedTuple

from msgspec.structs import replace

from herz.errors import UsageError
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
    difference; Vargha and Delaney's A). `shift` is how much worse mean or median are, the larger of both, relative to
    the baseline's: 0.05 is 5 % worse, None when the baseline's is 0. `reason` is for people.
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
    difference_min: float = 0.0,
) -> Comparison:
    """Whether `canary` is worse than `baseline`.

    INCONCLUSIVE below `sample_min` values on either side, or when so few could not be significant at this `look` (from
    1) however bad they were. FAIL when the difference is significant and not negligible: `effect` reaches `effect_min`,
    and mean or median are worse by `shift_min` of the baseline's and by `difference_min` in the metric's own unit. PASS
    otherwise. `UsageError` for values that are not finite: whoever asked for them knows what they mean.
    """
    share = spent(alpha, look) / (2 if worse is Worse.EITHER else 1)
    if not all(map(isfinite, (*baseline, *canary))):
        raise UsageError("a sample holds values that are not finite", remedy="leave them out, or call the check failed")
    plain = Comparison(outcome=Outcome.INCONCLUSIVE, reason="", alpha=share, baseline=len(baseline), canary=len(canary))
    if min(len(baseline), len(canary)) < max(1, sample_min):
        few = f"{len(canary)} values of the canary and {len(baseline)} of the baseline, {sample_min} each are needed"
        return replace(plain, reason=few)
    if 1 / comb(len(baseline) + len(canary), len(canary)) > share:
        few = f"too few values to be significant at look {look} (alpha {share:.2g})"
        return replace(plain, reason=few)
    sides = [_side(baseline, canary)] if worse is not Worse.LOWER else []
    if worse is not Worse.HIGHER:
        sides.append(_side([-value for value in baseline], [-value for value in canary]))
    side = min(sides, key=lambda one: one.p)
    negligible = side.negligible(effect_min, shift_min, difference_min)
    shown = f"p {side.p:.2g}, alpha {share:.2g} at look {look}, effect {side.effect:.2f}, {side.moved}"
    if side.p > share:
        outcome, reason = Outcome.PASS, f"not significantly worse: {shown}"
    elif negligible:
        outcome, reason = Outcome.PASS, f"worse, but by too little to matter: {shown}"
    else:
        outcome, reason = Outcome.FAIL, f"worse: {shown}"
    return replace(
        plain, outcome=outcome, reason=reason, p=side.p, effect=side.effect, shift=side.shift, exact=side.exact
    )


def spent(alpha: float, look: int) -> float:
    """What `look` k (from 1) may spend of `alpha`: alpha × 6/(π² k²)."""
    if not 0.0 < alpha < 1.0 or look < 1:
        raise UsageError(f"look {look} with alpha {alpha:g}", remedy="count looks from 1, give alpha between 0 and 1")
    return alpha * 6.0 / (pi * look) ** 2


class _Side(NamedTuple):
    """One direction, higher being worse."""

    p: float
    exact: bool
    effect: float
    difference: float
    shift: float | None

    @property
    def moved(self) -> str:
        """How far it moved, for people."""
        return f"{self.difference:+.4g}" if self.shift is None else f"{self.shift:+.1%}"

    def negligible(self, effect_min: float, shift_min: float, difference_min: float) -> bool:
        """Whether nobody would care."""
        small = self.difference <= 0.0 if self.shift is None else self.shift < shift_min
        return self.effect < effect_min or small or self.difference < difference_min


def _side(baseline: Sequence[float], canary: Sequence[float]) -> _Side:
    p, exact = rank_test(baseline, canary)
    below = sorted(baseline)
    above = sum(bisect_left(below, value) + bisect_right(below, value) for value in canary)  # ties count half
    moves = [(center(canary) - center(baseline), abs(center(baseline))) for center in (fmean, median)]
    shifts = [difference / size for difference, size in moves if size > 0.0]
    # A median of 0 beside a mean that is not (rare errors) says nothing relative.
    return _Side(
        p,
        exact,
        above / (2 * len(baseline) * len(canary)),
        max(difference for difference, _ in moves),
        max(shifts) if shifts else None,
    )


def rank_test(baseline: Sequence[float], canary: Sequence[float]) -> tuple[float, bool]:
    """The chance, were both alike, that the canary's ranks are at least as high as they are; and whether it is exact.

    Ranks are doubled, so that those of ties (mid-ranks) are whole.
    """
    pooled = sorted([*baseline, *canary])
    doubled = [bisect_left(pooled, value) + bisect_right(pooled, value) + 1 for value in pooled]
    rank_sum = sum(bisect_left(pooled, value) + bisect_right(pooled, value) + 1 for value in canary)
    few = min(len(canary), len(baseline))
    if len(canary) > few:  # count the smaller group: its ranks are at most what the other's leave
        tops, least = [2 * len(pooled) + 2 - rank for rank in doubled], rank_sum - sum(doubled)
        least += (2 * len(pooled) + 2) * few
    else:
        tops, least = doubled, rank_sum
    if _work(len(pooled), few) <= EXACT_WORK:
        return _tail(tops, few, least) / comb(len(pooled), few), True
    return _normal(pooled, len(canary), rank_sum / 2), False


def _work(total: int, few: int) -> int:
    """Bits that counting handles: one sum of polynomials for each value and each size, each coefficient wide enough."""
    return total * few * few * total * (comb(total, few).bit_length() + 1)


def _tail(ranks: Sequence[int], few: int, least: int) -> int:
    """How many choices of `few` of `ranks` have a sum of at least `least`.

    Dynamic programming over generating functions: the coefficient of x^s of `ways[k]` counts the choices of k with sum
    s. A polynomial is one integer with its coefficients side by side, so that the arithmetic happens in C.
    """
    width = comb(len(ranks), few).bit_length() + 1
    lowest = min(ranks)
    ways = [1] + [0] * few
    for number, rank in enumerate(ranks, 1):
        shift = (rank - lowest) * width
        for size in range(min(few, number), 0, -1):
            ways[size] += ways[size - 1] << shift
    tail = ways[few] >> max(0, least - few * lowest) * width
    return tail % ((1 << width) - 1)  # the sum of the digits in base 2^width, which is smaller than 2^width - 1


def _normal(pooled: Sequence[float], canary: int, rank_sum: float) -> float:
    """The normal approximation of the same chance, with correction for ties and continuity."""
    total = len(pooled)
    ties = sum(count**3 - count for count in Counter(pooled).values())
    variance = canary * (total - canary) / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0.0:
        return 1.0
    z = (rank_sum - canary * (total + 1) / 2 - 0.5) / sqrt(variance)
    return erfc(z / sqrt(2)) / 2


EXACT_WORK: Final = 10**9
"""Bits of work that counting may take: some 50 ms."""
