"""Logging in by the provider: there, and back again."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from herz.errors import HerzError, UsageError
from herz.server.access import check_local
from herz.server.audit import By
from herz.server.door.answers import Asked, next_of, sent_to, told_again
from herz.server.door.cookies import base_url, check_private, client_of, secure
from herz.server.door.door import Door
from herz.server.door.entering import logged_in
from herz.server.door.oidc import AWAY, FLOW_S, Flow, Oidc, Person, ProviderRefused
from herz.server.door.pages_login import OPEN, leave, login_facts
from herz.server.door.throttle import TooMany
from herz.server.door.user import User
from herz.server.plane import Plane
from herz.server.problems import Problem, not_found
from herz.store.plane import checked_user

_BACK: Final = "/console/login/callback"
_COOKIES: Final = 4
"""Logins that one browser may have begun."""
_ATTEMPTS: Final = 3


@get("/login/provider", opt=OPEN)
async def leave_for(request: Asked, plane: NamedDependency[Plane], next: FromQuery[str] = "") -> Response[Any]:
    """To the provider's own login page."""
    oidc = _oidc(plane)
    try:
        _check(request, plane)
        url, flow = await oidc.begin(base_url(request, plane.settings) + _BACK, next_of(next))
    except HerzError as error:
        return await _refused(request, plane, error, next_of(next))
    prefix = _prefix(request, plane)
    begun = [name for name in request.cookies if name.startswith(prefix)]
    cookies = [_cookie(request, plane, name, None) for name in begun[_COOKIES - 1 :]]
    kept = urlsafe_b64encode(msgspec.json.encode(flow)).decode()
    return Redirect(url, status_code=303, cookies=[*cookies, _cookie(request, plane, prefix + flow.state[:8], kept)])


@get("/login/callback", opt=OPEN)
async def come_back(request: Asked, plane: NamedDependency[Plane]) -> Response[Any]:
    """A session for whom the provider vouches; they become a user the first time."""
    oidc, door = _oidc(plane), plane.of(Door)
    state, code, error, iss = (request.query_params.get(name, "") for name in ("state", "code", "error", "iss"))
    cookie = _prefix(request, plane) + state[:8]
    flow = _flow(request.cookies.get(cookie), state)
    next = next_of(flow.next if flow is not None else "")
    try:
        _check(request, plane)
        if flow is None:
            raise ProviderRefused("oidc-state", "this browser has not begun this login", "begin again")
        if iss and iss != oidc.provider.issuer:
            raise ProviderRefused("oidc-issuer", "another provider has answered", "begin again; tell an admin")
        if error or not code:
            said = error if error.isidentifier() and len(error) <= 64 else "no code"
            raise ProviderRefused("oidc-error", f"the provider lets you go without a login: {said}", "begin again")
        door.throttle.admit_address(client_of(request, plane.settings))
        person = await oidc.finish(flow, code, base_url(request, plane.settings) + _BACK)
        before = await logged_in(request)
        session = await _session(door, person, request, plane)
        await leave(door, before)
    except HerzError as failure:
        response = await _refused(request, plane, failure, next)
    else:
        response = sent_to(request, next, session)
    response.set_cookie(_cookie(request, plane, cookie, None))
    return response


async def _session(door: Door, person: Person, request: Asked, plane: Plane) -> str:
    for _ in range(_ATTEMPTS):
        user, at = await _user(door, person)
        if user.disabled:
            raise ProviderRefused("disabled", f"the user {user.name} is disabled", "ask an admin", status=403)
        if user.groups != person.groups:
            await door.users.replace(msgspec.structs.replace(user, groups=person.groups), at)
            user, at = await door.users.get(user.name)
        opened = await door.sessions.open(
            user,
            at,
            way="oidc",
            groups=person.groups,
            address=client_of(request, plane.settings),
            agent=request.headers.get("user-agent", ""),
        )
        if opened is not None:
            return opened[0]
    raise ProviderRefused("conflict", "this user is being changed", "try again", status=409)


async def _user(door: Door, person: Person) -> tuple[User, int]:
    """The user whom the provider knows so; a new one the first time, never one that was there before."""
    known = await door.users.known_as(person.identity)
    if known is not None:
        return known
    try:
        name = checked_user((person.name or "").strip())
    except UsageError as error:
        raise ProviderRefused(
            "oidc-name",
            f"the provider calls you {person.name!r:.150}, which cannot be a user name here",
            "an admin can have another claim taken: --oidc-name-claim",
            status=403,
        ) from error
    try:
        await door.users.add(name, by=By(name, "oidc"), identity=person.identity, groups=person.groups)
    except Problem as error:
        again = await door.users.known_as(person.identity)  # two tabs at once
        if again is not None:
            return again
        if error.kind != "name-taken":
            raise
        raise ProviderRefused(
            "oidc-name-taken",
            f"there is a user {name} already, whom the provider does not know",
            "ask an admin: they can remove or rename one of the two",
            status=409,
        ) from error
    return await door.users.get(name)


async def _refused(request: Asked, plane: Plane, error: HerzError, next: str) -> Response[str]:
    door, address = plane.of(Door), client_of(request, plane.settings)
    reason = error.reason if isinstance(error, ProviderRefused) else "failed"
    if isinstance(error, TooMany):
        reason = "throttled"
    elif reason != AWAY:
        door.throttle.failed(address)
    await door.attempts.failed(None, reason, address)
    return told_again(request, "login.html", error, **login_facts(plane, next))


def _oidc(plane: Plane) -> Oidc:
    found = plane.find(Oidc)
    if found is None:
        raise not_found("nobody logs in by a provider here", remedy="log in with a password")
    return found


def _check(request: Asked, plane: Plane) -> None:
    check_private(request, plane.settings)
    if plane.settings.open:
        check_local(request.headers.get("host"), None)


def _prefix(request: Asked, plane: Plane) -> str:
    return "__Host-herz-login-" if secure(request, plane.settings) else "herz-login-"


def _cookie(request: Asked, plane: Plane, name: str, value: str | None) -> Cookie:
    safe = secure(request, plane.settings)
    return Cookie(
        key=name,
        value=value or "",
        path="/" if safe else "/console/login",
        secure=safe,
        httponly=True,
        samesite="lax",
        max_age=int(FLOW_S) if value else 0,
    )


def _flow(kept: str | None, state: str) -> Flow | None:
    """The login that was begun with this state in this browser, if it was."""
    try:
        flow = msgspec.json.decode(urlsafe_b64decode(kept or ""), type=Flow)
    except (ValueError, msgspec.DecodeError):
        return None
    return flow if state and hmac.compare_digest(flow.state.encode(), state.encode()) else None


HANDLERS: Final = (leave_for, come_back)
