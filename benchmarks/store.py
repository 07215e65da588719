"""One key changed in the embedded store: what the change costs, and how soon another process sees it.

`python -m benchmarks.store`.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import Row, print_table
from benchmarks.changing import opened
from benchmarks.workload import LEAVES, SHAPES, Process, limit_row, path_of, quantile, ratio_row, rounds, say, tree
from herz import Handle, Herz
from herz.model.document import Batch, Document, Event, replay
from herz.model.origin import Origin
from herz.model.tree import lookup
from herz.store.names import config_name

REPEATS = 60
CHANGES = 50
"""Changes that one measure takes, one revision each."""
WRITES = 300


class Store:
    """A store's document in force; each change is a revision whose one event is known."""

    def __init__(self, loop: asyncio.AbstractEventLoop, leaves: int, shape: str, changes: int) -> None:
        self._loop, self._leaves, self._shape, self._changes = loop, leaves, shape, changes
        self._document = Document(Origin("store"), 1, tree(leaves, shape), references=False)
        self._updater = loop.run_until_complete(opened([self._document]))

    def _next(self) -> Batch:
        """The next revision, as the source hands it on."""
        revision = self._document.revision + 1
        at = path_of(revision * 37, self._leaves, self._shape)
        event = Event(at, lookup(self._document.tree, at), 2_000_000 + revision)
        content = replay(self._document.tree, (event,))
        self._document = Document(self._document.origin, revision, content, references=False)
        return Batch(revision, (event,), self._document)

    def close(self) -> None:
        self._loop.run_until_complete(self._updater._scope.close())

    def __call__(self) -> float:
        """Seconds of one change, the mean of several, from the revision handed on to it being readable."""
        return self._loop.run_until_complete(self._apply())

    async def _apply(self) -> float:
        updater = self._updater
        (feed,) = updater.feeds
        before = updater.snapshot.fingerprint
        seconds = 0.0
        for _ in range(self._changes):
            batch = self._next()
            start = time.perf_counter()
            await updater._apply(feed, [batch])
            seconds += time.perf_counter() - start
        assert updater.snapshot.fingerprint != before
        assert lookup(updater.snapshot.composed.tree, batch.events[0].path) == batch.events[0].after
        assert feed.refused is None
        return seconds / self._changes


def delta(leaves: int, repeats: int, changes: int) -> list[Row]:
    loop = asyncio.new_event_loop()
    stores = {
        f"{shape} {size}": Store(loop, size, shape, changes) for shape in SHAPES for size in (leaves // 10, leaves)
    }
    samples = rounds(stores, repeats)
    rows: list[Row] = []
    for shape in SHAPES:
        large, small = samples[f"{shape} {leaves}"], samples[f"{shape} {leaves // 10}"]
        rows.append(
            limit_row(
                f"one of {leaves:,} keys changed in the store, delta known, {shape}",
                large,
                "µs",
                50,
                note="merge, diff, both fingerprints, look-up of what is bound, swap",
            )
        )
        rows.append(
            ratio_row(f"… against {leaves // 10:,} keys", large, small, f"{leaves // 10:,} keys", unit="µs", most=1.2)
        )
    for store in stores.values():
        store.close()
    loop.close()
    return rows


def written_and_seen(writer: Process, handle: Handle[Service], count: int) -> tuple[float, float, float | None]:
    """When the other process began to write, when its write was acknowledged, and when we saw it (None: never).

    A thread looks every 100 µs, so that a value which is seen before its acknowledgement arrives here counts as that.
    """
    seen: list[float] = []

    def look() -> None:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if handle.current.count == count:
                seen.append(time.monotonic())
                return
            time.sleep(0.0001)

    looking = threading.Thread(target=look)
    looking.start()
    began, written = writer.ask(str(count))
    looking.join()
    return began, written, seen[0] if seen else None


@dataclass(frozen=True, slots=True)
class Service:
    """What the other process reads."""

    count: int = -1


def across(writes: int) -> list[Row]:
    """Another process writes, this one reads: milliseconds from the acknowledged write to the new value."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "herz.db"
        with Process("store_writer", path, config_name("app", "service.count")) as writer:
            writer.ask("0")
            herz = Herz(f"sqlite:///{path}#app", environment={})
            herz.properties("service")(Service)
            choose = random.Random(3)
            after, since_start = [], []
            missed = 0
            with herz:
                handle = herz.handle(Service)
                for count in range(1, writes + 1):
                    time.sleep(choose.uniform(0.002, 0.02))
                    began, written, seen = written_and_seen(writer, handle, count)
                    if seen is None:
                        missed += 1
                        continue
                    after.append(max(0.0, seen - written))
                    since_start.append(seen - began)
    p99 = quantile(after, 0.99) * 1e3
    note = (
        f"p50 {statistics.median(after) * 1e3:.1f} ms; with the write itself p50 "
        f"{statistics.median(since_start) * 1e3:.1f}, p99 {quantile(since_start, 0.99) * 1e3:.1f} ms; "
        f"{missed} of {writes} missed"
    )
    return [
        Row(
            "store written → visible in another process, p99",
            p99,
            "ms",
            target="≤ 20 ms",
            ok=p99 <= 20 and missed == 0,
            note=note,
        )
    ]


def run(*, leaves: int = LEAVES, repeats: int = REPEATS, changes: int = CHANGES, writes: int = WRITES) -> list[Row]:
    say("one key changed in the store")
    rows = delta(leaves, repeats, changes)
    say("store written, seen by another process")
    return rows + across(writes)


if __name__ == "__main__":
    print_table(run())
