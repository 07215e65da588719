"""A form made from a JSON Schema: the fields that it has, what stands in them, and what is meant by what is typed.

What a form cannot say (alternatives, lists of tables, free names) is of the kind `other`: it is edited in the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from herz.errors import UsageError
from herz.model.key import Path, join, split
from herz.model.secret import MASK
from herz.model.tree import ABSENT, find, is_table, spelled
from herz.server.console.shown import visible
from herz.server.reading import SECRETS, Reading
from herz.server.schemas import Schema
from herz.server.validation import as_json

FIELDS: Final = 300
"""Fields of one form."""
_DEEPEST: Final = 8
_SCALARS: Final = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern")


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field. `kind` is text, integer, number, boolean, choice, list, table or other.

    `value` is what stands in it, None where the key is not set. `choices` are written as JSON, `items` is the kind of a
    list's entries. A secret's value is not here.
    """

    key: str
    name: str
    kind: str
    title: str = ""
    description: str = ""
    default: str | None = None
    required: bool = False
    bounds: tuple[tuple[str, str], ...] = ()
    choices: tuple[str, ...] = ()
    items: str = ""
    value: str | None = None
    where: str | None = None
    secret: bool = False
    fields: tuple[Field, ...] = ()


class _Made:
    """How many fields were made, so that no schema makes a page endless."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.left = FIELDS


def fields_of(schema: Schema, reading: Reading | None) -> tuple[Field, ...]:
    """The fields of the form, with what `reading` says; at most 300."""
    return tuple(_fields(_Made(schema), schema, (), reading, 0))


def field_at(fields: tuple[Field, ...], key: str) -> Field:
    """The field of a key; `UsageError` when the form has none."""
    stack = list(fields)
    while stack:
        one = stack.pop()
        if one.key == key and one.kind not in ("table", "other"):
            return one
        stack += one.fields
    raise UsageError(f"the form has no field {key[:200]!r}", remedy="edit it in the text")


def meant(field: Field, typed: str) -> Any:
    """The value that is meant by what was typed into a field; `UsageError` when it is none."""
    if field.kind == "list":
        return [_scalar(field.items, line, field) for line in typed.splitlines() if line.strip()]
    if field.kind == "choice":
        if typed not in field.choices:
            raise UsageError(f"{typed[:200]!r} is no choice of {field.key}", remedy="choose one of the list")
        return msgspec.json.decode(typed)
    return _scalar(field.kind, typed.replace("\r\n", "\n"), field)


def _scalar(kind: str, typed: str, field: Field) -> Any:
    if kind == "text":
        return typed
    text = typed.strip()
    if "${" in text:
        return text
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            number = float(text)
            if math.isfinite(number):
                return int(text) if text.lstrip("+-").isdigit() else number
    except ValueError:
        pass
    raise UsageError(f"{typed[:200]!r} is no {kind}", where=field.key, remedy="write it as the field says")


def _fields(made: _Made, schema: Schema, path: Path, reading: Reading | None, depth: int) -> Iterator[Field]:
    properties = schema.get("properties")
    needed = schema.get("required")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        if made.left <= 0 or not isinstance(name, str) or not name:
            return
        made.left -= 1
        yield _field(
            made,
            _resolved(made, inner),
            (*path, *_segments(name)),
            isinstance(needed, list) and name in needed,
            reading,
            depth,
        )


def _segments(name: str) -> Path:
    """A property whose name has dots is one key of several segments, as it is in a document."""
    try:
        return split(name)
    except UsageError:
        return (name,)


def _field(made: _Made, schema: Schema, path: Path, required: bool, reading: Reading | None, depth: int) -> Field:
    value = ABSENT if reading is None else find(reading.tree, path)
    kind, items, choices = _kind(made, schema, value)
    secret = SECRETS.holds(path)
    if kind == "table" and (secret or depth >= _DEEPEST):
        kind = "other"
    return Field(
        key=join(path),
        name=visible(path[-1]),
        kind=kind,
        title=_text(schema.get("title")),
        description=_text(schema.get("description")),
        default=_default(schema, secret),
        required=required,
        bounds=tuple((name, _text(schema[name])) for name in _BOUNDS if name in schema),
        choices=choices,
        items=items,
        value=_written(kind, value, secret),
        where=None if reading is None or value is ABSENT else reading.locate(spelled(reading.tree, path)),
        secret=secret,
        fields=tuple(_fields(made, schema, path, reading, depth + 1)) if kind == "table" else (),
    )


def _kind(made: _Made, schema: Schema, value: Any) -> tuple[str, str, tuple[str, ...]]:
    """What a field is, what a list's entries are, and what can be chosen; `other` where a form cannot say it."""
    other = "other", "", ()
    if any(name in schema for name in ("oneOf", "anyOf", "allOf", "not", "if", "const")):
        return other
    choices = schema.get("enum")
    if isinstance(choices, list) and 0 < len(choices) <= 200:
        if any(isinstance(one, (dict, list)) for one in choices):
            return other
        return "choice", "", tuple(msgspec.json.encode(one).decode() for one in choices if one is not None)
    name = _type(schema)
    if name in _SCALARS:
        return (_SCALARS[name], "", ()) if value is ABSENT or _plain(value) else other
    if name == "array":
        inner = _resolved(made, schema.get("items"))
        kind = _SCALARS.get(_type(inner) or "", "")
        if kind and "enum" not in inner and (value is ABSENT or _lines(value)):
            return "list", kind, ()
        return other
    if name == "object" and isinstance(schema.get("properties"), Mapping) and (value is ABSENT or is_table(value)):
        return "table", "", ()
    return other


def _type(schema: Schema) -> str | None:
    found = schema.get("type")
    if isinstance(found, list):
        found = next((one for one in found if one != "null"), None) if len(found) <= 2 else None
    if found is None and "properties" in schema:
        return "object"
    return found if isinstance(found, str) else None


def _plain(value: Any) -> bool:
    return not is_table(value) and not isinstance(value, list)


def _lines(value: Any) -> bool:
    """Whether a list can be written line by line."""
    return isinstance(value, list) and all(
        _plain(one)
        and one is not None
        and not (isinstance(one, str) and ("\n" in one or one != one.strip() or not one))
        for one in value
    )


def _resolved(made: _Made, schema: Any) -> Schema:
    """What a reference within the schema leads to; an empty schema for what leads nowhere."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        target = schema.get("$ref")
        if not isinstance(target, str):
            return dict(schema)
        found: Any = made.root
        for step in target.removeprefix("#").strip("/").split("/") if target != "#" else ():
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if not target.startswith("#"):
            return {}
        schema = {**found, **{name: one for name, one in schema.items() if name != "$ref"}} if found else {}
    return {}


def _written(kind: str, value: Any, secret: bool) -> str | None:
    if value is ABSENT or kind in ("table", "other"):
        return None
    if secret:
        return MASK
    plain = as_json(value)
    if kind == "list":
        return "\n".join(map(_entry, plain))
    if kind == "choice":
        return msgspec.json.encode(plain).decode()
    return _entry(plain)


def _entry(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _default(schema: Schema, secret: bool) -> str | None:
    if "default" not in schema:
        return None
    return MASK if secret else visible(msgspec.json.encode(schema["default"]).decode()[:500])


def _text(value: Any) -> str:
    return (
        visible((value if isinstance(value, str) else msgspec.json.encode(value).decode())[:1000])
        if value is not None
        else ""
    )
