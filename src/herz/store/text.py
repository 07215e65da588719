"""How a configuration value becomes the text that a store keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

from herz.errors import UsageError
from herz.model.secret import Secret

Scalar: TypeAlias = str | int | float | bool | Secret
Value: TypeAlias = Scalar | Sequence[Scalar] | None


def holds_secret(value: Value) -> bool:
    """Whether a value is a `Secret`, or a list with one in it."""
    return isinstance(value, Secret) or (
        isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Secret) for item in value)
    )


def stored(key: str, value: Value) -> bytes | None:
    """The bytes of a value, None for None; `UsageError` when it has no text. `key` is for the message."""
    if value is None:
        return None
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{key}: the value cannot be written in UTF-8") from error
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        value = [item.reveal() if isinstance(item, Secret) else item for item in value]
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{key}: a {type(value).__name__} cannot be stored",
            remedy="use text, a number, a boolean or a list of them",
        ) from error
