"""The page of users and roles, for those who may everything."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery

from herz.errors import HerzError
from herz.server.access import Caller
from herz.server.console.confirming import confirmed
from herz.server.console.pages import page
from herz.server.door.answers import Asked, sent_to, told_again
from herz.server.door.cookies import base_url
from herz.server.door.door import Door
from herz.server.door.entering import enters
from herz.server.door.invitations import link
from herz.server.door.rights import GROUP, Binding, Role
from herz.server.door.user import User
from herz.server.plane import Plane
from herz.server.tokens import Scope
from herz.store.plane import checked_user

USERS: Final = "/console/users"
SHOWN: Final = 500
"""Users of one page; more are found by the filter."""
_FORM: Final = Body(media_type=RequestEncodingType.URL_ENCODED)
_ADMIN: Final = [enters(Scope.ADMIN)]


class NewUser(msgspec.Struct):
    """Who is to come in, and as what; without an application they have no role yet."""

    name: str
    app: str = ""
    role: str = ""


class Confirmed(msgspec.Struct):
    """What was typed to confirm."""

    confirm: str = ""


class RoleForm(msgspec.Struct):
    """A role of a user or a group in an application."""

    subject: str
    app: str
    role: str
    confirm: str = ""


class _Row(msgspec.Struct):
    user: User
    roles: tuple[Binding, ...]


async def _facts(plane: Plane, q: str = "") -> dict[str, Any]:
    door = plane.of(Door)
    bindings, _ = await door.rights.read()
    users = [user for user in await door.users.all() if q.strip().casefold() in user.name]
    return {
        "q": q,
        "rows": [_Row(user, bindings.of(user.name)) for user in users[:SHOWN]],
        "more": max(0, len(users) - SHOWN),
        "groups": [one for one in bindings.bindings if one.subject.startswith(GROUP)],
        "roles": list(Role),
        "apps": [one.app for one in await plane.desk.apps()],
        "provider": plane.settings.provider.label if plane.settings.provider is not None else None,
    }


async def _shown(
    request: Asked,
    plane: Plane,
    *,
    error: HerzError | None = None,
    q: str = "",
    invitation: str | None = None,
    invited: str = "",
    new: NewUser | None = None,
    role: RoleForm | None = None,
) -> Response[str]:
    facts = {
        **await _facts(plane, q),
        "invitation": invitation,
        "invited": invited,
        "new": new or NewUser(""),
        "form": role or RoleForm("", "", ""),
        "topics": ("users", "roles"),
    }
    if error is not None:
        return told_again(request, "users.html", error, **facts)
    return page(request, "users.html", problem=None, **facts)


@get("/users", guards=_ADMIN)
async def users(request: Asked, plane: NamedDependency[Plane], q: FromQuery[str] = "") -> Response[str]:
    """Who there is, what they may, and who is asked in."""
    return await _shown(request, plane, q=q[:200])


@post("/users", guards=_ADMIN)
async def add(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: Annotated[NewUser, _FORM]
) -> Response[str]:
    """A user who chooses a password by a link, which is shown this once."""
    door = plane.of(Door)
    try:
        name = checked_user(data.name.strip())
        roles = [Binding.parse(name, f"{data.app.strip()}:{data.role}")] if data.app.strip() else []
        await door.users.add(name, by=caller.by, roles=roles)
        code = await door.invitations.create(name, by=caller.by)
    except HerzError as error:
        return await _shown(request, plane, error=error, new=data)
    return await _shown(request, plane, invitation=link(base_url(request, plane.settings), code, name), invited=name)


@post("/users/{name:str}/invite", guards=_ADMIN)
async def invite(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], name: FromPath[str]
) -> Response[str]:
    """Another link, for who has forgotten the password."""
    code = await plane.of(Door).invitations.create(name, by=caller.by)
    return await _shown(request, plane, invitation=link(base_url(request, plane.settings), code, name), invited=name)


@post("/users/{name:str}/disable", guards=_ADMIN)
async def disable(
    request: Asked,
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    name: FromPath[str],
    data: Annotated[Confirmed, _FORM],
) -> Response[Any]:
    """Nobody comes in by this name any more, and its sessions end."""
    try:
        confirmed(data.confirm, name)
        await plane.of(Door).users.disable(name, by=caller.by)
    except HerzError as error:
        return await _shown(request, plane, error=error)
    return sent_to(request, USERS)


@post("/users/{name:str}/enable", guards=_ADMIN)
async def enable(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], name: FromPath[str]
) -> Response[Any]:
    """They may come in again."""
    await plane.of(Door).users.enable(name, by=caller.by)
    return sent_to(request, USERS)


@post("/users/{name:str}/remove", guards=_ADMIN)
async def remove(
    request: Asked,
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    name: FromPath[str],
    data: Annotated[Confirmed, _FORM],
) -> Response[Any]:
    """The user is gone with all roles; the audit log still names them."""
    try:
        confirmed(data.confirm, name)
        await plane.of(Door).users.remove(name, by=caller.by)
    except HerzError as error:
        return await _shown(request, plane, error=error)
    return sent_to(request, USERS)


@post("/users/roles/grant", guards=_ADMIN)
async def grant(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: Annotated[RoleForm, _FORM]
) -> Response[Any]:
    """A role for a user or a group of the provider."""
    try:
        binding = Binding.parse(data.subject.strip(), f"{data.app.strip()}:{data.role}")
        await plane.of(Door).users.grant(binding, by=caller.by)
    except HerzError as error:
        return await _shown(request, plane, error=error, role=data)
    return sent_to(request, USERS)


@post("/users/roles/revoke", guards=_ADMIN)
async def revoke(
    request: Asked, plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: Annotated[RoleForm, _FORM]
) -> Response[Any]:
    """And taken away again."""
    try:
        confirmed(data.confirm, data.subject)
        binding = Binding.parse(data.subject, f"{data.app}:{data.role}")
        await plane.of(Door).users.revoke(binding, by=caller.by)
    except HerzError as error:
        return await _shown(request, plane, error=error)
    return sent_to(request, USERS)


HANDLERS: Final = (users, add, invite, disable, enable, remove, grant, revoke)
