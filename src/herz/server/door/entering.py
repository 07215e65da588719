"""Entering the console: every page names the scope that it needs, and no other site may send a form to it.

There are no tokens against forged requests. A browser says by itself where a request comes from, in a header that pages
cannot set (`Sec-Fetch-Site`, and `Origin` with every unsafe method), and the session's cookie is `SameSite=Lax`.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from herz.server.access import EVERYTHING, Caller, check_local, require
from herz.server.door.cookies import COOKIE, session_cookie, shown_cookie
from herz.server.door.door import Door
from herz.server.door.sessions import Found
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.tokens import Scope

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LIVE: Final = "x-herz-live"
"""The header of requests that a page makes by itself."""
OWN: Final = "/console/me"
"""Where people change what is theirs."""


class EnterNeeded(Problem):
    """Somebody must log in first."""

    def __init__(self, what: str = "log in first") -> None:
        super().__init__(401, "login-needed", what, remedy="log in at /console/login")


def same_origin(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Nothing, or a `Problem` 403 where the request does not come from a page of this server.

    Where a browser is too old to say so, or the address is not one that it trusts (http), the host of `Origin` must be
    the one that was asked. What says neither comes from no page.
    """
    site = connection.headers.get("sec-fetch-site")
    origin = connection.headers.get("origin")
    if site is not None:
        if site == "same-origin":
            return
    elif origin is not None and urlsplit(origin).netloc in _own_hosts(connection):
        return
    raise Problem(
        403,
        "foreign-origin",
        "this was not sent by a page of this server",
        remedy="open the page here, and send its form; programs use the API with a token",
    )


def _own_hosts(connection: ASGIConnection[Any, Any, Any, Any]) -> frozenset[str]:
    plane: Plane = connection.app.state.plane
    public = plane.settings.public_url
    return frozenset({connection.headers.get("host", ""), urlsplit(public).netloc if public else ""} - {""})


def enters(scope: Scope | None) -> Guard:
    """A guard of pages: lets in who is logged in and has `scope` in the application of the path, or in all of them.

    None lets in everybody who is logged in. Unsafe methods must come from a page of this server. On an open server
    whoever is not logged in is the local user. `connection.state.caller` is the `Caller` then. Raises `EnterNeeded`.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if connection.scope.get("method") not in SAFE:
            same_origin(connection)
        caller = await entering(connection)
        if scope is not None:
            require(caller, scope, connection.path_params.get("app"))
        connection.state.caller = caller

    guard.__herz_scope__ = scope  # type: ignore[attr-defined]
    return guard


async def entering(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who asks for a page; `EnterNeeded` where that is nobody yet, or where they must choose a password first."""
    plane: Plane = connection.app.state.plane
    if plane.settings.open:
        check_local(connection.headers.get("host"), connection.headers.get("origin"))
    found = await logged_in(connection)
    if found is None:
        if plane.settings.open:
            return Caller(plane.settings.user, EVERYTHING)
        raise EnterNeeded()
    if found.user.must_change and not f"{connection.url.path}/".startswith(f"{OWN}/"):
        raise EnterNeeded("choose a password of your own first")
    return found.caller


async def logged_in(connection: ASGIConnection[Any, Any, Any, Any]) -> Found | None:
    """The session of the cookie that came with the request, if it is good. What the cookie is next is set later."""
    plane: Plane = connection.app.state.plane
    cookie = shown_cookie(connection, plane.settings)
    door = plane.find(Door)
    if cookie is None or door is None:
        return None
    entered = await door.sessions.enter(cookie, used=LIVE not in connection.headers)
    if entered is None:
        return None
    if entered.cookie is not None:
        connection.scope["state"][COOKIE] = session_cookie(connection, plane.settings, entered.cookie)
    return entered.found
