"""What the pages of rollouts are made from: how far an instance is, which batches there will be, what happened when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from herz.release.channel import Channel, Pointer, ReleaseRef
from herz.release.member import Member
from herz.release.plan import Plan, PlanKind
from herz.release.report import Rehearsed, Report, Status
from herz.release.rollout import Batch, Check, CheckResult, Phase, Rollout
from herz.release.rollout_facts import pointing
from herz.release.rollout_step import Step, step_of
from herz.release.statistics import Outcome
from herz.release.trend import Point
from herz.server.audit import Audit, By
from herz.server.console.rollout_batches import rows_of, views_of
from herz.server.console.rollout_chart import charts_of
from herz.server.console.rollout_timeline import Timelines
from herz.server.rollouts.witness import taking_part
from herz.store.base import Txn

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OLD = ReleaseRef(number=1, digest="sha256:" + "1" * 64, fingerprint="sha256:" + "a" * 64)
NEW = ReleaseRef(number=2, digest="sha256:" + "2" * 64, fingerprint="sha256:" + "b" * 64)
EVEN = Plan(kind=PlanKind.LINEAR, step=25.0)


def batch(number: int = 1, **facts: Any) -> Batch:
    return Batch(**{"number": number, "cohort": f"r1-b{number}", "size": 2, "membership": "m", "frozen": NOW, **facts})


def rollout(**facts: Any) -> Rollout:
    told = {"id": "r1", "app": "pay", "namespace": "default", "release": NEW, "stable": OLD, "plan": EVEN}
    return Rollout(**{**told, "author": "ada", "created": NOW, "since": NOW, **facts})


def member(name: str = "a", cohort: str = "r1-b1", **facts: Any) -> Member:
    told = {"status": Status.APPLIED, "config_version": 1, "digest": OLD.digest, "fingerprint": OLD.fingerprint}
    report = Report(**{"instance": name, "app": "pay", "namespace": "default", "time": NOW, **told, **facts})
    return Member(name, cohort, "r1", report)


def built(**facts: Any) -> Rehearsed:
    return Rehearsed(**{"number": 2, "digest": NEW.digest, "fingerprint": NEW.fingerprint, "rollout": "r1", **facts})


RUNS_IT: dict[str, Any] = {"config_version": 2, "digest": NEW.digest, "fingerprint": NEW.fingerprint}


@pytest.mark.parametrize(
    ("facts", "of", "step"),
    [
        ({}, None, Step.ASSIGNED),
        ({}, batch(), Step.PREPARING),
        ({"rehearsed": built()}, batch(), Step.BUILT),
        ({"rehearsed": built(rollout="r0")}, batch(), Step.PREPARING),
        ({"rehearsed": built(error="no driver")}, batch(), Step.FAILED),
        ({"rehearsed": built(fingerprint=OLD.fingerprint)}, batch(), Step.FAILED),
        ({"rehearsed": built()}, batch(committed=True), Step.COMMITTED),
        (RUNS_IT, batch(committed=True), Step.REPORTS),
        ({"status": Status.FAILED, "target": 2, "error": "no"}, batch(committed=True), Step.FAILED),
        ({"status": Status.FAILED, "target": 1, "error": "no"}, batch(committed=True), Step.COMMITTED),
        ({"status": Status.FAILED, "target": 2, "error": "no"}, batch(), Step.PREPARING),
    ],
)
def test_a_step_is_told_by_what_an_instance_says(facts, of, step):
    going = rollout(batches=() if of is None else (of,))
    assert step_of(member(**facts), going, of, Channel())[0] is step


def test_who_is_silent_is_away_and_its_error_is_told_otherwise():
    assert step_of(Member("a", "r1-b1", "r1"), rollout(), batch(), Channel()) == (Step.AWAY, None)
    failed = member(rehearsed=built(error="no driver"))
    assert step_of(failed, rollout(), batch(), Channel()) == (Step.FAILED, "no driver")


def test_who_goes_back_is_told_from_who_is_back():
    going = rollout(phase=Phase.ROLLING_BACK, batches=(batch(committed=True),))
    channel = Channel(stable=Pointer(release=OLD))
    assert step_of(member(**RUNS_IT), going, going.batches[0], channel)[0] is Step.RETURNING
    assert step_of(member(), going, going.batches[0], channel)[0] is Step.BACK


def test_rows_are_those_of_the_rollout_the_worst_of_a_batch_first():
    going = rollout(batches=(batch(committed=True),), batch=2)
    members = [
        member("a", **RUNS_IT),
        member("b", status=Status.FAILED, target=2, error="no"),
        member("c", "r1-b2"),
        member("d", "stable"),
        member("e", "r1-b9"),
    ]
    rows = rows_of(going, taking_part(going, {}, members, pointing(going, Channel())))
    assert [(row.batch, row.instance, row.step) for row in rows] == [
        (1, "b", Step.FAILED),
        (1, "a", Step.REPORTS),
        (2, "c", Step.ASSIGNED),
    ]


@pytest.mark.parametrize("matching", [1, 3, 8, 100])
def test_planned_batches_have_the_sizes_of_the_plan(matching):
    views = views_of(rollout(), [], matching)
    assert tuple(view.reached for view in views) == EVEN.sizes(matching)
    assert [view.work for view in views] == [True] + [False] * (len(views) - 1)


def test_frozen_batches_keep_their_size_and_the_last_one_has_none_behind_it():
    first = batch(size=3)
    views = views_of(rollout(batches=(first,), total=8), [], 8)
    assert [(view.number, view.size, view.reached) for view in views] == [(1, 3, 3), (2, 1, 4), (3, 2, 6), (4, 2, 8)]
    assert len(views_of(rollout(batches=(replace(first, last=True),), total=8), [], 8)) == 1
    assert len(views_of(rollout(batches=(first,), total=8, phase=Phase.ROLLED_BACK), [], 8)) == 1
    assert views_of(rollout(phase=Phase.ROLLED_BACK), [], 8) == []


def test_a_chart_has_a_gap_between_batches_and_goes_forward_only():
    def said(*times: float) -> tuple[CheckResult, ...]:
        points = tuple(Point(time=time, canary=time, baseline=None) for time in times)
        return (CheckResult(name="latency", outcome=Outcome.PASS, step=1, points=points),)

    going = rollout(
        checks=(
            Check(name="latency", kind="prometheus", options={"least": True, "most": 9}),
            Check(name="x", kind="h"),
        ),
        batches=(batch(checks=said(10.0, 20.0)), batch(2, checks=said(15.0, 30.0)), batch(3)),
    )
    chart, other = charts_of(going)
    assert chart.x == (10.0, 20.0, 25.0, 30.0)
    assert chart.canary == (10.0, 20.0, None, 30.0)
    assert chart.begins == ((10.0, 1), (30.0, 2))
    assert (chart.least, chart.most, chart.compares, chart.drawn) == (None, 9.0, False, True)
    assert [(look.batch, look.canary) for look in chart.looks] == [(1, 15.0), (2, 30.0)]
    assert (other.looks, other.drawn) == ((), False)


# --- what happened ---------------------------------------------------------------------------------------


class Ticking:
    """A clock that goes on by a second whenever somebody looks."""

    def __init__(self) -> None:
        self.seconds = 0

    def now(self) -> datetime:
        self.seconds += 1
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return float(self.seconds)


class Counted(Audit):
    """Counts what is read."""

    reads = 0

    async def entries(self, after: int = 0, limit: int = 100) -> Any:
        self.reads += 1
        return await super().entries(after, limit)


async def told(audit: Audit, action: str, target: str = "pay/default r1", count: int = 1) -> None:
    for _ in range(count):
        await audit.commit(Txn(), By("ada"), action, target)


async def test_the_entries_of_a_rollout_are_found_among_thousands_without_reading_them(memory_store):
    clock = Ticking()
    audit = Counted(memory_store, clock)
    await told(audit, "draft.written", "search/default", 700)
    going = rollout(created=clock.now())
    await told(audit, "rollout.start")
    await told(audit, "rollout.start", "pay/default r11")
    await told(audit, "rollout.pause")
    timelines = Timelines(audit)
    assert [entry.action for entry in await timelines.of(going)] == ["rollout.start", "rollout.pause"]
    assert audit.reads < 15, "by halves"
    audit.reads = 0
    assert len(await timelines.of(going)) == 2
    assert audit.reads == 0, "nothing is new"
    await told(audit, "rollout.promoted")
    assert [entry.action for entry in await timelines.of(going)][-1] == "rollout.promoted"
    await told(audit, "alert.undelivered")
    clock.seconds += 700
    await told(audit, "draft.written", "search/default")
    assert [entry.action for entry in await timelines.of(going)][-1] == "alert.undelivered"
    await told(audit, "draft.written", "search/default", 5)
    audit.reads = 0
    assert len(await timelines.of(going)) == 4
    assert audit.reads == 0, "what is over is read no more"


async def test_a_rollout_that_nobody_wrote_of_has_no_entries(memory_store):
    assert await Timelines(Audit(memory_store, Ticking())).of(rollout()) == ()
