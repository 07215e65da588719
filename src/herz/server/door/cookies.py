"""The session's cookie: what it is called, where it goes, and who may not see it.

Over TLS it is `__Host-herz`: browsers send it to this host alone, encrypted, and take it from nobody else. On loopback
there is no TLS, so it is `herz-session`, and goes to `/console` only.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from herz.server.access import loopback
from herz.server.problems import Problem
from herz.server.settings import ServerSettings

SECURE: Final = "__Host-herz"
PLAIN: Final = "herz-session"
COOKIE: Final = "herz_cookie"
"""Where a request's state holds the cookie that its answer is to set."""

Connection = ASGIConnection[Any, Any, Any, Any]


def base_url(connection: Connection, settings: ServerSettings) -> str:
    """What browsers call this server, without a slash at the end."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    host = connection.headers.get("host") or "localhost"
    return f"{connection.scope.get('scheme', 'http')}://{host}"


def client_of(connection: Connection, settings: ServerSettings) -> str:
    """The address that the request comes from.

    Behind a proxy (`public_url`) it is what the proxy added last to `X-Forwarded-For`; whoever can go around the proxy
    could claim any.
    """
    if settings.public_url is not None:
        last = connection.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        if last and len(last) <= 64 and last.isprintable():
            return last
    return connection.client.host if connection.client is not None else "unknown"


def secure(connection: Connection, settings: ServerSettings) -> bool:
    """Whether the browser is connected by TLS."""
    return base_url(connection, settings).startswith("https://")


def check_private(connection: Connection, settings: ServerSettings) -> None:
    """Nothing, or a `Problem` 403 where a password would travel for everybody on the way to read."""
    if settings.public_url is None and not secure(connection, settings):
        name = urlsplit(base_url(connection, settings)).hostname or ""
        if not loopback(name):
            raise Problem(
                403,
                "not-private",
                "nobody can log in here: a password would travel unencrypted",
                remedy="serve https (--cert, --key); where a proxy does, tell --public-url https://…",
            )


def shown_cookie(connection: Connection, settings: ServerSettings) -> str | None:
    """The session's cookie that came with the request."""
    return connection.cookies.get(SECURE if secure(connection, settings) else PLAIN)


def session_cookie(connection: Connection, settings: ServerSettings, value: str | None) -> Cookie:
    """The cookie to set; None takes it away."""
    safe = secure(connection, settings)
    return Cookie(
        key=SECURE if safe else PLAIN,
        value=value or "",
        path="/" if safe else "/console",
        secure=safe,
        httponly=True,
        samesite="lax",
        max_age=None if value else 0,
    )


def renewing(app: ASGIApp) -> ASGIApp:
    """Middleware of pages: an answer sets the cookie that the guard found to be due, whatever is answered."""

    async def renewed(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = scope["state"].get(COOKIE)
                if isinstance(cookie, Cookie):
                    header = (b"set-cookie", cookie.to_header(header="").strip().encode("latin-1"))
                    message["headers"] = [*message["headers"], header]
            await send(message)

        await app(scope, receive, sent)

    return renewed
