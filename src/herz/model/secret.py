"""Secrets: a type, so that a value that must not be seen cannot be printed by accident."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from secrets import token_bytes
from typing import Any, Final, NoReturn

MASK: Final = "••••"

_COMPARISON_KEY: Final = token_bytes(32)
_DEFAULT_PATTERN: Final = (
    r"(?:password|passwd|passphrase|(?:^|[-_.])(?:pwd|secret|token|credentials?|api[-_]?key|access[-_]?key|"
    r"secret[-_]?key|private[-_]?key|client[-_]?secret|dsn))$"
)
_ENDINGS: Final = tuple(
    f"{word}\n"
    for word in [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "credential",
        "credentials",
        "key",
        "dsn",
        "secrets",
    ]
)
"""What every name that is secret by default ends with,"""
_LETTERS: Final = frozenset("".join(_ENDINGS))
"""and the letters of which that is made: a text without one of them is not searched for all."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Secret:
    """A value that never shows: it prints as `••••`, no JSON encoder takes it, it cannot be pickled.

    `reveal()` gives the plain text, at the place that needs it. Two secrets are compared by HMAC
    under a key of this process, in constant time.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret) -> None:
        self._value: str = value._value if isinstance(value, Secret) else str(value)

    def reveal(self) -> str:
        """The plain text."""
        return self._value

    def digest(self) -> bytes:
        """The HMAC-SHA256 under this process's key: equal for equal secrets, useless elsewhere."""
        return hmac.digest(_COMPARISON_KEY, self._value.encode("utf-8", "surrogatepass"), "sha256")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.digest(), other.digest())

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; reveal() it where it is used")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.plain_serializer_function_ser_schema(cls._unserialisable)
        )

    @classmethod
    def _validated(cls, value: Any) -> Secret:
        if isinstance(value, (Secret, str)):
            return cls(value)
        raise ValueError("expected text")

    @staticmethod
    def _unserialisable(value: Any) -> str:
        return MASK


class SecretKeys:
    """Which keys hold secrets: by the end of the last segment, or by being or lying under `secrets` or `credentials`.

    `token` and `access-token` are secret, `token-ttl` and `max-tokens` are not. `patterns` are
    further regular expressions, searched in the lower-case last segment.
    """

    __slots__ = ("_further", "_known", "_pattern")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        further = tuple(patterns)
        self._pattern = re.compile("|".join([_DEFAULT_PATTERN, *further]))
        self._further = bool(further)
        self._known: dict[str, bool] = {}

    def names(self, segment: str) -> bool:
        """Whether a last segment names a secret. Remembered, for configurations repeat their names."""
        known = self._known.get(segment)
        if known is None:
            if len(self._known) > 100_000:
                self._known.clear()
            words = _CAMEL.sub("-", segment).lower()
            known = self._known[segment] = self.shelters(segment) or self._pattern.search(words) is not None
        return known

    def among(self, segments: Iterable[str]) -> bool:
        """Whether any of many last segments may name a secret; never False when one does, and quick when none does."""
        if self._further:
            return any(map(self.names, segments))
        text = "\n".join(segments).lower() + "\n"
        present = {letter for letter in _LETTERS if letter in text}
        return any(ending in text for ending in _ENDINGS if present.issuperset(ending))

    def holds(self, path: tuple[str, ...]) -> bool:
        """Whether the value at `path` is secret."""
        return bool(path) and (self.names(path[-1]) or any(self.shelters(segment) for segment in path[:-1]))

    def shelters(self, segment: str) -> bool:
        """Whether everything under a table of this name is secret."""
        return segment.lower() in ("secrets", "credentials")

    def hidden(self, path: tuple[str, ...], value: Any) -> Any:
        """`value` as it may be handed out: a scalar under a secret key, in lists of tables too, becomes a `Secret`."""
        if self.holds(path):
            return self.wrapped(value)
        return self._hidden_within(value) if isinstance(value, list) else value

    def _hidden_within(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._hidden_within(inner) for inner in value]
        if isinstance(value, Mapping):
            return {
                name: self.wrapped(inner) if self.names(name) else self._hidden_within(inner)
                for name, inner in value.items()
            }
        return value

    def wrapped(self, value: Any) -> Any:
        """`value` as a `Secret`, element by element in a list; null and booleans give nothing away and stay."""
        if isinstance(value, list):
            return [self.wrapped(inner) for inner in value]
        if isinstance(value, Mapping):
            return {name: self.wrapped(inner) for name, inner in value.items()}
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return Secret(value if isinstance(value, str) else str(value))
        return value
