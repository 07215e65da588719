"""What a decision is made from: who is where, who does what it should, how long a phase has lasted, who interfered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from herz.release.channel import STABLE, Channel, Pointer
from herz.release.cohort import selected
from herz.release.member import Member, membership
from herz.release.report import Status
from herz.release.rollout_record import NAMED_MAX, Batch, Notice, Phase, Rollout, Seen


class Field(NamedTuple):
    """Who could be in the batch that is being formed: those who are already, and those who are free."""

    mine: tuple[Member, ...]
    free: tuple[Member, ...]
    before: int
    """Members of earlier batches."""

    @property
    def total(self) -> int:
        """All that match, as far as is known."""
        return self.before + len(self.mine) + len(self.free)


def field_of(rollout: Rollout, seen: Seen) -> Field:
    """Members and candidates of the batch in work. Free is who reports, matches, and is in no cohort with a pointer."""
    earlier = {batch.cohort for batch in rollout.batches if batch.number < rollout.batch}
    mine: list[Member] = []
    free: list[Member] = []
    for member in seen.members:
        if member.cohort == rollout.cohort:
            mine.append(member)
        elif (
            member.report is not None
            and member.cohort not in earlier
            and (member.cohort == STABLE or member.cohort not in seen.channel.cohorts)
            and selected(member.labels, rollout.selector)
        ):
            free.append(member)
    before = sum(batch.size for batch in rollout.batches if batch.number < rollout.batch)
    return Field(tuple(mine), tuple(free), before)


def patched(member: Member, rollout: Rollout) -> bool:
    """Whether it runs the patch that the rollout is about."""
    return rollout.patch_id is None or (member.report is not None and member.report.patch_id == rollout.patch_id)


def applied(member: Member, rollout: Rollout) -> bool:
    """Whether it reports to run the release, whole."""
    report, release = member.report, rollout.release
    return (
        report is not None
        and report.status is Status.APPLIED
        and report.config_version == release.number
        and report.digest == release.digest
        and report.fingerprint == release.fingerprint
        and patched(member, rollout)
    )


def follows(member: Member, channel: Channel) -> bool:
    """Whether it reports to run what the channel says, and is not on its way to something else."""
    wanted = channel.of(member.cohort).release
    report = member.report
    if report is None or report.status is Status.APPLYING:
        return False
    return (report.config_version, report.digest) == ((wanted.number, wanted.digest) if wanted else (None, None))


def same_members(members: Iterable[Member], batch: Batch) -> bool:
    """Whether these are who was frozen in `batch`."""
    return membership(member.instance for member in members) == batch.membership


def failure(rollout: Rollout, seen: Seen) -> str | None:
    """The first member of a committed batch that failed with the release, or runs something else under its number."""
    release = rollout.release
    committed = {batch.cohort for batch in rollout.batches if batch.committed}
    for member in seen.members:
        report = member.report
        if report is None or member.cohort not in committed:
            continue
        if report.status is Status.FAILED and report.target in (None, release.number):
            return f"{member.instance} failed: {report.error or 'it does not say why'}"
        if report.config_version != release.number or report.status is not Status.APPLIED:
            continue
        if report.digest != release.digest:
            return f"{member.instance} runs {report.digest} as {release.number}, released was {release.digest}"
        if report.fingerprint != release.fingerprint:
            return f"{member.instance} runs {report.fingerprint}, released was {release.fingerprint}"
    return None


def moved(rollout: Rollout, channel: Channel) -> str | None:
    """How the channel differs from what this rollout left there: somebody else has moved it."""
    if channel.stable.release != rollout.stable:
        now = channel.stable.release
        return f"somebody else moved stable to {'nothing' if now is None else now.number}"
    ours = {batch.cohort: pointer_of(rollout, batch) for batch in rollout.batches}
    ours.setdefault(rollout.cohort, None)
    for cohort, pointer in ours.items():
        if channel.cohorts.get(cohort) != pointer:
            return f"somebody else moved {cohort}"
    return None


def pointer_of(rollout: Rollout, batch: Batch) -> Pointer | None:
    """The pointer of a batch's cohort, as the rollout leaves it."""
    if batch.committed:
        return Pointer(release=rollout.release, rollout=rollout.id)
    return Pointer(release=rollout.stable, prepare=rollout.release, rollout=rollout.id)


def pointing(rollout: Rollout, channel: Channel) -> Channel:
    """`channel` with the pointers of all batches of `rollout`, and everybody else's as they are."""
    ours = {batch.cohort: pointer_of(rollout, batch) for batch in rollout.batches}
    return replace(channel, cohorts={**channel.cohorts, **ours})


def without(rollout: Rollout, channel: Channel) -> Channel:
    """`channel` without the pointers that `rollout` put there. What somebody else put in their place stays."""
    cohorts = {name: pointer for name, pointer in channel.cohorts.items() if pointer.rollout != rollout.id}
    return replace(channel, cohorts=cohorts)


def elapsed_s(rollout: Rollout, seen: Seen) -> float:
    """Seconds that the phase has lasted while somebody drove it. A beginning in the future (another clock) is none."""
    begins = [begin for begin in (rollout.since, seen.attended) if begin is not None and begin <= seen.now]
    return (seen.now - max(begins)).total_seconds() if begins else 0.0


def begun(rollout: Rollout, phase: Phase, now: datetime, **changes: Any) -> Rollout:
    """The record at the beginning of `phase`."""
    fresh = {"phase": phase, "since": now, "step": rollout.step + 1, "waiting": None}
    return replace(rollout, **{**fresh, **changes})


def noticed(rollout: Rollout, kind: str, text: str, now: datetime) -> Rollout:
    """The record with one more thing to tell."""
    number = rollout.noticed + 1
    notice = Notice(number=number, kind=kind, text=text, at=now)
    return replace(rollout, notices=(*rollout.notices, notice), noticed=number)


def named(names: Sequence[str], count: int | None = None) -> str:
    """Names as people read them, of many only some: `a, b and 17 more`. `count` is how many there are in all."""
    shown = names[:5]
    more = (len(names) if count is None else count) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def names(members: Iterable[Member]) -> tuple[str, ...]:
    """As many names as a record takes."""
    return tuple(member.instance for member in islice(members, NAMED_MAX))
