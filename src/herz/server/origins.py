"""Where the keys of a content come from: the layer that decides each, and what that layer overrode.

Made once for a reading, for every key at once: one key after the other, each layer would be searched through again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from herz.errors import UsageError
from herz.formats.pace import EDIT_S, Pace
from herz.model.key import Path, join, relaxed, split
from herz.model.secret import Secret
from herz.model.tree import ABSENT, find, is_table, leaves, lookup, spelled
from herz.release.content import Content
from herz.server.reading import SECRETS, SMALL, Reading
from herz.server.sized import Sized
from herz.server.validation import as_json

KEPT: Final = 500_000
"""Keys whose origins are kept, of all contents together."""
SOUGHT: Final = 2_000
"""Characters of a value that a filter looks at."""
_REFERENCE: Final = re.compile(r"\$\{([^}:${]+)")


class Shown(NamedTuple):
    """A value as it may be shown, secrets masked: its text, and what it is (text, number, list, …)."""

    text: str
    kind: str


class Contribution(NamedTuple):
    """What one layer says of a key. `key` is where it was written: a value above hides, or is hidden, as well."""

    layer: str
    place: str
    key: str
    value: Shown


class Key(NamedTuple):
    """One key of the content and what it is."""

    path: Path
    key: str
    value: Shown


class Written(NamedTuple):
    """One key of one layer; `hidden_by` is the layer whose value is in force instead, None where this one is."""

    key: str
    place: str
    value: Shown
    hidden_by: str | None


class Origins:
    """The keys of a reading in order, and what each layer says of them.

    What a filter looks at is made when something is first looked for; that takes a second for 100,000 keys.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._pace = Pace(EDIT_S)
        self._simple: dict[str, str] = {}
        self.layers: Final = tuple(layer.name for layer in reading.layers)
        self._written = [self._leaves_of(layer.tree) for layer in reading.layers]
        self._tables = [_tables(leaves) for leaves in self._written]
        self._references: list[tuple[Path, tuple[Path, ...]]] = []
        self.paths: Final = self._paths_of(reading.tree)
        self._sought: list[tuple[Path, int, str]] | None = None
        self._sought_in: dict[str, list[tuple[Path, str]]] = {}
        for layer in reading.layers:
            self._pace()
            layer.lines()

    def _paths_of(self, tree: Any) -> tuple[Path, ...]:
        found: list[Path] = []
        for number, (path, value) in enumerate(leaves(tree) if tree else ()):
            if number % 256 == 0:
                self._pace()
            found.append(path)
            if isinstance(value, str) and "${" in value:
                self._references.append((path, tuple(_referred(value))))
        found.sort()
        return tuple(found)

    def _leaves_of(self, tree: Any) -> dict[Path, Path]:
        found: dict[Path, Path] = {}
        for number, (path, _) in enumerate(leaves(tree) if tree else ()):
            found[self.simple(path)] = path
            if number % 256 == 0:
                self._pace()
        return found

    def simple(self, path: Path) -> Path:
        """`path` as all its spellings have it."""
        known = self._simple
        for segment in path:
            if segment not in known:
                known[segment] = relaxed(segment)
        return tuple([known[segment] for segment in path])

    def _decides(self, simple: Path) -> int:
        return next((at for at in range(len(self._written) - 1, -1, -1) if simple in self._written[at]), 0)

    def key(self, path: Path) -> Key:
        """One key of the content."""
        return Key(path, join(path), shown(path, lookup(self._reading.tree, path)))

    def matching(self, words: Sequence[str], layer: str | None = None) -> Sequence[Path]:
        """The keys that all words are found in (key, value as shown, or layer), of `layer` alone where one is named."""
        if not words and layer is None:
            return self.paths
        if self._sought is None:
            self._sought = list(self._to_seek())
        found: Iterable[tuple[Path, int, str]] = self._sought
        for word in words:
            small = word.lower()
            found = [one for one in found if small in one[2]]
        if layer is not None:
            found = [one for one in found if self.layers[one[1]] == layer]
        return [path for path, _, _ in found]

    def _to_seek(self) -> Iterator[tuple[Path, int, str]]:
        for number, path in enumerate(self.paths):
            if number % 64 == 0:
                self._pace()
            layer = self._decides(self.simple(path))
            yield path, layer, self._text(path, lookup(self._reading.tree, path), self.layers[layer])

    def _text(self, path: Path, value: Any, layer: str) -> str:
        return f"{join(path)}\n{shown(path, value).text[:SOUGHT]}\n{layer}".lower()

    def beginning(self, text: str, most: int) -> list[str]:
        """Keys to choose from for somebody who has written `text`: those that begin so, then those that hold it."""
        small, first, others = text.lower(), list[str](), list[str]()
        for path in self.paths:
            key = join(path)
            lowered = key.lower()
            if lowered.startswith(small):
                first.append(key)
                if len(first) == most:
                    break
            elif len(others) < most and small in lowered:
                others.append(key)
        return [*first, *others][:most]

    def contributions(self, path: Path) -> list[Contribution]:
        """What every layer says of `path`, the one that decides first; a value above it counts, a table below too."""
        return [found for at in range(len(self.layers) - 1, -1, -1) if (found := self._contribution(at, path))]

    def _contribution(self, at: int, path: Path) -> Contribution | None:
        simple, written = self.simple(path), self._written[at]
        for length in range(len(simple), 0, -1):
            there = written.get(simple[:length])
            if there is not None and length < len(simple) and self._empty(at, there):
                continue
            if there is None and length == len(simple) and simple in self._tables[at]:
                there = spelled(self._reading.layers[at].tree, path)
            if there is not None:
                value = lookup(self._reading.layers[at].tree, there)
                return Contribution(self.layers[at], self._place(at, there), join(there), shown(there, value))
        return None

    def _empty(self, at: int, path: Path) -> bool:
        """Whether a layer has an empty table there: that hides nothing below it."""
        return is_table(lookup(self._reading.layers[at].tree, path))

    def _place(self, at: int, path: Path) -> str:
        line = self._reading.layers[at].locate(path)
        return self.layers[at] if line is None else f"{self.layers[at]}:{line}"

    def written(self, layer: str, words: Sequence[str]) -> list[Path]:
        """The keys of one layer in order, those that all words are found in."""
        at = self.layers.index(layer)
        known = self._sought_in.get(layer)
        if known is None:
            tree, known = self._reading.layers[at].tree, list[tuple[Path, str]]()
            for number, path in enumerate(sorted(self._written[at].values())):
                if number % 64 == 0:
                    self._pace()
                known.append((path, self._text(path, lookup(tree, path), layer)))
            self._sought_in[layer] = known
        small = [word.lower() for word in words]
        return [path for path, text in known if all(word in text for word in small)]

    def entry(self, layer: str, path: Path) -> Written:
        """One key of one layer."""
        at = self.layers.index(layer)
        value = find(self._reading.layers[at].tree, path)
        return Written(join(path), self._place(at, path), shown(path, value), self._hidden_by(at, self.simple(path)))

    def _hidden_by(self, at: int, simple: Path) -> str | None:
        for above in range(len(self.layers) - 1, at, -1):
            written = self._written[above]
            over = [there for length in range(1, len(simple)) if (there := written.get(simple[:length])) is not None]
            hides = any(not self._empty(above, there) for there in over)
            if hides or simple in written or simple in self._tables[above]:
                return self.layers[above]
        return None

    def value(self, path: Path) -> Any:
        """What is in force at `path` in any spelling, a table too; `ABSENT` where there is nothing."""
        return find(self._reading.tree, path)

    def place(self, path: Path) -> str | None:
        """Where it was written, as `layer:line`."""
        return self._reading.locate(path)

    def below(self, path: Path) -> list[Path]:
        """The keys under a table."""
        table = spelled(self._reading.tree, path)
        value = lookup(self._reading.tree, table)
        return sorted((*table, *inner) for inner, _ in leaves(value)) if is_table(value) and value else []

    def referring(self, path: Path) -> tuple[Path, ...]:
        """The keys whose values refer to `path`, however indirectly."""
        reached = {self.simple(path)}
        found: dict[Path, None] = {}
        while True:
            more = [
                at
                for at, targets in self._references
                if at not in found and any(self.simple(target) in reached for target in targets)
            ]
            if not more:
                return tuple(found)
            found.update(dict.fromkeys(more))
            reached.update(map(self.simple, more))


class OriginsOf:
    """The origins that were asked for last."""

    def __init__(self) -> None:
        self._known: Sized[Content, Origins] = Sized(KEPT, lambda one: len(one.paths) + 1)
        self._making: dict[Content, asyncio.Task[Origins]] = {}

    async def of(self, reading: Reading) -> Origins:
        """The origins of a reading, made in a thread where it is large, and once for all who ask meanwhile."""
        known = self._known.get(reading.content)
        if known is not None:
            return known
        if reading.size <= SMALL // 4:
            return self._kept(reading, Origins(reading))
        making = self._making.get(reading.content)
        if making is None:
            making = self._making[reading.content] = asyncio.create_task(self._make(reading))
        return await asyncio.shield(making)

    async def _make(self, reading: Reading) -> Origins:
        try:
            return self._kept(reading, await asyncio.to_thread(Origins, reading))
        finally:
            del self._making[reading.content]

    def _kept(self, reading: Reading, made: Origins) -> Origins:
        self._known.put(reading.content, made)
        return made


def shown(path: Path, value: Any) -> Shown:
    """A value as people may see it; a table as JSON."""
    if value is ABSENT:
        return Shown("", "absent")
    kind = _kind(value)
    hidden = _hidden(path, value)
    if isinstance(hidden, (str, Secret)):
        return Shown(str(hidden), kind)
    return Shown(msgspec.json.encode(as_json(hidden)).decode(), kind)


def _hidden(path: Path, value: Any) -> Any:
    if is_table(value):
        return {name: _hidden((*path, name), inner) for name, inner in value.items()}
    return SECRETS.hidden(path, value)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, list):
        return "list"
    return "table" if is_table(value) else "date"


def _tables(written: dict[Path, Path]) -> frozenset[Path]:
    return frozenset(simple[:length] for simple in written for length in range(1, len(simple)))


def _referred(text: str) -> Iterator[Path]:
    for name in _REFERENCE.findall(text):
        try:
            yield split(name)
        except UsageError:
            continue
