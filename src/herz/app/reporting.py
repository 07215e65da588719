"""Reporting: what runs of each source, told to those sources that tell their place.

What runs is taken from the generation in force, and not from what was delivered, fetched or meant to be applied.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from herz.app.feed import Feed
from herz.errors import NotRunning
from herz.formats.pace import Pace
from herz.live.scope import Scope
from herz.merge.composition import PATCH_LIMIT, patched
from herz.merge.fingerprint import Fingerprint
from herz.merge.overlay import merged
from herz.model.document import Document
from herz.model.key import Path
from herz.model.meaning import Kind
from herz.model.secret import SecretKeys
from herz.model.tree import Tree, differences
from herz.release.report import SourceState
from herz.sources.base import Reporter, Running

logger = logging.getLogger("herz")

KEPT: Final = 4
"""Documents of a source whose digests are remembered: what is in force, what is prepared, what was before."""


class Prints:
    """Release fingerprints of one source's documents: each costs what it differs from the one before.

    The secret patterns are the default ones, so that every program that has the documents computes the same.
    """

    def __init__(self) -> None:
        self._secrets = SecretKeys()
        self._known: deque[tuple[tuple[Document, ...], Tree, Fingerprint]] = deque(maxlen=KEPT)

    def of(self, document: Document) -> str:
        """`sha256:<hex>` of the document's parts, merged."""
        parts = document.parts or (document,)
        trees = [part.tree for part in parts]
        for known in tuple(self._known):  # a thread may be adding the first one
            if len(known[0]) == len(parts) and all(a.tree is b for a, b in zip(known[0], trees, strict=True)):
                return str(known[2])
        tree, fingerprint = self._next(trees)
        self._known.appendleft((parts, tree, fingerprint))
        return str(fingerprint)

    def _next(self, trees: Sequence[Tree]) -> tuple[Tree, Fingerprint]:
        filled = [tree for tree in trees if tree]
        if self._known and len(self._known[0][0]) == len(trees):
            parts, tree, fingerprint = self._known[0]
            pause = Pace()
            paths: list[Path] = []
            for before, after in zip(parts, trees, strict=True):
                paths += [path for path, _, _ in differences(before.tree, after, pause=pause)]
            if len(paths) <= PATCH_LIMIT:
                tree, events = patched(tree, filled, paths)
                return tree, fingerprint.update(tree, [event.path for event in events])
        tree = merged(filled)
        return tree, Fingerprint.of(tree, self._secrets)


class Reporting:
    """Lets the sources that report see what runs. Everything is called on the engine's loop."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        scope: Scope,
        kind_of: Callable[[Path], Kind | None],
        sources: Callable[[], tuple[SourceState, ...]] = tuple,
    ) -> None:
        self._feeds, self._scope, self._kind_of, self._sources = feeds, scope, kind_of, sources
        self._prints = {feed: Prints() for feed in feeds}
        self._reporters: list[Reporter] = []

    async def attach(self) -> None:
        """Have each source that reports begin to do so, once what is in force has been digested.

        That takes a second where it has some 100,000 keys. A thread does it, so that nothing has to wait for it here.
        """
        for feed in self._feeds:
            if isinstance(feed.source, Reporter):
                await asyncio.to_thread(self._digest, feed)
                feed.source.attach(partial(self.running, feed), self._graph)
                self._reporters.append(feed.source)

    def _digest(self, feed: Feed) -> None:
        snapshot = self.running(feed).snapshot
        snapshot.composed.effective()

    async def detach(self) -> None:
        """Have them withdraw what they reported: what runs is about to end."""
        reporters, self._reporters = self._reporters, []
        for reporter in reporters:
            await reporter.detach()

    def moved(self) -> None:
        """Something was put in force, refused or rehearsed, or is mended. What a source makes of it holds up nobody."""
        for reporter in self._reporters:
            try:
                reporter.moved()
            except Exception:
                logger.exception("a source could not take note of what runs now")

    def fingerprint_of(self, feed: Feed, document: Document) -> str:
        """The release fingerprint of `document` alone; nothing where nobody is told it."""
        return self._prints[feed].of(document) if isinstance(feed.source, Reporter) else ""

    def running(self, feed: Feed) -> Running:
        """What runs of `feed` now. `NotRunning` while nothing does."""
        generation = self._scope.current
        if generation.number == 0:
            raise NotRunning("there is no configuration", remedy="ask again when it has started")
        snapshot = generation.snapshot
        parts = tuple(layer.document for layer in snapshot.composed.layers if layer.source == feed.name)
        document = feed.accepted
        if (document.parts or (document,)) != parts:
            document = Document(feed.source.origin, snapshot.revisions.get(feed.name, -1), parts=parts)
        standing = feed.refused or feed.failure
        return Running(
            document,
            self.fingerprint_of(feed, document),
            snapshot,
            feed.waiting > 0,
            None if standing is None else standing.error,
            feed.rehearsal,
            feed.dry,
            None if feed.refused is None else feed.refused.document,
            self._kind_of,
            self._sources,
        )

    def _graph(self) -> Mapping[str, Any]:
        return self._scope.describe()
