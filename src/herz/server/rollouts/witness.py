"""Who takes part in a rollout, and how far each has come: told from what is kept and from what is seen.

The driver is the witness: it notes when it saw what of each instance, and the roster is written along with the steps
that it writes anyway, never for one instance. Pages and the API tell the same from the last such writing and from
reports, so every server can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from msgspec.structs import replace

from herz.release.channel import STABLE, Channel
from herz.release.member import Member
from herz.release.report import Report
from herz.release.rollout import Phase, Rollout, cohort_of
from herz.release.rollout_facts import applied
from herz.release.rollout_step import Step, built, step_of
from herz.release.roster import Participant, Roster
from herz.server.registered import Registered
from herz.server.rollouts.verify import Proof

_ENDS: Final = (Phase.PROMOTING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK)
"""Phases in which mailboxes are taken away: who took part is known from what was kept."""
_WRITTEN: Final = (Phase.COMMITTING, Phase.BAKING, *_ENDS)
"""Phases at whose beginning the roster is written: something was learned of every member then."""
FINGERPRINT_CHARACTERS: Final = 100
"""How much is kept of what an instance calls its fingerprint."""


class Known(NamedTuple):
    """One instance that takes part, and what is known of it beside that."""

    part: Participant
    member: Member


def taking_part(
    rollout: Rollout, kept: Mapping[str, Participant], members: Iterable[Member], channel: Channel
) -> list[Known]:
    """Who takes part in a rollout that is under way, as it stands now; `kept` is what was noted before.

    In its end, who was noted before takes part though its mailbox is gone.
    """
    numbers = {cohort_of(rollout.id, number): number for number in range(1, rollout.batch + 1)}
    batches = {batch.number: batch for batch in rollout.batches}
    missing = dict(kept) if rollout.phase in _ENDS else {}
    found: list[Known] = []
    for member in members:
        before = missing.pop(member.instance, None)
        number = numbers.get(member.cohort) if member.rollout == rollout.id else None
        if number is None:
            if before is None:
                continue
            number = before.batch
        part = kept.get(member.instance)
        if part is None or part.batch != number:
            part = Participant(instance=member.instance, batch=number, step=Step.ASSIGNED)
        reached = step_of(member, rollout, batches.get(number), channel)
        found.append(Known(_now(part, member, rollout, *reached), member))
    for part in missing.values():
        member = Member(part.instance, STABLE)
        found.append(Known(_now(part, member, rollout, *step_of(member, rollout, None, channel)), member))
    return found


def _now(part: Participant, member: Member, rollout: Rollout, step: Step, error: str | None) -> Participant:
    """The part as it is at this moment, with times from the report where nobody noted them."""
    report = member.report
    if report is None:
        return replace(part, step=step)
    prepared, committed = part.prepared, part.committed
    if prepared is None and step is Step.BUILT:
        prepared = heard(report)
    if committed is None and step in (Step.REPORTS, Step.VERIFIED):
        committed = heard(report)
    if error is None and step not in (Step.REPORTS, Step.VERIFIED):
        error = part.error  # why it failed matters when it is back, too
    return replace(
        part,
        step=step,
        prepared=prepared,
        committed=committed,
        config_version=report.config_version,
        error=error,
    )


def heard(report: Report) -> datetime:
    """When it said what it reports: by a server's clock where one received it. Without a zone it is taken as UTC."""
    received = report.received if isinstance(report, Registered) else None
    time = report.time if received is None else received
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


class Witness:
    """What is noted of the instances of one rollout by whoever drives it; begins with the roster written last."""

    def __init__(self, roster: Roster | None) -> None:
        self._kept = {} if roster is None else {one.instance: one for one in roster.participants}

    def look(self, rollout: Rollout, members: Iterable[Member], now: datetime) -> None:
        """Note who has built the release since the last look, or runs it since then."""
        if rollout.phase not in (Phase.PREPARING, Phase.COMMITTING):
            return
        cohort, kept = rollout.cohort, self._kept
        for member in members:
            report = member.report
            if member.cohort != cohort or report is None:
                continue
            part = kept.get(member.instance)
            if part is None or part.batch != rollout.batch:
                part = Participant(instance=member.instance, batch=rollout.batch, step=Step.PREPARING)
                kept[member.instance] = part
            if rollout.phase is Phase.PREPARING:
                done = built(report, rollout) if part.prepared is None else None
                if done is not None and done.ok:
                    kept[member.instance] = replace(part, prepared=_noted(report, now))
            elif part.committed is None and applied(member, rollout):
                kept[member.instance] = replace(part, committed=_noted(report, now))

    def proved(self, rollout: Rollout, proof: Proof, now: datetime) -> None:
        """Note what each answered, how fast, and in what it differs."""
        differs: dict[str, str] = {}
        for difference in proof.verdict.differences:
            differs.setdefault(difference.instance, difference.says)
        for instance in proof.asked:
            part = self._kept.get(instance)
            if part is None:
                part = Participant(instance=instance, batch=rollout.batch, step=Step.COMMITTED)
            answer = proof.answers.get(instance)
            well = answer is not None and instance not in differs and "" not in differs
            self._kept[instance] = replace(
                part,
                verified=now if well else None,
                took_ms=proof.took_ms.get(instance),
                fingerprint=None if answer is None else (answer.report.fingerprint or "")[:FINGERPRINT_CHARACTERS],
                error=differs.get(instance),
            )

    def roster(self, before: Rollout, after: Rollout, members: Iterable[Member], channel: Channel) -> Roster | None:
        """What is to be written with the step from `before` to `after`, None when nothing is."""
        if after.phase is before.phase or after.phase not in _WRITTEN:
            return None
        found = taking_part(after, self._kept, members, channel)
        self._kept = {one.part.instance: one.part for one in found}
        participants = tuple(one.part for one in found)
        # Who took over at the end knows only what was written; before, everybody is seen.
        frozen = sum(batch.size for batch in after.batches) if after.phase in _ENDS else 0
        missing = max(0, frozen - len(participants))
        return Roster(
            rollout=after.id, participants=participants, members=len(participants) + missing, left_out=missing
        )


def _noted(report: Report, now: datetime) -> datetime:
    """When it said so; `now` where no server received it, for its own clock may be wrong."""
    return heard(report) if isinstance(report, Registered) and report.received is not None else now
