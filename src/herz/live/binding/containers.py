"""Containers: lists, tables and unions, element by element, each fault with its own key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from herz.live.binding.reading import Mismatch, Reading, Refused, texts
from herz.live.binding.scalars import TEXT
from herz.live.binding.shape import Convert, Shape
from herz.model.key import Path
from herz.model.secret import Secret
from herz.model.tree import is_table

# --- values without a type -----------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A private copy of `value` as plain Python: tables as dicts, numbers as int and float, secrets revealed."""
    if is_table(value):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, Secret):
        return value.reveal()
    return float(value) if isinstance(value, float) else value


def as_written(value: Any, path: Path, reading: Reading) -> Any:
    """The value for a function of the model's own to read."""
    return plain(value)


def secret_as_written(value: Any, path: Path, reading: Reading) -> Any:
    """The value of a secret field for a function of the model's own to read; no message will show it."""
    reading.hidden.extend(texts(value))
    return plain(value)


def _untyped(value: Any, path: Path, reading: Reading) -> Any:
    """A private copy like `plain`, but what its key says is secret stays so: there is no type to say otherwise."""
    if is_table(value):
        return {name: _untyped(inner, (*path, name), reading) for name, inner in value.items()}
    if isinstance(value, list):
        return [_untyped(inner, path, reading) for inner in value]
    if isinstance(value, Secret):
        return value
    if isinstance(value, (str, int, float)) and not isinstance(value, bool) and reading.hides(path):
        return Secret(str(value))
    return float(value) if isinstance(value, float) else value


AS_WRITTEN: Final = Shape(as_written, "a value")
"""The value as it was written."""

UNTYPED: Final = Shape(_untyped, "a value")
"""The value as plain Python, secret where its key says so."""

TEXT_SHAPE: Final = Shape(TEXT.convert, TEXT.expected, TEXT.natural)
"""Text."""


# --- converters ----------------------------------------------------------------------------------


def optional_of(shape: Shape) -> Convert:
    """`None` for null, and for the text `null` where text is not what is wanted."""
    inner, takes_text = shape.convert, str in shape.natural or shape in (UNTYPED, AS_WRITTEN)

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        if value is None or (value == "null" and not takes_text):
            return None
        return inner(value, path, reading)

    return convert


def first_fit(members: list[Shape], optional: bool) -> Convert:
    """The member that takes the value as it is; else the first that can be made of it; models by how much they read."""
    expected = " or ".join(dict.fromkeys(shape.expected for shape in members))

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        if value is None and optional:
            return None
        natural = [shape for shape in members if type(value) in shape.natural]
        others = [shape for shape in members if shape not in natural]
        failed: list[Reading] = []
        for group in (natural, others):
            fits: list[tuple[tuple[int, int], Any, Reading]] = []
            for shape in group:
                trial = reading.trial()
                try:
                    made = shape.convert(value, path, trial)
                except Refused:
                    failed.append(trial)
                    continue
                except Mismatch:
                    continue
                fits.append(((len(trial.unknown), -len(trial.read)), made, trial))
                if shape.schema is None:
                    break
            if fits:
                _, made, trial = min(fits, key=lambda fit: fit[0])
                reading.adopt(trial)
                return made
        if len(failed) == 1 and len(natural) == 1:
            reading.adopt(failed[0])
            raise Refused
        if value == "null" and optional:
            return None
        raise Mismatch(expected, hide=any(shape.secret for shape in members))

    return convert


def _each(items: Iterable[Any], converts: Iterable[Convert], path: Path, reading: Reading) -> list[Any]:
    made: list[Any] = []
    failed = False
    for index, (item, convert) in enumerate(zip(items, converts, strict=False)):
        at = (*path, str(index))
        try:
            made.append(convert(item, at, reading))
        except Mismatch as fault:
            reading.mismatch(at, fault, item)
            failed = True
        except Refused:
            failed = True
    if failed:
        raise Refused
    return made


def fixed(shapes: list[Shape], expected: str) -> Convert:
    """A list of fixed length, each element with a shape of its own."""
    converts = [shape.convert for shape in shapes]

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        items = _items(value)
        if len(items) != len(converts):
            raise Mismatch(expected)
        return tuple(_each(items, converts, path, reading))

    return convert


def _forever(convert: Convert) -> Iterable[Convert]:
    while True:
        yield convert


def sequence(item: Shape, make: Callable[[list[Any]], Any]) -> Convert:
    """A list of any length, handed to `make`."""

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        made = _each(_items(value), _forever(item.convert), path, reading)
        try:
            return make(made)
        except TypeError:  # an element that cannot be hashed
            raise Mismatch("a list of plain values") from None

    return convert


def _items(value: Any) -> list[Any]:
    """The elements of a list, however it is written (see the module)."""
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith("["):
            parsed = _parsed(stripped)
            if isinstance(parsed, list):
                return parsed
            raise Mismatch("a list", remedy="write a,b or a JSON array")
        return [part.strip() for part in stripped.split(",")] if stripped else []
    if is_table(value) and value and {*value} == {*map(str, range(len(value)))}:
        return [value[str(index)] for index in range(len(value))]
    raise Mismatch("a list", remedy="write a,b or a JSON array")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def table_of(value: Any, expected: str) -> Any:
    """The table that `value` is: itself, an empty one for null, what a JSON object in text says."""
    if is_table(value):
        return value
    if value is None:
        return {}
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, str) and value.lstrip().startswith("{"):
        parsed = _parsed(value)
        if isinstance(parsed, dict):
            return parsed
    raise Mismatch(expected)


def mapping(name: Shape, values: Shape, make: Callable[[dict[Any, Any]], Any] | None) -> Convert:
    """A table with free names, as a dict or what `make` makes of it."""

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        made: dict[Any, Any] = {}
        failed = False
        for key, inner in table_of(value, "a table").items():
            at = (*path, key)
            try:
                made_key = name.convert(key, at, reading)
            except Mismatch as fault:
                reading.problem(at, f"expected {fault.expected} as the name", fault.remedy)
                failed = True
                continue
            try:
                made[made_key] = values.convert(inner, at, reading)
            except Mismatch as fault:
                reading.mismatch(at, fault, inner)
                failed = True
            except Refused:
                failed = True
        if failed:
            raise Refused
        return made if make is None else make(made)

    return convert
