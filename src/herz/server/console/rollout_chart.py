"""Canary against baseline as a chart: what the record holds of each check that compares, over all batches."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from herz.release.rollout import Check, CheckResult, Rollout

Value = float | None
PROMETHEUS: Final = "prometheus"


class Look(NamedTuple):
    """What a check said of one batch, with the means of what it saw there."""

    batch: int
    result: CheckResult
    canary: Value
    baseline: Value


class Chart(NamedTuple):
    """One check over time: `x` are seconds since 1970; None in a series is a gap, as between two batches."""

    check: Check
    looks: tuple[Look, ...]
    x: tuple[float, ...]
    canary: tuple[Value, ...]
    baseline: tuple[Value, ...]
    begins: tuple[tuple[float, int], ...]
    """Where each batch begins."""
    least: Value
    most: Value

    @property
    def compares(self) -> bool:
        """Whether there is a baseline."""
        return any(value is not None for value in self.baseline)

    @property
    def drawn(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.x)


def charts_of(rollout: Rollout) -> tuple[Chart, ...]:
    """A chart for each check of the rollout, in their order."""
    return tuple(_chart(check, rollout) for check in rollout.checks)


def _chart(check: Check, rollout: Rollout) -> Chart:
    looks: list[Look] = []
    x: list[float] = []
    canary: list[Value] = []
    baseline: list[Value] = []
    begins: list[tuple[float, int]] = []
    for batch in rollout.batches:
        for result in batch.checks:
            if result.name != check.name:
                continue
            points = [point for point in result.points if not x or point.time > x[-1]]
            looks.append(
                Look(
                    batch.number,
                    result,
                    _mean([point.canary for point in points]),
                    _mean([point.baseline for point in points]),
                )
            )
            if x and points:  # a gap, so that no line leads from one batch to the next
                x.append((x[-1] + points[0].time) / 2)
                canary.append(None)
                baseline.append(None)
            if points:
                begins.append((points[0].time, batch.number))
            x.extend(point.time for point in points)
            canary.extend(point.canary for point in points)
            baseline.extend(point.baseline for point in points)
    return Chart(
        check=check,
        looks=tuple(looks),
        x=tuple(x),
        canary=tuple(canary),
        baseline=tuple(baseline),
        begins=tuple(begins),
        least=_number(check.options.get("least")),
        most=_number(check.options.get("most")),
    )


def _mean(values: list[Value]) -> Value:
    there = [value for value in values if value is not None]
    return sum(value / len(there) for value in there) if there else None


def _number(value: Any) -> Value:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
