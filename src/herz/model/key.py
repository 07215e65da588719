"""Keys: one canonical form for the name of a value.

A key is a dotted path, written as its author wrote it: `herz.service.max-retries`. A segment that
contains a dot or a bracket is quoted with brackets: `routes[api.example.org].timeout`; a `]` inside
is doubled. Environment variables separate segments with `__`.

Two spellings name the same key when they differ only in case, `-` and `_` (Spring Boot's relaxed
binding): `max-retries`, `max_retries`, `MAXRETRIES`.
"""

from __future__ import annotations

from collections.abc import Iterable

from herz.errors import UsageError

Path = tuple[str, ...]
"""The segments of a key, outermost first."""


def split(key: str) -> Path:
    """The segments of `key`. `UsageError` when it is empty or a bracket is not closed."""
    if "[" not in key:
        path = tuple(key.split("."))
        if "" in path:
            raise UsageError(f"key {key!r} has an empty segment", remedy="write it like a.b.c, quote a dot as a[b.c]")
        return path
    segments: list[str] = []
    position, end = 0, len(key)
    while position < end:
        if key[position] == "[":
            segment, position = _quoted(key, position + 1)
        else:
            stop = position
            while stop < end and key[stop] not in ".[":
                stop += 1
            segment, position = key[position:stop], stop
            if not segment:
                raise UsageError(f"key {key!r} has an empty segment", remedy="quote an empty segment as []")
        segments.append(segment)
        if position < end and key[position] == ".":
            position += 1
            if position == end:
                raise UsageError(f"key {key!r} ends with a dot", remedy="remove the last dot")
    return tuple(segments)


def _quoted(key: str, start: int) -> tuple[str, int]:
    """The segment quoted from `start` (just after `[`), and the position after its `]`."""
    letters: list[str] = []
    position = start
    while position < len(key):
        letter = key[position]
        if letter == "]":
            if key[position + 1 : position + 2] != "]":
                return "".join(letters), position + 1
            position += 1
        letters.append(letter)
        position += 1
    raise UsageError(f"key {key!r} has a bracket that is not closed", remedy="write a[b.c]")


def join(path: Iterable[str]) -> str:
    """The canonical key of `path`; `split(join(path)) == path` for every non-empty path."""
    key = ""
    for segment in path:
        if not segment or "." in segment or "[" in segment or "]" in segment:
            key += "[" + segment.replace("]", "]]") + "]"
        else:
            key = f"{key}.{segment}" if key else segment
    return key


def relaxed(segment: str) -> str:
    """The form in which two spellings of one name are equal."""
    return segment.replace("-", "").replace("_", "").lower()  # str.translate takes four times as long


def covers(prefix: str, key: str) -> bool:
    """Whether `key` is `prefix` or lies under it; the empty prefix covers everything."""
    if not prefix or key == prefix:
        return True
    return key.startswith(prefix) and key[len(prefix)] in ".["
