"""A start or a stop that is given up, whenever that may be, leaves nothing open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from herz import Herz
from herz.app.events import Phase
from herz.store.sqlite import SqliteStore


def lanes() -> set[threading.Thread]:
    """The threads of embedded stores; each holds a connection."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("herz-sqlite")}


def _ended(threads: set[threading.Thread]) -> None:
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "a store was left open"


@pytest.fixture
async def sources(tmp_path: Path) -> AsyncIterator[list[str]]:
    """A store, and a file that names one more source, so that everything is read twice."""
    store = SqliteStore(tmp_path / "herz.db")
    await store.put("/config/app/a", b"1")
    await store.close()
    (tmp_path / "more.yml").write_text("b: 2\n")
    (tmp_path / "app.yml").write_text(f"herz.config.import: {tmp_path}/more.yml\n")
    before = lanes()
    yield [f"sqlite:///{tmp_path}/herz.db#app", str(tmp_path / "app.yml")]
    await asyncio.to_thread(_ended, lanes() - before)


async def test_a_start_at_any_moment(sources: list[str]) -> None:
    ended = set()
    for milliseconds in (step / 2 for step in range(80)):
        herz = Herz(*sources, environment={})
        try:
            async with asyncio.timeout(milliseconds / 1000):
                await herz.astart()
        except TimeoutError:
            assert herz.state is Phase.STOPPED
            ended.add("given up")
        else:
            assert herz.snapshot["a"] == "1"
            await herz.astop()
            ended.add("started")
    assert "given up" in ended


async def test_a_start_in_the_moment_in_which_it_succeeded(sources: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    herz = Herz(*sources, environment={})
    objects: list[str] = []

    class Pool:
        def close(self) -> None:
            objects.append("closed")

    @herz.refresh_scope(eager=True)
    def pool() -> Pool:
        objects.append("built")
        return Pool()

    engine = herz._life.engine
    started = engine.await_

    async def given_up(coroutine: object) -> None:
        await started(coroutine)  # type: ignore[arg-type]
        raise asyncio.CancelledError

    monkeypatch.setattr(engine, "await_", given_up)
    with pytest.raises(asyncio.CancelledError):
        await herz.astart()
    assert herz.state is Phase.STOPPED
    assert objects == ["built", "closed"]
    monkeypatch.undo()
    async with herz:  # and it can be started again
        assert herz.snapshot["b"] == 2


async def test_why_a_start_failed_is_told_also_where_closing_fails(
    sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    herz = Herz(*sources, environment={})

    async def unwell() -> None:
        raise LookupError("the start")

    monkeypatch.setattr(herz._life, "_start", unwell)
    monkeypatch.setattr(herz._life, "_undone", unwell)
    with pytest.raises(LookupError, match="the start"):
        await herz.astart()
    assert herz.state is Phase.STOPPED


async def test_a_stop_goes_on_although_nobody_waits_for_it(sources: list[str]) -> None:
    for milliseconds in range(20):
        herz, closed = Herz(*sources, environment={}), threading.Event()

        class Pool:
            def __init__(self, closed: threading.Event) -> None:
                self.closed = closed

            async def aclose(self) -> None:
                await asyncio.sleep(0.002)
                self.closed.set()

        @herz.refresh_scope(eager=True)
        def pool(closed: threading.Event = closed) -> Pool:
            return Pool(closed)

        await herz.astart()
        with suppress(TimeoutError):
            async with asyncio.timeout(milliseconds / 1000):
                await herz.astop()
        assert await asyncio.to_thread(closed.wait, 10)
