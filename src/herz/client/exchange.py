"""Requests to the control plane over HTTP: one connection pool, no redirect followed, every refusal a typed error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from herz.client.endpoint import Endpoint
from herz.client.problems import error_of
from herz.errors import MissingExtra, NotRunning, SourceError, SourceUnavailable
from herz.tls.parting import break_off, close_session

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

API: Final = "/api/v1"
CONNECT_S: Final = 5.0
"""How long a connection may take to stand."""
SILENT_S: Final = 30.0
"""How long a stream may say nothing: a server that is well says every 10 s that it is there."""
TIMEOUT_S: Final = 30.0
"""How long an answer may take, unless the question says how long it waits itself."""


class Exchange:
    """Questions to one control plane; open between `open` and `close`, on one event loop."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._failures: tuple[type[Exception], ...] = (OSError,)  # what breaks an exchange off; TimeoutError is one

    async def open(self) -> None:
        """Be ready for questions. Connects with the first one. `MissingExtra` where aiohttp is not installed."""
        if self._session is not None:
            return
        try:
            import aiohttp
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "asking the control plane needs aiohttp, which is not installed", remedy="pip install 'herz[client]'"
            ) from error
        self._failures = (OSError, aiohttp.ClientError)
        self._session = aiohttp.ClientSession(
            headers=self.endpoint.headers,
            connector=aiohttp.TCPConnector(ssl=self.endpoint.tls if self.endpoint.tls is not None else True),
            read_bufsize=1 << 20,  # a line of a stream may hold a large layer
        )

    async def close(self) -> None:
        """Close the connections; asking again needs another `open`."""
        session, self._session = self._session, None
        if session is not None:
            await close_session(session)

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        waits_s: float = 0.0,
        api: str = API,
    ) -> T:
        """The answer to one question, decoded as `kind`. `waits_s` is how long the server itself may wait for others.

        Nothing is sent twice. Errors as in `herz.client.problems`; `SourceUnavailable` where nobody answers in time.
        """
        url = self._url(path, query, api)
        data = b""
        try:
            async with asyncio.timeout(self._timeout_s + waits_s), self._request(method, url, body) as answer:
                data = await answer.read()
        except self._failures as error:
            raise self._unavailable(error) from error
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, data, server=self.endpoint.url, asked=f"{method} {url}")
        return self._decoded(data, kind, f"{method} {url}")

    async def lines(
        self, path: str, kind: type[T], *, query: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[T, None]:
        """What a stream of JSON lines says, one after the other, until the server ends it.

        `SourceUnavailable` where it breaks off, or is silent for `SILENT_S`.
        """
        url = self._url(path, query, API)
        try:
            async with self._request("GET", url, None, silent_s=SILENT_S) as answer:
                if answer.status != 200:
                    data = await answer.read()
                    raise error_of(answer.status, data, server=self.endpoint.url, asked=f"GET {url}")
                async for line in answer.content:
                    if line.strip():
                        yield self._decoded(line, kind, f"GET {url}")
        except self._failures as error:
            raise self._unavailable(error) from error

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, body: Any, *, silent_s: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise NotRunning(
                "the control plane's client is closed", remedy="use it inside `async with ControlPlane(…)`"
            )
        import aiohttp

        data = None if body is None else BytesIO(msgspec.json.encode(body))  # aiohttp sends a file piece by piece
        asked = self._session.request(
            method,
            url,
            data=data,
            headers={} if data is None else {"Content-Type": "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silent_s),
        )
        async with asked as answer:
            try:
                yield answer
            finally:
                break_off(answer)

    def _url(self, path: str, query: Mapping[str, Any] | None, api: str) -> str:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return f"{self.endpoint.url}{api}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")

    def _unavailable(self, error: BaseException) -> SourceUnavailable:
        import ssl

        reason = str(error) or type(error).__name__
        remedy = "start it with `herz serve`, or name another by --server or HERZ_SERVER"
        if isinstance(error, TimeoutError):
            reason, remedy = "no answer in time", "look at the server's log and load"
        elif isinstance(getattr(error, "os_error", None) or error, ssl.SSLError):
            remedy = "mend the URL, or the certificates"
        return SourceUnavailable(f"the control plane does not answer: {reason}", where=self.endpoint.url, remedy=remedy)

    def _decoded(self, data: bytes, kind: type[T], where: str) -> T:
        if not data and kind is type(None):
            return None
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(
                f"the answer is not what a control plane says: {error}",
                where=where,
                remedy="is this the address of a `herz serve`, and of this version?",
            ) from error


def part(name: str | int) -> str:
    """`name` as one part of a path, whatever it holds."""
    return quote(str(name), safe="")
