"""One relayed TCP connection. For `herz.testing.fault_proxy`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from herz.errors import UsageError
from herz.testing.tcp_pipe import Pipe, reset, say_goodbye

if TYPE_CHECKING:
    from herz.testing.fault_proxy import FaultProxy


class Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self.task: asyncio.Task[None] | None = None
        self._ended = False
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self) -> None:
        """Relay until both sides have ended or a fault ends it."""
        try:
            await self._proxy.flowing("up", "down")
            self._server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._proxy.own(self._server)
            await asyncio.get_running_loop().sock_connect(self._server, host_and_port(self._proxy.target))
            self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as pipes:
                pipes.create_task(Pipe(self._proxy, "up", self._client, self._server).run())
                pipes.create_task(Pipe(self._proxy, "down", self._server, self._client).run())
        except* OSError:
            await self._close(gracefully=False)  # one side was reset, or the server refused: so is the other
        else:
            await self._close(gracefully=True)

    async def end(self, *, gracefully: bool) -> None:
        """Stop relaying at once, then close both connections."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self._close(gracefully=gracefully)

    async def _close(self, *, gracefully: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._proxy.forget(self)
        sides = [side for side in (self._client, self._server) if side is not None]
        try:
            await asyncio.sleep(0)  # the loop lets go of the descriptors first
        except asyncio.CancelledError:
            gracefully = False
            raise
        finally:
            for side in sides:
                if gracefully:
                    self._proxy.spawn(say_goodbye(side))
                else:
                    with contextlib.suppress(OSError):
                        reset(side)


def host_and_port(target: str) -> tuple[str, int]:
    """The two parts of `host:port`. `UsageError` when there are not."""
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{target!r} is no target", remedy="write it as host:port")
    return host, int(port)
