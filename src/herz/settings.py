"""Herz's own options, read from the same configuration as everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from herz.errors import ConfigurationError
from herz.model.key import split
from herz.model.tree import ABSENT, Tree, find, is_table
from herz.model.units import seconds, size

SHOW_DETAILS: Final = ("always", "never", "when-authorized")
RETRY: Final = ("exponential", "fixed")
DEFAULT_EXPOSURE: Final = ("health", "info")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `herz.*` and `management.*` say, with the defaults that hold where they say nothing.

    `watch_paths` None means that everything loaded is watched. `exposure` lists the actuator's
    endpoints that answer; all others are 404.
    """

    watch_enabled: bool = True
    watch_paths: tuple[str, ...] | None = None
    watch_interval_s: float = 5.0
    watch_retry: str = "exponential"
    imports: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    max_bytes: int = 64 * 1024 * 1024
    max_depth: int = 200
    secret_patterns: tuple[str, ...] = ()
    last_good: str | None = None
    strict: bool = False
    exposure: frozenset[str] = frozenset(DEFAULT_EXPOSURE)
    refresh_details: str = "never"
    health_details: str = "never"


AT_START: Final = {
    "herz.config.watch.enabled": "watch_enabled",
    "herz.config.watch.paths": "watch_paths",
    "herz.config.watch.interval": "watch_interval_s",
    "herz.config.watch.retry": "watch_retry",
    "herz.config.import": "imports",
    "herz.config.limits.max-bytes": "max_bytes",
    "herz.config.limits.max-depth": "max_depth",
    "herz.config.strict": "strict",
    "herz.secrets.patterns": "secret_patterns",
}
"""The keys that are read at the start only, and the field of `Settings` that each fills."""

KNOWN: Final = frozenset(
    {
        "herz.config.watch.enabled",
        "herz.config.watch.paths",
        "herz.config.watch.interval",
        "herz.config.watch.retry",
        "herz.config.import",
        "herz.config.limits.max-bytes",
        "herz.config.limits.max-depth",
        "herz.config.last-good",
        "herz.config.strict",
        "herz.profiles.active",
        "herz.secrets.patterns",
        "management.endpoints.web.exposure.include",
        "management.endpoint.refresh.show-details",
        "management.endpoint.health.show-details",
    }
)
"""Every key that Herz itself reads."""


def read_settings(tree: Tree, where: Callable[[str], str | None] = lambda key: None) -> Settings:
    """The settings that `tree` holds. `ConfigurationError` with key and place for a value that cannot be used."""
    reader = _Reader(tree, where)
    defaults = Settings()
    paths = reader.texts("herz.config.watch.paths")
    exposure = reader.texts("management.endpoints.web.exposure.include")
    return Settings(
        watch_enabled=reader.flag("herz.config.watch.enabled", defaults.watch_enabled),
        watch_paths=paths,
        watch_interval_s=reader.number("herz.config.watch.interval", seconds, defaults.watch_interval_s),
        watch_retry=reader.choice("herz.config.watch.retry", RETRY, defaults.watch_retry),
        imports=reader.texts("herz.config.import") or (),
        profiles=reader.texts("herz.profiles.active") or (),
        max_bytes=int(reader.number("herz.config.limits.max-bytes", size, defaults.max_bytes)),
        max_depth=int(reader.number("herz.config.limits.max-depth", size, defaults.max_depth)),
        secret_patterns=reader.texts("herz.secrets.patterns") or (),
        last_good=reader.text("herz.config.last-good"),
        strict=reader.flag("herz.config.strict", defaults.strict),
        exposure=frozenset(DEFAULT_EXPOSURE if exposure is None else exposure),
        refresh_details=reader.choice("management.endpoint.refresh.show-details", SHOW_DETAILS, "never"),
        health_details=reader.choice("management.endpoint.health.show-details", SHOW_DETAILS, "never"),
    )


class _Reader:
    def __init__(self, tree: Tree, where: Callable[[str], str | None]) -> None:
        # Two searches of what may be a very large root, not one for each key.
        self._roots = {root: find(tree, (root,)) for root in ("herz", "management")}
        self._where = where

    def _value(self, key: str) -> Any:
        root, *inner = split(key)
        table = self._roots[root]
        value = find(table, tuple(inner)) if is_table(table) else ABSENT
        return None if value is ABSENT else value

    def _wrong(self, key: str, wanted: str, value: object) -> ConfigurationError:
        return ConfigurationError(f"{key}: expected {wanted}, got {value!r}", where=self._where(key))

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        raise self._wrong(key, "true or false", value)

    def text(self, key: str) -> str | None:
        value = self._value(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(key, "text", value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self._value(key)
        if value is None:
            return None
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
        if is_table(value) and not value:
            return ()
        raise self._wrong(key, "a list of texts", value)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(key)
        if value is None:
            return default
        if value in choices:
            return value
        raise self._wrong(key, f"one of {', '.join(choices)}", value)

    def number(self, key: str, parse: Callable[[object], Any], default: float) -> float:
        value = self._value(key)
        if value is None:
            return default
        try:
            found = float(parse(value))
        except ValueError as error:
            raise self._wrong(key, str(error).removeprefix("expected ").partition(", got")[0], value) from None
        if found <= 0:
            raise self._wrong(key, "more than zero", value)
        return found
