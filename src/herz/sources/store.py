"""A prefix of a revisioned key-value store as a source: the embedded SQLite store, and any other `Store`.

The keys under the prefix are the path (`/config/pay/db/pool` is `db.pool`), values are text, typed when
they are bound. A key that ends in `.yml`, `.json`, `.toml`, … holds a document, whose tree is put at
the rest of its path (`/config/pay/limits.yml` is the table `limits`, `/config/pay/application.yml` the root).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from immutables import Map

from herz.errors import (
    DocumentMalformed,
    DuplicateKey,
    HerzError,
    KeyConflict,
    MissingExtra,
    RevisionExpired,
    UsageError,
)
from herz.formats.decode import Decoded, decode, format_of
from herz.model.document import Batch, Document, Event, Progress, Revision
from herz.model.key import Path, join, relaxed
from herz.model.origin import Origin
from herz.model.tree import ABSENT, Tree, differences, is_table, lookup, put, remove
from herz.sources.base import Failed, Item
from herz.store.base import Changes, Entry, EventType, Store
from herz.store.names import config_prefix

PAGE: Final = 1_000
"""Entries asked for at a time."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What one key of the store contributes: a leaf at `path`, or a document's tree there."""

    path: Path
    value: Any
    entry: Entry
    decoded: Decoded | None = None

    def place(self, path: Path) -> str:
        """Where in the store `path` was written: `key@revision`, with the line inside a document."""
        place = f"{self.entry.key}@{self.entry.mod_revision}"
        line = self.decoded.locate(path[len(self.path) :]) if self.decoded is not None else None
        return place if line is None else f"{place}:{line}"


@dataclass
class _Content:
    """What the source has handed on: the tree, who wrote which part of it, and what waits to be usable."""

    tree: Tree = field(default_factory=dict)
    held: Map[str, _Held] = field(default_factory=Map)
    writers: Map[Path, _Held] = field(default_factory=Map)
    names: Map[Path, Path] = field(default_factory=Map)
    """Each leaf's path by its relaxed form: two spellings of one key must not both be there."""
    waiting: dict[str, Entry | None] = field(default_factory=dict)
    """Keys whose latest value could not be taken yet, with it; None where the key was deleted."""


class StoreSource:
    """The configuration of one application in a store, followed revision by revision.

    A revision with a value that cannot be used (not UTF-8, a malformed document, a key that is both
    value and table) is handed on as `Failed` and waits; later revisions are tried together with it
    first and then without it, so that one bad key never holds up later fixes.
    """

    local = False
    keyed = True

    def __init__(
        self, store: Store, prefix: str, *, name: str | None = None, kind: str = "store", optional: bool = False
    ) -> None:
        self.store = store
        self.prefix = prefix
        self.optional = optional
        self.origin = Origin(name or prefix, kind)
        self._content = _Content()
        self._document = Document(self.origin, -1)

    @classmethod
    def from_url(cls, url: str, *, optional: bool = False, context: object = None) -> StoreSource:
        """The source that `sqlite:///herz.db#pay` names: a file, and the application in it."""
        from herz.store.sqlite import SqliteStore

        parts = urlsplit(url)
        if parts.scheme != "sqlite":
            raise MissingExtra(
                f"no store for {parts.scheme}:// is installed", remedy="use sqlite:///file.db#application"
            )
        if parts.netloc or not parts.path.strip("/"):
            raise UsageError(
                f"{url} names no file", remedy="write sqlite:///relative.db#app or sqlite:////absolute.db#app"
            )
        if not parts.fragment:
            raise UsageError(f"{url} names no application", remedy=f"add it behind a #: {url}#app")
        path = unquote(parts.path[1:])
        create = parse_qs(parts.query).get("create", ["true"])[0] != "false"
        return cls(
            SqliteStore(path, create=create),
            config_prefix(parts.fragment),
            name=f"sqlite:{path}#{parts.fragment}",
            kind="sqlite",
            optional=optional,
        )

    async def read(self) -> Document:
        """All keys at one revision of the store. `DocumentMalformed` when one of them cannot be used."""
        revision, entries = await self._entries()
        content = _Content()
        _, failure = self._taken(content, {entry.key: entry for entry in entries})
        if failure is not None:
            raise failure.error
        if revision != self._document.revision or content.held != self._content.held:
            self._content = content
            self._document = self._documented(content, revision)
        return self._document

    async def _entries(self) -> tuple[Revision, list[Entry]]:
        entries: list[Entry] = []
        revision: int | None = None
        while True:
            after = entries[-1].key if entries else None
            page = await self.store.range(self.prefix, revision=revision, limit=PAGE, after=after)
            entries += page.entries
            revision = page.revision
            if not page.more:
                return revision, entries

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """Every revision after `after` that touches the prefix; `RevisionExpired` when history does not reach back."""
        if after != self._document.revision:
            raise RevisionExpired(f"{self.origin}: revision {after} is not the one read last", remedy="read again")
        async with self.store.watch(self.prefix, after) as changes:
            yield self._items(changes)

    async def _items(self, changes: AsyncIterator[Any]) -> AsyncIterator[Item]:
        async for change in changes:
            if isinstance(change, Changes):
                for item in self._applied(change):
                    yield item
            else:
                self._moved_to(change.revision)
                yield Progress(change.revision)

    async def close(self) -> None:
        """Let go of the store."""
        await self.store.close()

    async def rescan(self) -> Revision:
        """The store's revision now; the watch hands on everything up to it."""
        return (await self.store.status()).revision

    def _moved_to(self, revision: Revision) -> None:
        document = self._document
        self._document = Document(document.origin, revision, document.tree, document.locator, document.references)

    def _applied(self, changes: Changes) -> Iterable[Item]:
        touched = {event.entry.key: event.entry if event.type is EventType.PUT else None for event in changes.events}
        content = self._content
        events, failure = self._taken(content, {**content.waiting, **touched})
        if failure is not None and content.waiting:
            waiting, content.waiting = content.waiting, {}
            events, later = self._taken(content, touched)
            content.waiting = {**waiting, **(touched if later is not None else {})}
            if later is None:
                for key in touched:
                    content.waiting.pop(key, None)
        elif failure is not None:
            content.waiting = touched
        else:
            content.waiting = {}
        if events is not None:
            self._document = self._documented(content, changes.revision)
            yield Batch(changes.revision, events, self._document)
        else:
            self._moved_to(changes.revision)
        if failure is not None:
            yield Failed(changes.revision, failure.error, failure.place)

    def _documented(self, content: _Content, revision: Revision) -> Document:
        writers = content.writers

        def locate(path: Path) -> str:
            for depth in range(len(path), -1, -1):
                if (writer := writers.get(path[:depth])) is not None:
                    return writer.place(path)
            return self.origin.name

        return Document(self.origin, revision, content.tree, locate)

    def _taken(
        self, content: _Content, touched: dict[str, Entry | None]
    ) -> tuple[tuple[Event, ...] | None, _Refused | None]:
        """Take `touched` into `content`, whole, and answer the leaves that changed; or nothing, and why not."""
        held, writers, events = content.held, content.writers, list[Event]()
        for key, entry in touched.items():
            if (before := held.get(key)) is not None:
                held, writers = held.delete(key), writers.delete(before.path)
                events += (Event(*difference) for difference in differences(before.value, ABSENT, before.path))
            if entry is None:
                continue
            try:
                after = self._decoded(entry)
            except HerzError as error:
                return None, _Refused(error, key)
            held, writers = held.set(key, after), writers.set(after.path, after)
            events += (Event(*difference) for difference in differences(ABSENT, after.value, after.path))
        merged = _merged(events)
        tree, names = content.tree, content.names
        for event in merged:
            if event.after is ABSENT:
                tree, names = remove(tree, event.path), names.delete(_relaxed(event.path))
        for event in merged:
            if event.after is not ABSENT:
                if event.before is ABSENT and (conflict := _conflict(tree, names, event.path)) is not None:
                    return None, _Refused(conflict, next(iter(touched)))
                tree, names = put(tree, event.path, event.after), names.set(_relaxed(event.path), event.path)
        content.tree, content.held, content.writers, content.names = tree, held, writers, names
        return merged, None

    def _decoded(self, entry: Entry) -> _Held:
        segments = tuple(
            segment.replace("%2F", "/").replace("%25", "%")
            for segment in entry.key[len(self.prefix) :].split("/")
            if segment
        )
        if not segments:
            raise DocumentMalformed("a key with no name", where=entry.key, remedy="name it under the prefix")
        place = f"{entry.key}@{entry.mod_revision}"
        if (form := format_of(segments[-1])) is not None:
            stem = segments[-1].rsplit(".", 1)[0]
            path = segments[:-1] if stem in ("", "application") else (*segments[:-1], stem)
            decoded = decode(entry.value, form, name=place)
            return _Held(path, decoded.tree, entry, decoded)
        try:
            return _Held(segments, entry.value.decode("utf-8"), entry)
        except UnicodeDecodeError as error:
            raise DocumentMalformed(
                f"{join(segments)}: value is not UTF-8 at byte {error.start}", where=place, remedy="store text"
            ) from error


@dataclass(frozen=True, slots=True)
class _Refused:
    error: HerzError
    place: str


def _merged(events: list[Event]) -> tuple[Event, ...]:
    """One event for each path: what was removed and added again is a change, or nothing."""
    found: dict[Path, Event] = {}
    for event in events:
        known = found.get(event.path)
        found[event.path] = event if known is None else Event(event.path, known.before, event.after)
    return tuple(event for event in found.values() if not (event.before is event.after or event.before == event.after))


def _relaxed(path: Path) -> Path:
    return tuple(map(relaxed, path))


def _conflict(tree: Tree, names: Map[Path, Path], path: Path) -> HerzError | None:
    """Why `path` cannot be put into `tree` as one more leaf, if it cannot."""
    written = names.get(_relaxed(path), path)
    if written != path:
        return DuplicateKey(f"{join(path)} is also spelled {join(written)}", remedy="keep one spelling")
    for depth in range(1, len(path)):
        node = lookup(tree, path[:depth])
        if node is not ABSENT and not is_table(node):
            return KeyConflict(f"{join(path[:depth])} is both a value and a table", remedy="keep one of the two")
    node = lookup(tree, path)
    if is_table(node) and node:
        return KeyConflict(f"{join(path)} is both a value and a table", remedy="keep one of the two")
    return None
