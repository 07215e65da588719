"""Sources whose content is a tree in this process: their revisions, followers and short history."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from herz.errors import HerzError
from herz.model.document import Batch, Document, Event, Locator, Progress, Reset, Revision
from herz.model.origin import Origin
from herz.model.tree import EMPTY, Tree, differences
from herz.sources.base import Failed, Item, Stream

HISTORY: Final = 1024
"""Batches kept, so that a follower which read a little earlier is handed each revision and not a `Reset`."""


class HeldSource:
    """A source that holds its tree in memory; the first revision is 1, each change adds 1.

    `publish` and `fail` may be called from any thread: followers are handed what results in one order.
    """

    local: bool = False

    def __init__(self, origin: Origin, *, optional: bool = False) -> None:
        self.origin = origin
        self.optional = optional
        self._document = Document(origin, 0, EMPTY)
        self._failure: HerzError | None = None
        self._revision: Revision = 0
        self._history: deque[tuple[Revision, Batch]] = deque(maxlen=HISTORY)
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._process = os.getpid()

    def content(self) -> tuple[Tree, Locator | None]:
        """What the place holds now: its tree, and where each path of it was written. Sources override it."""
        return self._document.tree, self._document.locator

    async def read(self) -> Document:
        """What the place holds now; `DocumentMalformed` when it is not usable."""
        self.look()
        if self._failure is not None:
            raise self._failure
        return self._document

    async def rescan(self) -> Revision:
        """Look now; followers are handed what differs, or `Progress`."""
        return self.look(report=True)

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """The changes after `after`, each revision once and in order."""
        stream = Stream()
        with self._guard():
            stream.deliver(self._since(after))
            if self._failure is not None:
                stream.deliver([Failed(self._revision, self._failure, self.origin.name)])
            self._streams.append(stream)
        try:
            yield stream
        finally:
            with self._guard():
                self._streams.remove(stream)

    def look(self, *, report: bool = False) -> Revision:
        """Take up what the place holds now; with `report` followers hear of it even when nothing differs."""
        with self._guard():
            try:
                tree, locator = self.content()
            except HerzError as error:
                known = self._failure
                if report or known is None or str(known) != str(error):
                    self._fail(error)
                return self._revision
            healed, self._failure = self._failure is not None, None
            events = tuple(Event(*difference) for difference in differences(self._document.tree, tree))
            if events or self._document.revision == 0:
                self._publish(tree, locator, events)
            elif report or healed:
                self._revision += healed  # else who waits for the revision of the failure would not wait for its end
                self._hand_on(Progress(self._revision))
            return self._revision

    def _publish(self, tree: Tree, locator: Locator | None, events: tuple[Event, ...]) -> None:
        """The next revision is `tree`. Called with the lock held."""
        previous = self._document.revision
        self._revision += 1
        self._document = Document(self.origin, self._revision, tree, locator)
        batch = Batch(self._revision, events, self._document)
        self._history.append((previous, batch))
        self._hand_on(batch)

    def _fail(self, error: HerzError) -> None:
        self._failure = error
        self._revision += 1
        self._hand_on(Failed(self._revision, error, error.where or self.origin.name))

    def _hand_on(self, item: Item) -> None:
        for stream in self._streams:
            stream.deliver([item])

    def _since(self, after: Revision) -> list[Item]:
        """What a follower whose document is of revision `after` has missed."""
        if after == self._document.revision:
            return []
        missed: list[Item] = []
        for previous, batch in self._history:
            if missed or (previous == after and after > 0):
                missed.append(batch)
        return missed or [Reset(self._document, f"revision {after} is not in this source's history")]

    def _guard(self) -> threading.Lock:
        """The lock; a fresh one, without the parent's followers, in a forked child."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            self._streams = [stream for stream in self._streams if stream.lives]
        return self._lock
