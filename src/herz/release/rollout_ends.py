"""How a rollout ends: the one write that promotes or rolls back, and what is left to do after it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from herz.release.channel import STABLE, Pointer
from herz.release.member import Member
from herz.release.rollout_facts import begun, elapsed_s, follows, named, names, noticed, without
from herz.release.rollout_record import ASSIGN_MAX, Decision, Phase, Rollout, Seen


def promotion(rollout: Rollout, seen: Seen) -> Decision:
    """Everybody runs the release: `stable` moves and the cohorts go, in one write."""
    channel = replace(without(rollout, seen.channel), stable=Pointer(release=rollout.release))
    after = begun(rollout, Phase.PROMOTING, seen.now, paused=None)
    if rollout.forced is not None:
        how = f"{rollout.forced.by} forced release {rollout.release.number} without proof: {rollout.forced.message}"
        after = noticed(after, "forced", how, seen.now)
    return Decision(after, channel, look_again_s=0)


def rollback(rollout: Rollout, seen: Seen, reason: str) -> Decision:
    """Nobody runs the release any more: the cohorts of all batches go, in one write, and their members are stable."""
    after = begun(rollout, Phase.ROLLING_BACK, seen.now, reason=reason, paused=None)
    after = noticed(after, "rolling-back", f"release {rollout.release.number} is rolled back: {reason}", seen.now)
    channel = without(rollout, seen.channel)
    return Decision(after, None if channel == seen.channel else channel, look_again_s=0)


def promoting(rollout: Rollout, seen: Seen) -> Decision:
    """Mailboxes are removed while everybody follows `stable`; it ends in time, and names who has not followed."""
    boxes = [member for member in seen.members if member.rollout == rollout.id]
    if boxes:
        return _emptied(rollout, boxes)
    behind = [member for member in seen.members if member.report is not None and not follows(member, seen.channel)]
    left_s = rollout.plan.commit_s - elapsed_s(rollout, seen)
    if behind and left_s > 0:
        return Decision(rollout, look_again_s=left_s)
    text = f"release {rollout.release.number} is stable"
    return _over(_unconfirmed(rollout, behind), seen, Phase.PROMOTED, "promoted", text)


def rolling_back(rollout: Rollout, seen: Seen) -> Decision:
    """Who runs the old release again leaves its batch; it ends in time, and names who has not confirmed."""
    channel = without(rollout, seen.channel)
    if channel != seen.channel:
        return Decision(rollout, channel, look_again_s=0)
    boxes = [member for member in seen.members if member.rollout == rollout.id]
    back = [member for member in boxes if follows(member, channel)]
    left_s = rollout.plan.commit_s - elapsed_s(rollout, seen)
    if back:
        return _emptied(rollout, back)
    if boxes and left_s > 0:
        return Decision(rollout, look_again_s=left_s)
    if boxes:
        return _emptied(rollout if rollout.unconfirmed else _unconfirmed(rollout, boxes), boxes)
    return _over(rollout, seen, Phase.ROLLED_BACK, "rolled-back", f"rolled back: {rollout.reason}")


def _emptied(rollout: Rollout, boxes: Sequence[Member]) -> Decision:
    return Decision(rollout, assign=tuple((box.instance, STABLE) for box in boxes[:ASSIGN_MAX]), look_again_s=0)


def _unconfirmed(rollout: Rollout, behind: Sequence[Member]) -> Rollout:
    return replace(rollout, unconfirmed=names(behind), unconfirmed_count=len(behind))


def _over(rollout: Rollout, seen: Seen, phase: Phase, kind: str, text: str) -> Decision:
    if rollout.unconfirmed:
        text += f"; not confirmed by {named(rollout.unconfirmed, rollout.unconfirmed_count)}"
    return Decision(noticed(begun(rollout, phase, seen.now), kind, text, seen.now))
