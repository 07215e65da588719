"""Requests to the servers of a control plane: one pool of connections, no redirect followed, each refusal an error."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from herz.errors import HerzError, MissingExtra, RevisionExpired, SourceDenied, SourceError, SourceUnavailable
from herz.sources.released_url import Address
from herz.tls.context import client_context
from herz.tls.guard import check_endpoints
from herz.tls.parting import break_off, close_session

if TYPE_CHECKING:
    import aiohttp

API: Final = "/api/v1"
CONNECT_S: Final = 3.0
"""Seconds that connecting may take,"""
ANSWER_S: Final = 30.0
"""and an answer that does not wait for anything."""


class HttpClient:
    """Asks one of the endpoints of an address; the next one from when that fails. `stream` is shown as ours."""

    def __init__(self, address: Address, chance: Callable[[], float]) -> None:
        self.stream = ""
        self._address = address
        check_endpoints(address.endpoints, address.tls)
        self._tls = None if address.tls is None else client_context(address.tls)
        self._at = int(chance() * len(address.endpoints)) % len(address.endpoints)
        self._session: aiohttp.ClientSession | None = None
        self._owner: tuple[int, object] = (0, None)

    @property
    def base(self) -> str:
        """The endpoint that is asked."""
        return self._address.endpoints[self._at]

    def turn(self) -> None:
        """Ask the next one from now on."""
        self._at = (self._at + 1) % len(self._address.endpoints)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        params: Mapping[str, str] | None = None,
        waits_s: float = 0.0,
    ) -> bytes:
        """One answer as a whole. `waits_s` is how long the server itself may wait for what it answers."""
        try:
            async with (
                asyncio.timeout(ANSWER_S + waits_s),
                self.request(method, path, params=params, body=body) as response,
            ):
                await self.checked(response)
                return bytes(await response.read())
        except self.failures as error:
            raise self.unavailable(error) from error

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request and its answer; what has not been read of that at the end is broken off."""
        headers: dict[str, str] = {}
        if self._address.token is not None:
            headers["Authorization"] = f"Bearer {self._address.token.reveal()}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.stream:
            headers["X-Herz-Stream"] = self.stream
        url = f"{self.base}{API}{path}"
        asked = self._pool().request(method, url, params=params, data=body, headers=headers, allow_redirects=False)
        async with asked as response:
            try:
                yield response
            finally:
                break_off(response)

    def _pool(self) -> aiohttp.ClientSession:
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._session is None or self._session.closed or self._owner != owner:
            aiohttp = _aiohttp()
            self._owner = owner
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            )
        return self._session

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What breaks an exchange off."""
        return (OSError, TimeoutError, _aiohttp().ClientError)

    def unavailable(self, error: BaseException) -> SourceUnavailable:
        """Nobody answers here: the next attempt goes to the next endpoint."""
        base = self.base
        self.turn()
        system = getattr(error, "os_error", None)
        reason = (
            "no answer in time" if isinstance(error, TimeoutError) else str(system or error) or type(error).__name__
        )
        return SourceUnavailable(
            f"{base} does not answer: {reason}", where=self._address.name, remedy="see whether `herz serve` runs there"
        )

    async def checked(self, response: aiohttp.ClientResponse) -> None:
        """Raise the problem that a response tells."""
        if 200 <= response.status < 300:
            return
        data = await response.content.read(65_536)
        try:
            problem = json.loads(data)
        except (ValueError, RecursionError):
            problem = None
        if response.status >= 500:
            self.turn()
        where = str(response.url.with_query(None))
        raise error_of(response.status, problem if isinstance(problem, dict) else {}, where)

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None and self._owner == (os.getpid(), asyncio.get_running_loop()):
            await close_session(session)


def error_of(status: int, problem: Mapping[str, Any], where: str) -> HerzError:
    """The error that a problem (RFC 9457) is here."""
    what = str(problem.get("what") or problem.get("detail") or problem.get("title") or f"HTTP status {status}")[:500]
    told = problem.get("remedy")
    remedy = None if told is None else str(told)[:500]
    if status in (401, 403):
        return SourceDenied(what, where=where, remedy=remedy or "give a token that may follow (HERZ_TOKEN)")
    if status == 410:
        return RevisionExpired(what, where=where, remedy=remedy)
    if status == 429 or status >= 500 or status in (404, 408, 409):
        return SourceUnavailable(what, where=where, remedy=remedy or "it is tried again")
    return SourceError(what, where=where, remedy=remedy)


def _aiohttp() -> Any:
    try:
        import aiohttp
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "herz:// needs aiohttp, which is not installed", remedy="pip install 'herz[client]'"
        ) from error
    return aiohttp
