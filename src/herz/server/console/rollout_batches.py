"""The batches of a rollout as people look at them: how far each has come, and every instance in it.

Who is in a batch is told by the mailboxes, which are taken away when the rollout ends; after that by the record of who
took part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from herz.release.member import Member
from herz.release.rollout import Batch, Phase, Rollout
from herz.release.rollout_facts import patched
from herz.release.rollout_step import Step
from herz.release.roster import Participant
from herz.server.rollouts.witness import Known, heard

ROWS: Final = 200
"""Instances that a page lists at most; more are found by the filter."""


_ORDER: Final = {step: place for place, step in enumerate(Step)}


class Row(NamedTuple):
    """One instance of a batch."""

    instance: str
    batch: int
    step: Step
    error: str | None
    prepared: datetime | None
    committed: datetime | None
    verified: datetime | None
    took_ms: float | None
    """How long its answer to the verification took."""
    fingerprint: str | None
    """What it answered then."""
    runs: int | None
    labels: Mapping[str, str]
    """Known while it is under way, as what follows is."""
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


def rows_of(rollout: Rollout, seen: Sequence[Known]) -> list[Row]:
    """The instances of all batches: batch by batch, in each those first that people want to see."""
    rows = [_row(rollout, *one) for one in seen]
    rows.sort(key=lambda row: (row.batch, row.error is None, _ORDER[row.step], row.instance))
    return rows


def _row(rollout: Rollout, part: Participant, member: Member) -> Row:
    report = member.report
    return Row(
        instance=part.instance,
        batch=part.batch,
        step=part.step,
        error=part.error,
        prepared=part.prepared,
        committed=part.committed,
        verified=part.verified,
        took_ms=part.took_ms,
        fingerprint=part.fingerprint,
        runs=part.config_version,
        labels=member.labels,
        patch_id=None if report is None else report.patch_id,
        without_patch=not rollout.over and not patched(member, rollout),
        heard=None if report is None else heard(report),
    )


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
        if (not step or row.step == step or (step == Step.FAILED and row.error is not None))
        and (batch is None or row.batch == batch)
        and (not wanted or all(word in _text(row) for word in wanted))
    ]


def _text(row: Row) -> str:
    labels = " ".join(f"{name}={value}" for name, value in row.labels.items())
    return f"{row.instance} {labels} {row.patch_id or ''} {row.error or ''}".lower()
