"""How a metric ran while a check looked at it: a few points of canary and baseline, kept for people to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, isfinite
from typing import Final, NamedTuple

from herz.release.record import Record

POINTS: Final = 20
"""Points that are kept of one check in one batch: they lie in the rollout's record."""


class Sample(NamedTuple):
    """One value of one series, at seconds since 1970."""

    time: float
    value: float


class Point(Record, frozen=True, kw_only=True, array_like=True):
    """The means of canary and baseline around `time`, seconds since 1970; None where there was no finite sample."""

    time: float
    canary: float | None = None
    baseline: float | None = None


def points(canary: Iterable[Sample], baseline: Iterable[Sample] = (), *, most: int = POINTS) -> tuple[Point, ...]:
    """At most `most` points over all samples, in the order of time. What is not finite cannot be drawn and is left out.

    The times at which there are samples are divided into runs of equal count; a point is at the middle of its run.
    """
    sides = [[one for one in side if isfinite(one.value) and isfinite(one.time)] for side in (canary, baseline)]
    times = sorted({one.time for side in sides for one in side})
    count = min(most, len(times))
    runs = [times[number * len(times) // count : (number + 1) * len(times) // count] for number in range(count)]
    place = {time: number for number, run in enumerate(runs) for time in run}
    values: list[tuple[list[float], ...]] = [([], []) for _ in runs]
    for side, samples in enumerate(sides):
        for one in samples:
            values[place[one.time]][side].append(one.value)
    return tuple(
        Point(time=round((run[0] + run[-1]) / 2, 3), canary=_mean(mine), baseline=_mean(others))
        for run, (mine, others) in zip(runs, values, strict=True)
    )


def _mean(values: Sequence[float]) -> float | None:
    """The mean to six digits: what is drawn needs no more, and records stay small."""
    if not values:
        return None
    mean = fsum(value / len(values) for value in values)
    return float(f"{mean:.6g}")
