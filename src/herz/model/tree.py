"""Trees: nested tables of plain values, never changed once handed on.

A table is a `dict` while small and an `immutables.Map` once it is large and has been changed, so that
a change copies its path and nothing else: a dict of 100,000 keys takes 700 µs to copy, one update of
a Map 0.5 µs. Tables have no order. A list is a leaf, and so is an empty table.

Nobody changes a table in place: `put` and `remove` return a new root that shares the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from immutables import Map

from herz.model.key import Path, relaxed

Tree: TypeAlias = Mapping[str, Any]

LARGE_TABLE: Final = 64
"""Entries above which a changed table becomes a persistent map."""


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
    heads = {wanted[:1], wanted[:1].upper(), "-", "_"}
    for name in table:  # most names of a large table fail by their first letter; other alphabets have odd cases
        if (name[:1] in heads or name[:1] > "\x7f") and relaxed(name) == wanted:
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


def differences(before: Any, after: Any, at: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Every leaf that differs, as `(path, before, after)`, `ABSENT` where there is none.

    Shared tables are skipped by identity, so that the cost follows what was rebuilt, not the size.
    `put` and `remove` of what is yielded, removals first, turn `before` into `after`.
    """
    if before is after:
        return
    old, new = _branches(before, at), _branches(after, at)
    if old and new:
        for name, value in before.items():
            other = after.get(name, ABSENT)
            if other is not value:
                yield from differences(value, other, (*at, name))
        for name, value in after.items():
            if name not in before:
                yield from differences(ABSENT, value, (*at, name))
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
