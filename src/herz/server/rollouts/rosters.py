"""Who took part in rollouts, as pages and the API tell it: what the driver wrote, and what is reported since."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from herz.errors import DocumentMalformed
from herz.release.member import Member
from herz.release.rollout import Rollout
from herz.release.roster import Participant, Roster, pack, unpack
from herz.server.hub import Hub
from herz.server.rollouts.observing import members_of
from herz.server.rollouts.witness import Known, taking_part
from herz.server.sized import Sized
from herz.store.base import Delete, Operation, Put, Store
from herz.store.plane import roster_key

_log = logging.getLogger("herz")

KEPT: Final = 500
"""Rollouts of a namespace whose rosters are kept, the newest ones."""
_READ: Final = 20_000
"""Participants that are kept in memory, of rollouts that were looked at."""


def writing(rollout: Rollout, roster: Roster) -> list[Operation]:
    """The writes of a rollout's roster; at its end the oldest one that is kept goes."""
    key = roster_key(rollout.app, rollout.namespace, rollout.id)
    written: list[Operation] = [Put(key, pack(roster, rollout.created, rollout.release.fingerprint))]
    number = rollout.id.removeprefix("r")
    if rollout.over and number.isdecimal() and int(number) > KEPT:
        written.append(Delete(roster_key(rollout.app, rollout.namespace, f"r{int(number) - KEPT}")))
    return written


async def written(store: Store, rollout: Rollout) -> Roster | None:
    """The roster as it was written last; None where none was, or it cannot be read."""
    entry = await store.get(roster_key(rollout.app, rollout.namespace, rollout.id))
    if entry is None:
        return None
    try:
        return unpack(entry.value, f"{entry.key}@{entry.mod_revision}")
    except DocumentMalformed as error:
        _log.error("herz: who took part in %s is not known: %s", rollout.id, error)
        return None


class Rosters:
    """The rosters of a store, those looked at last in memory."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store, self._hub = store, hub
        self._read: Sized[tuple[str, datetime, int], Roster] = Sized(_READ, lambda roster: 1 + len(roster.participants))

    async def of(self, rollout: Rollout) -> tuple[Roster, Sequence[Known]]:
        """Who takes part in `rollout`, and what else is known of each: of one that is over nothing but its record."""
        roster = await self._written(rollout)
        if rollout.over:
            parts = roster.participants if roster is not None else ()
            seen: Sequence[Known] = [Known(part, Member(part.instance)) for part in parts]
            return roster or Roster(rollout=rollout.id, recorded=False), seen
        namespace = self._hub.namespace(rollout.app, rollout.namespace)
        kept = {} if roster is None else {one.instance: one for one in roster.participants}
        seen = taking_part(rollout, kept, members_of(namespace), namespace.channel)
        parts = tuple(sorted((one.part for one in seen), key=_name))
        before = 0 if roster is None or rollout.phase.forward else roster.members  # until it ends all mailboxes stand
        left_out = max(0, before - len(parts))
        return Roster(rollout=rollout.id, participants=parts, members=len(parts) + left_out, left_out=left_out), seen

    async def _written(self, rollout: Rollout) -> Roster | None:
        """It is written with the beginning of a phase, which `step` counts: until the next one it stays as it is."""
        key = (f"{rollout.app}/{rollout.namespace}/{rollout.id}", rollout.created, rollout.step)
        known = self._read.get(key)
        if known is None:
            known = await written(self._store, rollout)
            if known is not None:
                self._read.put(key, known)
        return known


def _name(part: Participant) -> str:
    return part.instance
