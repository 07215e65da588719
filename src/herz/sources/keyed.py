"""Keys of a place that holds one value a key, made into a tree: the store's and ZooKeeper's common part.

The keys under the prefix are the path (`/config/pay/db/pool` is `db.pool`), values are text, typed when
they are bound. A key that ends in `.yml`, `.json`, `.toml`, … holds a document, whose tree is put at
the rest of its path (`/config/pay/limits.yml` is the table `limits`, `/config/pay/application.yml` the root).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from immutables import Map

from herz.errors import DocumentMalformed, DuplicateKey, EmptiedSource, HerzError, KeyConflict
from herz.formats.decode import Decoded, decode, format_of
from herz.model.document import Document, Event, Revision
from herz.model.key import Path, join, relaxed
from herz.model.origin import Origin
from herz.model.tree import (
    ABSENT,
    EMPTY,
    LARGE_TABLE,
    Tree,
    differences,
    is_table,
    lookup,
    persistent,
    put,
    put_each,
    remove,
)
from herz.sources.base import Failed
from herz.store.base import Entry

BAD_KEYS: Final = 16
"""Keys that may be unusable at once, when everything is read, before nothing of it is taken."""


class Refused(NamedTuple):
    """Why keys could not be taken, and the key at fault."""

    error: HerzError
    place: str


class _Held(NamedTuple):
    """What one key contributes: a leaf at `path`, or a document's tree there."""

    path: Path
    value: Any
    entry: Entry
    decoded: Decoded | None = None

    def place(self, path: Path) -> str:
        """Where in the place `path` was written: `key@revision`, with the line inside a document."""
        place = f"{self.entry.key}@{self.entry.mod_revision}"
        line = self.decoded.locate(path[len(self.path) :]) if self.decoded is not None else None
        return place if line is None else f"{place}:{line}"

    def leaves(self) -> Iterable[tuple[Path, Any]]:
        """The paths that it writes, each with its value."""
        if self.decoded is None:
            return ((self.path, self.value),)
        return ((path, after) for path, _, after in differences(ABSENT, self.value, self.path))


class Keyed:
    """The content of a prefix: the tree that its usable keys make, and what is there besides.

    What cannot be used (not UTF-8, a malformed document, a key that is both value and table) waits with all
    that came with it, and the keys' last good values stay; later changes are tried together with what waits first, and
    without it then. Emptiness after content waits as well, until `accept`. `known` is what the place
    itself holds of a key, usable or not.
    """

    def __init__(self, origin: Origin, prefix: str, *, form: str | None = None) -> None:
        self.tree: Tree = EMPTY
        self.refused: Refused | None = None
        """Why something waits, as long as it does."""
        self._origin, self._prefix, self._form = origin, prefix, form
        self._held: Map[str, _Held] = Map()
        self._odd: Map[Path, _Held] = Map()  # what is not found by its path's plain name: documents, `a//b`
        self._names: Map[str, Path] = Map()  # each leaf's path by its relaxed name: two spellings of one key clash
        self._waiting: dict[str, Entry | None] = {}  # the latest of what could not be taken; None where it was deleted
        self._emptied = False
        self._accepting = False
        self._told: tuple[Refused | None, Revision] = (None, -1)

    def known(self, key: str) -> Entry | None:
        """What the place holds under `key`, as far as it was told; None for nothing."""
        if key in self._waiting:
            return self._waiting[key]
        held = self._held.get(key)
        return None if held is None else held.entry

    def entries(self) -> Iterator[Entry]:
        """All that the place holds, usable or not, in no order."""
        for key, held in self._held.items():
            if key not in self._waiting:
                yield held.entry
        yield from (entry for entry in self._waiting.values() if entry is not None)

    def document(self, revision: Revision) -> Document:
        """The usable content as of `revision`."""
        held, odd, prefix = self._held, self._odd, self._prefix

        def locate(path: Path) -> str:
            writer = held.get(prefix + _name(path))
            for depth in range(len(path), -1, -1) if writer is None and odd else ():
                if (writer := odd.get(path[:depth])) is not None:
                    break
            return self._origin.name if writer is None else writer.place(path)

        return Document(self._origin, revision, self.tree, locate)

    def failed(self, revision: Revision) -> Failed:
        """`refused`, which stands, as an item at `revision`; `since` the revision that it was first told with."""
        assert self.refused is not None  # noqa: S101  asked for only then
        if self._told[0] is not self.refused:
            self._told = self.refused, revision
        return Failed(revision, *self.refused, since=self._told[1])

    def accept(self) -> tuple[str, ...]:
        """Take the emptiness that waits as meant, when it is told again; the places that this is about."""
        self._accepting = self._emptied
        return (self._origin.name,) if self._emptied else ()

    def replace(self, entries: Iterable[Entry]) -> Refused | None:
        """The place holds `entries` and nothing else. What cannot be used keeps its last good value, and waits."""
        now = {entry.key: entry for entry in entries}
        if not self._held and not self._waiting and self._loaded(now):
            return None
        touched: dict[str, Entry | None] = {key: None for key in (*self._held, *self._waiting) if key not in now}
        touched |= {key: entry for key, entry in now.items() if self.known(key) != entry or key in self._waiting}
        self._waiting = {}
        first: Refused | None = None
        while True:
            _, refused = self._taken(touched)
            first = first or refused
            if refused is None or refused.place not in touched or len(self._waiting) >= BAD_KEYS:
                break
            self._waiting[refused.place] = touched.pop(refused.place)  # the others need not suffer
        if refused is not None:
            self._waiting |= touched
        self._emptied = refused is not None and isinstance(refused.error, EmptiedSource)
        self._accepting = False
        self.refused = first
        return first

    def take(self, touched: Mapping[str, Entry | None]) -> tuple[tuple[Event, ...] | None, Refused | None]:
        """The place changed `touched` in one revision: the leaves that changed, or None when nothing could be taken.

        With `Refused` when something waits now that has not been taken. Both may come at once.
        """
        waiting = self._waiting
        events, refused = self._taken({**waiting, **touched})
        if refused is None:
            self._waiting, self._emptied, self._accepting, self.refused = {}, False, False, None
            return events, None
        self._emptied = isinstance(refused.error, EmptiedSource)
        self._waiting = {**waiting, **touched}
        if waiting:
            events, later = self._taken(touched)
            if later is None:
                self._waiting = {key: entry for key, entry in waiting.items() if key not in touched}
            standing = self.refused if self.refused is not None and self.refused.place in self._waiting else refused
            refused = later or standing
        self.refused = refused
        return events, refused

    def _taken(self, touched: Mapping[str, Entry | None]) -> tuple[tuple[Event, ...] | None, Refused | None]:
        """Take `touched` whole, and answer the leaves that changed; or change nothing, and say why."""
        held, odd, events = self._held, self._odd, list[Event]()
        writes: dict[Path, str] = {}
        rewritten: list[Event] = []
        for key, entry in touched.items():
            if (before := held.get(key)) is not None:
                if entry is not None and before.decoded is None and before.path not in odd:
                    # A leaf with another value, by far the most frequent: it stays where it is, whatever else changes.
                    try:
                        value = entry.value.decode()
                    except UnicodeDecodeError as error:
                        return None, Refused(_no_text(before.path, entry, error), key)
                    held = held.set(key, _Held(before.path, value, entry))
                    if value != before.value:
                        rewritten.append(Event(before.path, before.value, value))
                    continue
                held = held.delete(key)
                if before.path in odd:
                    odd = odd.delete(before.path)
                events += (Event(path, value, ABSENT) for path, value in before.leaves())
            if entry is None:
                continue
            try:
                after = self._decoded(entry)
            except HerzError as error:
                return None, Refused(error, key)
            held = held.set(key, after)
            if after.decoded is not None or self._prefix + _name(after.path) != key:
                odd = odd.set(after.path, after)
            for path, value in after.leaves():
                events.append(Event(path, ABSENT, value))
                writes[path] = key
        if not held and self._held and not self._accepting:
            return None, Refused(_emptied(self._origin), self._origin.name)
        merged = _merged(events) if events else ()
        tree, names = put_each(self.tree, rewritten), self._names
        for event in merged:
            if event.after is ABSENT:
                tree, names = remove(tree, event.path), names.delete(relaxed(_name(event.path)))
        for event in merged:
            if event.after is not ABSENT:
                if event.before is ABSENT and (conflict := _conflict(tree, names, event.path)) is not None:
                    return None, Refused(conflict, writes[event.path])
                tree, names = put(tree, event.path, event.after), names.set(relaxed(_name(event.path)), event.path)
        self.tree, self._held, self._odd, self._names = tree, held, odd, names
        return (*rewritten, *merged), None

    def _loaded(self, entries: Mapping[str, Entry]) -> bool:
        """Take `entries` where nothing was held before, in one go; or change nothing, when any of them is unusable."""
        held: dict[str, _Held] = {}
        odd: dict[Path, _Held] = {}
        names: dict[str, Path] = {}
        tree: dict[str, Any] = {}
        tables: dict[str, dict[str, Any]] = {}
        start = len(self._prefix)
        plain = [key[start:] for key in entries]
        for (key, entry), name, relaxed_name in zip(entries.items(), plain, _all_relaxed(plain), strict=True):
            segments = name.split("/")
            last = segments[-1]
            if "." in last or "" in segments or "%" in name:
                try:
                    after = self._decoded(entry)
                except HerzError:
                    return False
                held[key] = after
                if after.decoded is not None or name != _name(after.path):
                    odd[after.path] = after
                for path, value in after.leaves():
                    if names.setdefault(relaxed(_name(path)), path) is not path or not _inserted(tree, path, value):
                        return False
                continue
            path = tuple(segments)
            try:
                value = entry.value.decode()
            except UnicodeDecodeError:
                return False
            held[key] = _Held(path, value, entry)
            above = name[: -len(last)]
            if (table := tables.get(above)) is None:
                if (table := _table(tree, path[:-1])) is None:
                    return False
                tables[above] = table
            if last in table or names.setdefault(relaxed_name, path) is not path:
                return False
            table[last] = value
        self.tree = _persistent(tree)
        self._held, self._odd, self._names = Map(held), Map(odd), Map(names)
        return True

    def _decoded(self, entry: Entry) -> _Held:
        name = entry.key[len(self._prefix) :]
        if not name.isascii() and name != printable(name):
            raise DocumentMalformed("a key that is not UTF-8", where=_place(entry), remedy="name it with text")
        segments = tuple(filter(None, name.split("/")))
        if "%" in name:
            segments = tuple(segment.replace("%2F", "/").replace("%25", "%") for segment in segments)
        if not segments and self._form is None:
            raise DocumentMalformed("a key with no name", where=_place(entry), remedy="name it under the prefix")
        form = self._form if not segments else format_of(segments[-1]) if "." in segments[-1] else None
        if form is not None:
            stem = segments[-1].rsplit(".", 1)[0] if segments else ""
            path = segments[:-1] if stem in ("", "application") else (*segments[:-1], stem)
            decoded = decode(entry.value, form, name=_place(entry))
            return _Held(path, decoded.tree, entry, decoded)
        try:
            return _Held(segments, entry.value.decode("utf-8"), entry)
        except UnicodeDecodeError as error:
            raise _no_text(segments, entry, error) from error


def _no_text(path: Path, entry: Entry, error: UnicodeDecodeError) -> DocumentMalformed:
    return DocumentMalformed(
        f"{join(path)}: value is not UTF-8 at byte {error.start}", where=_place(entry), remedy="store text"
    )


def _place(entry: Entry) -> str:
    return f"{printable(entry.key)}@{entry.mod_revision}"


def printable(key: str) -> str:
    """`key` for people and logs: bytes that are no UTF-8, which stores keep as lone surrogates, by their numbers."""
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode("utf-8")


def _emptied(origin: Origin) -> EmptiedSource:
    return EmptiedSource(
        f"{origin.name}: every key was deleted; what was there stays in force",
        remedy="put the keys back, or run `herz accept` if it is meant to be empty",
    )


def _merged(events: list[Event]) -> tuple[Event, ...]:
    """One event for each path: what was removed and added again is a change, or nothing."""
    found: dict[Path, Event] = {}
    for event in events:
        known = found.get(event.path)
        found[event.path] = event if known is None else Event(event.path, known.before, event.after)
    return tuple(event for event in found.values() if not (event.before is event.after or event.before == event.after))


def _name(path: Path) -> str:
    """The key, behind the prefix, that writes a leaf at `path` when it is written the plain way."""
    return "/".join(
        segment.replace("%", "%25").replace("/", "%2F") if "%" in segment or "/" in segment else segment
        for segment in path
    )


def _conflict(tree: Tree, names: Map[str, Path], path: Path) -> HerzError | None:
    """Why `path` cannot be put into `tree` as one more leaf, if it cannot."""
    written = names.get(relaxed(_name(path)), path)
    if written != path:
        return DuplicateKey(f"{join(path)} is also spelled {join(written)}", remedy="keep one spelling")
    for depth in range(1, len(path)):
        node = lookup(tree, path[:depth])
        if node is not ABSENT and not is_table(node):
            return KeyConflict(f"{join(path[:depth])} is both a value and a table", remedy="keep one of the two")
    node = lookup(tree, path)
    if is_table(node):
        return KeyConflict(f"{join(path)} is both a value and a table", remedy="keep one of the two") if node else None
    return None if node is ABSENT else DuplicateKey(f"{join(path)} is written by two keys", remedy="keep one of them")


def _all_relaxed(names: list[str]) -> list[str]:
    """Each of them `relaxed`: at once where that is the same, which takes a tenth of the time."""
    text = "\n".join(names)
    if text.isascii() and text.count("\n") == len(names) - 1:
        return relaxed(text).split("\n")
    return list(map(relaxed, names))


def _inserted(tree: dict[str, Any], path: Path, value: Any) -> bool:
    """Put a leaf into nested dictionaries; False where something else is in its place."""
    if not path:
        return not tree
    table = _table(tree, path[:-1])
    if table is None or path[-1] in table:
        return False
    table[path[-1]] = value
    return True


def _table(tree: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The table at `path` in nested dictionaries, made where there is none; None where a value is in its place."""
    for segment in path:
        tree = tree.setdefault(segment, {})
        if type(tree) is not dict:
            return None
    return tree


def _persistent(table: dict[str, Any]) -> Tree:
    """`table` with its large tables as persistent maps, so that the first change of one costs no more than the next."""
    for name, value in table.items():
        if type(value) is dict:
            table[name] = _persistent(value)
    return persistent(table) if len(table) > LARGE_TABLE else table
