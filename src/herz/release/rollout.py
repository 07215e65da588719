"""How a rollout proceeds: `decide` turns what is seen into the next step. Pure; whoever drives it may die at any time.

Its state is the record, the channel and the mailboxes, and every step is one transaction over them, so that whoever
comes next decides the same. What happens outside (deploying, asking, checking, alerting) follows from the state and may
be repeated.
"""

from __future__ import annotations

from herz.release.rollout_orders import abort, force, pause, promote, resume, told
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
    """What to do now. Decides from nothing but its arguments, and the same every time."""
    raise NotImplementedError
