"""The sources of a process as they are told to whoever asks for them: what health says of each, and its last steps."""

from __future__ import annotations

from collections.abc import Iterable

from herz.app.feed import Feed
from herz.app.health import SourceHealth
from herz.release.report import SourceState
from herz.watch.told import steps_of


def states_of(rows: Iterable[SourceHealth], feeds: Iterable[Feed]) -> tuple[SourceState, ...]:
    """One for each source, in their order; `rows` are those of `feeds`."""
    return tuple(
        SourceState(
            name=row.name,
            kind=row.kind,
            state=row.state,
            says=row.freshness,
            age_s=round(row.age_s, 3),
            revision=row.revision,
            retries=row.retries,
            reconnects=row.reconnects,
            resets=row.resets,
            rewinds=row.rewinds,
            broken=row.broken,
            degraded=row.degraded,
            error=row.error,
            steps=() if feed.session is None else steps_of(feed.session),
        )
        for row, feed in zip(rows, feeds, strict=True)
    )
