"""Addresses of a list with another filter, order or page: what is in the query stays, but for what is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

from litestar import Request


def addresses(request: Request[Any, Any, Any]) -> Callable[..., str]:
    """`at(state="failed")` is this page with that in its query, None leaves a name out; always on the first page."""
    path = request.url.path
    asked = [(name, value) for name, value in parse_qsl(request.url.query) if name != "n"]
    begun: dict[tuple[str, ...], str] = {}

    def at(*, to: str | None = None, **changed: object) -> str:
        names = tuple(changed)
        kept = begun.get(names)
        if kept is None:  # a table has hundreds of these
            kept = begun[names] = urlencode([(name, value) for name, value in asked if name not in changed])
        parts = [f"{name}={quote_plus(str(value))}" for name, value in changed.items() if value is not None]
        query = "&".join([kept, *parts] if kept else parts)
        return f"{to or path}?{query}" if query else to or path

    return at
