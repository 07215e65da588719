"""Annotations: which shape a type has, found out once for each field.

Text stands for a list as JSON (`["a", "b"]`) or separated by commas (`a, b`), for a table as a JSON object. A table
whose keys are 0, 1, 2 … is a list, for environment variables and properties write one so.
"""

from __future__ import annotations

import collections
import collections.abc as abc
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from herz.live.binding.containers import (
    AS_WRITTEN,
    TEXT_SHAPE,
    UNTYPED,
    first_fit,
    fixed,
    mapping,
    optional_of,
    sequence,
)
from herz.live.binding.families import RAW, is_model, reads_as_written
from herz.live.binding.metadata import checked, constraints, measured
from herz.live.binding.reading import Mismatch, Reading
from herz.live.binding.scalars import SCALARS, SIZE, choice, leaf, member, secret
from herz.live.binding.shape import TABLES, Convert, Shape, Tabular
from herz.model.key import Path
from herz.model.meaning import Kind
from herz.model.secret import Secret


class Shapes:
    """Finds the shape of annotations; `schema` gives the one of a model.

    `validates` says that pydantic sees the value afterwards: what it knows better is handed on as written.
    `variables` are the types that a generic model's type variables stand for.
    """

    def __init__(
        self, schema: Callable[[Any], Tabular], *, validates: bool, variables: Mapping[Any, Any] | None = None
    ) -> None:
        self._schema = schema
        self._variables = variables or {}
        self._validates = validates

    def of(self, annotation: Any) -> Shape:
        """The shape of `annotation`; of one that nothing is known about, a shape that only takes instances of it."""
        if annotation is RAW:
            return AS_WRITTEN
        if annotation is Any or annotation is object or annotation is abc.Hashable:
            return UNTYPED
        if isinstance(annotation, typing.NewType):
            return self.of(annotation.__supertype__)
        if type(annotation).__name__ == "TypeAliasType":
            return self.of(annotation.__value__)
        if isinstance(annotation, typing.TypeVar):
            if annotation in self._variables:
                return self.of(self._variables[annotation])
            if annotation.__constraints__:
                return self._union(annotation.__constraints__)
            return self.of(Any if annotation.__bound__ is None else annotation.__bound__)
        origin = typing.get_origin(annotation)
        if origin is None:
            return self._plain(annotation)
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._annotated(arguments[0], annotation.__metadata__)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments)
        if origin is typing.Literal:
            one = choice(arguments)
            return Shape(one.convert, one.expected, one.natural)
        if is_model(origin):
            given = tuple(
                self._variables.get(one, one) if isinstance(one, typing.TypeVar) else one for one in arguments
            )
            return self._model(self._schema(origin[given]))
        if type(origin).__name__ == "_SpecialForm":  # Final, Required, NotRequired, ReadOnly
            return self.of(arguments[0]) if arguments else UNTYPED
        if type(origin).__name__ == "TypeAliasType":
            return self.of(origin.__value__[arguments])
        return self._container(origin, arguments) or self._plain(origin)

    def _annotated(self, annotation: Any, metadata: tuple[Any, ...]) -> Shape:
        if self._validates and any(map(reads_as_written, metadata)):
            return AS_WRITTEN
        shape = self.of(annotation)
        kind = measured(metadata)
        if kind is not None:
            shape = shape._replace(kind=kind)
        if not self._validates:
            checks = tuple(check for meta in metadata for check in constraints(meta))
            if checks:
                shape = shape._replace(convert=checked(shape, checks))
        return shape

    # --- classes ----------------------------------------------------------------------------------

    def _plain(self, kind: Any) -> Shape:
        scalar = SCALARS.get(type(None) if kind is None else kind)
        if scalar is not None:
            return Shape(scalar.convert, scalar.expected, scalar.natural, _measure(kind))
        if kind is Secret:
            return Shape(secret, "text", frozenset({Secret}), secret=True)
        if not isinstance(kind, type):
            return self._foreign(kind)
        if is_model(kind):
            return self._model(self._schema(kind))
        if issubclass(kind, Enum):
            one = member(kind)
            return Shape(one.convert, one.expected, one.natural)
        container = self._container(kind, ())
        if container is not None:
            return container
        if hasattr(kind, "get_secret_value"):
            return _vendor_secret(kind)
        if issubclass(kind, int) and kind.__name__ == "ByteSize":
            return Shape(_and_then(SIZE.convert, kind), SIZE.expected, kind=Kind("size"))
        if hasattr(kind, "__get_pydantic_core_schema__"):
            return self._foreign(kind)
        for base, scalar in SCALARS.items():
            if issubclass(kind, base) and base in (str, int, float) and kind is not bool:
                return Shape(_and_then(scalar.convert, kind), scalar.expected, scalar.natural)
        return self._foreign(kind)

    def _model(self, schema: Tabular) -> Shape:
        convert = schema.prepare if self._validates and schema.validates else schema.make
        return Shape(convert, "a table of settings", TABLES, schema=schema, models=True)

    def _foreign(self, kind: Any) -> Shape:
        """A type that Herz does not know: pydantic's affair where pydantic is, otherwise only an instance will do."""
        if self._validates:
            return AS_WRITTEN
        name = getattr(kind, "__qualname__", str(kind))
        if hasattr(kind, "__get_pydantic_core_schema__"):
            return Shape(_by_pydantic(kind, name), name)

        def convert(value: Any, path: Path, reading: Reading) -> Any:
            if isinstance(kind, type) and isinstance(value, kind):
                return value
            raise Mismatch(name, remedy=f"configuration cannot be made into a {name}; declare the field otherwise")

        return Shape(convert, name)

    # --- containers -------------------------------------------------------------------------------

    def _container(self, origin: Any, arguments: tuple[Any, ...]) -> Shape | None:
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return self._fixed(() if arguments == ((),) else arguments)
        make = _SEQUENCES.get(origin)
        if make is not None:
            item = self.of(arguments[0]) if arguments else UNTYPED
            return Shape(
                sequence(item, make),
                "a list",
                frozenset({list}),
                kind=item.kind,
                secret=item.secret,
                models=item.models,
            )
        if origin in _TABLES:
            name = self.of(arguments[0]) if arguments else TEXT_SHAPE
            values = self.of(arguments[1]) if len(arguments) > 1 else UNTYPED
            return Shape(
                mapping(name, values, collections.OrderedDict if origin is collections.OrderedDict else None),
                "a table",
                TABLES,
                secret=values.secret,
                values=values,
                models=values.models,
            )
        return None

    def _fixed(self, arguments: tuple[Any, ...]) -> Shape:
        shapes = [self.of(argument) for argument in arguments]
        expected = f"a list of {len(shapes)}"

        return Shape(
            fixed(shapes, expected),
            expected,
            frozenset({list}),
            secret=any(shape.secret for shape in shapes),
            models=any(shape.models for shape in shapes),
        )

    # --- unions -----------------------------------------------------------------------------------

    def _union(self, arguments: tuple[Any, ...]) -> Shape:
        members = [self.of(argument) for argument in arguments if argument is not type(None)]
        optional = len(members) < len(arguments)
        if len(members) == 1:
            return members[0]._replace(convert=optional_of(members[0]), optional=True)
        kinds = {shape.kind for shape in members}
        return Shape(
            first_fit(members, optional),
            " or ".join(dict.fromkeys(shape.expected for shape in members)),
            frozenset().union(*(shape.natural for shape in members)),
            kind=kinds.pop() if len(kinds) == 1 else None,
            secret=any(shape.secret for shape in members),
            models=any(shape.models for shape in members),
            optional=optional,
        )


def _and_then(convert: Convert, kind: Callable[[Any], Any]) -> Convert:
    make = leaf(kind, getattr(kind, "__qualname__", str(kind)))
    return lambda value, path, reading: make(convert(value, path, reading), path, reading)


def _vendor_secret(kind: Any) -> Shape:
    """Pydantic's SecretStr, SecretBytes and Secret[...]."""

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        plain = secret(value, path, reading).reveal()
        try:
            return kind(plain.encode() if "Bytes" in kind.__name__ else plain)
        except (ValueError, TypeError):
            raise Mismatch(kind.__name__, hide=True) from None

    return Shape(convert, "text", frozenset({str, Secret}), secret=True)


def _by_pydantic(kind: Any, name: str) -> Convert:
    from pydantic import TypeAdapter

    return leaf(TypeAdapter(kind).validate_python, name)


_SEQUENCES: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: lambda items: items,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    abc.Sequence: lambda items: items,
    abc.MutableSequence: lambda items: items,
    abc.Collection: lambda items: items,
    abc.Iterable: lambda items: items,
    abc.Set: frozenset,
    abc.MutableSet: set,
}
_TABLES: Final = frozenset({dict, abc.Mapping, abc.MutableMapping, collections.OrderedDict})


def _measure(kind: Any) -> Kind | None:
    name = getattr(kind, "__name__", "")
    return Kind("duration") if name == "timedelta" else Kind("size") if name == "ByteSize" else None
