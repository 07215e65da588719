"""Pinning a request: everything that it reads, from its first line to its last byte, is of one generation.

Pure ASGI and WSGI, in any framework. What is read through the request's context sees the pin: `herz.get`,
`herz.snapshot`, dependencies, synchronous endpoints that FastAPI runs in a thread (the context is copied into it). A
task spawned to outlive the request takes its own lease. A pin keeps old objects open, so that an endless response
should not be pinned: see `only`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from herz.app.herz import Herz
from herz.live.pinning import Pin

if TYPE_CHECKING:
    from herz.actuator.asgi import Receive, Scope, Send
    from herz.actuator.wsgi import Environ, StartResponse


class PinMiddleware:
    """ASGI: `app.add_middleware(PinMiddleware, herz=herz)`.

    Pins HTTP requests until the application has ended them, background tasks included. WebSockets are not pinned, for
    they live long: `with herz.pin()` around each message does it. `only(scope)` may exempt requests. While Herz does
    not run requests pass unpinned.
    """

    def __init__(self, app: Any, herz: Herz, *, only: Callable[[Scope], bool] | None = None) -> None:
        self.app = app
        self._herz = herz
        self._only = only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not _runs(self._herz) or (self._only is not None and not self._only(scope)):
            await self.app(scope, receive, send)
            return
        with self._herz.pin():
            await self.app(scope, receive, send)


class PinWsgiMiddleware:
    """WSGI: `app.wsgi_app = PinWsgiMiddleware(app.wsgi_app, herz)`.

    Pins requests until the server has closed the response. A response that is complete when the application returns (a
    list) holds the pin no longer. `only(environ)` may exempt requests.
    """

    def __init__(self, app: Any, herz: Herz, *, only: Callable[[Environ], bool] | None = None) -> None:
        self.app = app
        self._herz = herz
        self._only = only

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if not _runs(self._herz) or (self._only is not None and not self._only(environ)):
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        pin = self._herz.pin()
        pin.__enter__()
        try:
            body = self.app(environ, start_response)
        except BaseException:
            pin.__exit__(None, None, None)
            raise
        if isinstance(body, (list, tuple)):
            pin.__exit__(None, None, None)
            return body
        return _Pinned(body, pin)


class _Pinned:
    """A response whose pin ends when it is closed, or forgotten by a server that does not close."""

    def __init__(self, body: Iterable[bytes], pin: Pin) -> None:
        self._body = body
        self._pin: Pin | None = pin

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """End the response, then the pin."""
        pin, self._pin = self._pin, None
        try:
            close = getattr(self._body, "close", None)
            if pin is not None and close is not None:
                close()
        finally:
            if pin is not None:
                pin.__exit__(None, None, None)

    def __del__(self) -> None:
        pin, self._pin = self._pin, None
        if pin is not None:
            pin.__exit__(None, None, None)


def _runs(herz: Herz) -> bool:
    return herz.scope.current.snapshot is not None
