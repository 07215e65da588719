"""How long a written file takes to be visible: in place, renamed, by vim, by Kubernetes, slowly in two steps."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._report import Row, print_table
from herz.model.document import Batch, Reset
from herz.sources.files import FileSource

WRITES = 200
PAD = "\n".join(f"key{number}: value{number}" for number in range(50))


def content(count: int) -> str:
    """A document whose first and last key must agree: a torn reading is seen by that."""
    return f"first: {count}\n{PAD}\nlast: {count}\n"


# Each way of writing answers the moment just before the call that makes the content complete (the close, the
# rename): a stamp taken afterwards would be late whenever the writer's thread has to wait for the reader's.


def in_place(path: Path, text: str) -> float:
    file = path.open("w")
    file.write(text)
    file.flush()
    complete = time.perf_counter()
    file.close()
    return complete


def renamed(path: Path, text: str) -> float:
    fresh = path.with_name("fresh.tmp")
    fresh.write_text(text)
    complete = time.perf_counter()
    fresh.rename(path)
    return complete


def vim(path: Path, text: str) -> float:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    complete = in_place(path, text)
    backup.unlink()
    return complete


def swapped(path: Path, text: str) -> float:
    """As Kubernetes' atomic writer: a new folder, then `..data` renamed over the old link."""
    mount = path.parent
    payload = Path(tempfile.mkdtemp(prefix="..2026_", dir=mount))
    (payload / path.name).write_text(text)
    link, fresh = mount / "..data", mount / "..data_tmp"
    old = mount / os.readlink(link) if link.is_symlink() else None
    fresh.symlink_to(payload.name)
    complete = time.perf_counter()
    fresh.rename(link)
    if not path.is_symlink():
        path.symlink_to(f"..data/{path.name}")
    if old is not None:
        shutil.rmtree(old)
    return complete


def slowly(path: Path, text: str) -> float:
    half = len(text) // 2
    with path.open("w") as file:
        file.write(text[:half])
        file.flush()
        time.sleep(0.02)
        file.write(text[half:])
        file.flush()
        return time.perf_counter()


STYLES: dict[str, Callable[[Path, str], float]] = {
    "in place": in_place,
    "rename": renamed,
    "vim": vim,
    "Kubernetes ..data": swapped,
    "two steps, 20 ms apart": slowly,
}


async def measure(write: Callable[[Path, str], float], writes: int) -> tuple[list[float], int, int]:
    """Milliseconds from the completion of each write to its arrival, how many never came, how many were torn."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "app.yml"
    (swapped if write is swapped else in_place)(path, content(0))
    source = FileSource(path)
    document = await source.read()
    taken, misses, torn = [], 0, 0
    try:
        async with source.follow(document.revision) as stream:
            for count in range(1, writes + 1):
                writer = asyncio.get_running_loop().run_in_executor(None, write, path, content(count))
                try:
                    async with asyncio.timeout(2):
                        while True:
                            item = await anext(stream)
                            arrived = time.perf_counter()
                            if not isinstance(item, (Batch, Reset)):
                                continue
                            tree = item.document.parts[0].tree
                            torn += tree.get("first") != tree.get("last")
                            if tree.get("last") == count:
                                break
                    taken.append((arrived - await writer) * 1e3)
                except TimeoutError:
                    misses += 1
                    await writer
    finally:
        shutil.rmtree(folder)
    return taken, misses, torn


def run(writes: int = WRITES) -> list[Row]:
    """One row for each way of writing: the median, with misses and torn readings in the note."""
    rows = []
    for name, write in STYLES.items():
        taken, misses, torn = asyncio.run(measure(write, writes))
        p50 = statistics.median(taken)
        p99 = statistics.quantiles(taken, n=100)[98]
        rows.append(
            Row(
                f"file written, {name}",
                p50,
                "ms",
                target="≤ 5 ms, 0 missed, 0 torn",
                ok=p50 <= 5 and misses == 0 and torn == 0,
                note=f"p99 {p99:.1f} ms; {misses} missed, {torn} torn of {writes}",
            )
        )
    return rows


if __name__ == "__main__":
    print_table(run())
