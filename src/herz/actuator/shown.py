"""Shown: values as plain JSON that anybody may see, every secret as `••••`.

A value is secret when its key says so, when it was made from such a value by reference, when a declared model takes
it as a `Secret`, and where a text carries credentials: `postgres://user:password@host`, `password=…`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from enum import Enum
from itertools import islice
from typing import Any, Final

from herz.live.binding import Binding
from herz.live.binding.comparison import read
from herz.live.binding.schema import Schema
from herz.live.binding.shape import Shape
from herz.live.generation import Generation, InForce
from herz.model.credentials import without_credentials
from herz.model.key import Path, relaxed
from herz.model.secret import MASK, Secret
from herz.model.snapshot import Snapshot
from herz.model.tree import ABSENT, is_table, leaves

SHORTEST: Final = 4
"""Characters below which a secret is too common a text to be searched for."""

MOST: Final = 1_000
"""Secret texts that are searched for at most."""

_TELLING: Final = frozenset({"datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid", "zoneinfo"})
"""Modules whose values may be shown by `str`: they hold what was written and nothing else."""


class Shown:
    """What may be shown of one generation: `value` for what stands at a path, `text` for what was said about it."""

    def __init__(self, generation: Generation) -> None:
        self.snapshot: Snapshot = generation.snapshot
        self.models: tuple[InForce, ...] = tuple(generation.objects.bound.values())
        self._below: dict[Path, list[Binding[Any]]] = {}
        for one in self.models:
            self._below.setdefault(one.properties.relaxed, []).append(one.properties.binding)
        self._secrets: re.Pattern[str] | None = None
        found = sorted(set(islice(self._declared(), MOST)), key=len, reverse=True)
        if found:
            self._secrets = re.compile("|".join(map(re.escape, found)))

    def _declared(self) -> Iterable[str]:
        """The texts that models take as secrets, whatever their keys are called."""
        for one in self.models:
            for path, value in leaves(one.bound.table):
                if one.properties.binding.is_secret(path):
                    yield from (text for text in _texts(value) if len(text) >= SHORTEST)

    def hides(self, path: Path) -> bool:
        """Whether a declared model takes the value at `path` as a secret."""
        if not self._below:
            return False
        names = tuple(map(relaxed, path))
        return any(
            binding.is_secret(path[depth:])
            for depth in range(len(names) + 1)
            for binding in self._below.get(names[:depth], ())
        )

    def value(self, path: Path, value: Any) -> Any:
        """`value`, as a snapshot or a change set gives it, fit for JSON."""
        if value is not None and not isinstance(value, bool) and self.hides(path):
            return masked(value)
        return plain(value, self.text)

    def text(self, text: str) -> str:
        """`text` without the secrets that can be recognised in it."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return without_credentials(text)

    def model(self, one: InForce) -> Any:
        """A bound instance, field by field, typed as the program sees it; defaults included."""
        return self._fields(one.properties.binding.schema, one.bound.value, one.path)

    def _fields(self, schema: Schema, instance: Any, path: Path) -> Any:
        if schema.root is not None:
            return self._field(schema, schema.root.shape, read(instance, schema.root.name), path)
        return {
            field.names[0]: self._field(schema, field.shape, value, (*path, field.names[0]))
            for field in schema.fields
            if field.kept and (value := read(instance, field.name)) is not ABSENT
        }

    def _field(self, schema: Schema, shape: Shape, value: Any, path: Path) -> Any:
        if shape.secret or self.snapshot.composed.secrets.holds(path):
            return masked(value)
        known = schema.inspection.known(value.__class__)
        if known is not None:
            return self._fields(known, value, path)
        if isinstance(value, Mapping):
            inner = shape.values or shape
            return {str(name): self._field(schema, inner, one, (*path, str(name))) for name, one in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._field(schema, shape, one, path) for one in value]
        return plain(value, self.text)


def masked(value: Any) -> Any:
    """`value` hidden, a container as a whole; null and booleans give nothing away and stay."""
    return value if value is None or isinstance(value, bool) else MASK


def plain(value: Any, text: Callable[[str], str] = without_credentials) -> Any:
    """`value` as what JSON knows. An object of an unknown class is shown by its class alone."""
    if isinstance(value, Secret):
        return MASK
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value, text)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 1024 else f"<an integer of {value.bit_length()} bits>"
    if isinstance(value, float):
        return float(value) if abs(value) < float("inf") else str(value)
    if is_table(value) or isinstance(value, Mapping):
        return {text(str(name)): plain(inner, text) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner, text) for inner in value]
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.9g}s"
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, re.Pattern):
        return text(str(value.pattern))
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    kind = type(value)
    if kind.__module__.partition(".")[0] in _TELLING or kind.__module__ == "pydantic.networks":
        return text(str(value))
    return f"<{kind.__qualname__}>"


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)
