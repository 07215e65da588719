"""How far one instance of a rollout has come, told by its mailbox and by what it says."""

from __future__ import annotations

from enum import StrEnum

from herz.release.channel import Channel
from herz.release.member import Member
from herz.release.report import Rehearsed, Report, Status
from herz.release.rollout_facts import applied, follows
from herz.release.rollout_record import Batch, Phase, Rollout


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


def step_of(member: Member, rollout: Rollout, batch: Batch | None, channel: Channel) -> tuple[Step, str | None]:
    """How far an instance of `batch` (None: its membership is not frozen) has come, and its error if it failed."""
    report = member.report
    if report is None:
        return Step.AWAY, None
    everybody = rollout.phase in (Phase.PROMOTING, Phase.PROMOTED)
    committed = everybody or (batch is not None and batch.committed)
    error = _error(report, rollout, committed)
    if rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return (Step.BACK if follows(member, channel) else Step.RETURNING), error
    if error is not None:
        return Step.FAILED, error
    if committed:
        if not applied(member, rollout):
            return Step.COMMITTED, None
        return (Step.VERIFIED if batch is not None and batch.verified else Step.REPORTS), None
    if batch is None:
        return Step.ASSIGNED, None
    return (Step.BUILT if built(report, rollout) is not None else Step.PREPARING), None


def built(report: Report, rollout: Rollout) -> Rehearsed | None:
    """What it says of building the release for this rollout; None while it has not."""
    done, release = report.rehearsed, rollout.release
    if done is None or (done.number, done.digest) != (release.number, release.digest):
        return None
    return done if done.rollout in (None, rollout.id) else None


def _error(report: Report, rollout: Rollout, committed: bool) -> str | None:
    """Why it failed with the release; before that is committed, what `status` says is about something else."""
    release = rollout.release
    if committed and report.status is Status.FAILED and report.target in (None, release.number):
        return report.error or "it does not say why"
    done = built(report, rollout)
    if done is None:
        return None
    if done.error is None and done.fingerprint != release.fingerprint:
        return f"built {done.fingerprint}, released was {release.fingerprint}"
    return done.error
