"""What a session answers to those who ask it for something: an outcome, be it good or bad, and soon."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from herz.errors import NotRunning, SourceUnavailable
from herz.testing.memory_store import MemoryStore, Place
from herz.testing.virtual_time import run
from herz.watch.backoff import EXPONENTIAL
from herz.watch.core import State

PREFIX = "/config/pay/"
Story = Callable[[Place, MemoryStore, Any], Awaitable[None]]


@pytest.fixture
def told(follower: type[Any]) -> Callable[[Story], Any]:
    """Runs a story in virtual time: a writer, and a follower that has read `a=1` and watches."""

    def tell(story: Story) -> Any:
        async def main() -> Any:
            clock = asyncio.get_running_loop().time
            place = Place()
            writer = MemoryStore(place, clock=clock)
            await writer.put(PREFIX + "a", b"1")
            watching = follower(place, clock=clock, chance=random.Random(1).random)
            await watching.start()
            await watching.until(lambda: watching.session.state is State.ACTIVE)
            try:
                await story(place, writer, watching)
            finally:
                await watching.stop()
            return watching

        return run(main())

    return tell


def down(place: Place) -> None:
    place.down = True
    place.cut()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_reading_that_is_not_possible_raises_why_and_is_made_up_for(told) -> None:
    async def story(place, writer, watching) -> None:
        down(place)
        await watching.until(lambda: watching.session.retries >= 5)
        began = now()
        with pytest.raises(SourceUnavailable):
            await watching.session.read_again("an operator wants it")
        assert now() - began < 1  # and not after the back-off of 16 s
        assert watching.resets == []
        place.down = False
        await watching.until(lambda: watching.resets)
        assert [reset.reason for reset in watching.resets] == ["an operator wants it"]

    told(story)


def test_an_outcome_is_the_next_failure_or_that_the_watch_stands(told) -> None:
    async def story(place, writer, watching) -> None:
        outcome = watching.session.outcome()
        down(place)
        assert isinstance(await outcome, SourceUnavailable)
        await watching.until(lambda: watching.session.retries >= 5)
        for down_still in (True, False):
            place.down = down_still
            began = now()
            outcome = watching.session.outcome()
            watching.session.hurry()
            assert (await outcome is None) is not down_still
            assert now() - began < 1
        assert watching.session.state is State.ACTIVE

    told(story)


def test_whoever_asked_is_told_when_following_ends(told) -> None:
    async def story(place, writer, watching) -> None:
        down(place)
        await watching.until(lambda: watching.session.state is State.BACKOFF)
        outcome = watching.session.outcome()
        await watching.stop()
        with pytest.raises(NotRunning, match="not followed any more"):
            await outcome

    told(story)


def test_who_asks_and_goes_leaves_nothing_behind(told) -> None:
    async def story(place, writer, watching) -> None:
        for _ in range(100):
            watching.session.outcome().cancel()
        assert len(watching.session._curious) <= 1
        asked = asyncio.ensure_future(watching.session.read_again("nobody waits"))
        await asyncio.sleep(0)
        asked.cancel()
        await watching.until(lambda: watching.resets)
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.held == {"a": "2"})

    told(story)


def test_retries_count_until_the_watch_was_healthy_for_a_while_and_a_standing_one_is_not_degraded(told) -> None:
    async def story(place, writer, watching) -> None:
        down(place)
        await watching.until(lambda: watching.session.degraded, 3600)
        spent = watching.session.retries
        assert spent > EXPONENTIAL.retries
        place.down = False
        await watching.until(lambda: watching.session.state is State.ACTIVE)
        assert not watching.session.degraded
        assert watching.session.retries == spent
        await asyncio.sleep(EXPONENTIAL.healthy_s)
        assert watching.session.state is State.ACTIVE
        assert watching.session.retries == 0

    told(story)


def test_a_cancellation_that_is_not_ours_is_a_failure_and_following_goes_on(told) -> None:
    async def story(place, writer, watching) -> None:
        source, standing = watching.source, watching.source.standing

        async def cancelled(after: int) -> None:
            source.standing = standing
            raise asyncio.CancelledError  # as a library's future that was cancelled under our hands

        source.standing = cancelled
        place.cut()
        await watching.until(lambda: "internal error: CancelledError" in str(watching.session.error))
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.held == {"a": "2"})
        assert watching.missed == []

    told(story)


def test_a_stop_while_what_came_cannot_be_handed_on_ends_it(told) -> None:
    async def story(place, writer, watching) -> None:
        full = asyncio.Event()

        async def deliver(item: object) -> None:
            full.set()
            await asyncio.Event().wait()

        watching.session._deliver = deliver
        await writer.put(PREFIX + "a", b"2")
        await full.wait()
        await watching.stop()
        assert watching.task.cancelled()
        assert watching.session.state is State.IDLE
        assert watching.handled < place.revision  # it counts as not dealt with, and would come again

    told(story)


def test_a_stop_ends_it_although_closing_what_it_followed_fails_instead(told) -> None:
    async def story(place, writer, watching) -> None:
        source, follow = watching.source, watching.source.follow
        entered = asyncio.Event()

        @asynccontextmanager
        async def closing_badly(after: int) -> AsyncIterator[Any]:
            try:
                async with follow(after) as items:
                    entered.set()
                    yield items
            finally:
                raise SourceUnavailable("it cannot be closed")  # as a place that lost its disk meanwhile

        source.follow = closing_badly
        place.cut()
        await entered.wait()
        await watching.until(lambda: watching.session.state is State.ACTIVE)
        watching.task.cancel()
        await asyncio.wait({watching.task}, timeout=3600)
        source.follow = follow
        assert watching.task.cancelled()
        assert watching.session.state is State.IDLE

    told(story)
