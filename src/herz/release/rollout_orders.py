"""What people may order a rollout to do. Each order is a new record; the next decision obeys it."""

from __future__ import annotations

from datetime import datetime

from herz.release.rollout_record import Rollout


def pause(rollout: Rollout, author: str, now: datetime, message: str = "") -> Rollout:
    """No further step forward: a batch that is prepared is not committed, a committed one is still verified.

    Failures still roll back. `UsageError` once it is promoting or rolling back, as for the other orders.
    """
    raise NotImplementedError


def resume(rollout: Rollout, author: str, now: datetime, message: str = "") -> Rollout:
    """Go on where it was paused; windows and baking begin anew. `UsageError` when it is not paused."""
    raise NotImplementedError


def promote(rollout: Rollout, author: str, now: datetime, message: str = "", *, all_batches: bool = False) -> Rollout:
    """Go on without (further) baking of the batch in work, or of all, paused or not. Verification is never skipped."""
    raise NotImplementedError


def abort(rollout: Rollout, author: str, now: datetime, message: str = "") -> Rollout:
    """Roll back all batches."""
    raise NotImplementedError


def force(rollout: Rollout, author: str, now: datetime, message: str) -> Rollout:
    """Break glass: the release becomes stable for everybody without proof, and the record says so for ever.

    `UsageError` without a message.
    """
    raise NotImplementedError


def told(rollout: Rollout, number: int) -> Rollout:
    """The notices up to `number` have been sent."""
    raise NotImplementedError
