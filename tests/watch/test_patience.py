"""Each wait has its whole limit, one timer serves them all, and who cancels the task is not mistaken for a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from herz.testing.virtual_time import run
from herz.watch.patience import Patience


def now() -> float:
    return asyncio.get_running_loop().time()


async def waiting_in(patience: Patience, ended: list[str]) -> str:
    try:
        return await patience.of(asyncio.sleep(1e6, "at last"))
    except TimeoutError:
        ended.append("limit")
        raise
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise


def test_a_wait_that_is_too_long_is_cancelled_when_its_limit_is_reached() -> None:
    seen: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            seen.append("cancelled")

    async def story() -> None:
        with Patience(10) as patience:
            await asyncio.sleep(7)
            began = now()
            with pytest.raises(TimeoutError):
                await patience.of(endless())
            assert now() - began == pytest.approx(10)
            assert seen == ["cancelled"]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(story())


def test_each_wait_has_its_whole_limit_and_what_is_done_between_them_counts_for_none() -> None:
    async def story() -> None:
        with Patience(10) as patience:
            for _ in range(20):
                await patience.of(asyncio.sleep(9))
                await asyncio.sleep(25)
            assert await patience.of(asyncio.sleep(9.9, "came")) == "came"
            for _ in range(2):
                began = now()
                with pytest.raises(TimeoutError):
                    await patience.of(asyncio.sleep(1e6))
                assert now() - began == pytest.approx(10)

    run(story())


def test_without_a_limit_any_wait_may_last() -> None:
    async def story() -> None:
        with Patience(None) as patience:
            assert await patience.of(asyncio.sleep(1e5, "came")) == "came"

    run(story())


def test_many_waits_set_one_timer_and_leave_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        loop, timers = asyncio.get_running_loop(), list[float]()
        call_at = loop.call_at

        def counted(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
            timers.append(when)
            return call_at(when, *arguments, **options)

        monkeypatch.setattr(loop, "call_at", counted)
        with Patience(10) as patience:
            for _ in range(1000):
                await patience.of(asyncio.sleep(0))
            assert timers == [10]
        await asyncio.sleep(100)
        assert timers == [10, 100]  # the sleep's own

    run(story())


def test_an_end_ends_the_wait_under_way_and_no_other() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with Patience(10) as patience:
            patience.end()
            assert await patience.of(asyncio.sleep(1, "came")) == "came"
            loop.call_later(3, patience.end)
            began = now()
            with pytest.raises(TimeoutError):
                await patience.of(asyncio.sleep(1e6))
            assert now() - began == pytest.approx(3)
            loop.call_later(0.5, patience.end)
            await asyncio.sleep(1)  # not a wait of its own
            assert await patience.of(asyncio.sleep(1, "came")) == "came"

    run(story())


@pytest.mark.parametrize("ended_as_well", [False, True])
def test_who_cancels_the_task_cancels_it(ended_as_well: bool) -> None:
    async def story() -> None:
        ended: list[str] = []
        made: list[Patience] = []

        async def waiting() -> None:
            with Patience(10) as patience:
                made.append(patience)
                await waiting_in(patience, ended)

        task = asyncio.create_task(waiting())
        await asyncio.sleep(1)
        if ended_as_well:
            made[0].end()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert ended == ["cancelled"]
        assert task.cancelled()

    run(story())


def test_an_answer_that_swallows_the_end_is_handed_on_and_the_task_goes_on() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            return "came all the same"
        raise AssertionError

    async def story() -> None:
        with Patience(10) as patience:
            assert await patience.of(stubborn()) == "came all the same"
            await asyncio.sleep(1)
            with pytest.raises(TimeoutError):
                await patience.of(asyncio.sleep(1e6))

    run(story())


def test_what_the_wait_itself_raises_comes_out() -> None:
    async def broken() -> None:
        raise OSError("broken")

    async def story(wait: Coroutine[Any, Any, None]) -> None:
        with Patience(10) as patience, pytest.raises(OSError, match="broken"):
            await patience.of(wait)

    run(story(broken()))
