"""What people may order a rollout to do. Each order is a new record; the next decision obeys it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from herz.errors import UsageError
from herz.release.rollout_record import Order, Phase, Rollout

ALL: Final = 1_000_000
"""More batches than there are."""
_HELD: Final = (Phase.PENDING, Phase.DEPLOYING, Phase.PREPARING, Phase.BAKING)
"""Phases that a pause holds; committing and verifying go on, so that no batch is left half done."""


def pause(rollout: Rollout, author: str, now: datetime, message: str = "") -> Rollout:
    """No further step forward: a batch that is prepared is not committed, a committed one is still verified.

    Failures still roll back. `UsageError` once it is promoting or rolling back, as for the other orders.
    """
    _forward(rollout, "paused")
    return replace(rollout, paused=Order(by=author, at=now, message=message))


def resume(rollout: Rollout, author: str, now: datetime, message: str = "") -> Rollout:
    """Go on where it was paused; windows and baking begin anew. `UsageError` when it is not paused."""
    _forward(rollout, "resumed")
    if rollout.paused is None:
        raise UsageError(f"rollout {rollout.id} is not paused", remedy="look at its phase")
    return _going_on(rollout, now)


def promote(rollout: Rollout, author: str, now: datetime, message: str = "", *, all_batches: bool = False) -> Rollout:
    """Go on without (further) baking of the batch in work, or of all, paused or not. Verification is never skipped.

    When no instance is left for the batch in work, it goes on to everybody.
    """
    _forward(rollout, "promoted")
    going = rollout if rollout.paused is None else _going_on(rollout, now)
    return replace(going, hurried=max(rollout.hurried, ALL if all_batches else rollout.batch))


def abort(rollout: Rollout, author: str, now: datetime, message: str = "") -> Rollout:
    """Roll back all batches."""
    _forward(rollout, "aborted")
    return replace(rollout, aborted=Order(by=author, at=now, message=message))


def force(rollout: Rollout, author: str, now: datetime, message: str) -> Rollout:
    """Break glass: the release becomes stable for everybody without proof, and the record says so for ever.

    `UsageError` without a message.
    """
    _forward(rollout, "forced")
    if not message.strip():
        raise UsageError(f"rollout {rollout.id} is forced by nobody without saying why", remedy="give a message")
    return replace(rollout, forced=Order(by=author, at=now, message=message))


def told(rollout: Rollout, number: int) -> Rollout:
    """The notices up to `number` have been sent."""
    return replace(rollout, notices=tuple(notice for notice in rollout.notices if notice.number > number))


def _going_on(rollout: Rollout, now: datetime) -> Rollout:
    fresh: dict[str, Any] = {"since": now, "step": rollout.step + 1} if rollout.phase in _HELD else {}
    return replace(rollout, paused=None, waiting=None, **fresh)


def _forward(rollout: Rollout, done: str) -> None:
    if rollout.phase.forward:
        return
    remedy = "publish an earlier release" if rollout.phase in (Phase.PROMOTING, Phase.PROMOTED) else "start another one"
    raise UsageError(f"rollout {rollout.id} is {rollout.phase} and cannot be {done} any more", remedy=remedy)
