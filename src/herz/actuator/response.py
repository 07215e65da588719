"""Responses: status, headers and body, before any server interface gives them its own form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"

_ALWAYS: Final = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. Header names are lower case; `content-length` is among them."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def line(self) -> str:
        """Status and reason, as WSGI wants them: `200 OK`."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    def without_body(self) -> Response:
        """The same as the answer to HEAD: every header, `content-length` too (RFC 9110, 9.3.2), and no body."""
        return Response(self.status, self.headers, b"")


def respond(status: int, body: bytes, media_type: str, further: Mapping[str, str] | None = None) -> Response:
    """A response that no cache keeps and no browser guesses the type of."""
    headers = (("content-type", media_type), ("content-length", str(len(body))), *_ALWAYS, *(further or {}).items())
    return Response(status, headers, body)


def answer(
    value: Any, status: int = 200, *, media_type: str = JSON, further: Mapping[str, str] | None = None
) -> Response:
    """`value`, which is plain data, as JSON in UTF-8. Lone surrogates become `?`: they are no text."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return respond(status, text.encode("utf-8", "replace"), media_type, further)


def problem(
    status: int,
    kind: str | None = None,
    title: str | None = None,
    *,
    further: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem by RFC 9457: `type` is `urn:herz:problem:<kind>`, or `about:blank` where the status says it all.

    Members that are None are left out.
    """
    named = {
        "type": "about:blank" if kind is None else f"urn:herz:problem:{kind}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        **{name: value for name, value in members.items() if value is not None},
    }
    return answer(named, status, media_type=PROBLEM, further=further)
