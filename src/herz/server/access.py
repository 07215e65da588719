"""Access: who asks, and whether they may. Every route names the scope that it needs.

A server is open only where nobody but this machine's users reaches it (loopback); then no token is needed, and whoever
asks may call themselves what they like (`X-Herz-Author`). A web page that a user of this machine visits could reach it
as well, by a name that leads to 127.0.0.1 or by a form that it sends there; so an open server answers only to the names
of this machine, and to no page of another origin.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from herz.errors import UsageError
from herz.server.audit import By
from herz.server.clock import Clock
from herz.server.problems import Problem
from herz.server.settings import ServerSettings
from herz.server.tokens import PREFIX, Grant, Scope, Token, Tokens, id_of

AUTHOR: Final = "x-herz-author"
EVERYTHING: Final = (Grant(app="*", scope=Scope.ADMIN),)
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="herz"'}
_CACHED: Final = 4096
"""Tokens remembered at most; a flood of made-up ones must not fill the memory."""
SCOPE_KEY: Final = "herz_scope"
"""Where a guarded route's `opt` names its scope, for documentation and tests."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: by a token (its id is `token`), by a session (`session`), or as whoever is at an open server."""

    name: str
    grants: tuple[Grant, ...]
    token: str | None = None
    expires: datetime | None = None
    session: str | None = None

    @property
    def by(self) -> By:
        """The caller as the audit log names them; a user's session is `session:` and its first eight digits."""
        return By(self.name, self.token if self.session is None else f"session:{self.session[:8]}")

    def may(self, scope: Scope, app: str | None) -> bool:
        """Whether they have `scope` in `app`; None asks for something that belongs to no application."""
        for grant in self.grants:
            if grant.app not in ("*", app):
                continue
            if grant.scope in (scope, Scope.ADMIN) or scope is Scope.READ:
                return True
        return False


class SessionCheck(Protocol):
    """What knows sessions: the door, where the server has one."""

    async def check(self, caller: Caller) -> Caller:
        """`caller` with what they may now; a `Problem` 401 once their session has ended."""


class Access:
    """Tells callers by their tokens. A token is believed for `token_cache_s` without asking the store again."""

    def __init__(self, tokens: Tokens, settings: ServerSettings, clock: Clock) -> None:
        self._tokens, self._settings, self._clock = tokens, settings, clock
        self._known: dict[str, tuple[float, Token]] = {}
        self.sessions: SessionCheck | None = None

    async def caller(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        """Who asks; a `Problem` 401 when their token is unknown, expired or missing."""
        headers = connection.headers
        authorization = headers.get("authorization")
        if authorization is not None:
            return await self.bearer(authorization)
        if not self._settings.open:
            raise _unauthorized("a token is needed", "send it as Authorization: Bearer herz_…; herz token create")
        check_local(headers.get("host"), headers.get("origin"))
        author = headers.get(AUTHOR, "").strip()
        if len(author) > 200 or not author.isprintable():
            raise UsageError(f"{AUTHOR} is no name", remedy="send up to 200 printable characters")
        return Caller(author or self._settings.user, EVERYTHING)

    async def bearer(self, authorization: str) -> Caller:
        """Who the header `Authorization` speaks for."""
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text.startswith(PREFIX):
            raise _unauthorized("this is no token of Herz", "send Authorization: Bearer herz_…")
        token = await self._find(text)
        if token is None:
            raise _unauthorized("this token is unknown or was revoked", "ask for a new one: herz token create")
        return self._alive(token)

    async def check(self, caller: Caller) -> Caller:
        """`caller` again, for what lasts longer than a request; `Problem` 401 once the token or session has ended."""
        if caller.session is not None and self.sessions is not None:
            return await self.sessions.check(caller)
        if caller.token is None:
            return caller
        now = self._clock.monotonic()
        known = self._known.get(caller.token)
        if known is not None and now - known[0] < self._settings.token_cache_s:
            return self._alive(known[1])
        token = await self._tokens.get(caller.token)
        if token is None:
            self._known.pop(caller.token, None)
            raise _unauthorized("this token was revoked", "ask for a new one: herz token create")
        self._remember(token)
        return self._alive(token)

    def forget(self, id: str) -> None:
        """Believe a token no longer, because this server revoked it."""
        self._known.pop(id, None)

    async def _find(self, text: str) -> Token | None:
        known = self._known.get(id_of(text))
        if known is not None and self._clock.monotonic() - known[0] < self._settings.token_cache_s:
            return known[1] if known[1].matches(text) else None
        token = await self._tokens.find(text)
        if token is not None:
            self._remember(token)
        return token

    def _remember(self, token: Token) -> None:
        if len(self._known) >= _CACHED:
            self._known.clear()
        self._known[token.id] = (self._clock.monotonic(), token)

    def _alive(self, token: Token) -> Caller:
        if token.expired(self._clock.now()):
            raise _unauthorized("this token has expired", "ask for a new one: herz token create")
        return Caller(token.name, token.grants, token.id, token.expires)


def require(caller: Caller, scope: Scope, app: str | None) -> None:
    """Nothing, or a `Problem` 403 that says which scope is missing where."""
    if not caller.may(scope, app):
        raise Problem(
            403,
            "forbidden",
            f"{caller.name} may not do this: the scope {scope.value} is needed in {app or 'every application (*)'}",
            remedy=f"use a token with {app or '*'}:{scope.value}",
            scope=scope.value,
        )


def requires(scope: Scope) -> Guard:
    """A guard: lets in who has `scope` in the application of the path (`{app:str}`), or in all where it names none.

    `connection.state.caller` is the `Caller` then; handlers get it as their argument `caller`.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        caller = await connection.app.state.plane.access.caller(connection)
        require(caller, scope, connection.path_params.get("app"))
        connection.state.caller = caller

    guard.__herz_scope__ = scope  # type: ignore[attr-defined]
    return guard


async def known(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard: lets in everybody with a valid token; the handler looks at what they may see."""
    connection.state.caller = await connection.app.state.plane.access.caller(connection)


def check_local(host: str | None, origin: str | None) -> None:
    """Refuse what a web page makes a browser on this machine send."""
    name = urlsplit(f"//{host}").hostname if host else None
    if name is not None and not loopback(name):
        raise Problem(
            403,
            "foreign-host",
            "this server is open to this machine only, and answers to its own names",
            remedy="ask for it as 127.0.0.1 or localhost, or start it with --require-tokens",
        )
    if origin is not None and origin != "null" and urlsplit(origin).netloc == host:
        return
    if origin is not None:
        raise Problem(
            403,
            "foreign-origin",
            "a page of another origin may not use this server",
            remedy="start the server with --require-tokens, and send a token",
        )


def loopback(name: str) -> bool:
    """Whether a host is this machine by its name or address alone, whatever a name server says."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _unauthorized(what: str, remedy: str) -> Problem:
    return Problem(401, "unauthorized", what, remedy=remedy, headers=_CHALLENGE)
