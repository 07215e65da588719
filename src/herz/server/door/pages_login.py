"""The pages by which people come in and go: login, logout, and the welcome of who was invited."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromQuery

from herz.errors import HerzError, UsageError
from herz.server.console.pages import page
from herz.server.door.answers import HOME, Asked, next_of, posted, sent_to, told_again
from herz.server.door.cookies import check_private, client_of
from herz.server.door.door import Door
from herz.server.door.entering import OWN, logged_in
from herz.server.door.sessions import Found
from herz.server.plane import Plane
from herz.server.problems import Problem

OPEN: Final = {"open": True}
_FORM: Final = Body(media_type=RequestEncodingType.URL_ENCODED)


class Login(msgspec.Struct):
    """Who wants to come in, and where to."""

    name: str
    password: str
    next: str = ""

    def __repr__(self) -> str:
        return "Login(…)"


class Welcome(msgspec.Struct):
    """What an invited person says: the code of the link, who they are, and their password twice."""

    code: str
    name: str
    password: str
    again: str

    def __repr__(self) -> str:
        return "Welcome(…)"


def login_facts(plane: Plane, next: str, name: str = "") -> dict[str, Any]:
    """What the login page shows."""
    provider = plane.settings.provider
    return {
        "next": next,
        "name": name[:200],
        "provider": None if provider is None else provider.label,
    }


@get("/login", opt=OPEN)
async def login_page(request: Asked, plane: NamedDependency[Plane], next: FromQuery[str] = "") -> Response[Any]:
    """Name and password, or the provider."""
    found = await logged_in(request)
    if found is not None:
        return sent_to(request, OWN if found.user.must_change else next_of(next))
    return page(request, "login.html", problem=None, **login_facts(plane, next_of(next)))


@post("/login", opt=OPEN)
async def login(request: Asked, plane: NamedDependency[Plane], data: Annotated[Login, _FORM]) -> Response[Any]:
    """A session for who shows the right password; the one that this browser had ends."""
    posted(request)
    door = plane.of(Door)
    address = client_of(request, plane.settings)
    try:
        check_private(request, plane.settings)
        before = await logged_in(request)
        cookie, _, user = await door.logins.login(
            data.name, data.password, address=address, agent=request.headers.get("user-agent", "")
        )
    except HerzError as error:
        return told_again(request, "login.html", error, **login_facts(plane, next_of(data.next), data.name))
    await leave(door, before)
    return sent_to(request, OWN if user.must_change else next_of(data.next), cookie)


@post("/logout", opt=OPEN)
async def logout(request: Asked, plane: NamedDependency[Plane]) -> Response[Any]:
    """The session ends in the store; nobody can use its cookie any more."""
    posted(request)
    await leave(plane.of(Door), await logged_in(request))
    return sent_to(request, "/console/login", out=True)


@get("/welcome", opt=OPEN)
async def welcome_page(request: Asked, name: FromQuery[str] = "") -> Response[Any]:
    """The code comes behind the `#` of the link, where only the page sees it."""
    return page(request, "welcome.html", name=name[:200], code="", problem=None)


@post("/welcome", opt=OPEN)
async def welcome(request: Asked, plane: NamedDependency[Plane], data: Annotated[Welcome, _FORM]) -> Response[Any]:
    """The invited person has a password from now on, and is in."""
    posted(request)
    door, address = plane.of(Door), client_of(request, plane.settings)
    try:
        check_private(request, plane.settings)
        if data.password != data.again:
            raise UsageError("the two passwords differ", remedy="write the same one twice")
        before = await logged_in(request)
        made = await door.invitations.accept(data.code.strip(), data.name.strip(), data.password, address=address)
        user, at = await door.users.get(made.name)
        opened = await door.sessions.open(
            user, at, way="invitation", address=address, agent=request.headers.get("user-agent", "")
        )
    except HerzError as error:
        if isinstance(error, Problem) and error.kind == "invitation-over":
            await door.attempts.failed(None, "invitation", address)
        return told_again(request, "welcome.html", error, name=data.name[:200], code=data.code[:200])
    await leave(door, before)
    if opened is None:
        return sent_to(request, "/console/login")
    return sent_to(request, HOME, opened[0])


async def leave(door: Door, found: Found | None) -> None:
    """End the session that this browser had, if it still is."""
    if found is None:
        return
    try:
        await door.sessions.end(found.session.id, by=found.caller.by, action="session.left")
    except Problem as error:
        if error.status != 404:
            raise


HANDLERS: Final = (login_page, login, logout, welcome_page, welcome)
