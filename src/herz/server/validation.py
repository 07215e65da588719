"""Validation: every reason why a content cannot be released, with its key and where that was written.

A value that holds a reference (`${…}`) is not judged by the schema: what it will be is known at each instance only.
Secrets are judged, and not quoted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, Final

from herz.errors import ConfigurationError, HerzError
from herz.model.key import Path, join
from herz.model.number import WrittenFloat, integral
from herz.model.tree import is_table, lookup
from herz.release.content import Content, LayerText
from herz.release.record import Record
from herz.server.reading import SECRETS, Reading, Readings, decoded
from herz.server.schemas import Schema, validator

KEYS: Final = 200_000
_MOST: Final = 200
"""Problems that are listed; nobody reads more."""
_TEXT: Final = 500
_QUOTED: Final = frozenset({"const", "enum", "not", "pattern"})
"""What a message quotes of the schema itself, which may say what a secret is."""


class Fault(Record, frozen=True, kw_only=True):
    """One reason. `key` is empty where it is about a whole layer."""

    what: str
    key: str = ""
    where: str | None = None


class Validation(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Whether a content can be released; `problems` says why not, the first 200."""

    ok: bool
    problems: tuple[Fault, ...] = ()


async def validated(content: Content, readings: Readings, schema: Schema | None, *, keys: int = KEYS) -> Validation:
    """Whether `content` decodes, is not too large, and is as `schema` says."""
    try:
        reading = await readings.of(content)
    except ConfigurationError as error:
        faults = await asyncio.to_thread(lambda: [fault for layer in content.layers if (fault := _malformed(layer))])
        return Validation(ok=False, problems=tuple(faults) or (_fault(error),))
    count = reading.keys()
    if count > keys:
        told = Fault(what=f"{count:,} keys, at most {keys:,} are taken; split the namespace")
        return Validation(ok=False, problems=(told,))
    faults = [] if schema is None else await asyncio.to_thread(lambda: list(_breaches(reading, schema)))
    return Validation(ok=not faults, problems=tuple(faults))


def _malformed(layer: LayerText) -> Fault | None:
    try:
        decoded(layer)
    except ConfigurationError as error:
        return _fault(error)
    return None


def _fault(error: HerzError) -> Fault:
    what = error.what if error.remedy is None else f"{error.what}; {error.remedy}"
    return Fault(what=what, where=error.where)


def _breaches(reading: Reading, schema: Schema) -> Iterator[Fault]:
    try:
        plain, masked = validator(schema), validator(schema, masked=True)
    except ConfigurationError as error:
        yield Fault(what=f"the schema of this namespace cannot be used: {error.what}")
        return
    tree = as_json(reading.tree)
    listed = 0
    for open_, hidden in zip(plain.iter_errors(tree), masked.iter_errors(tree), strict=True):
        at = list(open_.instance_path)
        path = _path(at)
        value = lookup(reading.tree, path)
        if isinstance(value, str) and "${" in value:
            continue
        if listed == _MOST:
            return
        listed += 1
        # A message quotes the value that it is about: of a table, everything in it.
        quotes = is_table(value) or isinstance(value, list) or SECRETS.holds(path)
        text = hidden.message if quotes else open_.message
        keyword = open_.schema_path[-1] if open_.schema_path else ""
        if quotes and keyword in _QUOTED:
            text = f"it is not what {keyword} of the schema says"
        key = join(path) + "".join(f"[{step}]" for step in at[len(path) :])
        yield Fault(key=key, what=text[:_TEXT], where=reading.locate(path) if path else None)


def _path(at: list[Any]) -> Path:
    """The leading segments that are names: a list is a leaf."""
    names: list[str] = []
    for step in at:
        if not isinstance(step, str):
            break
        names.append(step)
    return tuple(names)


def as_json(value: Any) -> Any:
    """`value` as JSON can say it: tables as dicts, numbers exact, dates and infinities as text."""
    if is_table(value):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    if isinstance(value, WrittenFloat):
        whole = integral(value)
        return float(value) if whole is None else whole
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
