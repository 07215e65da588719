"""References: `${key}` and `${key:default}` resolved once, and again only where a change reaches.

A value that is one reference and nothing else takes the type of what it names; inside other text a
reference is written out (true and false in lower case, null as nothing). A key that is not set falls
back to the environment variable of that exact name, then to the default. `$${` writes a plain `${`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from immutables import Map

from herz.errors import InterpolationCycle, InterpolationError, UsageError
from herz.model.document import Event
from herz.model.key import Path, join, relaxed, split
from herz.model.number import WrittenFloat
from herz.model.tree import ABSENT, Tree, find, is_table, lookup, put, remove, spelled

LONGEST: Final = 1 << 20
"""Characters a resolved text may have: `${a}${a}` nested thirty deep must not fill the memory."""
DEEPEST: Final = 100

Locate: TypeAlias = Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${name:default}`; `default` is a template of its own, None when there is none."""

    name: str
    default: Template | None


Template: TypeAlias = tuple["str | Reference", ...]


def template(text: str, *, where: str | None = None) -> Template:
    """`text` cut into plain pieces and references. `InterpolationError` when a brace is not closed."""
    pieces, end = _parse(text, 0, inside=False, where=where, depth=0)
    assert end == len(text)  # noqa: S101  the outermost template runs to the end by construction
    return pieces


def _parse(text: str, start: int, *, inside: bool, where: str | None, depth: int) -> tuple[Template, int]:
    if depth > DEEPEST:
        raise InterpolationError("references nested too deep", where=where, remedy=f"nest at most {DEEPEST}")
    pieces: list[str | Reference] = []
    plain: list[str] = []
    position = start
    while position < len(text):
        if text.startswith("$${", position):
            plain.append("${")
            position += 3
        elif text.startswith("${", position):
            if plain:
                pieces.append("".join(plain))
                plain.clear()
            reference, position = _reference(text, position + 2, where, depth)
            pieces.append(reference)
        elif inside and text[position] == "}":
            break
        else:
            plain.append(text[position])
            position += 1
    if plain:
        pieces.append("".join(plain))
    return tuple(pieces), position


def _reference(text: str, start: int, where: str | None, depth: int) -> tuple[Reference, int]:
    position = start
    while position < len(text) and text[position] not in ":}":
        position += 1
    name, default = text[start:position].strip(), None
    if text[position : position + 1] == ":":
        default, position = _parse(text, position + 1, inside=True, where=where, depth=depth + 1)
    if text[position : position + 1] != "}":
        raise InterpolationError(
            f"reference ${{{text[start : start + 40]} is not closed",
            where=where,
            remedy="close it with }, or write $${ for a plain ${",
        )
    if not name:
        raise InterpolationError("reference ${} names no key", where=where, remedy="write ${key} or ${key:default}")
    return Reference(name, default), position + 1


def names_in(pieces: Template) -> Iterable[str]:
    """Every key that a template may ask for, defaults included."""
    for piece in pieces:
        if isinstance(piece, Reference):
            yield piece.name
            if piece.default is not None:
                yield from names_in(piece.default)


def holds_reference(value: Any) -> bool:
    """Whether a leaf holds a `${` anywhere."""
    if type(value) is str:
        return "${" in value
    if type(value) is list:
        return any(map(holds_reference, value))
    return is_table(value) and any(map(holds_reference, value.values()))


def referring(tree: Tree, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of `tree` that holds a reference, with its path; 10 ms for 100,000 leaves that hold none."""
    for name, value in tree.items():
        kind = type(value)
        if kind is str:
            if "${" in value:
                yield (*at, name), value
        elif kind is dict or kind is Map:
            yield from referring(value, (*at, name))
        elif kind is list and holds_reference(value):
            yield (*at, name), value


def _texts(value: Any) -> Iterable[str]:
    if type(value) is str:
        yield value
    elif type(value) is list:
        for inner in value:
            yield from _texts(inner)
    elif is_table(value):
        for inner in value.values():
            yield from _texts(inner)


@dataclass(frozen=True, slots=True)
class References:
    """Who refers to whom: `uses` from a leaf to the (relaxed) keys it names, `users` the other way."""

    uses: Map[Path, frozenset[Path]] = Map()
    users: Map[Path, frozenset[Path]] = Map()

    def with_leaf(self, path: Path, value: Any, where: Locate) -> References:
        """The same index after the leaf at `path` became `value` (`ABSENT` when it went)."""
        before = self.uses.get(path, frozenset())
        after: frozenset[Path] = frozenset()
        if holds_reference(value):
            after = frozenset(
                _relaxed(name) for text in _texts(value) for name in names_in(template(text, where=where(path)))
            )
        if before == after:
            return self
        users = self.users
        for gone in before - after:
            left = users[gone] - {path}
            users = users.set(gone, left) if left else users.delete(gone)
        for new in after - before:
            users = users.set(new, users.get(new, frozenset()) | {path})
        uses = self.uses.set(path, after) if after else self.uses.delete(path)
        return References(uses, users)

    def reached(self, paths: Iterable[Path]) -> set[Path]:
        """Every leaf whose resolved value may depend on `paths`, directly or through others."""
        reached: set[Path] = set()
        waiting = list(paths)
        while waiting:
            names = tuple(map(relaxed, waiting.pop()))
            for depth in range(1, len(names) + 1):  # a key on the way may have become a table, or have been one
                for user in self.users.get(names[:depth], ()):
                    if user not in reached:
                        reached.add(user)
                        waiting.append(user)
        return reached


def _relaxed(name: str) -> Path:
    try:
        return tuple(map(relaxed, split(name)))
    except UsageError:
        return (name,)


class Resolver:
    """Resolves the leaves of one raw tree; each at most once."""

    def __init__(self, raw: Tree, environment: Mapping[str, str], where: Locate) -> None:
        self._raw = raw
        self._environment = environment
        self._where = where
        self._done: dict[Path, Any] = {}
        self._trail: list[Path] = []

    def leaf(self, path: Path, value: Any) -> Any:
        """The leaf at `path` with every reference resolved."""
        if path in self._done:
            return self._done[path]
        if path in self._trail:
            cycle = [join(step) for step in (*self._trail[self._trail.index(path) :], path)]
            raise InterpolationCycle(
                f"references run in a circle: {' -> '.join(cycle)}",
                path=cycle,
                where=self._where(path),
                remedy="give one of these keys a value of its own",
            )
        if len(self._trail) >= DEEPEST:
            raise InterpolationError(
                f"{join(path)}: more than {DEEPEST} references in a row", where=self._where(path), remedy="shorten it"
            )
        self._trail.append(path)
        resolved = self._value(value, path)
        self._trail.pop()
        self._done[path] = resolved
        return resolved

    def _value(self, value: Any, path: Path) -> Any:
        if type(value) is list:
            return [self._value(inner, path) for inner in value]
        if is_table(value):
            return {name: self._value(inner, path) for name, inner in value.items()}
        if type(value) is not str or "${" not in value:
            return value
        return self._template(template(value, where=self._where(path)), path)

    def _template(self, pieces: Template, path: Path) -> Any:
        if len(pieces) == 1 and isinstance(pieces[0], Reference):
            return self._target(pieces[0], path)
        text, length = [], 0
        for piece in pieces:
            text.append(piece if isinstance(piece, str) else _written(self._target(piece, path)))
            length += len(text[-1])
            if length > LONGEST:
                raise InterpolationError(
                    f"{join(path)}: grows beyond {LONGEST} characters", where=self._where(path), remedy="shorten it"
                )
        return "".join(text)

    def _target(self, reference: Reference, path: Path) -> Any:
        try:
            target = split(reference.name)
        except UsageError:
            target = (reference.name,)
        value = find(self._raw, target)
        if value is not ABSENT and is_table(value) and value:
            raise InterpolationError(
                f"{join(path)}: ${{{reference.name}}} names a table, not a value",
                path=[*(join(step) for step in self._trail), reference.name],
                where=self._where(path),
                remedy="name one of the keys under it",
            )
        if value is not ABSENT:
            return self.leaf(_as_written(self._raw, target), value)
        if reference.name in self._environment:
            return self._environment[reference.name]
        if reference.default is not None:
            return self._template(reference.default, path) if reference.default else ""
        trail = [*(join(step) for step in self._trail), reference.name]
        raise InterpolationError(
            f"{join(path)}: ${{{reference.name}}} is not set",
            path=trail,
            where=self._where(path),
            remedy=f"set {reference.name}, or give a default: ${{{reference.name}:…}}",
        )


def _as_written(raw: Tree, path: Path) -> Path:
    return path if lookup(raw, path) is not ABSENT else spelled(raw, path)


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, WrittenFloat):
        return str(value.written)
    return str(value)


def resolve(raw: Tree, environment: Mapping[str, str], where: Locate) -> tuple[Tree, References]:
    """`raw` with every reference resolved, and the index of them; `raw` itself when it has none."""
    references, tree = References(), raw
    found = list(referring(raw))
    for path, value in found:
        references = references.with_leaf(path, value, where)
    resolver = Resolver(raw, environment, where)
    for path, value in found:
        tree = put(tree, path, resolver.leaf(path, value))
    return tree, references


def resolve_again(
    tree: Tree,
    references: References,
    raw: Tree,
    events: Iterable[Event],
    environment: Mapping[str, str],
    where: Locate,
) -> tuple[Tree, References, list[Event]]:
    """`tree` after `events` happened to its raw form, which is now `raw`; and what changed in `tree`."""
    written = list(events)
    for path, _, after in written:
        references = references.with_leaf(path, after, where)
    touched = {event.path for event in written}
    reached = references.reached(touched) - touched
    resolver = Resolver(raw, environment, where)
    resolved: list[Event] = []
    for path, after in [*((e.path, e.after) for e in written), *((p, lookup(raw, p)) for p in reached)]:
        before = lookup(tree, path)
        if is_table(before) and before:
            before = (
                ABSENT  # a table took this leaf's place, or it takes a table's: its leaves have events of their own
            )
        now = ABSENT if after is ABSENT else resolver.leaf(path, after)
        resolved.append(Event(path, before, now))
    for path, _, now in resolved:
        if now is ABSENT and not (is_table(lookup(tree, path)) and lookup(tree, path)):
            tree = remove(tree, path)
    for path, _, now in resolved:
        if now is not ABSENT:
            tree = put(tree, path, now)
    return tree, references, resolved
