"""From a file on disk to the first value that can be read: `python -m benchmarks.loading`."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import ryaml

from benchmarks._report import Row, print_table
from benchmarks.workload import (
    ENCODERS,
    LEAVES,
    SHAPES,
    Process,
    faster_row,
    path_of,
    ratio_row,
    rounds,
    say,
    timed,
    tree,
)
from herz.app.bootstrap import Loaded, load
from herz.app.models import Models
from herz.app.wanted import Wanted
from herz.live.providers import Providers
from herz.model.snapshot import Snapshot

REPEATS = 15
PATIENCE_S = 30.0
"""Seconds after which a peer is stopped."""


def loaded(loop: asyncio.AbstractEventLoop, path: Path) -> tuple[Snapshot, Loaded]:
    """What `Herz(path)` does until its configuration can be read, but for starting its thread and its watch."""
    wanted = Wanted(
        specs=(path,),
        arguments=(),
        environment={},
        environment_prefix="",
        base_folders=(),
        profiles=None,
        secret_patterns=(),
        last_good=None,
    )
    found = loop.run_until_complete(load(wanted, time.monotonic))
    revisions = {feed.name: feed.accepted.revision for feed in found.feeds}
    binder = Models(Providers())
    return Snapshot(found.composition, generation=1, revisions=revisions, epoch=0, binder=binder), found


def reader(loop: asyncio.AbstractEventLoop, path: Path, key: str, expected: Any) -> Callable[[], object]:
    def call() -> Loaded:
        snapshot, found = loaded(loop, path)
        assert snapshot[key] == expected
        return found

    return call


def completer(loop: asyncio.AbstractEventLoop, path: Path, key: str) -> Callable[[], object]:
    def call() -> Loaded:
        snapshot, found = loaded(loop, path)
        assert snapshot.fingerprint
        assert ":" in snapshot.locate(key)  # the lines of all keys are found together
        return found

    return call


def alone(format: str, path: Path) -> Callable[[], object]:
    """The decoder that Herz uses, and nothing else; the file is read as well."""
    if format == "json":
        return lambda: msgspec.json.decode(path.read_bytes())
    return lambda: ryaml.loads(path.read_bytes().decode())  # type: ignore[attr-defined]


def stopped_after(path: Path, key: str, patience_s: float) -> float | None:
    """Seconds that dynaconf took, None when it had not finished after `patience_s`."""
    with Process("dynaconf_load", path, key) as peer:
        return peer.within(patience_s)


def run(*, leaves: int = LEAVES, repeats: int = REPEATS, patience_s: float = PATIENCE_S) -> list[Row]:
    rows: list[Row] = []
    loop = asyncio.new_event_loop()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for shape in SHAPES:
                for format in ENCODERS:
                    say(f"loading {format}, {shape}")
                    rows += measured(loop, Path(folder), format, shape, leaves, repeats, patience_s)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return rows


def measured(
    loop: asyncio.AbstractEventLoop,
    folder: Path,
    format: str,
    shape: str,
    leaves: int,
    repeats: int,
    patience_s: float,
) -> list[Row]:
    content = tree(leaves, shape)
    path = folder / f"{shape}.{format}"
    path.write_bytes(ENCODERS[format](content))
    time.sleep(0.06)  # a file that was written within a clock's tick is read more carefully
    at = path_of(42, leaves, shape)
    key, expected = ".".join(at), _value(content, at)
    decoder = "msgspec alone" if format == "json" else "ryaml alone"
    measures: dict[str, Callable[[], float]] = {
        "herz": timed(reader(loop, path, key, expected)),
        "complete": timed(completer(loop, path, key)),
        "alone": timed(alone(format, path)),
    }
    slow = format == "yaml" or shape == "flat"  # dynaconf takes 10 s and more for these, of which one is enough
    with ExitStack() as stack:
        if not slow:
            measures["dynaconf"] = stack.enter_context(Process("dynaconf_load", path, key))
        samples = rounds(measures, repeats)
    what = f"cold load of {leaves:,} keys, {format.upper()}, {shape}"
    rows = [
        ratio_row(what, samples["herz"], samples["alone"], decoder, most=3),
        ratio_row(
            "… with fingerprint and all origins",
            samples["complete"],
            samples["alone"],
            decoder,
            most=10 if format == "json" else None,
        ),
    ]
    if not slow:
        rows.append(faster_row("… dynaconf", samples["dynaconf"], samples["herz"], "Herz", 20))
    elif patience_s > 0:
        seconds = stopped_after(path, key, patience_s)
        median = sorted(samples["herz"])[len(samples["herz"]) // 2]
        took = patience_s if seconds is None else seconds
        rows.append(
            Row(
                "… dynaconf",
                took * 1e3,
                "ms",
                took / median,
                "≥ 20 ×" if format == "json" else "",
                took / median >= 20 if format == "json" else None,
                f"of Herz; {'stopped before it had finished' if seconds is None else 'one reading'}",
            )
        )
    return rows


def _value(content: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        content = content[name]
    return json.loads(json.dumps(content))


if __name__ == "__main__":
    print_table(run())
