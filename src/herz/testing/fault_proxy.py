"""A TCP proxy that cuts, delays, swallows and refuses, for tests of what a client does about it.

    with FaultProxy("127.0.0.1:2379") as proxy:
        source = f"etcd://{proxy.address}/config/pay"
        ...
        proxy.cut()                       # every connection is reset, new ones are welcome
        proxy.blackhole()                 # connections stay open and silent
        proxy.heal()
        proxy.cut_after(4711)             # reset when 4,711 more bytes have reached the client

The proxy runs in a thread of its own, so it does its work while the event loop under test is blocked. Its methods
return when the fault is in force. "Down" is towards the client, "up" is towards the server.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, Literal, Self

from herz.errors import UsageError
from herz.testing.loop_thread import LoopThread
from herz.testing.processes import Port
from herz.testing.tcp_link import Link, host_and_port
from herz.testing.tcp_pipe import reset

Direction = Literal["down", "up"]
Directions = Literal["down", "up", "both"]

BACKLOG: Final = 128


class FaultProxy:
    """Relays TCP from `address` to `target`, both `host:port`, faithfully until told otherwise.

    `target` may be changed at any time; new connections go to the new one. `delay_s` holds every byte back for so
    long (latency, not a limit of the rate), with up to `jitter_s` more; `bandwidth` is bytes a second for each
    connection and direction, None without limit. They may be set at any time too. `rng` decides what is random, so a
    seed repeats a run.
    """

    def __init__(
        self,
        target: str,
        *,
        delay_s: float = 0.0,
        jitter_s: float = 0.0,
        bandwidth: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.target = target  # checked by its setter
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.bandwidth = bandwidth
        self.rng = rng or random.Random(0)  # noqa: S311  for repeatable faults, not for secrets
        self.connections = 0
        """How many connections were accepted since the start."""
        self.cuts = 0
        """How many connections were reset by a fault."""
        self.bytes_down = 0
        self.bytes_up = 0
        self._port = Port()
        self._links: set[Link] = set()
        self._sockets: set[socket.socket] = set()
        self._budget: dict[Direction, int] = {}
        self._cut: Future[int] | None = None
        self._mean: float | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._flowing: dict[Direction, asyncio.Event] = {}
        self._thread = LoopThread(f"herz-fault-proxy:{self._port.number}")
        try:
            self._thread.call(self._start)
        except BaseException:
            self._thread.stop()
            self._port.close()
            raise

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`; the same for the proxy's whole life."""
        return self._port.address

    @property
    def target(self) -> str:
        """Where new connections go, `host:port`."""
        return self._target

    @target.setter
    def target(self, target: str) -> None:
        host_and_port(target)
        self._target = target

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    # --- its life ---------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Reset every connection, stop listening, end the thread; calling it again does nothing."""
        if self._thread.running:
            self._thread.run(self._end())
            self._thread.stop()
            for side in self._sockets:  # whatever was being closed when the thread ended
                if side.fileno() >= 0:
                    reset(side)
            self._port.close()

    # --- faults -----------------------------------------------------------------------------------

    def cut(self) -> int:
        """Reset every connection (RST, on both sides), as a crashed peer or a firewall does; returns how many."""
        return self._thread.run(self._reset_all())

    def close_connections(self) -> int:
        """End every connection in order (FIN, on both sides), as a server's graceful stop does; returns how many."""
        return self._thread.run(self._finish_all())

    def cut_after(self, count: int, direction: Direction = "down") -> Future[int]:
        """Reset every connection as soon as exactly `count` more bytes have been relayed in a direction, once.

        They have been received by the kernel on the other side before the reset. With 0 the next byte is the first
        that is not relayed. The future holds the number of connections reset; `await asyncio.wrap_future(it)`.
        The future is running from the moment at which the last of them is on its way. A newer `cut_after` replaces
        this one, whose future is then cancelled.
        """
        return self._thread.call(lambda: self._plan(count, direction))

    def cut_randomly(self, mean_bytes: float, direction: Direction = "down") -> None:
        """Reset every connection again and again, after a random (exponential) number of bytes, until `heal`."""

        def plan() -> None:
            self._mean = mean_bytes
            self._plan(int(self.rng.expovariate(1.0 / mean_bytes)), direction)

        self._thread.call(plan)

    def blackhole(self, directions: Directions = "both") -> None:
        """Relay nothing more, yet keep connections open and accept new ones, as when packets are dropped.

        What is sent meanwhile is held back, as TCP would send it again, up to the buffers' size.
        """

        def swallow() -> None:
            for each in _each(directions):
                self._flowing[each].clear()

        self._thread.call(swallow)

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._thread.run(self._stop_listening())

    def heal(self, *, reset: bool = False) -> None:
        """End every fault: relay what was held back, accept connections, forget planned cuts, delay and bandwidth.

        With `reset` the connections that lived through the fault are reset instead, as after a long partition.
        """

        async def healed() -> None:
            self._cancel_plan()
            self.delay_s, self.jitter_s, self.bandwidth = 0.0, 0.0, None
            if reset:
                await self._reset_all()
            for flowing in self._flowing.values():
                flowing.set()
            self._listen()

        self._thread.run(healed())

    # --- inside the thread ------------------------------------------------------------------------

    def _start(self) -> None:
        for direction in _each("both"):
            self._flowing[direction] = asyncio.Event()
            self._flowing[direction].set()
        self._listen()

    def _listen(self) -> None:
        if self._listening is None:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind((self._port.host, self._port.number))
            listener.listen(BACKLOG)
            self._listening = asyncio.get_running_loop().create_task(self._accept(listener))

    async def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    async def _accept(self, listener: socket.socket) -> None:
        try:
            while True:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
                self.connections += 1
                self.own(client)
                link = Link(self, client)
                self._links.add(link)
                link.task = self.spawn(link.run())
        finally:
            await asyncio.sleep(0)  # the loop lets go of the descriptor first
            listener.close()

    def own(self, side: socket.socket) -> None:
        """Close this socket at the end at the latest. For the links."""
        side.setblocking(False)
        self._sockets = {each for each in self._sockets if each.fileno() >= 0} | {side}

    def forget(self, link: Link) -> None:
        """This one has ended. For the links."""
        self._links.discard(link)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the proxy's loop. For the links."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end(self) -> None:
        self._cancel_plan()
        await self._stop_listening()
        await self._reset_all()

    async def _reset_all(self) -> int:
        links = list(self._links)
        for link in links:
            await link.end(gracefully=False)
        self.cuts += len(links)
        return len(links)

    async def _finish_all(self) -> int:
        links = list(self._links)
        for link in links:
            await link.end(gracefully=True)
        return len(links)

    def _plan(self, count: int, direction: Direction) -> Future[int]:
        if count < 0:
            raise UsageError(f"{count} bytes is no offset", remedy="cut_after takes 0 or more")
        mean = self._mean
        self._cancel_plan()
        self._mean = mean
        self._budget[direction] = count
        self._cut = Future()
        return self._cut

    def _cancel_plan(self) -> None:
        self._budget.clear()
        self._mean = None
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def take(self, direction: Direction, wanted: int) -> int:
        """How many of `wanted` bytes may still be relayed; they are counted as relayed. For the links."""
        allowed = min(wanted, self._budget.get(direction, wanted))
        if direction in self._budget:
            self._budget[direction] -= allowed
        if direction == "down":
            self.bytes_down += allowed
        else:
            self.bytes_up += allowed
        return allowed

    def spent(self, direction: Direction) -> bool:
        """Whether the planned cut is due. For the links."""
        return self._budget.get(direction) == 0

    def cut_now(self, direction: Direction) -> None:
        """Carry out the planned cut. For the links, which are then ended by a task that is none of theirs."""
        planned, self._cut = self._cut, None
        self._budget.clear()
        if planned is not None and not planned.set_running_or_notify_cancel():
            planned = None

        async def cut() -> None:
            count = await self._reset_all()
            if self._mean is not None:
                self._plan(int(self.rng.expovariate(1.0 / self._mean)), direction)
            if planned is not None:
                planned.set_result(count)

        self.spawn(cut())

    async def flowing(self, *directions: Direction) -> None:
        """Wait until nothing is swallowed in these directions. For the links."""
        while not all(self._flowing[each].is_set() for each in directions):
            for each in directions:
                await self._flowing[each].wait()

    def due_in_s(self) -> float:
        """How long the next bytes are held back. For the links."""
        return self.delay_s + (self.rng.uniform(0.0, self.jitter_s) if self.jitter_s else 0.0)


def _each(directions: Directions) -> tuple[Direction, ...]:
    return ("up", "down") if directions == "both" else (directions,)
