"""The batches of a rollout as people look at them: how far each has come, and every instance in it.

Who is in a batch is told by the mailboxes, which are taken away when the rollout ends; after that only the record's
proof of membership is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from herz.release.channel import Channel
from herz.release.member import Member
from herz.release.report import Report, Status
from herz.release.rollout import Batch, Phase, Rollout, cohort_of
from herz.release.rollout_facts import applied, follows, patched
from herz.server.registered import Registered

ROWS: Final = 200
"""Instances that a page lists at most; more are found by the filter."""


class Step(StrEnum):
    """How far an instance has come with the release. In the order in which people want to see them."""

    FAILED = "failed"
    """It could not build or apply the release; its error says why."""
    AWAY = "away"
    """It does not report at the moment."""
    ASSIGNED = "assigned"
    """Its mailbox says that it is in the batch."""
    PREPARING = "preparing"
    """It was told to build the release, and has not said that it has."""
    BUILT = "built"
    """It has built the release, and does not use it yet."""
    COMMITTED = "committed"
    """The pointer has moved; it has not said yet that it follows."""
    REPORTS = "reports"
    """It says that it runs the release."""
    VERIFIED = "verified"
    """It was asked, and proved to run the release."""
    RETURNING = "returning"
    """The rollout goes back, and it has not said that it does."""
    BACK = "back"
    """It runs again what is stable."""


_ORDER: Final = {step: place for place, step in enumerate(Step)}


class Row(NamedTuple):
    """One instance of a batch."""

    instance: str
    batch: int
    step: Step
    error: str | None
    labels: Mapping[str, str]
    runs: int | None
    patch_id: str | None
    without_patch: bool
    """Whether the rollout's patch is still to be installed there."""
    heard: datetime | None


class View(NamedTuple):
    """One batch: frozen, being chosen, or only planned (`record` is None then); and its instances, counted by step.

    `size` is how many it has or will have, `reached` how many the batches up to it have together. `planned` ones are
    counted by what matches now.
    """

    number: int
    size: int
    reached: int
    record: Batch | None
    work: bool
    """Whether it is the batch in work."""
    done: int
    """Instances that are proved to run the release."""
    counts: Mapping[Step, int]


def step_of(member: Member, rollout: Rollout, batch: Batch | None, channel: Channel) -> tuple[Step, str | None]:
    """How far an instance of `batch` (None: its membership is not frozen) has come, and its error if it failed."""
    report = member.report
    if report is None:
        return Step.AWAY, None
    error = _error(report, rollout, batch)
    if rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return (Step.BACK if follows(member, channel) else Step.RETURNING), error
    if error is not None:
        return Step.FAILED, error
    if batch is None:
        return Step.ASSIGNED, None
    if batch.committed:
        if not applied(member, rollout):
            return Step.COMMITTED, None
        return (Step.VERIFIED if batch.verified else Step.REPORTS), None
    return (Step.BUILT if _built(report, rollout) else Step.PREPARING), None


def _built(report: Report, rollout: Rollout) -> bool:
    done = report.rehearsed
    return (
        done is not None
        and (done.number, done.digest) == (rollout.release.number, rollout.release.digest)
        and done.rollout in (None, rollout.id)
    )


def _error(report: Report, rollout: Rollout, batch: Batch | None) -> str | None:
    """Why it failed with the release."""
    done, release = report.rehearsed, rollout.release
    committed = batch is not None and batch.committed  # before, it speaks of something else
    if committed and report.status is Status.FAILED and report.target in (None, release.number):
        return report.error or "it does not say why"
    if done is None or not _built(report, rollout):
        return None
    if done.error is None and done.fingerprint != release.fingerprint:
        return f"built {done.fingerprint}, released was {release.fingerprint}"
    return done.error


def rows_of(rollout: Rollout, members: Sequence[Member], channel: Channel) -> list[Row]:
    """The instances of all batches: batch by batch, in each those first that people want to see."""
    batches = {batch.cohort: batch for batch in rollout.batches}
    numbers = {cohort_of(rollout.id, number): number for number in range(1, rollout.batch + 1)}
    rows = []
    for member in members:
        number = numbers.get(member.cohort)
        if number is None or member.rollout != rollout.id:
            continue
        step, error = step_of(member, rollout, batches.get(member.cohort), channel)
        report = member.report
        rows.append(
            Row(
                instance=member.instance,
                batch=number,
                step=step,
                error=error,
                labels=member.labels,
                runs=None if report is None else report.config_version,
                patch_id=None if report is None else report.patch_id,
                without_patch=not patched(member, rollout),
                heard=_heard(report),
            )
        )
    rows.sort(key=lambda row: (row.batch, _ORDER[row.step], row.instance))
    return rows


def _heard(report: Report | None) -> datetime | None:
    """When it last said something: by a server's clock where one received it."""
    if isinstance(report, Registered) and report.received is not None:
        return report.received
    return None if report is None else report.time


def views_of(rollout: Rollout, rows: Sequence[Row], matching: int) -> list[View]:
    """The batches up to the last one planned, where `matching` instances could be in one."""
    frozen = {batch.number: batch for batch in rollout.batches}
    back = rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    views: list[View] = []
    reached = 0
    for number in range(1, rollout.batch + 1):
        batch = frozen.get(number)
        if batch is None and rollout.over:
            break
        counts = Counter(row.step for row in rows if row.batch == number)
        planned = _next_size(rollout, reached, number, matching)
        size = batch.size if batch is not None else max(counts.total(), planned - reached)
        reached += size
        work = number == rollout.batch and not rollout.over
        done = size if batch is not None and batch.verified and not back else 0
        views.append(View(number, size, reached, batch, work, done, counts))
    if not rollout.phase.forward or (rollout.frozen is not None and rollout.frozen.last):
        return views
    for number in range(rollout.batch + 1, rollout.batch + 101):
        planned = _next_size(rollout, reached, number, matching)
        if planned <= reached:
            break
        views.append(View(number, planned - reached, planned, None, False, 0, {}))
        reached = planned
    return views


def _next_size(rollout: Rollout, reached: int, number: int, matching: int) -> int:
    """How many the batches up to `number` have together, by the plan: the first of its sizes that adds somebody."""
    sizes = rollout.plan.sizes(max(matching, rollout.total, reached))
    later = sizes[min(number, len(sizes)) - 1 :] if sizes else ()
    return next((size for size in later if size > reached), sizes[-1] if sizes else 0)


def shown(rows: Sequence[Row], *, step: str = "", words: str = "", batch: int | None = None) -> list[Row]:
    """The rows that a filter leaves: of one step, of one batch, with `words` in their name, labels or error."""
    wanted = words.lower().split()
    return [
        row
        for row in rows
        if (not step or row.step == step)
        and (batch is None or row.batch == batch)
        and (not wanted or all(word in _text(row) for word in wanted))
    ]


def _text(row: Row) -> str:
    labels = " ".join(f"{name}={value}" for name, value in row.labels.items())
    return f"{row.instance} {labels} {row.patch_id or ''} {row.error or ''}".lower()
