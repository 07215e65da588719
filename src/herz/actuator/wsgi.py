"""The actuator as a WSGI application (PEP 3333), for Flask, Django and every other synchronous framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from herz.actuator.access import Access, Authorize
from herz.actuator.endpoints import Endpoints, below, shows
from herz.actuator.response import Response
from herz.app.herz import Herz
from herz.model.secret import Secret

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]

BODY_BYTES: Final = 64 * 1024
"""Request bodies up to this size are read, and ignored; longer ones are left alone."""


class WsgiActuator:
    """`DispatcherMiddleware(app.wsgi_app, {"/actuator": herz.wsgi_actuator()})`, or any server's application.

    Options as for `Actuator`; `authorize` is given the environ, and must not be async. A refresh keeps its worker
    thread busy until it is done.
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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        _drain(environ)
        response = self.respond(environ)
        start_response(response.line, list(response.headers))
        return [response.body]

    def respond(self, environ: Environ, path: str | None = None) -> Response:
        """The answer to a request. `path` is the path below the mount point, by default `PATH_INFO`."""
        if path is None:
            path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        call = self._endpoints.call(
            environ["REQUEST_METHOD"], below(path, self._prefix), environ.get("QUERY_STRING", "")
        )
        if isinstance(call, Response):
            return call
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        return self._endpoints.answer(call, shows(call, lambda: self._access.allows(environ, authorization)))


def _drain(environ: Environ) -> None:
    """Read a small body: some servers reset a connection whose request was not read, and the answer is lost with it."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return
    if 0 < length <= BODY_BYTES:
        environ["wsgi.input"].read(length)
