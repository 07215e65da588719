"""What readers notice while reloads of a large file run back to back: `python -m benchmarks.stalls`.

One reader reads every millisecond and notes how late it was; idle and loaded spells alternate in one run. A bystander
in a process of its own does the same during the loaded spells, which tells what the machine has to do with it.
Another reads as fast as it can and looks for values that are missing or do not belong together.
"""

from __future__ import annotations

import gc
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._report import Row, print_table
from benchmarks.workload import ENCODERS, LEAVES, Process, changed, path_of, quantile, say, tree
from herz import Herz, Snapshot

SPELLS = 4
SPELL_S = 2.5
VERSIONS = 24
READS = 10_000_000
UNTHROTTLED_S = 10.0
PERIOD_S = 0.001


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values that always change together."""

    first: int = -1
    last: int = -1


def marked(content: dict[str, Any], version: int) -> dict[str, Any]:
    """`content` with `version` in its first key, its last, and in a pair that is bound."""
    return {"a": {"mark": version}, "pair": {"first": version, "last": version}, **content, "z": {"mark": version}}


def edits(leaves: int, count: int) -> Iterator[dict[str, Any]]:
    """Each differs from the one before in one key (and the last from the first, when they go round)."""
    content = {"pair": {"first": 0, "last": 0}, **tree(leaves)}
    for version in range(count):
        yield changed(content, path_of(37, leaves), 1_000_000 + version)


def rewritten(leaves: int, count: int) -> Iterator[dict[str, Any]]:
    """Each differs from the one before in a key of every section, in its first key and in its last."""
    content = tree(leaves)
    for version in range(count):
        for section in range(leaves // 100):
            content = changed(content, (f"s{section:04d}", "g3", "limit"), 1_000_000 + version)
        yield marked(content, version)


class Versions:
    """Prepared contents of one file; the next one is linked and renamed into place, which costs next to nothing."""

    def __init__(self, folder: Path, format: str, contents: Iterator[dict[str, Any]]) -> None:
        self.path = folder / f"app.{format}"
        self._paths = []
        for number, content in enumerate(contents):
            path = folder / f"version-{number}"
            path.write_bytes(ENCODERS[format](content))
            self._paths.append(path)
        self._turn = itertools.cycle(range(len(self._paths)))
        self.next()

    def next(self) -> int:
        """Put the next version into place, and answer its number."""
        number = next(self._turn)
        fresh = self.path.with_name("next.tmp")
        os.link(self._paths[number], fresh)
        fresh.rename(self.path)
        return number


def _newer(generation: int, snapshot: Snapshot) -> bool:
    return snapshot.generation > generation


@contextmanager
def reloading(herz: Herz, versions: Versions) -> Iterator[list[int]]:
    """Reload back to back meanwhile; yields what counts the reloads."""
    going, count = [True], [0]

    def drive() -> None:
        while going[0]:
            before = herz.snapshot.generation
            versions.next()
            herz.wait_for(partial(_newer, before), 30)
            count[0] += 1

    driver = threading.Thread(target=drive, name="driver")
    driver.start()
    try:
        yield count
    finally:
        going[0] = False
        driver.join()


def lateness(seconds: float, read: Callable[[], object]) -> list[float]:
    """Read every millisecond; how many seconds late each reading was complete."""
    late: list[float] = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        due += PERIOD_S
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        read()
        late.append(time.perf_counter() - due)
    return late


class FullCollections:
    """Seconds that each full collection took while `on`: all threads stand still meanwhile."""

    def __init__(self) -> None:
        self.on, self.seconds, self._since = False, [0.0], 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2 and phase == "start":
            self._since = time.perf_counter()
        elif info["generation"] == 2 and self.on:
            self.seconds.append(time.perf_counter() - self._since)


def throttled(format: str, kind: str, leaves: int, spells: int, spell_s: float, count: int) -> list[Row]:
    contents = edits(leaves, count) if kind == "one key edited" else rewritten(leaves, count)
    idle: list[float] = []
    loaded: list[float] = []
    beside: list[float] = []
    reloads = 0
    full = FullCollections()
    with tempfile.TemporaryDirectory() as folder:
        versions = Versions(Path(folder), format, contents)
        herz = Herz(versions.path, environment={})
        herz.properties("pair")(Pair)
        gc.collect()
        gc.callbacks.append(full)
        with herz, Process("bystander") as bystander, ThreadPoolExecutor(1) as waiting:
            handle = herz.handle(Pair)

            def read() -> int:
                current = handle.current
                assert current.first == current.last
                return current.first

            with reloading(herz, versions) as counted:  # what is made once is made now
                time.sleep(spell_s / 2)
            for _ in range(spells):
                idle += lateness(spell_s, read)
                with reloading(herz, versions) as counted:
                    asked = waiting.submit(bystander.ask, spell_s)
                    full.on = True
                    loaded += lateness(spell_s, read)
                    full.on = False
                reloads += counted[0]
                beside += asked.result()
        gc.callbacks.remove(full)
    most, calm = quantile(loaded, 0.999) * 1e3, quantile(idle, 0.999) * 1e3
    return [
        Row(
            f"reader at 1 kHz, {format.upper()}, {kind}, p99.9",
            most,
            "ms",
            None,
            f"≤ {calm:.2f} + 5 ms",
            most <= calm + 5,
            f"idle {calm:.2f} ms, p99 {quantile(loaded, 0.99) * 1e3:.2f}, max {max(loaded) * 1e3:.1f} against "
            f"{max(idle) * 1e3:.1f} ms; {reloads:,} reloads of {leaves:,} keys in {spells * spell_s:.0f} s; a bystander "
            f"meanwhile {quantile(beside, 0.999) * 1e3:.2f} ms; full collections: {len(full.seconds) - 1}, the longest "
            f"{max(full.seconds) * 1e3:.1f} ms",
        )
    ]


def unthrottled(leaves: int, reads: int, seconds: float, count: int) -> list[Row]:
    """Read as fast as can be: a bound pair each time, now and then the first and last key of the file."""
    missing = torn = done = 0
    with tempfile.TemporaryDirectory() as folder:
        versions = Versions(Path(folder), "json", rewritten(leaves, count))
        herz = Herz(versions.path, environment={})
        herz.properties("pair")(Pair)
        with herz:
            handle = herz.handle(Pair)
            end = time.monotonic() + seconds
            with reloading(herz, versions) as counted:
                while done < reads or time.monotonic() < end:
                    for _ in range(1000):
                        current = handle.current
                        torn += current.first != current.last
                    snapshot = herz.snapshot
                    first, pair, last = snapshot.get("a.mark"), snapshot.get("pair.first"), snapshot.get("z.mark")
                    missing += (first is None) + (last is None)
                    torn += not first == pair == last
                    done += 1001
            reloads = counted[0]
        with Process("dynaconf_reloading", versions.path, f"s{leaves // 200:04d}.g3.port") as dynaconf:
            peer = dynaconf.ask(min(seconds, 5.0))
    share = peer["missing"] / max(1, peer["reads"])
    return [
        Row(
            "unthrottled reader: missing and torn",
            missing + torn,
            "reads",
            None,
            "0",
            missing + torn == 0,
            f"{missing} missing, {torn} torn in {done:,} reads during {reloads:,} reloads of {leaves:,} keys",
        ),
        Row(
            "… dynaconf: missing",
            share * 100,
            "%",
            note=f"of {peer['reads']:,} reads during {peer['reloads']} reloads",
        ),
    ]


def run(
    *,
    leaves: int = LEAVES,
    spells: int = SPELLS,
    spell_s: float = SPELL_S,
    versions: int = VERSIONS,
    reads: int = READS,
    seconds: float = UNTHROTTLED_S,
) -> list[Row]:
    rows: list[Row] = []
    for format in ENCODERS:
        for kind in ("one key edited", "whole file rewritten"):
            say(f"reader at 1 kHz, {format}, {kind}")
            rows += throttled(format, kind, leaves, spells, spell_s, versions)
    say("unthrottled reader")
    return rows + unthrottled(leaves, reads, seconds, versions)


if __name__ == "__main__":
    print_table(run())
