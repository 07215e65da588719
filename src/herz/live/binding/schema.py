"""Schemas: one model, inspected once, that makes instances of tables and compares them by meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, get_args, get_origin

from herz.errors import UsageError
from herz.live.binding.annotations import Shapes
from herz.live.binding.containers import plain, secret_as_written, table_of
from herz.live.binding.families import RAW, Declared, clashing, describe_model, is_model
from herz.live.binding.faults import report
from herz.live.binding.frozen import freezer
from herz.live.binding.markers import RestartOnly
from herz.live.binding.metadata import measured, said
from herz.live.binding.reading import MOST_UNKNOWN, Mismatch, Reading, Refused, describe
from herz.live.binding.shape import Convert, Shape
from herz.model.key import Path, relaxed
from herz.model.meaning import Kind
from herz.model.tree import is_table

MOST_REMEMBERED: Final = 1_000
"""Unknown keys of one model whose nearest names are remembered."""

ANY_NAME: Final = "*"
"""Stands in a path for every name of a table with free names."""

_EXPECTED: Final = "a table of settings"


class Field(NamedTuple):
    """One field of a model: how configuration names it, what its value becomes, how two values compare."""

    name: str
    argument: str
    names: tuple[str, ...]
    convert: Convert
    shape: Shape
    required: bool
    default: Any
    kind: Kind | None
    restart_only: bool
    kept: bool

    @property
    def schema(self) -> Schema | None:
        """The model that this field's table becomes, if it is one."""
        return self.shape.schema if isinstance(self.shape.schema, Schema) else None


def _assign(instance: Any, name: str, value: Any, family: str) -> None:
    """Set an attribute of an instance that may be frozen."""
    if family == "msgspec":
        from msgspec.structs import force_setattr

        force_setattr(instance, name, value)
    else:
        object.__setattr__(instance, name, value)


class Inspection:
    """The schemas of one model and of every model in it, each inspected once."""

    def __init__(self, localns: Mapping[str, Any] | None = None) -> None:
        self.localns = localns
        self._schemas: dict[Any, Schema] = {}
        self._classes: dict[Any, Schema] = {}

    def schema(self, model: Any) -> Schema:
        """The schema of `model`; while a model that contains itself is inspected, the one in the making."""
        found = self._schemas.get(model)
        if found is None:
            found = Schema(model, self)
        return found

    def register(self, schema: Schema) -> None:
        """Make a schema known before its fields are, for a model may contain itself."""
        self._schemas[schema.declared] = schema
        self._classes.setdefault(schema.model, schema)

    def known(self, model: Any) -> Schema | None:
        """The schema of instances of the class `model`, if it is one of those inspected."""
        return self._classes.get(model)


class Schema:
    """How one model is filled from tables. A generic model with arguments, `Box[int]`, has a schema of its own."""

    __slots__ = (
        "_create",
        "_freeze",
        "_spelled",
        "_strange",
        "declared",
        "description",
        "fields",
        "inspection",
        "model",
        "root",
        "validates",
    )

    def __init__(self, model: Any, inspection: Inspection) -> None:
        self.declared = model
        variables: dict[Any, Any] = {}
        if not isinstance(model, type) and is_model(get_origin(model)):
            variables = dict(zip(getattr(get_origin(model), "__parameters__", ()), get_args(model), strict=False))
            model = get_origin(model)
        self.model = model
        self.inspection = inspection
        description = self.description = describe_model(model, inspection.localns)
        self.validates = description.validates
        inspection.register(self)
        self._create = description.create
        clash = clashing(description.fields)
        if clash is not None:
            raise UsageError(
                f"{model.__qualname__}: fields {clash[0]!r} and {clash[1]!r} are the same key in relaxed spelling",
                remedy="rename one of them",
            )
        shapes = Shapes(inspection.schema, validates=description.validates, variables=variables)
        self.fields: tuple[Field, ...] = tuple(_field(declared, shapes, model) for declared in description.fields)
        self.root = self.fields[0] if description.root else None
        self._spelled: dict[str, Field] = {relaxed(name): field for field in self.fields for name in field.names}
        self._spelled |= {name: field for field in self.fields for name in field.names}
        self._strange: dict[str, str | None] = {}
        kept = tuple(field.name for field in self.fields if field.kept)
        self._freeze: Callable[[Any], Any] | None = None
        if not description.frozen and not description.root:
            self._freeze = freezer(model, description.family, kept)

    def named(self, segment: str) -> Field | None:
        """The field that configuration calls `segment`, in any spelling."""
        field = self._spelled.get(segment)
        if field is None and (field := self._spelled.get(relaxed(segment))) is not None:
            self._spelled[segment] = field
        return field

    def reads(self, segment: str) -> bool:
        """Whether a key called `segment` is taken: by a field, as the tag, or because the model takes any."""
        tag = self.description.tag
        tagged = tag is not None and relaxed(segment) == relaxed(tag[0])
        return tagged or self.description.extra == "allow" or self.named(segment) is not None

    def _unknown(self, path: Path, reading: Reading) -> None:
        """Report a key that no field reads, with the name it may be a misspelling of.

        At the root, where keys of others stand as well, it must be nearer. Remembered, for the same keys come with each
        table, and not looked for among very many, for that takes 20 µs a key.
        """
        segment, at_root = path[-1], len(path) == 1
        if segment not in self._strange:
            if len(self._strange) >= MOST_REMEMBERED or (not at_root and reading.strays >= MOST_UNKNOWN):
                reading.unknown_key(path, None, forbidden=self.description.extra == "forbid")
                return
            names = {relaxed(name): name for field in self.fields for name in field.names[::-1]}
            near = get_close_matches(relaxed(segment), names, n=1, cutoff=0.8 if at_root else 0.6)
            self._strange[segment] = names[near[0]] if near else None
        reading.unknown_key(path, self._strange[segment], forbidden=self.description.extra == "forbid")

    # --- tables to instances ----------------------------------------------------------------------

    def make(self, value: Any, path: Path, reading: Reading) -> Any:
        """An instance from the table `value` at `path`, frozen where its class can be."""
        return self._built(self.prepare(value, path, reading), path, reading)

    def prepare(self, value: Any, path: Path, reading: Reading) -> Any:
        """The constructor's arguments, typed. `Refused` when something does not fit, after all of it was looked at."""
        if self.root is not None:
            return self.root.convert(value, path, reading)
        table = table_of(value, _EXPECTED)
        given: dict[str, Any] = {}
        refused: set[str] = set()
        tag, allowed, read = self.description.tag, self.description.extra == "allow", reading.read
        for segment, inner in table.items():
            field = self._spelled.get(segment) or self.named(segment)
            at = (*path, segment)
            if field is None:
                if tag is not None and relaxed(segment) == relaxed(tag[0]):
                    self._tagged(tag, inner, at, reading, refused)
                elif allowed:
                    given[segment] = plain(inner)
                    read.add(at)
                else:
                    self._unknown(at, reading)
                continue
            if field.argument in given or field.argument in refused:
                reading.problem(at, f"written twice, in two spellings of {field.names[0]}", "remove one of them")
                refused.add(field.argument)
                continue
            try:
                given[field.argument] = field.convert(inner, at, reading)
            except Mismatch as fault:
                reading.mismatch(at, fault, inner)
                refused.add(field.argument)
            except Refused:
                refused.add(field.argument)
            if field.shape.schema is None:
                read.add(at)
        if len(given) < len(self.fields):
            self._complete(given, refused, path, reading)
        if refused:
            raise Refused
        return given

    def _complete(self, given: dict[str, Any], refused: set[str], path: Path, reading: Reading) -> None:
        """Fill required models that no key was given for from their defaults; report what else is missing."""
        for field in self.fields:
            if not field.required or field.argument in given or field.argument in refused:
                continue
            at = (*path, field.names[0])
            if field.shape.schema is not None and not field.shape.optional and not self.description.fills:
                try:
                    given[field.argument] = field.convert({}, at, reading)
                except (Refused, Mismatch):
                    refused.add(field.argument)
            elif not self.description.fills or refused:
                reading.missing(at, field.shape.expected)
                refused.add(field.argument)

    def _tagged(self, tag: tuple[str, Any], value: Any, path: Path, reading: Reading, refused: set[str]) -> None:
        """Check a tagged struct's tag, which is no field."""
        reading.read.add(path)
        if str(value) != str(tag[1]) or isinstance(value, bool):
            reading.mismatch(path, Mismatch(describe(tag[1])), value)
            refused.add(tag[0])

    def _built(self, given: Any, path: Path, reading: Reading) -> Any:
        fault: Exception | None = None
        try:
            instance = self._create(given)
        except Exception as error:  # whatever a validator raises is told with its key
            fault = error
        if fault is None:
            return self.freeze(instance)
        # Outside of the except block, so that nothing raised from here is chained to an error that shows its input.
        report(fault, self, path, reading)
        raise Refused

    def spelled(self, field: Field, table: Any) -> str:
        """How `table` spells the name of `field`; the field's first name when it is not in there."""
        for segment in table if is_table(table) else ():
            if self.named(segment) is field:
                return str(segment)
        return field.names[0]

    # --- instances --------------------------------------------------------------------------------

    def freeze(self, instance: Any) -> Any:
        """`instance` and the instances in it, frozen; an object that is a field's shared default stays as it is."""
        if self.description.family == "TypedDict":
            return instance
        for field in self.fields:
            if field.shape.models and field.kept:
                value = getattr(instance, field.name, None)
                if value is not None and value is not field.default:
                    frozen = self._frozen_value(value)
                    if frozen is not value:
                        _assign(instance, field.name, frozen, self.description.family)
        return instance if self._freeze is None else self._freeze(instance)

    def _frozen_value(self, value: Any) -> Any:
        """`value` with the instances in it frozen; the same object where that could be done in place."""
        kind = type(value)
        schema = self.inspection.known(kind)
        if schema is not None:
            return schema.freeze(value)
        if kind is list or kind is tuple:
            frozen = [self._frozen_value(inner) for inner in value]
            if any(new is not old for new, old in zip(frozen, value, strict=True)):
                return kind(frozen)
        elif kind is dict:
            for name, inner in value.items():
                value[name] = self._frozen_value(inner)
        return value

    # --- what the fields declare ------------------------------------------------------------------

    def walk(self, at: Path = (), above: tuple[Any, ...] = ()) -> Iterator[tuple[Path, Field]]:
        """Every field with its path, those of nested models too; a model inside itself is not entered again."""
        if self.model in above:
            return
        for field in self.fields:
            path = at if self.root else (*at, field.argument)
            yield path, field
            if field.schema is not None:
                yield from field.schema.walk(path, (*above, self.model))
            elif field.shape.values is not None and isinstance(field.shape.values.schema, Schema):
                yield from field.shape.values.schema.walk((*path, ANY_NAME), (*above, self.model))


def _field(declared: Declared, shapes: Shapes, model: Any) -> Field:
    declares = shapes.of(declared.annotation)
    accepts = declares if declared.accepts is declared.annotation else shapes.of(declared.accepts)
    metadata = (*declared.metadata, *getattr(declared.annotation, "__metadata__", ()))
    restart_only = any(meta is RestartOnly or isinstance(meta, RestartOnly) for meta in metadata)
    restart_only = restart_only or said(metadata, "restart_only") is True
    try:
        kind = measured(metadata) or declares.kind
    except UsageError as error:
        raise UsageError(f"{model.__qualname__}.{declared.name}: {error.what}", remedy=error.remedy) from None
    convert = accepts.convert
    if declared.accepts is RAW and declares.secret:
        convert = secret_as_written
    return Field(
        declared.name,
        declared.argument,
        declared.names,
        convert,
        declares if declared.accepts is not RAW else _opaque(declares),
        declared.required,
        declared.default,
        kind,
        restart_only,
        declared.kept,
    )


def _opaque(shape: Shape) -> Shape:
    """The shape of a field whose own validator reads the value as written: nothing below it is Herz's to name."""
    return Shape(shape.convert, shape.expected, secret=shape.secret, models=shape.models, optional=shape.optional)
