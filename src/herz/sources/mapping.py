"""A mapping in memory as a source: for tests, for defaults, and for programs that compute configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herz.errors import DuplicateKey, KeyConflict, UsageError
from herz.model.document import Document, Event, Revision
from herz.model.key import Path, join, relaxed, split
from herz.model.origin import Origin
from herz.model.tree import ABSENT, Tree, differences, put, remove, spelled
from herz.sources.held import HeldSource


class MappingSource(HeldSource):
    """The values of a mapping, which `update` and `replace` change while the application runs.

    Keys may be nested or dotted: `{"herz": {"timeout": "3s"}}` and `{"herz.timeout": "3s"}` are the
    same. The mapping is copied: changing it afterwards changes nothing here. Values are taken as they
    are; mappings become tables, tuples lists. `UsageError` for a key that is not text, `KeyConflict`
    for one that is both a value and a table.
    """

    keyed = True

    def __init__(
        self, mapping: Mapping[str, Any] | None = None, name: str = "mapping", *, optional: bool = False
    ) -> None:
        super().__init__(Origin(name, "mapping"), optional=optional)
        self._tree: Tree = _tree(mapping or {}, name)
        self.look()

    def content(self) -> tuple[Tree, None]:
        """The tree as it is now."""
        return self._tree, None

    def update(self, changes: Mapping[str, Any]) -> Revision:
        """Set each key of `changes` in one revision, which is answered; `ABSENT` removes a key.

        A mapping as a value replaces what was under its key. From any thread; followers are handed one
        batch, in the order of the calls. Changes that change nothing make no revision.
        """
        fresh = {split(key): value if value is ABSENT else _copied(value) for key, value in changes.items()}
        with self._guard():
            tree = self._tree
            for given, value in fresh.items():
                path = spelled(tree, given)
                tree = remove(tree, path) if value is ABSENT else put(tree, path, value)
            return self._become(tree)

    def replace(self, mapping: Mapping[str, Any]) -> Revision:
        """Hold exactly `mapping` from now on; one revision, which is answered. From any thread."""
        tree = _tree(mapping, self.origin.name)
        with self._guard():
            return self._become(tree)

    @property
    def document(self) -> Document:
        """What it holds now."""
        return self._document

    def _become(self, tree: Tree) -> Revision:
        events = tuple(Event(*difference) for difference in differences(self._tree, tree))
        if events:
            self._tree = tree
            self._publish(tree, None, events)
        return self._revision


class _Table:
    """A table while it is filled; two spellings of one name meet in one entry."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, Any]] = {}

    def take(self, path: Path, value: Any, whole: str, depth: int = 0) -> None:
        """Put `value` at `path[depth:]`; a mapping joins the table that is there."""
        segment = path[depth]
        name, known = self.entries.get(relaxed(segment), (segment, None))
        if known is not None and name != segment:
            raise DuplicateKey(
                f"{join(path[: depth + 1])} is also spelled {join((*path[:depth], name))}",
                where=whole,
                remedy="keep one spelling",
            )
        inner = depth + 1 < len(path) or isinstance(value, Mapping)
        if known is not None and not (inner and isinstance(known, _Table)):
            raise KeyConflict(
                f"{join(path[: depth + 1])}: written twice, or both a value and a table",
                where=whole,
                remedy="keep one of the two",
            )
        if not inner:
            self.entries[relaxed(segment)] = (segment, (_copied(value),))
            return
        table = known if isinstance(known, _Table) else _Table()
        self.entries[relaxed(segment)] = (segment, table)
        if depth + 1 < len(path):
            table.take(path, value, whole, depth + 1)
        else:
            for key, below in value.items():
                table.take((*path, *_segments(key, whole)), below, whole, depth + 1)

    def tree(self) -> Tree:
        """What was taken, as a tree."""
        return {name: held.tree() if isinstance(held, _Table) else held[0] for name, held in self.entries.values()}


def _tree(mapping: Mapping[str, Any], whole: str) -> Tree:
    table = _Table()
    for key, value in mapping.items():
        table.take(_segments(key, whole), value, whole)
    return table.tree()


def _segments(key: object, whole: str) -> Path:
    if not isinstance(key, str):
        raise UsageError(f"key {key!r} is not text", where=whole, remedy="write keys as strings")
    return split(key)


def _copied(value: Any) -> Any:
    """A private copy: lists stay lists, tuples become lists, a mapping inside a list a table."""
    if isinstance(value, Mapping):
        return _tree(value, "mapping")
    if isinstance(value, (list, tuple)):
        return [_copied(inner) for inner in value]
    return value
