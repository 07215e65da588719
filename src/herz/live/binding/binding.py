"""Binding: one model at one prefix, filled from tables again and again, replaced whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from herz.errors import BindingError
from herz.live.binding.comparison import read, same, same_field
from herz.live.binding.reading import MOST_UNKNOWN, Mismatch, Reading, Refused
from herz.live.binding.schema import ANY_NAME, Field, Inspection, Schema
from herz.live.binding.shape import Shape
from herz.model.key import Path, relaxed, split
from herz.model.meaning import Kind
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, EMPTY, Tree, is_table, lookup, put, remove

M = TypeVar("M")

_SECRET_KEYS: Final = SecretKeys()


def nowhere(path: Path) -> str:
    """The place of values that were written nowhere."""
    return ""


@dataclass(frozen=True, slots=True)
class Bound(Generic[M]):
    """A model filled from one table.

    `value` is the instance. `unknown` holds one line for each key that no field reads. `read` are the paths that were
    read, relative to the prefix and as the table spells them; a path stands for everything under it.
    """

    value: M
    unknown: tuple[str, ...]
    read: frozenset[Path]
    table: Tree = dataclasses.field(repr=False)
    """What the instance was made of."""
    place: Callable[[Path], str] = dataclasses.field(repr=False)
    secret: SecretKeys = dataclasses.field(repr=False)
    elsewhere: Callable[[Path], bool] | None = dataclasses.field(repr=False)
    prefix: Path = dataclasses.field(repr=False)


class Binding(Generic[M]):
    """A model bound to a prefix: inspected once, then filled from each new table.

    `model` is a pydantic model, a dataclass, an attrs class, a msgspec struct or a TypedDict, `at` the key of its
    table, `""` for the root. `strict` makes unknown keys errors; `restart_only` holds every field until a restart.
    `localns` are names that annotations written as text need and that are not global in the model's module.
    `UsageError` when the model cannot be inspected.
    """

    def __init__(
        self,
        model: type[M],
        at: str = "",
        *,
        strict: bool = False,
        restart_only: bool = False,
        localns: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.at = at
        self.path: Path = split(at) if at else ()
        self.strict = strict
        self.schema: Schema = Inspection(localns).schema(model)
        """The inspected model."""
        self.fields: dict[Path, Field] = {}
        """Every field by its path relative to the prefix, in the order of declaration."""
        for path, field in self.schema.walk():
            self.fields.setdefault(path, field)
        self.restart_only: frozenset[Path] = self._held(restart_only)
        """The fields, by path relative to the prefix, whose changes wait for a restart."""

    def _held(self, everything: bool) -> frozenset[Path]:
        if everything:
            return frozenset(path for path in self.fields if len(path) <= 1)
        held: set[Path] = set()
        for path, field in self.fields.items():
            if field.restart_only:
                # Elements of a table come and go: the table as a whole is what can be held.
                held.add(path[: path.index(ANY_NAME)] if ANY_NAME in path else path)
        return frozenset(held)

    # --- filling ----------------------------------------------------------------------------------

    def bind(
        self,
        table: Any,
        *,
        place: Callable[[Path], str] = nowhere,
        secret: SecretKeys = _SECRET_KEYS,
        elsewhere: Callable[[Path], bool] | None = None,
        at: Path | None = None,
    ) -> Bound[M]:
        """An instance made of `table`, the value at the prefix: a table, or `ABSENT` or None for all defaults.

        `place` says where an absolute path was written (empty when it does not know); it is only asked about paths
        that are in `table`, and only for messages. `secret` says which keys are never shown. `elsewhere` tells whether
        another model reads an absolute path, or keys below it: then it is not unknown. `at` is the prefix as the tree
        spells it. `BindingError` has one line for everything that does not fit.
        """
        prefix = self.path if at is None else at
        table = EMPTY if table is ABSENT or table is None else table
        reading = Reading(table, prefix, place=place, secret=secret, elsewhere=elsewhere)
        value: Any = ABSENT
        try:
            value = self.schema.make(table, prefix, reading)
        except Mismatch as fault:
            reading.mismatch(prefix, fault, table)
        except Refused:
            value = ABSENT
        except RecursionError:
            reading.problem(prefix, "nested too deeply", "flatten it, or split it into models")
        if reading.strays > MOST_UNKNOWN:
            reading.unknown.append(f"{self.at or 'root'}: {reading.strays - MOST_UNKNOWN} more unknown keys")
        if self.strict:
            reading.problems += reading.unknown
        elif reading.problems:  # a required key that is missing is often there, misspelled
            reading.problems += [line for line in reading.unknown if "did you mean" in line]
        if reading.problems or value is ABSENT:
            where = reading.placed.get(reading.problems[0]) if reading.problems else None
            raise BindingError("\n".join(reading.problems), problems=reading.problems, where=where) from reading.cause
        depth = len(prefix)
        return Bound(
            value,
            tuple(reading.unknown),
            frozenset([path[depth:] for path in reading.read]),
            table,
            place,
            secret,
            elsewhere,
            prefix,
        )

    # --- comparing --------------------------------------------------------------------------------

    def same(self, old: M, new: M) -> bool:
        """Whether two instances mean the same, so that the one in use may stay."""
        return same(self.schema, old, new)

    def pending_restart(self, old: M, new: M) -> tuple[Path, ...]:
        """The restart-only fields in which `new` means something else than `old`, in order."""
        return tuple(path for path in sorted(self.restart_only) if not self._same_at(path, old, new))

    def _same_at(self, path: Path, old: Any, new: Any) -> bool:
        schema: Schema | None = self.schema
        for depth, segment in enumerate(path):
            field = schema.named(segment) if schema is not None else None
            if schema is None or field is None:
                break
            if depth == len(path) - 1 or old is None or new is None:
                return same_field(schema, field, old, new)
            old, new, schema = read(old, field.name), read(new, field.name), field.schema
            if old is None or new is None or old is ABSENT or new is ABSENT:
                return old is new
        return same(self.schema, old, new)

    def hold(self, old: Bound[M], new: Bound[M]) -> Bound[M]:
        """`new` with every restart-only field as it is in `old`, made and validated as a whole; `new` if none differs.

        `BindingError` when the new values cannot stand beside the old ones. The result's table holds what its
        instance was made of, so that later candidates are again compared with the values in use.
        """
        if not self.restart_only or not self.pending_restart(old.value, new.value):
            return new
        table: Tree = new.table
        held: set[Path] = set()
        for path in sorted(self.restart_only):
            if not path:
                return old
            table, at = self._kept(path, old.table, table)
            held.add(at)
        new_place, old_place, depth = new.place, old.place, len(new.prefix)

        def place(path: Path) -> str:
            from_old = any(path[depth : depth + len(at)] == at for at in held)
            return (old_place if from_old else new_place)(path)

        bound = self.bind(table, place=place, secret=new.secret, elsewhere=new.elsewhere, at=new.prefix)
        return dataclasses.replace(new, value=bound.value, table=table, place=place)

    def _kept(self, path: Path, old: Tree, new: Tree) -> tuple[Tree, Path]:
        """`new` with the value that `old` has at `path`, and how that is spelled."""
        before, after = self._as_spelled(path, old), self._as_spelled(path, new)
        depth = min(len(before), len(after))
        before, after = before[:depth], after[:depth]
        value = lookup(old, before)
        new = remove(new, after)
        return (new if value is ABSENT else put(new, before, value)), before

    def _as_spelled(self, path: Path, table: Any) -> Path:
        """A field's path with the names that `table` uses, aliases included; it ends at a table written as text."""
        schema: Schema | None = self.schema
        names: list[str] = []
        node: Any = table
        for segment in path:
            field = schema.named(segment) if schema is not None else None
            if schema is None or field is None or not (node is ABSENT or is_table(node)):
                break
            names.append(schema.spelled(field, node))
            node, schema = node.get(names[-1], ABSENT) if is_table(node) else ABSENT, field.schema
        return tuple(names)

    # --- what the model declares ------------------------------------------------------------------

    def kinds(self) -> dict[Path, Kind]:
        """How the values of durations, sizes and fields with a precision compare: by relaxed path under the prefix.

        Every spelling of a field (aliases) has its own entry; `*` stands for every name of a table with free names.
        """
        found: dict[Path, Kind] = {}
        _collect(self.schema, ((),), found, ())
        return found

    def kind(self, path: Path) -> Kind | None:
        """How values at `path`, relative and in any spelling, compare; None for by their own type."""
        known = self.kinds()
        names = tuple(map(relaxed, path))
        return known.get(names) or next(
            (kind for pattern, kind in known.items() if ANY_NAME in pattern and _fits(pattern, names)), None
        )

    def reads(self, path: Path) -> bool:
        """Whether a field reads the key at `path`, absolute and in any spelling, or keys below it.

        What stands under a field that is no model (a table with free names, a list, a value) counts as read by it.
        """
        names, prefix = tuple(map(relaxed, path)), tuple(map(relaxed, self.path))
        if len(names) <= len(prefix):
            return prefix[: len(names)] == names
        if names[: len(prefix)] != prefix:
            return False
        inner: Any = self.schema
        for segment in path[len(prefix) :]:
            if isinstance(inner, Schema) and inner.root is not None:
                inner = inner.root.shape.schema or inner.root.shape.values
            if isinstance(inner, Schema):
                field = inner.named(segment)
                if field is None:
                    return inner.reads(segment)
                inner = field.shape.schema or field.shape.values
            elif isinstance(inner, Shape):
                inner = inner.schema or inner.values
            if inner is None:
                return True
        return True

    def is_secret(self, path: Path) -> bool:
        """Whether the model takes the value at `path`, relative and in any spelling, as a secret."""
        inner: Any = self.schema
        shape: Shape | None = None
        for segment in path:
            if isinstance(inner, Schema) and inner.root is not None:
                shape = inner.root.shape
                inner = shape.schema
            if isinstance(inner, Schema):
                field = inner.named(segment)
                if field is None:
                    return False
                shape = field.shape
            elif shape is not None and shape.values is not None:
                shape = shape.values
            else:
                return False
            if shape.secret:
                return True
            inner = shape.schema
        return False

    def paths(self) -> tuple[Path, ...]:
        """Every field's path relative to the prefix, in the order of declaration, a nested model's after its own."""
        return tuple(self.fields)

    def defaults(self) -> dict[Path, Any]:
        """The plain default of each field that has one, by path; what a function makes is not listed."""
        return {path: field.default for path, field in self.fields.items() if field.default is not ABSENT}

    def __repr__(self) -> str:
        return f"<Binding {self.model.__qualname__} at {self.at!r}>"


def defaults(model: type[M]) -> M:
    """`model` as it is when nothing is configured. `BindingError` names the fields that have no default."""
    return Binding(model).bind(EMPTY).value


def _collect(schema: Schema, at: tuple[Path, ...], found: dict[Path, Kind], above: tuple[Any, ...]) -> None:
    if schema.model in above:
        return
    for field in schema.fields:
        names = {relaxed(name) for name in field.names}
        here = at if schema.root else tuple((*path, name) for path in at for name in sorted(names))
        if field.kind is not None:
            found.update((path, field.kind) for path in here)
        inner, beneath = field.shape, here
        while inner.values is not None:
            inner, beneath = inner.values, tuple((*path, ANY_NAME) for path in beneath)
            if inner.kind is not None:
                found.update((path, inner.kind) for path in beneath)
        if isinstance(inner.schema, Schema):
            _collect(inner.schema, beneath, found, (*above, schema.model))


def _fits(pattern: Path, names: Path) -> bool:
    return len(pattern) == len(names) and all(one in (ANY_NAME, name) for one, name in zip(pattern, names, strict=True))
