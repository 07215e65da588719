"""What every benchmark shares: interleaved repeats, a ratio with its interval, one table."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `value` is a median in `unit`; `ratio` is to the reference that `note` or `name` tells; `target` is as a
    reader would write it ("≤ 1.2 ×"); `ok` is None where there is nothing to meet.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    target: str = ""
    ok: bool | None = None
    note: str = ""


def interleave(callables: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, `repeats` of them, all callables in turn, so that a noisy moment meets all alike.

    The order changes at random from round to round (with a fixed seed), one round warms up, and the
    collector runs between rounds only. Samples with the same index belong to one round.
    """
    order = list(callables)
    samples: dict[str, list[float]] = {name: [] for name in order}
    shuffle = random.Random(20_24).shuffle
    clock = time.perf_counter
    collecting = gc.isenabled()
    for call in callables.values():
        call()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            shuffle(order)
            for name in order:
                call = callables[name]
                start = clock()
                call()
                samples[name].append(clock() - start)
            if collecting:
                gc.collect(0)
    finally:
        if collecting:
            gc.enable()
    return samples


def bootstrap_ratio_interval(
    values: Sequence[float], reference: Sequence[float], *, confidence: float = 0.95, resamples: int = 1_000
) -> tuple[float, float, float]:
    """The ratio of the medians, and the ends of its bootstrap percentile interval.

    Rounds are resampled as pairs (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
    13), because samples of one round share its noise. The seed is fixed: the same samples give the same interval.
    """
    if len(values) != len(reference) or not values:
        raise ValueError(f"paired samples are needed, got {len(values)} and {len(reference)}")
    choose = random.Random(7)
    count = len(values)
    ratios = []
    for _ in range(resamples):
        rounds = choose.choices(range(count), k=count)
        ratios.append(
            statistics.median([values[at] for at in rounds]) / statistics.median([reference[at] for at in rounds])
        )
    ratios.sort()
    tail = (1 - confidence) / 2
    low = ratios[int(tail * (resamples - 1))]
    high = ratios[round((1 - tail) * (resamples - 1))]
    return statistics.median(values) / statistics.median(reference), low, high


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows in columns; a figure that misses its target says MISSED."""
    head = ("what", "value", "ratio", "target", "", "note")
    verdict = {True: "ok", False: "MISSED", None: ""}
    lines = [
        (
            row.name,
            f"{row.value:,.4g} {row.unit}" if row.value < 1_000 else f"{row.value:,.0f} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.3f} ×" if row.ratio < 100 else f"{row.ratio:,.0f} ×",
            row.target,
            verdict[row.ok],
            row.note,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    for line in [head, tuple("-" * width for width in widths), *lines]:
        cells = [
            cell.rjust(width) if at in (1, 2) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
