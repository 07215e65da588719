"""The console as a part of the server: its pages, what they load, and the stream that keeps them up to date."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import quote, urlsplit

from litestar import Request, Response, Router, get
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from herz.errors import HerzError
from herz.server.console import (
    application,
    audit_page,
    checking,
    comparing,
    drafting,
    explain,
    fleet,
    history,
    home,
    impact,
    live,
    releasing,
    rollouts,
    services_page,
    sources_page,
    static_files,
    tokens_page,
)
from herz.server.console.changes import Changes
from herz.server.console.key_history import Pasts
from herz.server.console.live import OpenPages
from herz.server.console.pages import Pages, page
from herz.server.console.static_files import StaticFiles
from herz.server.door.cookies import renewing
from herz.server.door.entering import LIVE, EnterNeeded
from herz.server.hub import Hub
from herz.server.origins import OriginsOf
from herz.server.plane import Part, Plane
from herz.server.problems import body_of

logger = logging.getLogger("herz")

PAGES: Final = (
    *home.PAGES,
    *drafting.PAGES,
    *checking.PAGES,
    *releasing.PAGES,
    *history.PAGES,
    *comparing.PAGES,
    *application.PAGES,
    *fleet.PAGES,
    *explain.PAGES,
    *impact.PAGES,
    *rollouts.PAGES,
    *audit_page.PAGES,
    *sources_page.PAGES,
    *services_page.PAGES,
    *tokens_page.PAGES,
    live.live,
    static_files.static_file,
)


@get("/", opt={"open": True}, include_in_schema=False)
async def root() -> Redirect:
    """People who open the address of a server look for its pages."""
    return Redirect("/console/", status_code=302)


def part(plane: Plane) -> Part:
    """Everything below `/console`, and the way there from `/`."""
    static = plane.offer(StaticFiles())
    changes = plane.offer(Changes(plane.store, plane.of(Hub)))
    plane.offer(Pages(plane, static, changes))
    plane.offer(OpenPages())
    plane.offer(home.Applications(plane))
    plane.offer(OriginsOf())
    plane.offer(Pasts())
    if "vendor/htmx.js" not in static.files:
        logger.error("the console has no libraries: run `make assets`, or install a wheel of Herz")
    console = Router(
        path="/console",
        route_handlers=list(PAGES),
        middleware=[renewing],
        before_request=known_page,
        exception_handlers={HerzError: problem_page, HTTPException: problem_page, Exception: problem_page},
        include_in_schema=False,
    )
    return Part(routes=[root, console], running=[changes.following], problems={"/console": problem_page})


async def known_page(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """The page that an open one asks for, where it was made already; see `Pages.known`."""
    pages: Pages = request.app.state.plane.of(Pages)
    return await pages.known(request)


def problem_page(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What went wrong, as a page; who must log in is sent to do so, and brought back."""
    pages: Pages = request.app.state.plane.of(Pages)
    pages.forget(request)
    if isinstance(error, EnterNeeded) and not _scripted(request):
        return Redirect(f"/console/login?next={quote(_wanted(request), safe='')}", status_code=303)
    body, headers = body_of(error)
    if body["status"] >= 500 and not isinstance(error, HerzError):
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    response = page(request, "problem.html", status=body["status"], problem=body)
    response.headers.update(headers)
    return response


def _scripted(request: Request[Any, Any, Any]) -> bool:
    """Whether a page asks by itself: it cannot show where it is sent, and tells its viewer in its own way."""
    headers = request.headers
    return LIVE in headers or "hx-request" in headers or "text/event-stream" in headers.get("accept", "")


def _wanted(request: Request[Any, Any, Any]) -> str:
    """Where somebody is brought back to: the page that they asked for, or the one whose form they sent."""
    if request.method == "GET":
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")
    before = urlsplit(request.headers.get("referer", ""))
    if before.netloc == request.headers.get("host") and before.path.startswith("/console/"):
        return before.path + (f"?{before.query}" if before.query else "")
    return "/console/"
