"""Settling: the fast check of a decoded tree, in a few calls per level instead of a few per key.

It expands dotted keys and says whether all is well. When it is not, or may not be, it raises
`Unsettled`, and the decoder goes the careful way (`written.py`), which finds the same tree or the
exact fault. Measured on 100,000 leaves: 7 ms nested, against 10 ms for one loop over every value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, compress, islice, repeat
from operator import is_
from typing import Any, Final, NamedTuple

from herz.formats.fault import Fault, Limits
from herz.formats.pace import Pause, onward
from herz.formats.written import segments
from herz.model.key import relaxed
from herz.model.number import LARGEST_EXACT, WrittenFloat

_KINDS: Final = frozenset({str, int, float, WrittenFloat, bool, type(None), dict, list})
_IS_TABLE: Final = dict.__instancecheck__
_BATCH: Final = 8192  # entries handled by one C call, so that none holds the GIL longer than a millisecond


class Unsettled(Exception):
    """Something is wrong, or cannot be judged fast."""


class Settled(NamedTuple):
    """What the check learned: entries of all tables (lists' ones included), and whether a float may lose digits.

    `in_order` tells that no name stood for a path, so that every entry still is where its key was written.
    """

    entries: int
    large_float: bool
    in_order: bool


def settle(
    root: dict[str, Any], limits: Limits, depth: int = 1, *, braces: int | None = None, pause: Pause = onward
) -> Settled:
    """Check and expand `root`, a table at `depth`, in place.

    Afterwards no key of a table outside of lists holds a dot or a bracket, no table has two spellings of
    one key, and nothing is nested beyond the limit. Raises `Unsettled` otherwise.

    `braces` tells that the values are known to be fine (no large float, only scalars in lists) and how many
    tables there can be at most, so that the values of the last ones need no look.
    """
    entries, large, seen, in_order = 0, False, 0, True
    tables: list[dict[str, Any]] = [root]
    inner: list[Any] = []  # lists, and the tables inside them
    while tables or inner:
        if depth > limits.max_depth:
            raise Unsettled("depth")
        deeper: list[dict[str, Any]] = []
        below: list[Any] = []
        seen += len(tables)
        for batch in _batches(tables):
            entries += sum(map(len, batch))
            if _dotted_or_respelled(batch):
                for table in batch:
                    extra, moved = _expand(table)
                    entries -= extra
                    in_order = in_order and not moved
                braces = None if braces is None else sys.maxsize
            if braces is None:
                large |= _values(chain.from_iterable(map(dict.values, batch)), deeper, below, pause)
            pause()
        if braces is not None and seen < braces:
            for batch in _batches(tables):
                deeper.extend(filter(_IS_TABLE, chain.from_iterable(map(dict.values, batch))))
                pause()
        for node in inner:
            values: Iterable[Any] = node
            if type(node) is dict:
                entries += len(node)
                values = node.values()
                if any(type(name) is not str for name in node):
                    raise Unsettled("name")
            large |= _values(values, below, below, pause)
        tables, inner, depth = deeper, below, depth + 1
    return Settled(entries, large, in_order)


def _batches(tables: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for table in tables:
        if len(table) > _BATCH:
            yield [table]
            continue
        batch.append(table)
        size += len(table) + 1
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _values(values: Iterable[Any], tables: list[Any], lists: list[Any], pause: Pause) -> bool:
    """Sort out the tables and lists among `values`; True when there is a float beyond the exact ones, or no number."""
    walker = iter(values)
    large = False
    while part := list(islice(walker, _BATCH)):
        kinds = list(map(type, part))
        present = set(kinds)
        if not present <= _KINDS:
            raise Unsettled("kind")
        if float in present and not large:
            floats = compress(part, map(is_, kinds, repeat(float)))
            large = not all(-LARGEST_EXACT < value < LARGEST_EXACT for value in floats)
        if dict in present:
            tables.extend(compress(part, map(is_, kinds, repeat(dict))))
        if list in present:
            lists.extend(compress(part, map(is_, kinds, repeat(list))))
        pause()
    return large


def _dotted_or_respelled(batch: list[dict[str, Any]]) -> bool:
    """Whether any table of `batch` has to be looked at by itself.

    All names of the batch are judged together: when no two of them are spellings of one key, no two in one table are.
    """
    walker = iter(batch[0]) if len(batch) == 1 else iter(set(chain.from_iterable(batch)))
    while part := list(islice(walker, _BATCH)):
        try:
            names = "\n".join(part)
        except TypeError:
            raise Unsettled("name") from None
        if "." in names or "[" in names or "" in part:
            return True
        if len(part) > 1 and ("-" in names or "_" in names or not names.islower()):
            return _respelled(batch[0] if len(batch) == 1 else set(chain.from_iterable(batch)))
    return False


def _respelled(names: Iterable[str]) -> bool:
    known: set[str] = set()
    walker = iter(names)
    while part := list(islice(walker, _BATCH)):
        joined = "\n".join(part)
        forms = joined.replace("-", "").replace("_", "").lower().split("\n") if joined.isascii() else []
        if len(forms) != len(part):
            forms = list(map(relaxed, part))
        before = len(known)
        known.update(forms)
        if len(known) != before + len(part):
            return True
    return False


def _expand(table: dict[str, Any]) -> tuple[int, bool]:
    """Make the dotted names of `table` nested tables, in place, and refuse two spellings of one key.

    Returns how many entries of tables below are not written as such, for whoever counts what is written, and whether
    there were such names.
    """
    try:
        names = "\n".join(table)
    except TypeError:
        raise Unsettled("name") from None
    extra = 0
    moved = "." in names or "[" in names or "" in table
    if moved:
        members = list(table.items())
        table.clear()
        parents = {"": table}
        for name, value in members:
            parent, _, last = name.rpartition(".")
            into = parents.get(parent)
            if into is None or not last or name[0] == "." or "[" in name:
                into, last, created = _descend(table, name)
                extra += created
                if "[" not in name:
                    parents[parent] = into
            if last in into:
                _merge(into, last, value)
            else:
                into[last] = value
                extra += into is not table
    if _respelled(table):
        raise Unsettled("spelling")
    return extra, moved


def _descend(table: dict[str, Any], name: str) -> tuple[dict[str, Any], str, int]:
    """The table that `name` puts its value in, its last segment, and how many entries were made below `table`."""
    try:
        *outer, last = segments(name)
    except Fault:
        raise Unsettled("name") from None
    if "[" in name and any("." in segment or "[" in segment or not segment for segment in (*outer, last)):
        raise Unsettled("quoted")  # not to be expanded once more when its turn comes as a table's name
    into, created = table, 0
    for segment in outer:
        if segment not in into:
            created += into is not table
            into[segment] = {}
        into = into[segment]
        if type(into) is not dict:
            raise Unsettled("conflict")
    return into, last, created


def _merge(into: dict[str, Any], name: str, value: Any) -> None:
    if name not in into:
        into[name] = value
        return
    present = into[name]
    if type(present) is not dict or type(value) is not dict:
        raise Unsettled("conflict")
    for inner, other in value.items():
        _merge(present, inner, other)
