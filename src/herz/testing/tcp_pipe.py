"""One direction of a relayed TCP connection, and the two ways of ending one. For `herz.testing.fault_proxy`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import time
from typing import Final, Literal, Protocol

CHUNK: Final = 65_536
QUEUED: Final = 64
"""Chunks on their way when there is a delay: 4 MiB."""
GOODBYE_S: Final = 2.0
"""How long a side that was told the end may take to end too, before it is reset."""


class Gate(Protocol):
    """What decides about the bytes of a pipe: a `FaultProxy`."""

    bandwidth: float | None

    def take(self, direction: Literal["down", "up"], wanted: int) -> int: ...  # noqa: D102  see FaultProxy
    def spent(self, direction: Literal["down", "up"]) -> bool: ...  # noqa: D102
    def cut_now(self, direction: Literal["down", "up"]) -> None: ...  # noqa: D102
    def due_in_s(self) -> float: ...  # noqa: D102
    async def flowing(self, *directions: Literal["down", "up"]) -> None: ...  # noqa: D102


class Pipe:
    """Relays bytes from one socket to another through a gate, in order."""

    def __init__(
        self, gate: Gate, direction: Literal["down", "up"], source: socket.socket, sink: socket.socket
    ) -> None:
        self._gate = gate
        self._direction = direction
        self._source = source
        self._sink = sink
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)

    async def run(self) -> None:
        """Relay until the source ends, and tell the sink so. OSError when either is reset."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read())
            both.create_task(self._write())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self._source, CHUNK)
            await self._queue.put((time.monotonic() + self._gate.due_in_s(), data))
            if not data:
                return

    async def _write(self) -> None:
        free_at = 0.0
        while True:
            due, data = await self._queue.get()
            if (wait_s := max(due, free_at) - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            await self._gate.flowing(self._direction)
            if not data:
                with contextlib.suppress(OSError):
                    self._sink.shutdown(socket.SHUT_WR)
                return
            if self._gate.bandwidth:
                free_at = await self._trickle(data, self._gate.bandwidth)
            else:
                await self._relay(data)

    async def _trickle(self, data: bytes, bandwidth: float) -> float:
        # A hundredth of a second's worth at a time: smooth enough, and few wake-ups.
        step = max(1, min(CHUNK, int(bandwidth / 100)))
        free_at = time.monotonic()
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            await self._relay(piece)
            free_at += len(piece) / bandwidth
            await asyncio.sleep(max(0.0, free_at - time.monotonic()))
        return free_at

    async def _relay(self, data: bytes) -> None:
        allowed = self._gate.take(self._direction, len(data))
        if allowed:
            await asyncio.get_running_loop().sock_sendall(self._sink, data[:allowed])
        if self._gate.spent(self._direction):
            await received(self._sink)
            self._gate.cut_now(self._direction)
            await asyncio.Event().wait()  # until the cut ends this task


async def received(sink: socket.socket, patience_s: float = 1.0) -> None:
    """Wait until the other side's kernel has acknowledged all that was sent; a reset would drop the rest."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        (unsent,) = struct.unpack("i", fcntl.ioctl(sink.fileno(), termios.TIOCOUTQ, bytes(4)))
        if not unsent:
            return
        await asyncio.sleep(0.001)


def reset(side: socket.socket) -> None:
    """Close with RST: what was not sent yet is dropped, and the other side sees ECONNRESET."""
    try:
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        side.close()


async def say_goodbye(side: socket.socket) -> None:
    """Close with FIN: tell the end, then discard what still comes until the other side ends too.

    Closing with unread bytes would send RST. A side that goes on for `GOODBYE_S` is reset.
    """
    loop = asyncio.get_running_loop()
    try:
        side.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(GOODBYE_S):
            while await loop.sock_recv(side, CHUNK):
                pass
        side.close()
    except (OSError, TimeoutError):
        await asyncio.sleep(0)  # the loop lets go of the descriptor first
        reset(side)
