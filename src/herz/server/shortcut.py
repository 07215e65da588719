"""The short way for what instances send, a thousand of them at the same moment: before any routing.

A probe of a thousand instances is a thousand small requests that are due within a fraction of a second. On the usual
way each costs some 400 µs, of which 300 are routing, injection and the making of a response; here it costs 100. The
routes stand beside it, document it, and do the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from litestar import Litestar
from litestar.connection import ASGIConnection

from herz.errors import DocumentTooLarge, HerzError
from herz.release.record import decode
from herz.release.report import Answer, Graph, Report
from herz.server.access import AUTHOR, Caller, require
from herz.server.fleet import REPORT_BYTES, Fleet, require_somewhere
from herz.server.hub import Name
from herz.server.plane import API, Plane
from herz.server.problems import PROBLEM, body_of
from herz.server.sized import Sized
from herz.server.tokens import Scope

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
SESSION: Final = b"x-herz-stream"
_SHOWN: Final = (b"authorization", b"host", b"origin", AUTHOR.encode())
_PREFIX: Final = f"{API}/"
_NO_CONTENT: Final = {"type": "http.response.start", "status": 204, "headers": ()}
_NO_BODY: Final = {"type": "http.response.body", "body": b""}
_CALLERS: Final = 10_000


class Shortcut:
    """An ASGI application that takes reports, answers and graphs itself, and leaves everything else to `app`."""

    def __init__(self, app: App, plane: Plane, fleet: Fleet) -> None:
        self._app, self._plane, self._fleet = app, plane, fleet
        self._callers: Sized[tuple[bytes | None, ...], tuple[float, Caller]] = Sized(_CALLERS, lambda _: 1)

    @classmethod
    def install(cls, app: Litestar, plane: Plane) -> None:
        """Let `app` take it."""
        app.asgi_handler = cast(Any, cls(cast(App, app.asgi_handler), plane, plane.of(Fleet)))

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http" and scope["method"] == "PUT" and scope["path"].startswith(_PREFIX):
            act = _act(scope["path"].removeprefix(_PREFIX).split("/"))
            if act is not None:
                await self._answer(act, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, act: _Said | _Graph, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            caller = await self._caller(headers)
            if isinstance(act, _Graph):
                require_somewhere(caller, Scope.REPORT)
                await self._fleet.graph(act.digest, decode(await _body(receive), Graph, scope["path"]))
            else:
                require(caller, Scope.REPORT, act.name[0])
                self._take(act, headers.get(SESSION, b"").decode("latin-1"), await _body(receive), scope["path"])
        except HerzError as error:
            await _refuse(error, send)
        else:
            await send(_NO_CONTENT)
            await send(_NO_BODY)

    def _take(self, act: _Said, session: str, body: bytes, where: str) -> None:
        if act.nonce is None:
            self._fleet.report(act.name, act.instance, session, decode(body, Report, where))
        else:
            self._fleet.answer(act.name, act.nonce, act.instance, session, decode(body, Answer, where))

    async def _caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who asks; believed for as long as a token is, without looking at the same headers again."""
        shown = tuple(map(headers.get, _SHOWN))
        now = self._plane.clock.monotonic()
        known = self._callers.get(shown)
        if known is not None and now - known[0] < self._plane.settings.token_cache_s:
            return await self._plane.access.check(known[1])
        caller = await self._plane.access.caller(cast("ASGIConnection[Any, Any, Any, Any]", _Shown(headers)))
        self._callers.put(shown, (now, caller))
        return caller


class _Said(NamedTuple):
    """A report, or the answer to `nonce`."""

    name: Name
    instance: str
    nonce: str | None = None


class _Graph(NamedTuple):
    """A dependency graph."""

    digest: str


def _act(parts: list[str]) -> _Said | _Graph | None:
    match parts:
        case ["apps", app, "namespaces", namespace, "instances", instance, "report"]:
            return _Said((app, namespace), instance)
        case ["apps", app, "namespaces", namespace, "asks", nonce, "answers", instance]:
            return _Said((app, namespace), instance, nonce)
        case ["graphs", digest]:
            return _Graph(digest)
    return None


class _Shown:
    """As much of a connection as access looks at."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        _check(body)
    _check(body)
    return body


def _check(body: bytes) -> None:
    if len(body) > REPORT_BYTES:
        raise DocumentTooLarge(f"a report of more than {REPORT_BYTES:,} bytes", remedy="send less")


async def _refuse(error: HerzError, send: Any) -> None:
    told, headers = body_of(error)
    data = msgspec.json.encode(told)
    lines = [
        (b"content-type", PROBLEM.encode()),
        (b"content-length", b"%d" % len(data)),
        (b"cache-control", b"no-store"),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": told["status"], "headers": lines})
    await send({"type": "http.response.body", "body": data})
