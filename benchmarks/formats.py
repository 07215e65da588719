"""Decoding alone, without files, layers or binding: `python -m benchmarks.formats`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
import ryaml

from benchmarks._report import Row, bootstrap_ratio_interval, interleave, print_table
from benchmarks.workload import LEAVES, SHAPES, as_yaml, tree
from herz.formats.decode import decode, redecode

REPEATS = 15
ENCODERS: dict[str, Callable[[Any], bytes]] = {"json": lambda content: json.dumps(content).encode(), "yaml": as_yaml}


def run(*, leaves: int = LEAVES, repeats: int = REPEATS) -> list[Row]:
    rows: list[Row] = []
    for shape in SHAPES:
        for format, encode in ENCODERS.items():
            rows += measured(
                encode(tree(leaves, shape)), format, f"{leaves:,} keys, {format.upper()}, {shape}", repeats
            )
    return rows


def measured(data: bytes, format: str, what: str, repeats: int) -> list[Row]:
    decoder = "msgspec alone" if format == "json" else "ryaml alone"
    alone = (lambda: msgspec.json.decode(data)) if format == "json" else (lambda: ryaml.loads(data.decode()))  # type: ignore[attr-defined]
    known = decode(data, format, name="n")
    known.prepare()
    at = data.find(b"true", len(data) // 2)
    versions = [data, data[:at] + b"false" + data[at + 4 :]]
    states, numbers = [known], count(1)

    def change() -> None:
        found, events = redecode(states[-1], versions[next(numbers) % 2])
        assert events is not None
        assert len(events) == 1
        states[:] = [found]

    samples = interleave(
        {
            "alone": alone,
            "whole": lambda: decode(data, format, name="n"),
            "pieces": lambda: decode(data, format, name="n", yielding=True),
            "change": change,
            "lines": lambda: decode(data, format, name="n").lines(),
        },
        repeats,
    )
    rows = []
    for name, label, most in (
        ("whole", "decoded and checked", 2.5),
        ("pieces", "… piece by piece", None),
        ("lines", "… with the lines of all keys", None),
    ):
        ratio, _, high = bootstrap_ratio_interval(samples[name], samples["alone"])
        milliseconds = statistics.median(samples[name]) * 1e3
        target = "" if most is None else f"≤ {most} ×"
        ok = None if most is None else ratio <= most
        rows.append(Row(f"{label}: {what}", milliseconds, "ms", ratio, target, ok, f"to {decoder}, up to {high:.2f}"))
    milliseconds = statistics.median(samples["change"]) * 1e3
    limit = 2 if format == "json" else 4
    rows.append(Row(f"one value changed: {what}", milliseconds, "ms", None, f"≤ {limit} ms", milliseconds <= limit))
    return rows


if __name__ == "__main__":
    print_table(run())
