"""Documents as written: every key with its line, made into a tree with every check and exact messages.

This is the careful way. Decoders take it when there is a fault to describe or a position to tell;
`settle` is the fast way, which only says that all is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from herz.errors import DuplicateKey, KeyConflict, UsageError
from herz.formats.fault import Fault, Limits, too_deep
from herz.model.key import Path, join, relaxed, split


class Member(NamedTuple):
    """One entry of a table as written; `path` is what `name` stands for where that is not its dots and brackets."""

    name: str
    line: int
    value: Any
    path: Path | None = None


class Table(list[Member]):
    """A table as written, duplicates and all. Elsewhere a value is a scalar or a list of values."""

    __slots__ = ()


LineTable: TypeAlias = "dict[str, int | tuple[int, LineTable]]"
"""Line of every entry; for a table that of its first mention, and those of its own entries."""


class Lines(Mapping[Path, int]):
    """Line of every key of a document, from 1; tables have that of their first mention.

    Made without a tuple per key; look-ups cost a few dictionary reads. Iteration goes over leaves and tables.
    """

    __slots__ = ("_table",)

    def __init__(self, table: LineTable) -> None:
        self._table = table

    def __getitem__(self, path: Path) -> int:
        table: LineTable = self._table
        line = 0
        for segment in path:
            found = table.get(segment)
            if found is None:
                raise KeyError(path)
            line, table = (found, {}) if isinstance(found, int) else found
        if not path:
            raise KeyError(path)
        return line

    def __iter__(self) -> Iterator[Path]:
        return _paths(self._table, ())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def table(self) -> LineTable:
        """The lines as nested dictionaries: segment → line, or (line, the same of its entries) for a table."""
        return self._table


def _paths(table: LineTable, at: Path) -> Iterator[Path]:
    for segment, found in table.items():
        path = (*at, segment)
        yield path
        if not isinstance(found, int):
            yield from _paths(found[1], path)


def segments(name: str, line: int | None = None) -> Path:
    """The path that a key in a document stands for: dots separate, brackets quote. `Fault` when it is not a key."""
    if name and "." not in name and "[" not in name:
        return (name,)
    try:
        return split(name)
    except UsageError as error:
        raise Fault(error.what, line, remedy=error.remedy) from None


def line_of(table: LineTable, segment: str) -> int:
    """The line of one entry."""
    found = table[segment]
    return found if isinstance(found, int) else found[0]


_MISSING: Final = object()


class _Branch:
    """A table being built: values, their lines, and how each name was spelled first."""

    __slots__ = ("lines", "spellings", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.lines: LineTable = {}
        self.spellings: dict[str, str] = {}


def build(table: Table, limits: Limits, depth: int = 1) -> tuple[dict[str, Any], LineTable]:
    """The tree that `table`, which is at `depth`, stands for, and the lines of its keys.

    Raises `Fault` for a key written twice, two spellings of one key, a key that is both a value and a
    table, and nesting beyond the limit, each with the lines concerned.
    """
    root = _Branch()
    branches: dict[int, _Branch] = {id(root.values): root}
    _fill(root, table, (), replace(limits, max_depth=limits.max_depth - depth + 1), branches)
    return root.values, root.lines


def _fill(branch: _Branch, table: Table, at: Path, limits: Limits, branches: dict[int, _Branch]) -> None:
    seen: dict[str, tuple[int, bool]] = {}
    for name, line, value, given in table:
        path = segments(name, line) if given is None else given
        if name in seen:
            first, table_first = seen[name]
            if table_first is not (type(value) is Table):
                raise _conflict((*at, *path), *((line, first) if table_first else (first, line)))
            raise _twice((*at, *path), first, line)
        seen[name] = (line, type(value) is Table)
        node, here = branch, at
        for segment in path[:-1]:
            node, here = _table(node, here, segment, line, limits, branches), (*here, segment)
        segment = path[-1]
        if type(value) is Table:
            inner = _table(node, here, segment, line, limits, branches)
            _fill(inner, value, (*here, segment), limits, branches)
            continue
        present = node.values.get(segment, _MISSING)
        if type(present) is dict:
            raise _conflict((*here, segment), line, line_of(node.lines, segment))
        if present is not _MISSING:
            raise _twice((*here, segment), line_of(node.lines, segment), line)
        _spell(node, here, segment, line)
        node.values[segment] = plain(value, limits, len(here) + 2) if type(value) is list else value
        node.lines[segment] = line


def _table(node: _Branch, at: Path, segment: str, line: int, limits: Limits, branches: dict[int, _Branch]) -> _Branch:
    """The table `segment` of `node`, new or there already."""
    present = node.values.get(segment, _MISSING)
    if type(present) is dict:
        return branches[id(present)]
    if present is not _MISSING:
        raise _conflict((*at, segment), line_of(node.lines, segment), line)
    if len(at) + 2 > limits.max_depth:
        raise too_deep(limits, line)
    _spell(node, at, segment, line)
    inner = _Branch()
    branches[id(inner.values)] = inner
    node.values[segment] = inner.values
    node.lines[segment] = (line, inner.lines)
    return inner


def _spell(node: _Branch, at: Path, segment: str, line: int) -> None:
    first = node.spellings.setdefault(relaxed(segment), segment)
    if first != segment:
        raise Fault(
            f"{join((*at, first))!r} and {join((*at, segment))!r} are two spellings of one key",
            line,
            remedy=f"keep one; the other is on line {line_of(node.lines, first)}",
            kind=DuplicateKey,
        )


def _twice(path: Path, first: int, second: int) -> Fault:
    return Fault(
        f"key {join(path)!r} is written twice",
        second,
        remedy=f"keep one; the other is on line {first}",
        kind=DuplicateKey,
    )


def _conflict(path: Path, value_line: int, table_line: int) -> Fault:
    return Fault(
        f"key {join(path)!r} is both a value (line {value_line}) and a table (line {table_line})",
        max(value_line, table_line),
        remedy="rename one of them",
        kind=KeyConflict,
    )


def plain(value: Any, limits: Limits, depth: int) -> Any:
    """A list as written (at `depth`) as plain lists and dicts; a list is a leaf, so its keys are kept as they are."""
    if type(value) is list:
        if depth > limits.max_depth:
            raise too_deep(limits)
        return [plain(inner, limits, depth + 1) for inner in value]
    if type(value) is not Table:
        return value
    if depth > limits.max_depth:
        raise too_deep(limits, value[0].line if value else None)
    result: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for name, line, inner, _ in value:
        if name in result:
            raise _twice((name,), lines[name], line)
        lines[name] = line
        result[name] = plain(inner, limits, depth + 1)
    return result
