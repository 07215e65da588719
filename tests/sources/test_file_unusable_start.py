"""A source that cannot be read at first is tried often, at the cost of a stat."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from herz.errors import DocumentMalformed, HerzError
from herz.sources import file_look
from herz.sources.file_reading import read_whole
from herz.sources.files import FileSource


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, in order."""
    seen: list[str] = []

    def reading(path: str, **options: Any) -> Any:
        seen.append(os.path.basename(path))
        return read_whole(path, **options)

    monkeypatch.setattr(file_look, "read_whole", reading)
    return seen


def aged(path: Path, text: str) -> None:
    """Write `text`, long enough ago that a change would show in what stat says."""
    path.write_text(text)
    deadline = time.monotonic() + 5
    while time.time_ns() - path.stat().st_ctime_ns < 100_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def refused(source: FileSource) -> str:
    with pytest.raises(HerzError) as caught:
        await source.read()
    return str(caught.value)


async def test_a_malformed_file_is_read_once_and_then_only_looked_at(tmp_path, readings) -> None:
    path = tmp_path / "app.yml"
    aged(path, "a: [\n")
    source = FileSource(path)
    first = await refused(source)
    assert readings
    readings.clear()
    for _ in range(5):
        assert await refused(source) == first
    assert readings == []
    path.write_text("a: 1\n")
    assert (await source.read()).parts[0].tree == {"a": 1}


async def test_a_file_that_comes_beside_it_is_seen(tmp_path, readings) -> None:
    aged(tmp_path / "b.yml", "b: [\n")
    source = FileSource(f"{tmp_path}/")
    await refused(source)
    readings.clear()
    (tmp_path / "a.yml").write_text("a: {\n")
    assert "a.yml" in await refused(source)
    assert "a.yml" in readings


async def test_a_file_that_was_written_a_moment_ago_is_read_again(tmp_path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: [\n")
    source = FileSource(path)
    for _ in range(20):
        path.write_text("a: [\n")
        await refused(source)
        path.write_text("a: 1\n")
    assert (await source.read()).parts[0].tree == {"a": 1}


async def test_what_is_raised_again_does_not_grow(tmp_path) -> None:
    path = tmp_path / "app.yml"
    aged(path, "a: [\n")
    source = FileSource(path)
    lengths = []
    for _ in range(10):
        with pytest.raises(DocumentMalformed) as caught:
            await source.read()
        lengths.append(len(caught.traceback))
    assert max(lengths[2:]) <= max(lengths[:2])
