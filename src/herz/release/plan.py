"""The plan of a rollout: how large its batches are, how long each bakes, and how long each step may take."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from math import ceil, log
from typing import Final

from herz.errors import UsageError
from herz.release.record import Record

BATCHES_MAX: Final = 100
"""Batches of one rollout: the record holds the evidence of each."""
NEARLY_ALL: Final = 100.0 - 1e-9
"""What rounding makes of 100 percent."""


class PlanKind(StrEnum):
    """How batches grow."""

    LINEAR = "linear"
    """By `step` percent each: 20 → 20, 40, 60, 80, 100."""
    EXPONENTIAL = "exponential"
    """From `first` percent, times `factor` each: 5, 10, 20, 40, 80, 100."""
    EXPLICIT = "explicit"
    """As `percent` lists them, cumulative: 1, 10, 50, 100."""


class Plan(Record, frozen=True, kw_only=True):
    """How a rollout proceeds. Shares are percent of the instances that match, cumulative; windows are seconds.

    `bake_s` is how long each batch is watched after it was verified; with checks that are inconclusive it goes on for
    at most `bake_max_s` (None: ten minutes beyond `bake_s`), then a person is asked. A check is looked at every
    `check_s`.
    """

    kind: PlanKind = PlanKind.EXPONENTIAL
    step: float = 20.0
    first: float = 5.0
    factor: float = 2.0
    percent: tuple[float, ...] = ()
    bake_s: float = 60.0
    bake_max_s: float | None = None
    check_s: float = 10.0
    deploy_s: float = 600.0
    prepare_s: float = 60.0
    commit_s: float = 30.0
    verify_s: float = 10.0

    @property
    def longest_bake_s(self) -> float:
        """Seconds after which a batch that is still inconclusive pauses the rollout."""
        return self.bake_s + 600.0 if self.bake_max_s is None else self.bake_max_s

    def checked(self) -> Plan:
        """The plan itself; `UsageError` naming what makes no sense in it."""
        for name in ("bake_s", "check_s", "deploy_s", "prepare_s", "commit_s", "verify_s"):
            value = getattr(self, name)
            # An hour is long for a window, a week for baking.
            if not (0.0 if name == "bake_s" else 0.001) <= value <= 7 * 86_400.0:
                raise _wrong(f"{name} is {value:g}", "give seconds, at most a week; only bake_s may be 0")
        if not self.bake_s <= self.longest_bake_s <= 30 * 86_400.0:
            raise _wrong(f"bake_max_s is {self.longest_bake_s:g}", f"give seconds, at least bake_s ({self.bake_s:g})")
        self.shares()
        return self

    def shares(self) -> tuple[float, ...]:
        """Cumulative percent after each batch; rises, and ends with 100. `UsageError` when the plan says otherwise."""
        if self.kind is PlanKind.LINEAR:
            _share("step", self.step)
            count = _batches(100.0 / self.step)
            shares = [self.step * batch for batch in range(1, count + 1)]
        elif self.kind is PlanKind.EXPONENTIAL:
            _share("first", self.first)
            if not 1.0 < self.factor <= 100.0:
                raise _wrong(f"factor is {self.factor:g}", "give more than 1, at most 100")
            count = _batches(log(100.0 / self.first) / log(self.factor))
            shares = [self.first * self.factor**batch for batch in range(count)]
        else:
            shares = list(self.percent)
            _batches(len(shares))
            for share in shares:
                _share("percent", share)
            if any(later <= earlier for earlier, later in pairwise(shares)):
                listed = ", ".join(f"{share:g}" for share in shares)
                raise _wrong(f"percent is {listed}", "let each be more than the one before")
        return (*(share for share in shares if share < NEARLY_ALL), 100.0)

    def sizes(self, total: int) -> tuple[int, ...]:
        """Instances after each batch, cumulative: each adds at least one, the last is `total`. Empty for none."""
        sizes: list[int] = []
        reached = 0
        for share in self.shares():
            # Rounded up at a thousandth of an instance, for 7 % of 100 are 7.000000000000001.
            reached = min(total, max(reached + 1, ceil(total * share / 100.0 - 0.001)))
            if sizes and reached == sizes[-1]:
                break
            sizes.append(reached)
        return tuple(sizes) if total > 0 else ()


def _share(name: str, value: float) -> None:
    if not 0.0 < value <= 100.0:
        raise _wrong(f"{name} is {value:g}", "give percent, more than 0 and at most 100")


def _batches(count: float) -> int:
    """`count` rounded up, if a rollout can have so many batches."""
    if count > BATCHES_MAX:
        raise _wrong(f"shares make {count:,.0f} batches", f"plan at most {BATCHES_MAX}")
    return ceil(count)


def _wrong(what: str, remedy: str) -> UsageError:
    return UsageError(f"a plan whose {what}", remedy=remedy)
