"""The page of what is one's own: password, sessions, roles."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery

from herz.errors import HerzError, UsageError
from herz.server.access import Caller
from herz.server.console.pages import page
from herz.server.door.answers import Asked, sent_to, told_again
from herz.server.door.cookies import check_private, client_of
from herz.server.door.door import Door
from herz.server.door.entering import OWN, enters
from herz.server.plane import Plane

_FORM: Final = Body(media_type=RequestEncodingType.URL_ENCODED)


class NewPassword(msgspec.Struct):
    """The password so far, and the next one twice."""

    old: str
    password: str
    again: str

    def __repr__(self) -> str:
        return "NewPassword(…)"


async def _facts(plane: Plane, caller: Caller) -> dict[str, Any]:
    if caller.session is None:
        return {"own": None, "sessions": (), "roles": (), "mine": None}
    door = plane.of(Door)
    user, _ = await door.users.get(caller.name)
    bindings, _ = await door.rights.read()
    sessions = await door.sessions.of(caller.name)
    mine = next((one for one in sessions if one.id == caller.session), None)
    return {
        "own": user,
        "sessions": sessions,
        "roles": bindings.of(user.name, mine.groups if mine is not None else ()),
        "mine": caller.session,
    }


@get("/me", guards=[enters(None)])
async def me(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], done: FromQuery[str] = ""
) -> Response[str]:
    """What the reader may, where they are logged in, and a new password."""
    return page(request, "me.html", problem=None, done=done, **await _facts(plane, caller))


@post("/me/password", guards=[enters(None)])
async def password(
    request: Asked,
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    data: Annotated[NewPassword, _FORM],
) -> Response[Any]:
    """Another password; all other sessions of this user end."""
    try:
        check_private(request, plane.settings)
        _check_session(caller)
        if data.password != data.again:
            raise UsageError("the two passwords differ", remedy="write the same one twice")
        address = client_of(request, plane.settings)
        cookie = await plane.of(Door).logins.change(caller, data.old, data.password, address=address)
    except HerzError as error:
        return told_again(request, "me.html", error, done="", **await _facts(plane, caller))
    return sent_to(request, f"{OWN}?done=password", cookie)


@post("/me/sessions/{id:str}", guards=[enters(None)])
async def end_session(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], id: FromPath[str]
) -> Response[Any]:
    """One of the reader's sessions ends."""
    await plane.of(Door).sessions.end(id, by=caller.by, user=caller.name)
    return sent_to(request, f"{OWN}?done=session")


@post("/me/sessions", guards=[enters(None)])
async def end_others(request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller]) -> Response[Any]:
    """All sessions of the reader end but this one."""
    door = plane.of(Door)
    for session in await door.sessions.of(caller.name):
        if session.id != caller.session:
            await door.sessions.end(session.id, by=caller.by, user=caller.name)
    return sent_to(request, f"{OWN}?done=session")


def _check_session(caller: Caller) -> None:
    if caller.session is None:
        raise UsageError("whoever is at an open server has no password", remedy="log in as a user first")


HANDLERS: Final = (me, password, end_session, end_others)
