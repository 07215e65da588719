"""Reach: which prefixes an event touches, found by walking its path once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from herz.model.document import Event
from herz.model.key import Path, relaxed

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("bound", "children")

    def __init__(self) -> None:
        self.bound: list[T] = []
        self.children: dict[str, _Node[T]] = {}


class PrefixIndex(Generic[T]):
    """Things bound to prefixes, by relaxed path.

    An event reaches what is bound at its path or above it; and what is bound below it, for a leaf that comes or goes
    where a table is bound. The cost follows the number of events and the depth of the prefixes, not the number bound.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, path: Path, bound: T) -> None:
        """Bind something at `path`."""
        node = self._root
        for segment in path:
            node = node.children.setdefault(relaxed(segment), _Node())
        node.bound.append(bound)

    def remove(self, path: Path, bound: T) -> None:
        """Undo `add`."""
        node = self._root
        for segment in path:
            node = node.children[relaxed(segment)]
        node.bound.remove(bound)

    def above(self, path: Path) -> list[T]:
        """What is bound at `path` or above it, the shortest prefix first."""
        node = self._root
        found = [*node.bound]
        for segment in path:
            if not node.children:
                break
            child = node.children.get(segment) or node.children.get(relaxed(segment))
            if child is None:
                break
            node = child
            found += node.bound
        return found

    def reached(self, events: Iterable[Event]) -> list[T]:
        """What the events touch, each once, in the order of first touch."""
        found: dict[T, None] = {}
        seen: set[int] = set()
        for path, _, _ in events:
            node = self._root
            for segment in path:
                if node.bound and id(node) not in seen:
                    seen.add(id(node))
                    found.update(dict.fromkeys(node.bound))
                if not node.children:
                    break
                child = node.children.get(segment) or node.children.get(relaxed(segment))
                if child is None:
                    break
                node = child
            else:
                _collect(node, found)
        return list(found)


def _collect(node: _Node[T], found: dict[T, None]) -> None:
    found.update(dict.fromkeys(node.bound))
    for child in node.children.values():
        _collect(child, found)
