"""Problems by RFC 9457: what a request met, where, and what to do now, for people and for programs.

Every error of Herz has a status and a type here, `urn:herz:problem:<kind>`; `what`, `where` and `remedy` are members,
so are facts that the error holds. An unexpected error is logged with its trace and told without it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from herz import errors
from herz.errors import HerzError

logger = logging.getLogger("herz")

PROBLEM: Final = "application/problem+json"
URN: Final = "urn:herz:problem:"

_ALWAYS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_KINDS: Final[tuple[tuple[type[HerzError], int, str, str], ...]] = (
    (errors.Conflict, 409, "conflict", "Somebody else was quicker"),
    (errors.LeaseLost, 409, "lease-lost", "The lease is gone"),
    (errors.StoreCorrupt, 500, "store-damaged", "The store is damaged"),
    (errors.StoreFull, 507, "store-full", "The store is full"),
    (errors.StoreError, 503, "store-failed", "The store refused or failed"),
    (errors.RevisionExpired, 410, "revision-expired", "History does not reach back that far"),
    (errors.HistoryBroken, 500, "content-damaged", "What is stored is not whole"),
    (errors.SourceDenied, 503, "store-denied", "The store refuses this server"),
    (errors.SourceUnavailable, 503, "store-unavailable", "The store does not answer"),
    (errors.DocumentTooLarge, 413, "too-large", "More than is taken"),
    (errors.DocumentMalformed, 422, "malformed", "Not a usable document"),
    (errors.ConfigurationError, 422, "invalid", "Not a usable configuration"),
    (errors.MissingExtra, 501, "not-installed", "Not installed here"),
    (errors.NotRunning, 503, "closing", "The server is shutting down"),
    (errors.UsageError, 400, "bad-request", "Not understood"),
)
_RETRY: Final = frozenset({"store-unavailable", "closing", "store-failed"})
_BARE: Final = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}


class Problem(HerzError):
    """An error that says by itself how it is told: its status, its kind, and facts as members of the body."""

    def __init__(
        self,
        status: int,
        kind: str,
        what: str,
        *,
        title: str | None = None,
        where: str | None = None,
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        self.status, self.kind, self.title = status, kind, title or HTTPStatus(status).phrase
        self.headers, self.members = dict(headers or {}), members
        super().__init__(what, where=where, remedy=remedy)


def not_found(what: str, *, remedy: str | None = None) -> Problem:
    """There is no such thing."""
    return Problem(404, "not-found", what, remedy=remedy)


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """What went wrong (RFC 9457). Further members hold the facts of a kind."""

    type: str
    title: str
    status: int
    detail: str = ""
    what: str = ""
    where: str | None = None
    remedy: str | None = None


_DESCRIPTIONS: Final = {
    400: "The request was not understood: a name, a parameter or the body",
    401: "A token is needed, or the one given is unknown, expired or revoked",
    403: "The token does not allow this for this application",
    404: "There is no such thing",
    409: "Somebody else was quicker, or the state does not allow it; members tell what is there now",
    410: "History does not reach back that far",
    413: "More than is taken",
    422: "Not a usable configuration; members tell each fault with its key and place",
    500: "The store is damaged, or an error in the server",
    503: "The store does not answer at the moment",
    507: "The store or its disk is full; nothing was written",
}
_EVERYWHERE: Final = (400, 401, 403, 500, 503)


def answers(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems that a route may answer, for its `responses=`: `statuses` and those that every route has."""
    return {
        status: ResponseSpec(
            data_container=ProblemBody,
            description=_DESCRIPTIONS[status],
            media_type=PROBLEM,
            generate_examples=False,
        )
        for status in sorted({*statuses, *_EVERYWHERE})
    }


def body_of(error: Exception) -> tuple[dict[str, Any], dict[str, str]]:
    """The problem that `error` is, as plain data, and the headers that go with it."""
    if isinstance(error, Problem):
        return _body(error, error.status, error.kind, error.title, error.members), error.headers
    if isinstance(error, HerzError):
        for kind, status, name, title in _KINDS:
            if isinstance(error, kind):
                headers = {"retry-after": "1"} if name in _RETRY else {}
                return _body(error, status, name, title, _members(error)), headers
        return _body(error, 500, "failed", "Herz failed", {}), {}
    if isinstance(error, HTTPException):
        status = error.status_code
        detail = error.detail or HTTPStatus(status).phrase
        if isinstance(error, ValidationException) and error.extra:
            detail = f"{'; '.join(map(_validation, error.extra))}"  # each with the field at fault
        known = HerzError(detail, remedy="see /api/v1/openapi.json" if status in (400, 404, 405) else None)
        return _body(known, status, _BARE.get(status, "http"), HTTPStatus(status).phrase, {}), dict(error.headers or {})
    if isinstance(error, RecursionError):
        deep = HerzError("nested too deep", remedy="flatten it")
        return _body(deep, 400, "bad-request", "Not understood", {}), {}
    unknown = HerzError("an unexpected error", remedy="look into the server's log")
    return _body(unknown, 500, "internal", "An error in the server", {}), {}


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The response that tells `error`; for Litestar's `exception_handlers`."""
    body, headers = body_of(error)
    if body["status"] >= 500 and not isinstance(error, HerzError):
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return Response(
        msgspec.json.encode(body),
        status_code=body["status"],
        headers={**_ALWAYS, **headers},
        media_type=PROBLEM,
    )


def _body(error: HerzError, status: int, kind: str, title: str, members: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        "type": f"{URN}{kind}",
        "title": title,
        "status": status,
        "detail": str(error),
        "what": error.what,
        "where": error.where,
        "remedy": error.remedy,
        **members,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _members(error: HerzError) -> dict[str, Any]:
    if isinstance(error, errors.Conflict):
        return {"key": error.key, "expected": error.expected, "actual": error.actual}
    problems = getattr(error, "problems", None)
    return {"problems": list(problems)} if problems else {}


def _validation(one: Any) -> str:
    if isinstance(one, Mapping):
        key = one.get("key")
        return f"{key}: {one.get('message', '')}" if key else str(one.get("message", ""))
    return str(one)
