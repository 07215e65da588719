"""Origins: where a value was written."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """A place that holds configuration, by the name people know it by; credentials are masked in it.

    `kind` is the sort of place: `file`, `environment`, `arguments`, `mapping`, `sqlite`, …
    """

    name: str
    kind: str = "file"

    def __str__(self) -> str:
        return self.name
