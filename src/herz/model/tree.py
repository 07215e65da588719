"""Trees: nested tables of plain values, never changed once handed on.

A table is a `dict` while small and an `immutables.Map` once it is large and has been changed, so that
a change copies its path and nothing else: a dict of 100,000 keys takes 700 µs to copy, one update of
a Map 0.5 µs. Tables have no order. A list is a leaf, and so is an empty table.

Nobody changes a table in place: `put` and `remove` return a new root that shares the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

from immutables import Map

from herz.model.key import Path, relaxed

Tree: TypeAlias = Mapping[str, Any]

LARGE_TABLE: Final = 64
"""Entries above which a changed table becomes a persistent map."""
_BATCH: Final = 8192
"""Names judged by one C call, so that none holds the GIL for long."""
_SLICE: Final = 1024
"""Entries compared between two pauses: some 100 µs."""
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
"""Types whose equal values are written alike."""


class _Absent:
    """The one value that stands for 'there is no such key'; it is not `None`, which is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
EMPTY: Final[Tree] = {}


def is_table(value: object) -> bool:
    """Whether `value` is a table, empty or not."""
    kind = type(value)
    return kind is dict or kind is Map


def lookup(tree: Tree, path: Path) -> Any:
    """The value or table at `path`, spelled exactly so, or `ABSENT`."""
    node: Any = tree
    for segment in path:
        kind = type(node)
        if kind is not dict and kind is not Map:
            return ABSENT
        node = node.get(segment, ABSENT)
        if node is ABSENT:
            return ABSENT
    return node


def spelling(table: Tree, segment: str) -> str | None:
    """How `table` spells `segment`, exactly or relaxed; None when it has no such entry."""
    if segment in table:
        return segment
    wanted = relaxed(segment)
    line = f"\n{wanted}\n"
    names = iter(table)
    while part := list(islice(names, _BATCH)):
        # Together first: 3 ms for 100,000 names that lack it, 13 ms one by one. In other alphabets a letter may lower
        # to something else within a text than by itself.
        text = "\n".join(part)
        if text.isascii() and line not in relaxed(f"\n{text}\n"):
            continue
        for name in part:
            if relaxed(name) == wanted:
                return name
    return None


def spelled(tree: Tree, path: Path) -> Path:
    """`path` as `tree` spells it, as far as it goes; the rest stays as it was given."""
    node: Any = tree
    found: list[str] = []
    for index, segment in enumerate(path):
        name = spelling(node, segment) if is_table(node) else None
        if name is None:
            return (*found, *path[index:])
        found.append(name)
        node = node[name]
    return tuple(found)


def find(tree: Tree, path: Path) -> Any:
    """The value or table at `path` in any spelling, or `ABSENT`."""
    value = lookup(tree, path)
    return lookup(tree, spelled(tree, path)) if value is ABSENT else value


def put(tree: Tree, path: Path, value: Any) -> Tree:
    """A tree with `value` at `path`; what was a leaf on the way becomes a table."""
    if not path:
        return value if is_table(value) else EMPTY
    return _put(tree, path, 0, value)


def _put(node: Any, path: Path, depth: int, value: Any) -> Tree:
    segment = path[depth]
    kind = type(node)
    if kind is not dict and kind is not Map:
        node, kind = EMPTY, dict
    if depth + 1 < len(path):
        value = _put(node.get(segment, EMPTY), path, depth + 1, value)
    if kind is Map:
        return node.set(segment, value)  # type: ignore[no-any-return]
    if len(node) < LARGE_TABLE:
        return {**node, segment: value}
    return persistent(node).set(segment, value)


def put_each(tree: Tree, leaves: Sequence[tuple[Any, ...]]) -> Tree:
    """`put` for many at once: tuples that begin with a path, not empty and none above another, and end with its value.

    Each table on the way is copied once.
    """
    return _put_each(tree, leaves, 0) if leaves else tree


def _put_each(node: Any, leaves: Sequence[tuple[Any, ...]], depth: int) -> Tree:
    if len(leaves) == 1:
        return _put(node, leaves[0][0], depth, leaves[0][-1])
    kind = type(node)
    if kind is not dict and kind is not Map:
        node, kind = EMPTY, dict
    fresh: dict[str, Any] = {}
    below: dict[str, list[tuple[Any, ...]]] = {}
    for leaf in leaves:
        path = leaf[0]
        if depth + 1 == len(path):
            fresh[path[depth]] = leaf[-1]
        else:
            below.setdefault(path[depth], []).append(leaf)
    for segment, part in below.items():
        fresh[segment] = _put_each(node.get(segment, EMPTY), part, depth + 1)
    if kind is dict and len(node) + len(fresh) <= LARGE_TABLE:
        return {**node, **fresh}
    return persistent(node).update(fresh)


def remove(tree: Tree, path: Path) -> Tree:
    """A tree without `path`; tables that are left empty on the way go as well."""
    if not path:
        return EMPTY
    trail: list[Any] = []
    node: Any = tree
    for segment in path:
        if not is_table(node) or segment not in node:
            return tree
        trail.append(node)
        node = node[segment]
    depth = len(path) - 1
    while depth > 0 and len(trail[depth]) == 1:
        depth -= 1
    table = trail[depth]
    if type(table) is dict and len(table) > LARGE_TABLE:
        table = persistent(table)
    if type(table) is Map:
        shorter: Tree = table.delete(path[depth])
    else:
        shorter = {name: value for name, value in table.items() if name != path[depth]}
    return put(tree, path[:depth], shorter) if depth else shorter


def persistent(table: Tree) -> Map[str, Any]:
    """`table` as a persistent map, entry by entry: one C call over 100,000 would stall readers 40 ms."""
    if isinstance(table, Map):
        return table
    building = Map[str, Any]().mutate()
    for name, value in table.items():
        building[name] = value
    return building.finish()


def leaves(tree: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path; an empty table is a leaf, a list is one."""
    if not is_table(tree) or (not tree and at):
        yield at, tree
        return
    for name, value in tree.items():
        if is_table(value) and value:
            yield from leaves(value, (*at, name))
        else:
            yield (*at, name), value


def differences(
    before: Any, after: Any, at: Path = (), pause: Callable[[], None] | None = None
) -> Iterator[tuple[Path, Any, Any]]:
    """Every leaf that differs, as `(path, before, after)`, `ABSENT` where there is none.

    Shared tables are skipped by identity, so that the cost follows what was rebuilt, not the size.
    `put` and `remove` of what is yielded, removals first, turn `before` into `after`.
    `pause` is called between slices of the comparison, for whoever lets other threads go first.
    """
    if before is after:
        return
    old, new = _branches(before, at), _branches(after, at)
    if old and new:
        common, counterpart, walker = 0, after.get, iter(before.items())
        while part := list(islice(walker, _SLICE)):
            for name, value in part:
                other = counterpart(name, ABSENT)
                common += other is not ABSENT
                if other is value or (type(other) is (kind := type(value)) and kind in _SCALARS and other == value):
                    continue
                yield from differences(value, other, (*at, name), pause)
            if pause is not None:
                pause()
        if common < len(after):
            for name, value in after.items():
                if name not in before:
                    yield from differences(ABSENT, value, (*at, name), pause)
    elif old:
        yield from ((path, value, ABSENT) for path, value in leaves(before, at))
        if after is not ABSENT:
            yield at, ABSENT, after
    elif new:
        if before is not ABSENT:
            yield at, before, ABSENT
        yield from ((path, ABSENT, value) for path, value in leaves(after, at))
    elif not identical(before, after):
        yield at, before, after


def adopt(before: Tree, after: dict[str, Any], pause: Callable[[], None] | None = None) -> list[tuple[Path, Any, Any]]:
    """`differences(before, after)`; and the tables of `after` in which nothing differs are replaced by `before`'s.

    `after` has just been made and nobody else has it yet. Versions of one document then share what did not change:
    a history of them takes little memory, and little of the collector's time.
    """
    found: list[tuple[Path, Any, Any]] = []
    _adopt(before, after, (), found, pause)
    return found


def _adopt(
    before: Tree,
    after: dict[str, Any],
    at: Path,
    found: list[tuple[Path, Any, Any]],
    pause: Callable[[], None] | None,
) -> None:
    common, counterpart, walker = 0, after.get, iter(before.items())
    while part := list(islice(walker, _SLICE)):
        for name, value in part:
            other = counterpart(name, ABSENT)
            common += other is not ABSENT
            if other is value or (type(other) is (kind := type(value)) and kind in _SCALARS and other == value):
                continue
            if other and value and type(other) is dict and is_table(value):
                known = len(found)
                _adopt(value, other, (*at, name), found, pause)
                if len(found) == known:
                    after[name] = value
            else:
                found.extend(differences(value, other, (*at, name), pause))
        if pause is not None:
            pause()
    if common < len(after):
        for name, value in after.items():
            if name not in before:
                found.extend(differences(ABSENT, value, (*at, name), pause))


def _branches(value: Any, at: Path) -> bool:
    """Whether `value` is a table to walk into: one with entries, or the root."""
    return is_table(value) and (bool(value) or not at)


def identical(a: Any, b: Any) -> bool:
    """Whether two leaves are written alike: same type, same value, same exact number."""
    if a is b:
        return True
    if is_table(a) and is_table(b):
        return len(a) == len(b) and all(name in b and identical(value, b[name]) for name, value in a.items())
    if type(a) is not type(b):
        return False
    if type(a) is list:
        return len(a) == len(b) and all(map(identical, a, b))
    if hasattr(a, "written"):
        return bool(a.written == b.written)
    return bool(a == b) or (a != a and b != b)


def thaw(value: Any) -> Any:
    """A plain, private copy: tables as dicts, lists copied, scalars as they are."""
    if is_table(value):
        return {name: thaw(inner) for name, inner in value.items()}
    if type(value) is list:
        return [thaw(inner) for inner in value]
    return value
