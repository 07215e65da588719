"""The plan of a rollout: how large its batches are, how long each bakes, and how long each step may take."""

from __future__ import annotations

from enum import StrEnum

from herz.release.record import Record


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
        raise NotImplementedError

    def checked(self) -> Plan:
        """The plan itself; `UsageError` naming what makes no sense in it."""
        raise NotImplementedError

    def shares(self) -> tuple[float, ...]:
        """Cumulative percent after each batch; rises, and ends with 100."""
        raise NotImplementedError

    def sizes(self, total: int) -> tuple[int, ...]:
        """Instances after each batch, cumulative: each adds at least one, the last is `total`. Empty for none."""
        raise NotImplementedError
