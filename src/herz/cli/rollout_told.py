"""A rollout in words: each step as it happens, and how it stands."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from herz.cli.fleet_table import age
from herz.cli.output import paint
from herz.cli.told import in_words, moment, who
from herz.cli.verify import differences_lines
from herz.release.atomicity import Verdict
from herz.release.rollout import Batch, Phase, Rollout

_COLOURS: Final = {
    Phase.PROMOTED: "green",
    Phase.ROLLING_BACK: "red",
    Phase.ROLLED_BACK: "red",
}
_SAID: Final = {
    Phase.PENDING: "chooses its members",
    Phase.DEPLOYING: "is given the patch",
    Phase.PREPARING: "builds the release, without using it",
    Phase.COMMITTING: "flips",
    Phase.VERIFYING: "is asked what it runs",
    Phase.BAKING: "is verified, and bakes",
    Phase.PROMOTING: "everybody gets the release",
    Phase.PROMOTED: "promoted: everybody runs it",
    Phase.ROLLING_BACK: "every batch goes back",
    Phase.ROLLED_BACK: "rolled back",
}


def batches(rollout: Rollout) -> int:
    """How many there are to be, as far as is known."""
    return max(len(rollout.plan.sizes(rollout.total)) if rollout.total else 0, rollout.batch)


def step_text(before: Rollout | None, now: Rollout) -> str:
    """What has begun since, in a line; empty when nothing has."""
    if before is not None and (before.phase, before.batch) == (now.phase, now.batch):
        return _ordered(before, now)
    colour = _COLOURS.get(now.phase, "bold")
    reason = f": {in_words(now.reason)}" if now.reason and now.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK) else ""
    if now.phase in (Phase.PROMOTING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return f"{paint(now.phase.value, colour)}  {_SAID[now.phase]}{reason}"
    size = f" ({now.frozen.size} instances)" if now.frozen is not None and now.frozen.size != 1 else ""
    size = " (1 instance)" if now.frozen is not None and now.frozen.size == 1 else size
    proof = f"  {proof_text(now.frozen.verdict)}" if now.phase is Phase.BAKING and now.frozen is not None else ""
    return f"{paint(now.phase.value, colour)}  batch {now.batch} of {batches(now)}{size} {_SAID[now.phase]}{proof}"


def _ordered(before: Rollout, now: Rollout) -> str:
    if now.paused is not None and before.paused is None:
        return paint(f"paused by {who(now.paused.by)}{_why(now.paused.message)}", "yellow")
    if before.paused is not None and now.paused is None:
        return "goes on"
    return ""


def waiting_text(before: Rollout | None, now: Rollout) -> str:
    """What it waits for, where that is new."""
    if not now.waiting or (before is not None and before.waiting == now.waiting):
        return ""
    return paint(f"  waits: {in_words(now.waiting)}", "dim")


def proof_text(verdict: Verdict | None) -> str:
    """A verdict in few words."""
    if verdict is None:
        return "not verified yet"
    took = f"{verdict.took_ms:.0f} ms"
    if verdict.verified:
        return f"{paint('✓', 'green')} {verdict.answered} of {verdict.members} proved in {took}"
    return f"{paint('✗', 'red')} {verdict.differing} of {verdict.members} differ ({took})"


def outcome_text(rollout: Rollout, now: datetime) -> str:
    """How it stands: release, phase, each batch with its proof, and why it was rolled back."""
    stable = "none" if rollout.stable is None else str(rollout.stable.number)
    colour = _COLOURS.get(rollout.phase, "bold")
    lines = [
        f"rollout {paint(rollout.id, 'bold')} of {rollout.app}/{rollout.namespace}: release {stable} → "
        f"{rollout.release.number}, by {who(rollout.author)}{_why(rollout.message)}",
        f"{paint(rollout.phase.value, colour)}  "
        + (
            f"{_SAID[rollout.phase]}, {age(rollout.since, now)} ago"
            if rollout.over
            else f"{_phase(rollout)}, for {age(rollout.since, now)}"
        ),
    ]
    if rollout.paused is not None:
        lines.append(paint(f"paused by {who(rollout.paused.by)}{_why(rollout.paused.message)}", "yellow"))
    if rollout.aborted is not None and rollout.phase.forward:
        lines.append(paint(f"aborted by {who(rollout.aborted.by)}{_why(rollout.aborted.message)}: it goes back", "red"))
    if rollout.forced is not None:
        lines.append(paint(f"FORCED by {who(rollout.forced.by)}{_why(rollout.forced.message)}", "red"))
    if rollout.waiting and not rollout.over:
        lines.append(f"waits: {in_words(rollout.waiting)}")
    lines += [_batch(batch) for batch in rollout.batches]
    if rollout.reason:
        lines.append(f"{paint('because', 'red')} {in_words(rollout.reason)}")
    lines += failed_lines(rollout)
    if rollout.unconfirmed_count:
        names = ", ".join(rollout.unconfirmed[:5])
        lines.append(f"{rollout.unconfirmed_count} did not confirm: {names}")
    return "\n".join(lines)


def line_of(rollout: Rollout) -> str:
    """One rollout in a line."""
    stable = "none" if rollout.stable is None else str(rollout.stable.number)
    phase = paint(f"{rollout.phase.value:<12}", _COLOURS.get(rollout.phase, "bold"))
    why = f": {in_words(rollout.reason)}" if rollout.reason else ""
    return f"{rollout.id:<5} {moment(rollout.created)}  {phase}  release {stable} → {rollout.release.number}{why}"


def failed_lines(rollout: Rollout) -> list[str]:
    """Who differed, and in what, in the last verdict that was none."""
    for batch in reversed(rollout.batches):
        if batch.verdict is not None and not batch.verdict.verified:
            return differences_lines(batch.verdict.differences)
    return []


def _phase(rollout: Rollout) -> str:
    if not rollout.phase.forward:
        return _SAID[rollout.phase]
    return f"batch {rollout.batch} of {batches(rollout)} {_SAID[rollout.phase]}"


def _batch(batch: Batch) -> str:
    counted = f"{batch.size} instance{'' if batch.size == 1 else 's'}"
    proof = proof_text(batch.verdict) if batch.committed else "not committed"
    checks = ", ".join(f"{one.name} {one.outcome.value}" for one in batch.checks)
    return f"  batch {batch.number}: {counted}  {proof}" + (f"  {checks}" if checks else "")


def _why(message: str) -> str:
    return f" ({in_words(message)})" if message else ""
