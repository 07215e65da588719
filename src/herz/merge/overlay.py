"""Overlay: several layers become one tree.

The rule: tables merge key by key; everything else (a scalar, a list, null) of a higher layer replaces
what is below it, whole. Null is a value, not a deletion. A scalar over a table hides the table, a
table over a scalar replaces it. Keys that differ only in case, `-` and `_` are one key and keep the
spelling of the lowest layer that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from immutables import Map

from herz.model.key import Path, relaxed
from herz.model.layer import Layer
from herz.model.tree import ABSENT, EMPTY, Tree, is_table, lookup, put, spelling


def tree_of(layer: Layer) -> Tree:
    """The tree that a layer contributes, at its mount."""
    tree = layer.document.tree
    return put(EMPTY, layer.mount, tree) if layer.mount and tree else tree


def trees_of(layers: Sequence[Layer]) -> tuple[Tree, ...]:
    """The trees of `layers` that hold anything, lowest rank first."""
    return tuple([tree for layer in layers if (tree := tree_of(layer) if layer.mount else layer.document.tree)])


def merged(trees: Sequence[Tree]) -> Tree:
    """All `trees`, lowest first, as one."""
    result = EMPTY
    for tree in trees:
        result = overlay(result, tree)
    return result


def overlay(low: Tree, high: Tree) -> Tree:
    """`high` over `low`. Tables that only one of them has are shared, not copied."""
    if not low or not high:
        return high or low
    updates: dict[str, Any] = {}
    spellings: dict[str, str] | None = None
    for name, value in high.items():
        if name not in low:
            if spellings is None:
                spellings = {relaxed(known): known for known in low}
            name = spellings.get(relaxed(name), name)
        below = low.get(name, ABSENT)
        updates[name] = overlay(below, value) if is_table(below) and is_table(value) else value
    return low.update(updates) if isinstance(low, Map) else {**low, **updates}


def merged_at(trees: Sequence[Tree], path: Path) -> Any:
    """What `merged(trees)` holds at `path`, without merging the rest; `ABSENT` where there is nothing."""
    tables: list[Tree] = []
    for tree in reversed(trees):
        node, hides = _descend(tree, path)
        if node is not ABSENT and is_table(node):
            tables.append(node)
        elif node is not ABSENT and not tables:
            return node
        if hides or (node is not ABSENT and not is_table(node)):
            break
    if not tables:
        return ABSENT
    result = tables.pop()
    while tables:
        result = overlay(result, tables.pop())
    return result


def _descend(tree: Tree, path: Path) -> tuple[Any, bool]:
    """What `tree` holds at `path` in any spelling, and whether a leaf above it hides the layers below."""
    node: Any = tree
    for segment in path:
        if not is_table(node):
            return ABSENT, True
        name = spelling(node, segment)
        if name is None:
            return ABSENT, False
        node = node[name]
    return node, False


def spelled_by(trees: Sequence[Tree], path: Path) -> Path:
    """How `merged(trees)` spells `path`: segment by segment as the lowest tree that has it."""
    nodes: list[Any] = list(trees)
    found: list[str] = []
    for segment in path:
        name: str | None = None
        below: list[Any] = []
        for node in nodes:
            here = spelling(node, segment)
            if here is not None:
                name = name or here
                below = [*below, node[here]] if is_table(node[here]) else []  # a leaf hides what is below it
        found.append(name or segment)
        nodes = below
    return tuple(found)


def root_of_change(raw: Tree, path: Path) -> Path:
    """The shortest prefix of `path` at which `raw` has no table with entries, or `path` itself."""
    for depth in range(1, len(path)):
        node = lookup(raw, path[:depth])
        if not (is_table(node) and node):
            return path[:depth]
    return path
