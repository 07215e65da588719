"""Reading a bound typed value through a handle: `python -m benchmarks.reading`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks._report import Row, print_table
from benchmarks.workload import LEAVES, Process, as_json, faster_row, ratio_row, rounds, tree
from herz import Herz

READS = 20_000
REPEATS = 300


@dataclass(frozen=True, slots=True)
class Pool:
    size: int = 10


@dataclass(frozen=True, slots=True)
class Service:
    timeout: float = 3.0
    pool: Pool = field(default_factory=Pool)


class Holder:
    """What one would write without Herz."""

    __slots__ = ("current",)

    def __init__(self, current: Any) -> None:
        self.current = current


def shallow(owner: Any, reads: int) -> Callable[[], float]:
    def measure() -> float:
        handle = owner  # as in an application, where it is a variable of the function that reads
        clock = time.perf_counter
        start = clock()
        for _ in repeat(None, reads // 5):  # five at a time, so that little of the time is the loop's
            _ = handle.current.timeout
            _ = handle.current.timeout
            _ = handle.current.timeout
            _ = handle.current.timeout
            _ = handle.current.timeout
        return (clock() - start) / reads

    return measure


def deep(owner: Any, reads: int) -> Callable[[], float]:
    def measure() -> float:
        handle = owner
        clock = time.perf_counter
        start = clock()
        for _ in repeat(None, reads // 5):
            _ = handle.current.pool.size
            _ = handle.current.pool.size
            _ = handle.current.pool.size
            _ = handle.current.pool.size
            _ = handle.current.pool.size
        return (clock() - start) / reads

    return measure


def run(*, reads: int = READS, repeats: int = REPEATS, leaves: int = LEAVES) -> list[Row]:
    herz = Herz({"service": {"timeout": 2.5, "pool": {"size": 20}}}, environment={})
    herz.properties("service")(Service)
    with tempfile.TemporaryDirectory() as folder, herz:
        handle = herz.handle(Service)
        assert handle.current == Service(2.5, Pool(20))
        plain = Holder(Service(2.5, Pool(20)))
        samples = rounds(
            {
                "herz": shallow(handle, reads),
                "plain": shallow(plain, reads),
                "herz deep": deep(handle, reads),
                "plain deep": deep(plain, reads),
            },
            repeats,
        )
        path = Path(folder) / "app.json"
        path.write_bytes(as_json(tree(leaves)))
        with Process("dynaconf_read", path, "s0042.g3.port", 200) as dynaconf:
            beside = rounds({"herz": deep(handle, reads), "dynaconf": dynaconf}, max(5, repeats // 6))
    return [
        ratio_row(
            "read handle.current.timeout", samples["herz"], samples["plain"], "a plain holder", unit="ns", most=1.15
        ),
        ratio_row(
            "read handle.current.pool.size",
            samples["herz deep"],
            samples["plain deep"],
            "a plain holder",
            unit="ns",
            most=1.15,
        ),
        faster_row(
            "dynaconf reads settings.s0042.g3.port",
            beside["dynaconf"],
            beside["herz"],
            "Herz's read of handle.current.pool.size",
            250,
            unit="ns",
        ),
    ]


if __name__ == "__main__":
    print_table(run())
