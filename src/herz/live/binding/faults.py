"""Faults: what a model's own validation says, told with the key and the place, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from herz.live.binding.containers import plain
from herz.live.binding.reading import Reading, describe
from herz.model.key import Path
from herz.model.secret import MASK
from herz.model.tree import ABSENT, is_table, spelling

if TYPE_CHECKING:
    from herz.live.binding.schema import Field, Schema

_NAMED: Final = re.compile(r"'(\w+)' must")


def report(fault: Exception, schema: Schema, path: Path, reading: Reading) -> None:
    """Report what constructing the model at `path` raised; chain it to the reading if its text is safe to show."""
    problems = getattr(fault, "errors", None)
    if type(fault).__name__ == "ValidationError" and callable(problems):
        for problem in problems(include_url=False, include_context=False):
            _vendor_problem(schema, problem, path, reading)
        return
    _author_problem(schema, fault, path, reading)
    if reading.cause is None and reading.trustworthy(fault):
        reading.cause = fault


def _author_problem(schema: Schema, fault: Exception, path: Path, reading: Reading) -> None:
    """An exception of a validator or `__post_init__`: its own words, its field if it names one."""
    text = str(fault.args[0]) if fault.args and isinstance(fault.args[0], str) else str(fault)
    if not isinstance(fault, (ValueError, TypeError, AssertionError)):
        text = f"{type(fault).__name__}: {text}"
    # attrs hands on the attribute, or starts its text with the field's name.
    name = getattr(fault.args[1], "name", None) if len(fault.args) > 1 else None
    match = _NAMED.match(text)
    field = next((one for one in schema.fields if one.name == (name or (match and match[1]))), None)
    table = _table(path, reading)
    at = path if field is None else (*path, schema.spelled(field, table))
    reading.problem(at, reading.scrubbed(text or type(fault).__name__))


def _vendor_problem(model: Schema, problem: Mapping[str, Any], path: Path, reading: Reading) -> None:
    """One of pydantic's errors, with the key and place that its location stands for."""
    at, node, field, secret = _located(model, problem["loc"], path, reading)
    if problem["type"] == "missing":
        reading.missing(at, field.shape.expected if field is not None else "a value")
        return
    text = reading.scrubbed(_in_our_words(problem["msg"], field))
    if is_table(node) and not problem["type"].endswith("_type"):
        reading.problem(at, text)
    elif secret or reading.hides(at, node):
        reading.problem(at, f"{text}, got {MASK}")
    else:
        value = problem["input"] if node is ABSENT else plain(node)
        reading.problem(at, f"{text}, got {reading.scrubbed(describe(value))}")


def _located(
    model: Schema, location: Sequence[str | int], path: Path, reading: Reading
) -> tuple[Path, Any, Field | None, bool]:
    """The path, value and field that a location of pydantic's stands for, and whether it lies in a secret field.

    Locations name fields where the table has its own spelling, and also members of unions and validators, which are
    no part of a path.
    """
    schema: Schema | None = model
    at, node, field, secret = path, _table(path, reading), model.root, False
    for index, part in enumerate(location):
        known = None
        if schema is not None:
            known = next((one for one in schema.fields if part in (one.name, *one.names)), None)
        if schema is not None and known is not None:
            segment, field, schema = schema.spelled(known, node), known, known.schema
            secret = secret or known.shape.secret
        elif isinstance(node, list) and isinstance(part, int):
            segment, field = str(part), None
        elif is_table(node) and (spelled := spelling(node, str(part))) is not None:
            segment = spelled
            values = field.shape.values if field is not None else None
            schema = values.schema if values is not None and isinstance(values.schema, type(model)) else None
            field = None
        elif index + 1 == len(location) and is_table(node) and isinstance(part, str):
            segment = part  # what is missing has no spelling yet
        else:
            continue
        at = (*at, segment)
        if isinstance(node, list) and segment.isdecimal() and int(segment) < len(node):
            node = node[int(segment)]
        else:
            node = node.get(segment, ABSENT) if is_table(node) else ABSENT
    return at, node, field, secret


def _table(path: Path, reading: Reading) -> Any:
    node = reading.table
    for segment in path[len(reading.prefix) :]:
        if isinstance(node, list) and segment.isdecimal() and int(segment) < len(node):
            node = node[int(segment)]
        else:
            node = node.get(segment, ABSENT) if is_table(node) else ABSENT
    return node


_INPUT: Final = re.compile(r"Input should (?:be )?(?:a )?(?:valid )?")
_COMPARED: Final = re.compile(r"(greater|less|a multiple|multiple)\b")


def _in_our_words(message: str, field: Field | None) -> str:
    """Pydantic's message in the form of the others: what was expected."""
    for prefix in ("Value error, ", "Assertion failed, "):
        if message.startswith(prefix):
            return message.removeprefix(prefix)
    if not _INPUT.match(message):
        return message[:1].lower() + message[1:]
    rest = _INPUT.sub("", message, count=1)
    if _COMPARED.match(rest):
        return f"expected {'a value' if field is None else field.shape.expected} {rest}"
    return f"expected {rest}"
