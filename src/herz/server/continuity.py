"""Continuity: whether the store still has what a client was told, or is a backup that has gone on elsewhere since.

A revision alone does not tell: a restored store soon counts as far as it did before, with other writes. So a client is
told a mark with each state, the revision at which its channel was written and what was written there, and shows the
mark that it was told last when it comes back.
"""

from __future__ import annotations

import asyncio
from typing import Final

from herz.errors import HerzError, RevisionExpired
from herz.model.document import Revision
from herz.server.hub import Hub, Name, mark_of
from herz.store.base import Store
from herz.store.plane import channel_key

KNOWN: Final = 1_000
"""Marks that were looked up, and are remembered: a fleet that comes back shows the same few."""


class Continuity:
    """Compares marks with the history of the store. A mark that is not the newest one is looked up once."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store, self._hub = store, hub
        self._known: dict[tuple[Name, str], asyncio.Task[bool]] = {}
        hub.on_rewind(lambda reason: self._known.clear())

    async def holds(self, name: Name, mark: str) -> bool:
        """Whether `mark` is of this store's history, as far as that can be told."""
        namespace = self._hub.namespace(*name)
        revision = int(mark.partition("-")[0])
        if mark == namespace.mark or revision > self._hub.revision or channel_key(*name) in self._hub.refused:
            return True  # of what this server has not read yet its revision tells enough
        if revision >= namespace.channel_revision:
            return False
        looking = self._known.get((name, mark))
        if looking is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            looking = asyncio.get_running_loop().create_task(self._look(name, revision, mark))
            self._known[name, mark] = looking
        return await asyncio.shield(looking)

    async def _look(self, name: Name, revision: Revision, mark: str) -> bool:
        try:
            return mark_of(await self._store.get(channel_key(*name), revision=revision)) == mark
        except RevisionExpired:  # compacted: nothing speaks against it
            return True
        except HerzError:
            self._known.pop((name, mark), None)
            return True
