"""Following one prefix of the store: a watch session of its own, and what it can prove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from herz.discovery.source import ServiceSource
from herz.model.credentials import without_credentials
from herz.model.document import Batch, Progress, Reset, Revision
from herz.model.tree import ABSENT
from herz.sources.base import Item
from herz.store.base import Entry, Store
from herz.watch.backoff import Policy
from herz.watch.core import Says
from herz.watch.session import Session

STORE_RETRY: Final = Policy(retries=8, healthy_s=5.0, fixed_s=0.5)
"""A server has clients waiting, and there are few servers: it asks for its store again soon, and does not spread."""


class Freshness(NamedTuple):
    """How current something is: what its session says, seconds since the store last proved it, and why it is not."""

    says: Says
    age_s: float
    reason: str | None = None

    @property
    def current(self) -> bool:
        """Whether the store has proved within its deadline that nothing is missing."""
        return self.says is Says.CURRENT


class Following:
    """One prefix of a store, and the session that follows it for as long as the server lives.

    `steps` is called with the entries of a revision by their keys (None for one deleted), the revision, and whether
    that is all there is. `read` is awaited before, when all was read; `proven` is called when nothing was missing.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        steps: Callable[[Mapping[str, Entry | None], Revision, bool], None],
        read: Callable[[Following, Reset], Awaitable[None]],
        proven: Callable[[Following], None],
        clock: Callable[[], float],
    ) -> None:
        self.revision: Revision = -1
        self.source = ServiceSource(store, prefix, proof_s=store.proof_s)
        self.session = Session(
            self.source,
            self._deliver,
            self._applied,
            read_first=True,
            policy=STORE_RETRY,
            clock=clock,
        )
        self._steps, self._read, self._proven = steps, read, proven

    @property
    def freshness(self) -> Freshness:
        """How current what was handed on is."""
        session = self.session
        reason = None if session.error is None else without_credentials(str(session.error))
        if self.revision < 0:
            return Freshness(Says.STALE, session.age_s, reason or "not read yet")
        return Freshness(session.says, session.age_s, reason)

    async def _applied(self) -> Revision:
        self.source.refused = None
        return self.revision

    async def _deliver(self, item: Item) -> None:
        match item:
            case Batch():
                entries = {path[0]: None if entry is ABSENT else entry for path, _, entry in item.events}
                self.revision = item.revision
                self._steps(entries, item.revision, False)
            case Reset():
                await self._read(self, item)
                self.revision = item.document.revision
                self._steps(item.document.tree, item.document.revision, True)
            case Progress():
                self.revision = max(self.revision, item.revision)
                self._proven(self)
