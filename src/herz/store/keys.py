"""How keys of a store become bytes, by which they are ordered and stored."""

from __future__ import annotations

from herz.errors import UsageError


def encoded(key: str) -> bytes:
    """The bytes of a key; `UsageError` when it is empty or not text that UTF-8 can hold."""
    if not key:
        raise UsageError("a key of the store is empty", remedy="give it a name such as /config/app/name")
    return encoded_prefix(key)


def encoded_prefix(prefix: str) -> bytes:
    """The bytes of a prefix, which may be empty."""
    try:
        return prefix.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"key {prefix!r} cannot be written in UTF-8", remedy="remove the lone surrogate at the place given"
        ) from error


def prefix_end(prefix: bytes) -> bytes | None:
    """The smallest bytes greater than everything that begins with `prefix`; None when there is no bound."""
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else None  # UTF-8 has no byte 0xFF
