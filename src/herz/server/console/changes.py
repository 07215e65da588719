"""What changes, by topic: `fleet:pay/default`, `audit`. Open pages ask again when one of theirs has.

A topic says that something is new, not what: whoever missed some, or many at once, has missed nothing once they have
asked again. Channels and reports come from the hub; everything else from watch sessions that keep no values.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from herz.discovery.instance import ROOT as SERVICES
from herz.model.document import Batch, Progress, Reset, Revision
from herz.server.console.touched import TouchedKeys
from herz.server.following import STORE_RETRY
from herz.server.hub import Happened, Hub
from herz.sources.base import Item
from herz.store.base import Store
from herz.store.plane import APPS, AUDIT, ROLLOUTS, TOKENS
from herz.watch.core import Says
from herz.watch.session import Session

EVERYTHING: Final = "*"
"""The topic of whatever is not known any better: after a watch has missed something."""


class Changes:
    """Which topic changed last when, counted by `seq`; and who wants to know.

    Listeners are called on the loop with a topic; they must neither block nor raise.
    """

    def __init__(self, store: Store, hub: Hub) -> None:
        self.seq = 0
        self._last: dict[str, int] = {}
        self._listeners: set[Callable[[str], None]] = set()
        self.sessions = [self._session(store, prefix) for prefix in (APPS, ROLLOUTS, AUDIT, TOKENS, SERVICES)]
        hub.on_change(self._happened)
        hub.on_rewind(lambda reason: self.touch(EVERYTHING))

    @property
    def standing(self) -> bool:
        """Whether every session follows at the moment: only then nothing can have changed untold."""
        return all(session.says is Says.CURRENT for session in self.sessions)

    def touch(self, topic: str) -> None:
        """Say that a topic has changed."""
        self.seq += 1
        self._last[topic] = self.seq
        for listener in tuple(self._listeners):
            listener(topic)

    def since(self, seq: int, topics: Iterable[str]) -> bool:
        """Whether one of the topics changed after `seq`."""
        return any(self._last.get(topic, 0) > seq for topic in (EVERYTHING, *topics))

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Have `listener` called with each topic that changes; call what is returned to end that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the store, while this lasts."""
        tasks = [
            asyncio.create_task(session.run(), name=f"herz-console {session.source.origin}")
            for session in self.sessions
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _happened(self, happened: Happened) -> None:
        of = f"{happened.namespace.app}/{happened.namespace.name}"
        if happened.reset or happened.channel or happened.mailboxes:
            self.touch(f"channel:{of}")
        if happened.reset or happened.reports or happened.mailboxes:
            self.touch(f"fleet:{of}")

    def _session(self, store: Store, prefix: str) -> Session:
        revision: Revision = -1

        async def deliver(item: Item) -> None:
            nonlocal revision
            match item:
                case Batch():
                    for topic in dict.fromkeys(topic for path, _, _ in item.events for topic in topics_of(path[0])):
                        self.touch(topic)
                    revision = item.revision
                case Reset():
                    if revision >= 0:  # something was missed
                        self.touch(EVERYTHING)
                    revision = item.document.revision
                case Progress():
                    revision = max(revision, item.revision)

        async def applied() -> Revision:
            return revision

        return Session(TouchedKeys(store, prefix), deliver, applied, read_first=True, policy=STORE_RETRY)


_BELOW_APPS: Final = {
    "releases": ("releases",),
    "newest": ("releases",),
    "published": ("releases",),
    "rollouts": ("rollouts",),
    "policy": ("draft", "releases"),
    "approvals": ("draft", "releases"),
}


def topics_of(key: str) -> tuple[str, ...]:
    """The topics that a key belongs to.

    `apps` is whatever is written of any namespace; what else than releases and rollouts a namespace has belongs to its
    draft.
    """
    match key.removeprefix("/herz/").split("/"):
        case ["apps", app, namespace, kind, *_]:
            return *(f"{one}:{app}/{namespace}" for one in _BELOW_APPS.get(kind, ("draft",))), "apps"
        case ["rollouts", app, namespace, *_]:
            return (f"rollouts:{app}/{namespace}",)
        case [kind, *_]:
            return (kind,)
    return (EVERYTHING,)
