"""`ControlPlane`: the control plane's API from Python, for asyncio programs; `blocking` makes its twin for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from herz.client.endpoint import Endpoint
from herz.client.exchange import TIMEOUT_S, Exchange, part
from herz.client.namespace import Namespace
from herz.client.replies import AuditState, Facts
from herz.client.version import named_place

if TYPE_CHECKING:
    from herz.client.blocking import BlockingControlPlane


class ControlPlane:
    """One `herz serve`, or several over one store behind one address. Used inside `async with`, on one event loop.

    `url` is HERZ_SERVER's by default, else `http://127.0.0.1:4379`; `https` verifies the server by `ca` (else the
    system's authorities), `cert` and `key` are shown where it asks who we are. The token is `token`, else what
    `token_file` holds, else HERZ_TOKEN; it never shows in messages. A server on loopback may ask for none, and takes
    `author`'s word for who acts. An answer may take `timeout_s` seconds, beside what
    a question waits for instances. Needs aiohttp: `pip install 'herz[client]'`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        author: str | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        endpoint = Endpoint.of(url, token=token, token_file=token_file, author=author, ca=ca, cert=cert, key=key)
        self._exchange = Exchange(endpoint, timeout_s=timeout_s)

    @classmethod
    def blocking(
        cls,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        author: str | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> BlockingControlPlane:
        """The same for programs without an event loop: `with ControlPlane.blocking() as plane`. Methods wait."""
        from herz.client.blocking import BlockingControlPlane

        return BlockingControlPlane(
            cls(
                url,
                token=token,
                token_file=token_file,
                author=author,
                ca=ca,
                cert=cert,
                key=key,
                timeout_s=timeout_s,
            )
        )

    @property
    def url(self) -> str:
        """The address that is asked."""
        return self._exchange.endpoint.url

    async def __aenter__(self) -> Self:
        await self._exchange.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    def namespace(self, app: str, namespace: str | None = None) -> Namespace:
        """The namespace of an application, "default" unless named: `namespace("pay")`, `namespace("pay/eu")`."""
        return Namespace(self._exchange, *named_place(app, namespace))

    async def health(self) -> Facts:
        """How the server is: asked without a token, answered even when it is not well."""
        return await self._exchange.ask("GET", "/health", dict, api="")

    async def apps(self) -> tuple[Facts, ...]:
        """Every application with its namespaces: `{"app", "namespaces"}`, in order."""
        return await self._exchange.ask("GET", "/apps", tuple[dict[str, Any], ...])

    async def audit(self, *, after: int | None = None, limit: int | None = None) -> tuple[Facts, ...]:
        """Who did what, in order, from behind entry `after` on."""
        query = {"after": after, "limit": limit}
        return await self._exchange.ask("GET", "/audit", tuple[dict[str, Any], ...], query=query)

    async def verify_audit(self, *, anchor: str | None = None) -> AuditState:
        """Whether the audit log is whole: every entry continues the one before by its hash.

        `anchor` is `N:HASH` of an entry that was noted elsewhere: a log that was written anew does not have it.
        """
        query = None if anchor is None else {"anchor": anchor}
        return await self._exchange.ask("GET", "/audit/verify", AuditState, query=query)

    async def tokens(self) -> tuple[Facts, ...]:
        """The tokens that there are, without what they are."""
        return await self._exchange.ask("GET", "/tokens", tuple[dict[str, Any], ...])

    async def create_token(self, name: str, grants: Sequence[str], *, expires: datetime | None = None) -> Facts:
        """Make a token for `grants` such as `pay:release`; what it is stands in the answer, and nowhere else."""
        body = {"name": name, "grants": list(grants)} | ({} if expires is None else {"expires": expires})
        return await self._exchange.ask("POST", "/tokens", dict, body)

    async def revoke_token(self, token_id: str) -> None:
        """End a token at once."""
        await self._exchange.ask("DELETE", f"/tokens/{part(token_id)}", type(None))
