"""What the user asked for, before anything of it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Wanted(NamedTuple):
    """What the user asked for: see `Herz`."""

    specs: tuple[Any, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    environment_prefix: str
    base_folders: tuple[str, ...]
    profiles: tuple[str, ...] | None
    secret_patterns: tuple[str, ...]
    last_good: str | None
