"""What is measured on: N leaves as N/100 sections × 10 groups × 10 scalars, or as N keys of one table.

One scalar changes at a time. `rounds` times things in turn, peers in processes of their own included.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks._report import Row, bootstrap_ratio_interval

LEAVES: Final = 100_000
SHAPES: Final = ("nested", "flat")
NAMES: Final = ("port", "timeout", "host", "enabled", "retries", "ratio", "zone", "verbose", "limit", "path")

Tree = dict[str, Any]


def tree(leaves: int = LEAVES, shape: str = "nested") -> Tree:
    """The same for the same arguments, in every process."""
    choose = random.Random(leaves)
    if shape == "flat":
        return {f"key{number:06d}": _scalar(choose, number) for number in range(leaves)}
    return {
        f"s{section:04d}": {
            f"g{group}": {name: _scalar(choose, at) for at, name in enumerate(NAMES)} for group in range(10)
        }
        for section in range(leaves // 100)
    }


def _scalar(choose: random.Random, at: int) -> Any:
    kind = at % 4
    if kind == 0:
        return choose.randrange(1_000_000)
    if kind == 1:
        return choose.randrange(1, 100_000) + 0.25
    if kind == 2:
        return f"v{choose.randrange(1_000_000_000):x}"
    return choose.random() < 0.5


def path_of(index: int, leaves: int = LEAVES, shape: str = "nested") -> tuple[str, ...]:
    """The path of an integer, a different one for each `index`."""
    if shape == "flat":
        return (f"key{index * 4 % leaves:06d}",)
    return (f"s{index % (leaves // 100):04d}", f"g{index % 10}", ("port", "retries", "limit")[index % 3])


def changed(before: Tree, path: Sequence[str], value: Any) -> Tree:
    """A copy of the path, the rest shared."""
    name, *rest = path
    return {**before, name: changed(before[name], rest, value) if rest else value}


def as_json(content: Tree) -> bytes:
    return json.dumps(content, indent=2).encode()


def as_yaml(content: Tree) -> bytes:
    lines: list[str] = []

    def write(table: Tree, indent: str) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                lines.append(f"{indent}{name}:")
                write(value, indent + "  ")
            else:
                lines.append(f"{indent}{name}: {value if isinstance(value, str) else json.dumps(value)}")

    write(content, "")
    return ("\n".join(lines) + "\n").encode()


ENCODERS: Final[Mapping[str, Callable[[Tree], bytes]]] = {"json": as_json, "yaml": as_yaml}


def edited(data: bytes, path: Sequence[str], value: int) -> bytes:
    """`data`, JSON or YAML as written here, with the integer at `path` replaced in its bytes."""
    quote = b'"' if data.startswith(b"{") else b""
    at = 0
    for name in path:
        at = data.index(quote + name.encode() + quote + b":", at) + len(name) + 2 * len(quote) + 1
    start = end = at + 1
    while data[end : end + 1].isdigit():
        end += 1
    return data[:start] + str(value).encode() + data[end:]


def replace_file(path: Path, data: bytes) -> None:
    """As careful writers do: a new file, renamed over the old one."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_bytes(data)
    fresh.rename(path)


# --- measuring -----------------------------------------------------------------------------------


def rounds(measures: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """The seconds that each measure says it took, all in turn, in an order that changes from round to round.

    As `interleave`, for measures that prepare or clear up outside of what they time. One round warms up.
    The collector runs between measures, not within them.
    """
    order = list(measures)
    samples: dict[str, list[float]] = {name: [] for name in order}
    shuffle = random.Random(20_25).shuffle
    for measure in measures.values():
        measure()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            shuffle(order)
            for name in order:
                samples[name].append(measures[name]())
                gc.collect()
    finally:
        gc.enable()
    return samples


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """A measure of `call`; what it returns is freed outside of the time."""

    def measure() -> float:
        start = time.perf_counter()
        kept = call()
        seconds = time.perf_counter() - start
        del kept
        return seconds

    return measure


class Process:
    """A function `benchmarks.processes.<name>(*arguments)` in a process of its own, which answers with what it returns.

    `ask(*words)` sends words and returns the answer; calling it returns the answer as seconds.
    """

    def __init__(self, name: str, *arguments: object) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", name, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self._read()

    def ask(self, *words: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._read()

    def within(self, patience_s: float) -> float | None:
        """As a call, but None when the answer takes longer; the process is ended then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("[]\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], patience_s)[0]:
            self._process.kill()
            return None
        return float(self._read())

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")
        return json.loads(line)

    def __call__(self) -> float:
        return float(self.ask())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def environment() -> dict[str, str]:
    """That of a process that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "0"}


# --- saying --------------------------------------------------------------------------------------


def ratio_row(
    name: str,
    values: Sequence[float],
    reference: Sequence[float],
    of: str,
    *,
    unit: str = "ms",
    most: float | None = None,
    note: str = "",
) -> Row:
    """A row whose target is `most` × the reference; met when the measured ratio is."""
    ratio, low, high = bootstrap_ratio_interval(values, reference)
    said = f"of {of}, {_scaled(reference, unit):,.3g} {unit}; 95 % interval {low:.3g} to {high:.3g}"
    return Row(
        name,
        _scaled(values, unit),
        unit,
        ratio,
        "" if most is None else f"≤ {most:g} ×",
        None if most is None else ratio <= most,
        f"{said}; {note}" if note else said,
    )


def faster_row(
    name: str, peer: Sequence[float], values: Sequence[float], of: str, least: float, *, unit: str = "ms"
) -> Row:
    """A row about a peer, which takes at least `least` times as long as we do."""
    ratio, low, high = bootstrap_ratio_interval(peer, values)
    return Row(
        name,
        _scaled(peer, unit),
        unit,
        ratio,
        f"≥ {least:g} ×",
        ratio >= least,
        f"of {of}; 95 % interval {low:.3g} to {high:.3g}",
    )


def limit_row(name: str, values: Sequence[float], unit: str, most: float, *, note: str = "") -> Row:
    """A row whose median may be `most` in `unit`."""
    value = _scaled(values, unit)
    spread = f"p90 {_scaled([quantile(values, 0.9)], unit):,.3g} {unit}"
    return Row(name, value, unit, None, f"≤ {most:g} {unit}", value <= most, f"{spread}; {note}" if note else spread)


def _scaled(values: Sequence[float], unit: str) -> float:
    return statistics.median(values) * {"s": 1, "ms": 1e3, "µs": 1e6, "ns": 1e9}[unit]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def say(what: str) -> None:
    """Progress, on the terminal only."""
    print(f"  {what}", file=sys.stderr, flush=True)
