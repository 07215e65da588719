"""The audit log as a page: who did what, newest first, and whether the chain of it holds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Stream

from herz.errors import HerzError, UsageError
from herz.server.access import Caller
from herz.server.audit import parse_anchor
from herz.server.audit_search import SCAN, Wanted, exported, search
from herz.server.console.audit_chain import TOPIC, chain_of
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.server.tokens import Scope

_LENGTH: Final = 500
"""Characters of a filter that count."""
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PLACE: Final = re.compile(rf"({_NAME})/({_NAME})(?:@(\d{{1,10}})| ({_NAME}))?")
_USER: Final = re.compile(r"user ([a-z0-9][a-z0-9._@+-]*)")


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What the page's form asks for, as text; kept in its address."""

    actor: str = ""
    action: str = ""
    target: str = ""
    text: str = ""
    since: str = ""
    until: str = ""
    forced: str = ""

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Filter:
        """The filter in an address."""
        return cls(**{name: request.query_params.get(name, "").strip()[:_LENGTH] for name in cls.__struct_fields__})

    @property
    def query(self) -> str:
        """The address's query again, without what is empty."""
        return urlencode({name: value for name, value in msgspec.structs.asdict(self).items() if value})

    def wanted(self) -> Wanted:
        """What is looked for; `UsageError` for a time that is none."""
        return Wanted(
            actor=self.actor,
            action=self.action,
            target=self.target,
            text=self.text,
            since=_moment(self.since),
            until=_moment(self.until, end=True),
            forced=bool(self.forced),
        )


def _moment(text: str, *, end: bool = False) -> datetime | None:
    """The moment that a field means, in UTC where it names no zone; a minute or a day lasts to its `end`."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", remedy="write 2026-01-31 or 2026-01-31T12:00, in UTC") from None
    if end and len(text) <= len("2026-01-31T12:00"):
        found += timedelta(days=1) if len(text) <= len("2026-01-31") else timedelta(minutes=1)
        found -= timedelta(microseconds=1)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def page_of(target: str, action: str) -> str | None:
    """The page about what was acted on, None where there is none."""
    if (user := _USER.fullmatch(target)) is not None:
        return f"/console/users?q={quote(user[1], safe='')}"
    if target.startswith("token "):
        return "/console/tokens"
    match = _PLACE.fullmatch(target)
    if match is None:
        return None
    app, namespace, number, rollout = match.groups()
    base = f"/console/apps/{quote(app, safe='')}/{quote(namespace, safe='')}"
    if number is not None:
        return f"{base}/releases/{int(number)}"
    if rollout is not None:
        return f"{base}/rollouts/{quote(rollout, safe='')}"
    return f"{base}/draft" if action.startswith("draft.") else base


@get("/audit", guards=[enters(Scope.READ)])
async def audit(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Response[str]:
    """The log, as far back as one search goes."""
    return await _shown(request, plane)


async def _shown(
    request: Request[Any, Any, Any], plane: Plane, problem: HerzError | None = None, anchor: str = ""
) -> Response[str]:
    asked = Filter.of(request)
    try:
        wanted = asked.wanted()
    except UsageError as error:
        problem, wanted = problem or error, Wanted()
    head = await plane.audit.head()
    text = request.query_params.get("before", "")
    before = min(int(text), head.number + 1) if text.isdecimal() and len(text) < 20 else head.number + 1
    found = await search(plane.store, wanted, before)
    body = None if problem is None else body_of(problem)[0]
    return page(
        request,
        "audit.html",
        topics=("audit", TOPIC),
        status=200 if body is None else body["status"],
        problem=body,
        found=found,
        head=head,
        asked=asked,
        paged=before <= head.number,
        scan=SCAN,
        chain=chain_of(plane),
        page_of=page_of,
        anchor=anchor,
    )


class Verify(msgspec.Struct):
    """A head that was kept elsewhere, as `NUMBER:HASH`; none to compute the chain alone."""

    anchor: str = ""


@post("/audit", guards=[enters(Scope.READ)])
async def verify(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    data: Annotated[Verify, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Begin to compute the chain; the page shows how far it is, and what was found."""
    text = data.anchor.strip()[:_LENGTH]
    try:
        anchor = parse_anchor(text) if text else None
    except UsageError as error:
        return await _shown(request, plane, error, text)
    await chain_of(plane).start(caller.name, anchor)
    return Redirect("/console/audit", status_code=303)


@get("/audit/export", guards=[enters(Scope.READ)])
async def export(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Stream:
    """All entries that the filter finds, one in a line, oldest first."""
    wanted = Filter.of(request).wanted()
    head = await plane.audit.head()
    return Stream(
        exported(plane.store, wanted, head.number),
        media_type="application/x-ndjson",
        headers={
            "content-disposition": 'attachment; filename="herz-audit.ndjson"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


PAGES: Final = (audit, verify, export)
