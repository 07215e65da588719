"""Addresses of a list with another filter, order or page: what is in the query stays, but for what is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from litestar import Request


def addresses(request: Request[Any, Any, Any]) -> Callable[..., str]:
    """`at(state="failed")` is this page with that in its query, None leaves a name out; always on the first page."""
    path = request.url.path
    asked = [(name, value) for name, value in parse_qsl(request.url.query) if name != "n"]

    def at(*, to: str | None = None, **changed: object) -> str:
        kept = [(name, value) for name, value in asked if name not in changed]
        query = urlencode([*kept, *((name, str(value)) for name, value in changed.items() if value is not None)])
        return f"{to or path}?{query}" if query else to or path

    return at
