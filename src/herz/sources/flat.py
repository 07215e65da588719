"""Flat entries made into a tree: what environment variables and arguments have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from herz.errors import DuplicateKey, KeyConflict
from herz.model.document import Locator
from herz.model.key import Path, join, relaxed
from herz.model.tree import EMPTY, Tree, put


class Entry(NamedTuple):
    """One value, the path it is for, and the place that says so."""

    path: Path
    value: Any
    place: str


def tree_of(entries: Iterable[Entry], whole: str, *, remedy: str) -> tuple[Tree, Locator]:
    """The tree of `entries`, and where each path was written (`whole` for the root).

    `DuplicateKey` for two entries that name one key, also in two spellings; `KeyConflict` where one
    entry's key is a table because of another. Both name the two places.
    """
    tree: Tree = EMPTY
    places: dict[Path, str] = {}
    # By relaxed path: the entry that is a value there, and the first that needs a table there.
    values: dict[Path, Entry] = {}
    tables: dict[Path, Entry] = {}
    spelt: dict[Path, Path] = {(): ()}
    for entry in entries:
        plain = tuple(relaxed(segment) for segment in entry.path)
        if plain in values:
            raise DuplicateKey(
                f"{join(entry.path)} is set twice: by {values[plain].place} and by {entry.place}",
                where=entry.place,
                remedy=remedy,
            )
        if plain in tables:
            raise _conflict(entry, tables[plain], remedy)
        for length in range(1, len(plain)):
            if plain[:length] in values:
                raise _conflict(values[plain[:length]], entry, remedy)
            tables.setdefault(plain[:length], entry)
            # One table, however its entries spell it: the first spelling is the one that is kept.
            spelt.setdefault(plain[:length], (*spelt[plain[: length - 1]], entry.path[length - 1]))
        path = (*spelt[plain[:-1]], entry.path[-1])
        values[plain] = entry
        tree = put(tree, path, entry.value)
        for length in range(1, len(path)):
            places.setdefault(path[:length], entry.place)
        places[path] = entry.place
    return tree, lambda path: places.get(path, whole)


def _conflict(value: Entry, table: Entry, remedy: str) -> KeyConflict:
    return KeyConflict(
        f"{join(value.path)} is both a value, set by {value.place}, and a table, needed by {table.place}",
        where=value.place,
        remedy=remedy,
    )
