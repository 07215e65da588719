"""Where nothing tells that a writer has finished, a content counts when two readings have found it equal.

So it is off Linux: `watchfiles` says that something changed, and there are no leases to ask who writes.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from herz.model.document import Batch
from herz.sources.base import Failed
from herz.sources.file_look import WHOLE_S
from herz.sources.file_watch import WatchfilesWatch
from herz.sources.files import FileSource


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `file_reading` defines it off Linux."""
    monkeypatch.setattr("herz.sources.file_reading.being_written", lambda descriptor: None)


def source(path: Path | str) -> FileSource:
    return FileSource(path, check_s=600, listen=WatchfilesWatch)


async def test_a_write_in_two_steps_is_not_torn(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\nb: 0\n")
    async with follow(source(path)) as follower:
        for count in range(1, 4):
            with path.open("w") as file:
                file.write(f"a: {count}\n")
                file.flush()
                await asyncio.sleep(WHOLE_S / 2)
                file.write(f"b: {count}\n")
            await follower.until_values({"a": count, "b": count})
    batches = [item for item in follower.items if isinstance(item, Batch)]
    assert len(batches) == 3
    assert not [item for item in follower.items if isinstance(item, Failed)]


async def test_a_rename_and_a_switched_link_arrive(tmp_path, follow) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.yml").write_text(f"a: {name}\n")
    (tmp_path / "current").symlink_to("one")
    async with follow(source(tmp_path / "current" / "app.yml")) as follower:
        (tmp_path / "fresh").symlink_to("two")
        (tmp_path / "fresh").rename(tmp_path / "current")
        await follower.until_values({"a": "two"})
        (tmp_path / "new").write_text("a: three\n")
        (tmp_path / "new").rename(tmp_path / "two" / "app.yml")
        await follower.until_values({"a": "three"})


async def test_a_rescan_waits_for_two_equal_readings_a_moment_apart(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(source(path)) as follower:
        for count in range(1, 4):
            path.write_text(f"a: {count}\n")
            began = time.monotonic()
            revision = await follower.source.rescan()
            assert time.monotonic() - began < WHOLE_S
            await follower.until_values({"a": count})
            assert follower.document.revision == revision


async def test_the_comparison_alone_wants_two_equal_checks(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\nb: 0\n")
    deaf = FileSource(path, check_s=0.2, listen=lambda wake: None)
    async with follow(deaf) as follower:
        with path.open("w") as file:
            file.write("a: 1\n")
            file.flush()
            os.fsync(file.fileno())
            await asyncio.sleep(0.1)
            file.write("b: 1\n")
        await follower.until_values({"a": 1, "b": 1})
    assert len([item for item in follower.items if isinstance(item, Batch)]) == 1
