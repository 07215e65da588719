"""Serving an application on sockets that are bound already, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from herz.tls.listener import Listener

logger = logging.getLogger("herz")

BACKLOG: Final = 4096
"""Connections that may wait to be taken: a whole fleet comes back at once."""
KEEP_ALIVE_S: Final = 75
HEADERS_S: Final = 30.0
"""For how long a connection may be open without a request, or in the middle of its headers."""
BODY_S: Final = 300.0
"""For how long the body of a request may take."""
HEAD_BYTES: Final = 64 * 1024
"""What the line and the headers of a request may hold."""
GRACE_S: Final = 10
"""For how long requests may go on after the server was told to stop."""


class _Limited(HttpToolsProtocol):
    """A connection that gives a client so much time to say what it wants, and so much room for its headers.

    How long an answer takes is not limited: streams last. The clock is set once for all that came at once: a small
    request is there as a whole, and needs none.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._due: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        super().connection_made(transport)
        self._expect(HEADERS_S)
        self._set_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._set_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._expects_anew:
            self._set_clock()
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._expect(HEADERS_S)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = -1
        self._expect(BODY_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._expect(None)
        super().on_message_complete()

    def _expect(self, within_s: float | None) -> None:
        self._within_s, self._expects_anew = within_s, True

    def _set_clock(self) -> None:
        self._expects_anew = False
        if self._due is not None:
            self._due.cancel()
        self._due = None if self._within_s is None else self.loop.call_later(self._within_s, self.transport.abort)


class _Server(uvicorn.Server):
    """One that leaves signals to whoever runs several of them, and says when it takes connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """An application on some listeners; those of one TLS context share a uvicorn server.

    The application's lifespan is the caller's: it is entered once, however many servers there are.
    """

    def __init__(self, app: Any, listeners: Sequence[Listener], *, grace_s: int = GRACE_S) -> None:
        groups: dict[ssl.SSLContext | None, list[Listener]] = {}
        for listener in listeners:
            groups.setdefault(listener.context, []).append(listener)
        self._servers = [
            (_server(app, context, grace_s), [one.socket for one in group]) for context, group in groups.items()
        ]

    async def run(self) -> None:
        """Serve until `stop`; then finish what is under way."""
        await asyncio.gather(*(server.serve(sockets) for server, sockets in self._servers))

    def stop(self, *, now: bool = False) -> None:
        """Take no more connections, and end; `now` waits for nobody."""
        for server, _ in self._servers:
            server.should_exit = True
            server.force_exit = server.force_exit or now

    async def started(self) -> None:
        """Wait until all of them take connections."""
        for server, _ in self._servers:
            await server.listening.wait()


def _server(app: Any, context: ssl.SSLContext | None, grace_s: int) -> _Server:
    config = uvicorn.Config(
        app,
        http=_Limited,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
    )
    config.load()
    config.ssl = context  # the guard has made it; uvicorn would read the files again
    return _Server(config)
