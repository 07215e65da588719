"""The actuator as an ASGI 3 application, to mount in any framework or to serve alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, TypeAlias

from herz.actuator.access import Access, Authorize
from herz.actuator.endpoints import ACTIONS, Call, Endpoints, below
from herz.actuator.response import Response
from herz.app.herz import Herz
from herz.model.secret import Secret

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Actuator:
    """`app.mount("/actuator", herz.actuator())`, or `uvicorn.run(herz.actuator())` on a port of its own.

    Where the configuration says `when-authorized`, details are shown to requests with `Authorization: Bearer
    <token>`, or those for which `authorize(scope)`, plain or async, answers True; without either to nobody.
    `prefix` is the path it is reached at where nothing mounts it. Request bodies are never read. The application's
    loop is not blocked, however long a refresh takes.
    """

    def __init__(
        self,
        herz: Herz,
        *,
        token: Secret | str | None = None,
        authorize: Authorize | None = None,
        prefix: str = "",
    ) -> None:
        self._endpoints = Endpoints(herz)
        self._access = Access(token, authorize)
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: HTTP; a WebSocket is turned away (403); lifespan events are agreed to."""
        if scope["type"] == "http":
            await _send(await self._respond(scope), send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            raise RuntimeError(f"the actuator does not serve {scope['type']!r}")

    async def _respond(self, scope: Scope) -> Response:
        path = below(below(scope["path"], *_mounts(scope.get("root_path", ""))), self._prefix)
        call = self._endpoints.call(scope["method"], path, scope.get("query_string", b"").decode("latin-1"))
        if isinstance(call, Response):
            return call
        details = await self._details(call, scope)
        if call.name in ACTIONS:
            return await self._endpoints.act(call, details)
        if call.waits:
            return await asyncio.to_thread(self._endpoints.answer, call, details)
        return self._endpoints.answer(call, details)

    async def _details(self, call: Call, scope: Scope) -> bool:
        if call.details == "when-authorized":
            given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
            return await self._access.aallows(scope, given[0].decode("latin-1") if len(given) == 1 else "")
        return call.details == "always"


def _mounts(root_path: str) -> Iterator[str]:
    """What may stand before the actuator's own path: the whole `root_path`, or less of it.

    By ASGI, `path` begins with `root_path`. Where a proxy strips its part, or an older framework its own, it does not:
    then it begins with what is left of `root_path` without its first segments, or with nothing of it.
    """
    while root_path:
        yield root_path
        _, slash, root_path = root_path[1:].partition("/")
        root_path = slash + root_path


async def _send(response: Response, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
