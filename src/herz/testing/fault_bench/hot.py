"""Herz as the bench sees it: what its listeners hear, and what its application would use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from herz.app.events import Rejected
from herz.app.herz import Herz
from herz.model.change import ChangeSet
from herz.model.tree import leaves
from herz.testing.fault_bench.tally import Heard


class HotClient:
    """A `Herz` that follows a prefix of etcd. `consume` is called in its listener, and may block.

    `state` has the values in force under their keys in the store.
    """

    def __init__(
        self,
        url: str | Sequence[Any],
        prefix: str,
        *,
        consume: Callable[[], None] | None = None,
        last_good: str | None = None,
    ) -> None:
        sources = [url] if isinstance(url, str) else list(url)
        self.herz = Herz(*sources, environment={}, last_good=last_good)
        self.heard: list[Heard] = []
        self.rejected: list[Rejected] = []
        self._prefix, self._consume = prefix, consume
        self._lock = threading.Lock()
        self.herz.on_change(self._changed)
        self.herz.on_rejected(self.rejected.append)

    def _changed(self, changes: ChangeSet) -> None:
        if self._consume is not None:
            self._consume()
        self.heard.append(Heard(changes.revision, changes.reset, changes.epoch))

    async def start(self) -> None:
        """Load and watch."""
        await self.herz.astart()

    async def stop(self) -> None:
        """Stop."""
        await self.herz.astop()

    def has_heard(self, revision: int) -> bool:
        """Whether its listener was handed `revision`, or what is newer, in the epoch that is in force.

        Listeners hear what is in force already: to compare `state` alone says nothing of `heard`.
        """
        epoch = self.herz.snapshot.epoch
        return any(one.revision >= revision and one.epoch == epoch for one in reversed(self.heard))

    @property
    def state(self) -> dict[str, str]:
        """What is in force."""
        tree = self.herz.snapshot.composed.tree
        return {self._prefix + "/".join(path): value for path, value in leaves(tree) if isinstance(value, str)}

    @property
    def health(self) -> Any:
        """The row of the followed store."""
        return self.herz.health().sources[0]
