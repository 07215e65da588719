"""What happened in one rollout, from the audit log: found by its time, read on from there, kept for the next look."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from herz.release.rollout import Rollout
from herz.server.audit import Audit, AuditEntry
from herz.server.sized import Sized

KEPT: Final = 200
"""Rollouts whose entries are kept."""
ENTRIES: Final = 500
"""Entries of one rollout that are shown."""
PAGE: Final = 500
PAGES: Final = 20
"""Pages of the log that one look reads at most: the rest at the next one."""
SKEW: Final = timedelta(seconds=30)
"""How far the clocks of servers that append to one log may be apart."""
LATER: Final = timedelta(minutes=10)
"""For how long after its end something may be written of a rollout: that an alert could not be delivered."""
_LAST: Final = frozenset({"rollout.promoted", "rollout.rolled-back"})


class Timeline:
    """The entries of one rollout that were found, and up to which number the log was read for it."""

    __slots__ = ("ended", "entries", "over", "read")

    def __init__(self, read: int) -> None:
        self.read = read
        self.entries: tuple[AuditEntry, ...] = ()
        self.ended: datetime | None = None
        self.over = False


class Timelines:
    """The audit log by rollouts. The log is in the order of time, and has no other order."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._kept: Sized[tuple[str, datetime], Timeline] = Sized(KEPT, lambda _: 1)

    async def of(self, rollout: Rollout) -> tuple[AuditEntry, ...]:
        """What was done in a rollout, in order."""
        target = f"{rollout.app}/{rollout.namespace} {rollout.id}"
        head = (await self._audit.head()).number
        known = self._kept.get((target, rollout.created))
        if known is None or known.read > head:  # the store was restored to an earlier day
            known = Timeline(await self._before(rollout.created - SKEW, head))
            self._kept.put((target, rollout.created), known)
        for _ in range(PAGES):
            if known.read >= head or known.over or len(known.entries) >= ENTRIES:
                break
            begin = known.read
            found = await self._audit.entries(after=begin, limit=PAGE)
            if known.read != begin:
                continue  # another look has read it meanwhile
            if not found:
                break
            mine = tuple(entry for entry in found if entry.target == target)
            known.entries += mine
            known.ended = next((entry.time for entry in mine if entry.action in _LAST), known.ended)
            known.over = known.ended is not None and found[-1].time - known.ended > LATER
            known.read = found[-1].number
        return known.entries[:ENTRIES]

    async def _before(self, time: datetime, head: int) -> int:
        """The number of the last entry before `time`, 0 where there is none."""
        low, high = 0, head
        while low < high:
            middle = (low + high + 1) // 2
            found = await self._audit.entries(after=middle - 1, limit=1)
            if found and found[0].time < time:
                low = middle
            else:
                high = middle - 1
        return low
