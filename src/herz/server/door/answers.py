"""What the pages of the door have in common: where to go next, and answers with a cookie."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from litestar import Request, Response
from litestar.response import Redirect

from herz.errors import HerzError
from herz.server.access import check_local
from herz.server.console.pages import page
from herz.server.door.cookies import COOKIE, session_cookie
from herz.server.door.entering import same_origin
from herz.server.plane import Plane
from herz.server.problems import body_of

HOME: Final = "/console/"
_LENGTH: Final = 2000
_ELSEWHERE: Final = re.compile(r"[\x00-\x20\x7f\\]")

Asked = Request[Any, Any, Any]


def next_of(wanted: str) -> str:
    """Where to go after a login: a page that needs one, whatever was asked for."""
    found = page_of(wanted)
    return HOME if urlsplit(found).path.split("/")[2:3] in (["login"], ["logout"], ["welcome"]) else found


def page_of(wanted: str) -> str:
    """A path below `/console`, whatever was asked for."""
    if not wanted or len(wanted) > _LENGTH or _ELSEWHERE.search(unquote(wanted)):
        return HOME
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return HOME
    steps = unquote(parts.path).split("/")
    below = steps[:2] == ["", "console"] and not {".", ".."} & set(steps) and "" not in steps[2:-1]
    if parts.scheme or parts.netloc or not below:
        return HOME
    return quote(parts.path, safe="/%:@+,;=~!$&'()*") + (f"?{quote(parts.query, safe=_QUERY)}" if parts.query else "")


_QUERY: Final = "/%:@+,;=~!$&'()*?"


def posted(request: Asked) -> None:
    """Nothing, or a `Problem` 403 unless a page of this server sent it, by a name that it answers to."""
    same_origin(request)
    plane: Plane = request.app.state.plane
    if plane.settings.open:
        check_local(request.headers.get("host"), request.headers.get("origin"))


def sent_to(request: Asked, url: str, cookie: str | None = None, *, out: bool = False) -> Response[Any]:
    """Go to `url`, with another cookie, or with none any more (`out`)."""
    plane: Plane = request.app.state.plane
    if cookie is not None or out:
        request.scope["state"].pop(COOKIE, None)
        return Redirect(url, status_code=303, cookies=[session_cookie(request, plane.settings, cookie)])
    return Redirect(url, status_code=303)


def told_again(request: Asked, template: str, error: HerzError, **facts: Any) -> Response[str]:
    """The page again, with what went wrong on top."""
    body, headers = body_of(error)
    response = page(request, template, status=body["status"], problem=body, **facts)
    response.headers.update(headers)
    return response
