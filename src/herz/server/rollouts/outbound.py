"""HTTP that the server speaks on behalf of a rollout: checked addresses, one time limit, bounded answers.

What is asked for comes from people with a token, so an address is taken only when it is `https`, verified, or plain on
this machine, or at a host that whoever runs the server has named in HERZ_PLAIN_HTTP, because what carries it there is
encrypted. Redirects are not followed, and nothing of an answer but its status reaches a message.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from herz.errors import SourceUnavailable, UsageError
from herz.tls.address import addresses
from herz.tls.parting import close_session

LIMIT_S: Final = 10.0
"""What one request may take, connecting included."""
PLAIN: Final = "HERZ_PLAIN_HTTP"
"""Names hosts, separated by white space, to which requests may go unencrypted."""
ANSWER_BYTES: Final = 8 * 1024 * 1024
"""What is read of one answer."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


def shown(url: str) -> str:
    """`url` without what may be secret in it: credentials, path (chat webhooks keep their token there) and query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "an address without a scheme"
    end = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    return f"{scheme}://{rest[:end].rpartition('@')[2]}" + ("/…" if rest[end:].strip("/") else "")


def permitted(url: str, what: str) -> str:
    """`url` itself; `UsageError` unless it is https, or http to this machine or a host in HERZ_PLAIN_HTTP."""
    if any(character <= " " or character == "\x7f" for character in url):
        raise UsageError(f"{what}: an address with white space in it", remedy="write what is special as %20 and so on")
    (address,) = addresses([url]) if url.startswith(("http://", "https://")) else (None,)
    if address is None or not address.host:
        raise UsageError(f"{what}: {shown(url)} is not the address of a web server", remedy="write https://HOST/…")
    if not (address.secure or address.loopback or address.host in os.environ.get(PLAIN, "").lower().split()):
        raise UsageError(
            f"{what}: {shown(url)} is not encrypted",
            remedy=f"give an https:// address; or have whoever runs the server name the host in {PLAIN}",
        )
    return url


class Outbound:
    """One pool of connections for everything that rollouts ask of others; `close` it on the loop that used it.

    A request raises `UsageError` for an address that is not permitted and `SourceUnavailable` when no answer came
    within its time limit. Any status is an answer.
    """

    def __init__(self, *, limit_s: float = LIMIT_S, context: ssl.SSLContext | None = None) -> None:
        self._limit_s, self._context = limit_s, context
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None, limit_s: float | None = None) -> Reply:
        """Ask for `url`."""
        return await self._request("GET", url, headers=headers, limit_s=limit_s)

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
        limit_s: float | None = None,
    ) -> Reply:
        """Send `body`."""
        headers = {"Content-Type": kind, **(headers or {})}
        return await self._request("POST", url, body=body, headers=headers, limit_s=limit_s)

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await close_session(session)

    async def _request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit_s: float | None = None,
    ) -> Reply:
        permitted(url, f"{method} for a rollout")
        limit_s = self._limit_s if limit_s is None else limit_s
        try:
            async with self._open().request(
                method,
                URL(url, encoded=url.isascii()),  # as it is: what was escaped stays so
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit_s),
                ssl=self._context if self._context is not None else True,
            ) as response:
                return Reply(response.status, await _bounded(response))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise SourceUnavailable(
                f"{shown(url)}: {_said(error, limit_s)}", remedy="see whether it is up, and reachable from the server"
            ) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        return self._session


def _said(error: Exception, limit_s: float) -> str:
    """What went wrong; most of aiohttp's errors would show the whole URL."""
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {limit_s:.3g} s"
    return str(error) if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"more than {ANSWER_BYTES:,} bytes")
        parts.append(part)
    return b"".join(parts)
