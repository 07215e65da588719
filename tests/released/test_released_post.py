"""The post: the newest report is sent until it is taken, answers do not wait for it, and nothing waits for either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from herz.errors import Conflict, HerzError, SourceUnavailable
from herz.release.report import Answer, Graph, Report, Status
from herz.sources.released_post import LONGEST_S, Postbox
from herz.testing.virtual_time import run


class Place:
    """Takes what is sent, or refuses it."""

    renew_s: float | None = None

    def __init__(self) -> None:
        self.error: HerzError | None = None
        self.tried: list[float] = []
        self.reports: list[int] = []
        self.answers: list[str] = []
        self.graphs: list[str] = []
        self.renewed = 0

    async def report(self, report: Report) -> None:
        self.tried.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error
        self.reports.append(report.generation)

    async def answer(self, answer: Answer) -> None:
        if self.error is not None:
            raise self.error
        self.answers.append(answer.nonce)

    async def describe(self, digest: str, graph: Graph) -> None:
        self.graphs.append(digest)

    async def renew(self) -> None:
        self.renewed += 1
        if self.error is not None:
            raise self.error


class Instance:
    """Runs generation after generation, and posts what it runs."""

    def __init__(self, place: Any) -> None:
        self.generation = 1
        self.post = Postbox(place, self.said, chance=lambda: 0.0)

    def report(self) -> Report:
        now = datetime.now(UTC)
        return Report(
            instance="one", app="pay", namespace="default", status=Status.APPLIED, time=now, generation=self.generation
        )

    def said(self) -> tuple[Report, str, Graph]:
        return self.report(), f"sha256:{self.generation % 2}", Graph()


@asynccontextmanager
async def posting(place: Place) -> AsyncIterator[Instance]:
    instance = Instance(place)
    task = asyncio.create_task(instance.post.run())
    try:
        yield instance
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_changes_of_one_moment_are_one_report_of_the_last_of_them() -> None:
    async def story() -> None:
        place = Place()
        async with posting(place) as instance:
            await asyncio.sleep(1)
            for generation in range(2, 50):
                instance.generation = generation
                instance.post.moved()
            await asyncio.sleep(1)
        assert place.reports == [1, 49]

    run(story())


def test_a_report_that_is_not_taken_is_sent_again_ever_more_rarely_and_as_it_is_by_then() -> None:
    async def story() -> None:
        place = Place()
        place.error = SourceUnavailable("gone")
        async with posting(place) as instance:
            await asyncio.sleep(60)
            waits = [round(after - before, 6) for before, after in zip(place.tried, place.tried[1:], strict=False)]
            assert waits == sorted(waits)
            assert waits[-1] == pytest.approx(LONGEST_S, abs=0.1)
            assert instance.post.notice
            instance.generation, place.error = 7, None
            await asyncio.sleep(LONGEST_S + 1)
            assert place.reports == [7]
            assert not instance.post.notice

    run(story())


def test_a_report_that_waits_is_sent_at_once_when_the_place_is_back() -> None:
    async def story() -> None:
        place = Place()
        place.error = SourceUnavailable("gone")
        async with posting(place) as instance:
            await asyncio.sleep(60)
            place.error = None
            instance.post.again()
            await asyncio.sleep(0.1)
            assert place.reports == [1]

    run(story())


def test_a_name_that_another_process_has_is_told_in_its_own_words() -> None:
    async def story() -> None:
        place = Place()
        place.error = Conflict("another process reports as one", remedy="give each its own")
        async with posting(place) as instance:
            await asyncio.sleep(1)
            assert instance.post.notice == "another process reports as one; give each its own"

    run(story())


def test_answers_are_sent_in_their_order_and_given_up_soon() -> None:
    async def story() -> None:
        place = Place()
        async with posting(place) as instance:
            for nonce in "abc":
                instance.post.answer(Answer(nonce=nonce, instance="one", report=instance.report()))
            await asyncio.sleep(0.1)
            assert place.answers == ["a", "b", "c"]
            place.error = SourceUnavailable("gone")
            instance.post.answer(Answer(nonce="d", instance="one", report=instance.report()))
            await asyncio.sleep(5)
            place.error = None
            instance.post.answer(Answer(nonce="e", instance="one", report=instance.report()))
            await asyncio.sleep(1)
            assert place.answers == ["a", "b", "c", "e"]

    run(story())


def test_each_graph_is_left_once() -> None:
    async def story() -> None:
        place = Place()
        async with posting(place) as instance:
            for generation in range(1, 7):
                instance.generation = generation
                instance.post.moved()
                await asyncio.sleep(1)
        assert sorted(place.graphs) == ["sha256:0", "sha256:1"]

    run(story())


def test_what_has_to_be_renewed_is_whatever_the_place_says() -> None:
    async def story() -> None:
        place = Place()
        place.renew_s = 3.0
        async with posting(place):
            await asyncio.sleep(10)
            place.error = SourceUnavailable("gone")
            await asyncio.sleep(10)
        assert place.renewed == 6

    run(story())


def test_a_report_that_says_nothing_new_is_not_sent_unless_it_may_be_gone() -> None:
    async def story() -> None:
        place = Place()
        async with posting(place) as instance:
            for _ in range(5):
                await asyncio.sleep(1)
                instance.post.moved()
            assert place.reports == [1]
            instance.post.again()
            await asyncio.sleep(1)
            assert place.reports == [1, 1]

    run(story())


def test_a_report_that_cannot_be_made_is_no_end_of_reporting() -> None:
    async def story() -> None:
        place = Place()
        async with posting(place) as instance:
            await asyncio.sleep(1)
            said, instance.post._report = instance.post._report, lambda: 1 / 0  # type: ignore[assignment,return-value]
            instance.post.moved()
            await asyncio.sleep(1)
            instance.post._report = said
            instance.generation = 2
            instance.post.moved()
            await asyncio.sleep(1)
        assert place.reports == [1, 2]

    run(story())
