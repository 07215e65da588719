"""Calls to a cluster: which endpoint, with which token, and what may be tried again elsewhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from herz.errors import NotRunning, SourceUnavailable, UsageError
from herz.model.secret import Secret
from herz.store.etcd.failures import passing, token_expired, translated, without_login
from herz.store.etcd.messages import message
from herz.store.etcd.rpc import CallFailed, Connection, Metadata, Stream, Timing
from herz.tls.material import TlsMaterial

REQUIRE_LEADER: Final = (("hasleader", "true"),)
"""A member that has lost its leader refuses or ends the call, instead of answering with what it knew."""


class Client:
    """Remote calls to any member of a cluster.

    One connection is shared by all calls; `fresh` makes more. A call that never left goes to the next endpoint, and
    a read that failed does too. A write that may have arrived is not repeated. Tokens are fetched with user
    and password, and anew when the server no longer knows them (simple tokens do not outlive a member's restart).
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsMaterial | None = None,
        server_name: str | None = None,
        username: str | None = None,
        password: Secret | None = None,
        timing: Timing,
        first: Callable[[int], int] | None = None,
    ) -> None:
        if not endpoints:
            raise UsageError("etcd without endpoints", remedy="name at least one host:port")
        self.endpoints = tuple(endpoints)
        self.timing = timing
        self._tls, self._server_name = tls, server_name
        self._username, self._password = username, password
        self._next = first(len(self.endpoints)) if first is not None else 0
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._token: str | None = None
        self.closed = False

    # --- calls

    async def call(
        self, name: str, request: Any, doing: str, *, write: bool = False, timeout_s: float | None = None
    ) -> Any:
        """The answer of any member; an error of Herz when there is none. `doing` is for its message."""
        attempts = len(self.endpoints) + 1  # once more, for a connection that had died unnoticed
        while True:
            connection = await self.connected(doing)
            act = partial(connection.call, name, request, timeout_s=timeout_s)
            try:
                return await self._authorised(connection, act)
            except CallFailed as failure:
                self.check_open()
                attempts -= 1
                refused = not failure.sent or failure.details == "etcdserver: no leader"
                if passing(failure):
                    await self.give_up(connection)
                    if attempts > 0 and (refused or not write):
                        continue
                raise translated(failure, doing, write=write and not refused) from failure

    async def exchange(self, name: str, request: Any, doing: str) -> Any:
        """Send one message on a stream of its own and return the first answer."""
        connection = await self.connected(doing)

        async def once(metadata: Metadata) -> Any:
            stream = connection.stream(name, metadata=metadata, timeout_s=self.timing.request_s)
            try:
                await stream.write(request)
                return await stream.read()
            finally:
                stream.cancel()

        try:
            return await self._authorised(connection, once)
        except CallFailed as failure:
            self.check_open()
            if passing(failure):
                await self.give_up(connection)
            raise translated(failure, doing, write=True) from failure

    async def _authorised(self, connection: Connection, act: Callable[..., Awaitable[Any]]) -> Any:
        """Do something with a token, and once more with a new one when the server does not know it."""
        token = await self._token_for(connection)
        try:
            return await act(metadata=_metadata(token))
        except CallFailed as failure:
            stale = token_expired(failure.details) or (without_login(failure.details) and not token)
            if self._username is None or not stale:
                raise
        self.forget(token)
        return await act(metadata=_metadata(await self._token_for(connection)))

    # --- connections

    async def connected(self, doing: str) -> Connection:
        """The shared connection, made anew where it is not usable; `SourceUnavailable` when no endpoint answers."""
        self.check_open()
        if self._connection is not None and self._connection.usable:
            return self._connection
        home = os.getpid(), asyncio.get_running_loop()
        if self._home != home:  # after a fork, or used by one loop after another
            self._home, self._lock, self._connection = home, asyncio.Lock(), None
        async with self._lock:
            if self._connection is None or not self._connection.usable:
                if self._connection is not None:
                    await self._connection.retire()
                self._connection = None
                self._connection = await self.fresh(doing)
            return self._connection

    async def fresh(self, doing: str, *, receive_bytes: int = -1) -> Connection:
        """A connection of its own to the next endpoint that answers."""
        failures: list[CallFailed] = []
        for _ in self.endpoints:
            self.check_open()
            endpoint = self.endpoints[self._next % len(self.endpoints)]
            connection = Connection(
                endpoint,
                tls=self._tls,
                server_name=self._server_name,
                timing=self.timing,
                receive_bytes=receive_bytes,
            )
            try:
                await connection.dial()
            except CallFailed as failure:
                failures.append(failure)
                await connection.close()
                self.blame(endpoint)
            except BaseException:
                await connection.close()
                raise
            else:
                if self.closed:
                    await connection.close()
                    self.check_open()
                return connection
        reasons = "; ".join(f"{failure.endpoint}: {failure.details}" for failure in failures)
        raise SourceUnavailable(
            f"{doing}: no endpoint of etcd can be reached",
            where=reasons,
            remedy="is it running, reachable, are these the right ports, and TLS as the server has it?",
        ) from failures[-1]

    def blame(self, endpoint: str) -> None:
        """Begin with the next endpoint when the next connection is made."""
        if self.endpoints[self._next % len(self.endpoints)] == endpoint:
            self._next += 1

    async def give_up(self, connection: Connection) -> None:
        """Use another connection from now on."""
        self.blame(connection.endpoint)
        if self._connection is connection:
            self._connection = None
        await connection.retire()

    # --- who we are

    async def watch_stream(self, connection: Connection) -> tuple[Stream, Metadata, str]:
        """A stream for watching, which a member without a leader ends; metadata for calls beside it; its token."""
        token = await self._token_for(connection)
        metadata = _metadata(token)
        return connection.stream("Watch.Watch", metadata=metadata), metadata, token

    def forget(self, token: str) -> None:
        """Fetch a new token the next time, unless somebody has done so already."""
        if self._token == token:
            self._token = None

    async def _token_for(self, connection: Connection) -> str:
        """The token, fetched over `connection` when there is none; empty where none is needed."""
        if self._username is None:
            return ""
        token = self._token
        if token is None:
            password = self._password.reveal() if self._password is not None else ""
            request = message("AuthenticateRequest")(name=self._username, password=password)
            try:
                token = (await connection.call("Auth.Authenticate", request)).token
            except CallFailed as failure:
                if "authentication is not enabled" not in failure.details:
                    raise
                token = ""
            self._token = token
        return token

    # --- its life

    def check_open(self) -> None:
        """`NotRunning` after `close`."""
        if self.closed:
            raise NotRunning("the etcd store was closed", remedy="open another one")

    async def close(self) -> None:
        """Close the shared connection."""
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _metadata(token: str) -> Metadata:
    return (*REQUIRE_LEADER, ("token", token)) if token else REQUIRE_LEADER
