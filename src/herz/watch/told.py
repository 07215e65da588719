"""A watch session as it is told to others: where it stands, and its last steps."""

from __future__ import annotations

from typing import Final

from herz.release.report import SourceState, SourceStep
from herz.watch.session import Session

STEPS: Final = 16
"""Steps of a session that are told."""


def steps_of(session: Session, most: int = STEPS) -> tuple[SourceStep, ...]:
    """The last steps, newest first; a step that mended something has no reason."""
    return tuple(
        SourceStep(
            state=str(step.state),
            says=str(step.says),
            age_s=round(session.ago_s(step), 3),
            retries=step.retries,
            reason=step.reason,
        )
        for step in list(reversed(session.history))[:most]
    )


def state_of(session: Session, most: int = STEPS) -> SourceState:
    """A session by itself. Texts are as they were raised: mask them where others read them."""
    return SourceState(
        name=session.source.origin.name,
        kind=session.source.origin.kind,
        state=str(session.state),
        says=str(session.says),
        age_s=round(session.age_s, 3),
        retries=session.retries,
        reconnects=session.reconnects,
        resets=session.resets,
        rewinds=session.rewinds,
        broken=session.broken,
        degraded=session.degraded,
        error=None if session.error is None else str(session.error),
        steps=steps_of(session, most),
    )
