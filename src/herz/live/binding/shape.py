"""The shape of a field: what its annotation makes of a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from immutables import Map

from herz.live.binding.reading import Reading
from herz.model.key import Path
from herz.model.meaning import Kind

Convert = Callable[[Any, Path, Reading], Any]
"""Makes the field's value of the value at a path. `Mismatch` when it does not fit, `Refused` when that is reported."""

TABLES: Final[frozenset[type]] = frozenset({dict, Map})
"""The types of tables."""


class Tabular(Protocol):
    """A model, as a shape needs it."""

    @property
    def validates(self) -> bool:
        """Whether its family types and validates nested models itself, given dicts."""
        ...

    def prepare(self, value: Any, path: Path, reading: Reading) -> Any:
        """What its constructor takes."""
        ...

    def make(self, value: Any, path: Path, reading: Reading) -> Any:
        """An instance of it."""
        ...


class Shape(NamedTuple):
    """What an annotation makes of a value.

    `natural` are the types of values that it takes as they are, which decides between the members of a union.
    `schema` is the model a table becomes, `values` the shape of every value of a table with free names.
    """

    convert: Convert
    expected: str
    natural: frozenset[type] = frozenset()
    kind: Kind | None = None
    secret: bool = False
    schema: Tabular | None = None
    values: Shape | None = None
    models: bool = False
    """Whether instances of models may be somewhere in the value."""
    optional: bool = False
