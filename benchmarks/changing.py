"""One key changed in a large file until the new value can be read, work only: `python -m benchmarks.changing`.

The work is all that happens between the notice that the file changed and the swap: read it, find what differs, decode
that, merge, compare by meaning, bring the fingerprints up to date, find what is bound there, publish.
Waiting for the notice is measured in `benchmarks.files`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import Row, print_table
from benchmarks.workload import (
    ENCODERS,
    LEAVES,
    SHAPES,
    Process,
    edited,
    faster_row,
    limit_row,
    path_of,
    rounds,
    say,
    tree,
)
from herz.app.feed import Feed, layers_of
from herz.app.models import Models
from herz.app.updater import Updater
from herz.formats.fault import Limits
from herz.live.dispatcher import Dispatcher
from herz.live.draining import Notice
from herz.live.runner import Runner
from herz.live.scope import Scope
from herz.merge.composition import Composition
from herz.model.document import Batch, Document, Event
from herz.model.origin import Origin
from herz.sources.file_parts import Part, part_of
from herz.sources.file_patterns import Member
from herz.sources.file_reading import read_whole
from herz.sources.mapping import MappingSource

REPEATS = 40
TARGETS_MS = {"json": 2.0, "yaml": 4.0}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Bound, so that there is something to look through, and never reached."""

    timeout: float = 3.0


def unexpected(notice: Notice) -> None:
    raise AssertionError(notice.message)


async def opened(documents: Sequence[Document]) -> Updater:
    """All that puts documents in force, with one bound model, without a thread or a watch; fingerprints known."""
    feeds = [Feed(f"source {at}", MappingSource({}), document) for at, document in enumerate(documents)]
    scope, dispatcher = Scope(Runner(), on_event=unexpected), Dispatcher()
    scope.declare_properties(Elsewhere, "benchmark.elsewhere")
    updater = Updater(
        feeds,
        Composition.of(layers_of(feeds, documents)),
        scope,
        Models(scope.providers),
        dispatcher,
        clock=time.monotonic,
        chance=lambda: 0.5,
        applied=lambda: None,
    )
    await scope.open(updater.snapshot)
    assert updater.snapshot.fingerprint
    assert updater.snapshot.release_fingerprint
    return updater


class Following:
    """One file in force, changed and taken up again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, leaves: int, shape: str) -> None:
        self._loop, self._path, self._leaves, self._shape = loop, path, leaves, shape
        self._member = Member(str(path), "")
        self._part = self._read(1, None)[0]
        self._part.decoded.prepare()  # Herz does this after the start, in the background
        self._revision = 1
        self._updater = loop.run_until_complete(opened([self._document()]))

    def _document(self) -> Document:
        return Document(Origin(str(self._path)), self._revision, parts=(self._part.document,))

    def _read(self, revision: int, before: Part | None) -> tuple[Part, tuple[Event, ...]]:
        reading = read_whole(str(self._path), max_bytes=Limits().max_bytes, place=str(self._path))
        assert reading is not None
        return part_of(self._member, str(self._path), reading, revision, before, Limits(), yielding=before is not None)

    def close(self) -> None:
        self._loop.run_until_complete(self._updater._scope.close())

    def change(self) -> tuple[str, int]:
        """Write another value into the file; its key and the value."""
        self._revision += 1
        at = path_of(self._revision * 37, self._leaves, self._shape)
        self._path.write_bytes(edited(self._path.read_bytes(), at, 2_000_000 + self._revision))
        return ".".join(at), 2_000_000 + self._revision

    def take_up(self, key: str, expected: int) -> float:
        """Seconds until the value can be read."""
        return self._loop.run_until_complete(self._take_up(key, expected))

    async def _take_up(self, key: str, expected: int) -> float:
        updater = self._updater
        (feed,) = updater.feeds
        superseded = self._part  # a source lets go of it later, too
        start = time.perf_counter()
        self._part, events = self._read(self._revision, superseded)
        await updater._apply(feed, [Batch(self._revision, events, self._document())])
        found = updater.snapshot[key]
        seconds = time.perf_counter() - start
        assert found == expected, f"{found!r} instead of {expected!r}"
        assert len(events) == 1
        assert feed.refused is None
        return seconds


def measured(path: Path, leaves: int, shape: str, repeats: int) -> dict[str, list[float]]:
    loop = asyncio.new_event_loop()
    following = Following(loop, path, leaves, shape)
    with Process("dynamic_config_reload", path) as peer:

        def herz() -> float:
            return following.take_up(*following.change())

        def dynamic_config() -> float:
            key, value = following.change()
            seconds = float(peer.ask(key, value))
            following.take_up(key, value)
            return seconds

        samples = rounds({"herz": herz, "dynamic-config-py": dynamic_config}, repeats)
    following.close()
    loop.close()
    return samples


def run(*, leaves: int = LEAVES, repeats: int = REPEATS) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            for format, most in TARGETS_MS.items():
                say(f"one key changed, {format}, {shape}")
                path = Path(folder) / f"{shape}.{format}"
                path.write_bytes(ENCODERS[format](tree(leaves, shape)))
                samples = measured(path, leaves, shape, repeats)
                what = f"one of {leaves:,} keys changed, {format.upper()}, {shape}"
                rows += [
                    limit_row(what, samples["herz"], "ms", most, note="read, decode, merge, differ, swap"),
                    faster_row("… dynamic-config-py 0.3.3", samples["dynamic-config-py"], samples["herz"], "Herz", 50),
                ]
    return rows


if __name__ == "__main__":
    print_table(run())
