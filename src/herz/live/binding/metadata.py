"""Metadata: what the extras of an annotation say, in any of the families' ways: precision, markers, constraints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from herz.live.binding.markers import Precision
from herz.live.binding.reading import Mismatch, Reading
from herz.live.binding.shape import Convert, Shape
from herz.model.key import Path
from herz.model.meaning import Kind


def said(metadata: Iterable[Any], name: str) -> Any:
    """What the metadata of a field says under `name`, in any of the families' ways; None when it says nothing."""
    for meta in metadata:
        for holder in (meta, getattr(meta, "extra_json_schema", None), getattr(meta, "json_schema_extra", None)):
            if isinstance(holder, Mapping) and name in holder:
                return holder[name]
    return None


def measured(metadata: Iterable[Any]) -> Kind | None:
    """The kind that a field's metadata declares with `Precision` or `{"precision": ...}`."""
    metadata = tuple(metadata)
    for meta in metadata:
        if isinstance(meta, Precision):
            return meta.kind
    step = said(metadata, "precision")
    return None if step is None else Precision(step).kind


Check = tuple[str, Callable[[Any], bool]]
"""A constraint: the words for it, and its test."""


def constraints(meta: Any) -> Iterable[Check]:
    """The constraints of msgspec's Meta or annotated-types, as words and a test each."""
    for name, words, test in _CONSTRAINTS:
        limit = getattr(meta, name, None)
        if limit is not None and not callable(limit):
            yield words.format(limit), _bound(test, limit)


def _bound(test: Callable[[Any, Any], Any], limit: Any) -> Callable[[Any], bool]:
    return lambda value: bool(test(value, limit))


_CONSTRAINTS: Final[tuple[tuple[str, str, Callable[[Any, Any], Any]], ...]] = (
    ("gt", "greater than {}", lambda value, limit: value > limit),
    ("ge", "of at least {}", lambda value, limit: value >= limit),
    ("lt", "less than {}", lambda value, limit: value < limit),
    ("le", "of at most {}", lambda value, limit: value <= limit),
    ("multiple_of", "that is a multiple of {}", lambda value, limit: value % limit == 0),
    ("min_length", "of length {} or more", lambda value, limit: len(value) >= limit),
    ("max_length", "of length {} or less", lambda value, limit: len(value) <= limit),
    ("pattern", "that matches {}", lambda value, limit: re.search(limit, value)),
    ("tz", "with a time zone: {}", lambda value, limit: (value.tzinfo is not None) is limit),
)


def checked(shape: Shape, checks: tuple[Check, ...]) -> Convert:
    """The converter of `shape` with `checks` on what it makes; null is not checked."""
    inner = shape.convert

    def convert(value: Any, path: Path, reading: Reading) -> Any:
        made = inner(value, path, reading)
        if made is not None:
            for words, test in checks:
                if not test(made):
                    raise Mismatch(f"{shape.expected} {words}", hide=shape.secret)
        return made

    return convert
