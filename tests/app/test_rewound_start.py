"""A store that is behind what an earlier life of the process has seen."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

import pytest

from herz import Herz
from herz.store.journal import Journal
from herz.store.sqlite import SqliteStore


def write(path: Path, value: int) -> None:
    async def go() -> None:
        store = SqliteStore(path)
        await Journal(store, "pay").set({"limit": value}, author="a")
        await store.close()

    asyncio.run(go())


def life(path: Path, copy: Path) -> tuple[str, int]:
    with Herz(f"sqlite:///{path}#pay", environment={}, last_good=copy) as herz:
        found = herz.snapshot["limit"], herz.snapshot.epoch
        if not copy.exists():
            herz.wait_for(lambda _: copy.exists(), timeout=10)
    return found


def test_a_store_restored_between_two_lives_begins_a_new_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, old, copy = tmp_path / "herz.db", tmp_path / "old.db", tmp_path / "last-good.json"
    write(path, 1)
    shutil.copy(path, old)
    write(path, 2)
    assert life(path, copy) == ("2", 0)
    assert life(path, copy) == ("2", 0)
    for rest in tmp_path.glob("herz.db*"):
        rest.unlink()
    shutil.copy(old, path)
    with caplog.at_level(logging.CRITICAL, "herz"):
        assert life(path, copy) == ("1", 1)
    assert "REWOUND" in caplog.text
