"""How a rollout proceeds: `decide` turns what is seen into the next step. Pure; whoever drives it may die at any time.

Its state is the record, the channel and the mailboxes, and every step is one transaction over them, so that whoever
comes next decides the same. What happens outside (deploying, asking, checking, alerting) follows from the state and may
be repeated.
"""

from __future__ import annotations

from herz.release.rollout_ends import promoting, promotion, rollback, rolling_back
from herz.release.rollout_facts import failure, moved
from herz.release.rollout_orders import abort, force, pause, promote, resume, told
from herz.release.rollout_phases import PHASES
from herz.release.rollout_record import (
    ASSIGN_MAX,
    NAMED_MAX,
    Act,
    Batch,
    Check,
    CheckResult,
    Decision,
    Notice,
    Order,
    Phase,
    Rollout,
    Seen,
    cohort_of,
)

__all__ = [
    "ASSIGN_MAX",
    "NAMED_MAX",
    "Act",
    "Batch",
    "Check",
    "CheckResult",
    "Decision",
    "Notice",
    "Order",
    "Phase",
    "Rollout",
    "Seen",
    "abort",
    "cohort_of",
    "decide",
    "force",
    "pause",
    "promote",
    "resume",
    "told",
]


def decide(rollout: Rollout, seen: Seen) -> Decision:
    """What to do now. Decides from nothing but its arguments, and the same every time.

    Whatever speaks against going on is looked at before what speaks for it: an order to abort, a channel that somebody
    else moved, a member that failed with the release.
    """
    decision = _decided(rollout, seen)
    if rollout.notices:
        return decision._replace(act=(Act.ALERT, *decision.act))
    if decision.rollout.notices:
        return decision._replace(look_again_s=0)  # to be sent once it is written
    return decision


def _decided(rollout: Rollout, seen: Seen) -> Decision:
    if rollout.over:
        return Decision(rollout)
    if rollout.phase is Phase.PROMOTING:
        return promoting(rollout, seen)
    if rollout.phase is Phase.ROLLING_BACK:
        return rolling_back(rollout, seen)
    against = _against(rollout, seen)
    if against is not None:
        return rollback(rollout, seen, against)
    if rollout.forced is not None:
        return promotion(rollout, seen)
    broken = failure(rollout, seen)
    if broken is not None:
        return rollback(rollout, seen, broken)
    return PHASES[rollout.phase](rollout, seen)


def _against(rollout: Rollout, seen: Seen) -> str | None:
    if rollout.aborted is not None:
        message = f": {rollout.aborted.message}" if rollout.aborted.message else ""
        return f"{rollout.aborted.by} aborted it{message}"
    return moved(rollout, seen.channel)
