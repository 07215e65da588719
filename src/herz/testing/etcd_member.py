"""One member of a test's etcd: `EtcdCluster` makes them."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herz.testing.processes import Port, ServerFailed, ServerProcess, server_environment

if TYPE_CHECKING:
    from herz.testing.etcd_cluster import EtcdCluster

READY_S: Final = 30.0
"""How long a member may take to be healthy; it takes 0.3 s on an idle machine."""
POLL_S: Final = 0.01


class EtcdMember:
    """One member of an `EtcdCluster`. It keeps its name, its ports and, unless told otherwise, its data."""

    def __init__(self, cluster: EtcdCluster, name: str) -> None:
        self.name = name
        self.data: Path = cluster.folder / name
        """The data folder (WAL and snapshots in `member/`); another one after `start(fresh=True)` or a restore."""
        self.client_port = Port()
        self.peer_port = Port()
        self._cluster = cluster
        self._process = ServerProcess([], log=cluster.folder / f"{name}.log", environment=server_environment("ETCD"))
        self._fresh = 0

    @property
    def endpoint(self) -> str:
        """`127.0.0.1:PORT`, where clients connect; the same for the member's whole life."""
        return self.client_port.address

    @property
    def client_url(self) -> str:
        """`http://127.0.0.1:PORT`, or https."""
        return f"{self._cluster.scheme}://{self.endpoint}"

    @property
    def peer_url(self) -> str:
        """`http://127.0.0.1:PORT`, where the other members connect."""
        return f"http://{self.peer_port.address}"

    @property
    def running(self) -> bool:
        """Whether its process exists; a paused one does."""
        return self._process.running

    @property
    def paused(self) -> bool:
        """Whether `pause` was called last."""
        return self._process.paused

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file that takes what the server says."""
        return self._process.log

    async def start(self, *, ready: bool = True, fresh: bool = False, state: str = "new") -> None:
        """Start it again after `kill` or `stop`, with the data it had; with an empty folder if `fresh`.

        Returns when it takes part in a quorum; at once with `ready=False`, as is needed when too few others run.
        `state` is etcd's `--initial-cluster-state`, which an empty member of a living cluster needs as "existing".
        `ServerFailed` when it ends or is not healthy in time, with the end of its log.
        """
        await asyncio.to_thread(self._start, fresh, state)
        if ready:
            await self.ready()

    async def ready(self) -> None:
        """Wait until it is healthy: it knows a leader and a quorum commits. `ServerFailed` as for `start`."""
        await asyncio.to_thread(self._wait_ready)

    async def stop(self) -> None:
        """SIGTERM: a graceful end (GOAWAY to clients; a leader hands its office over first), waited for."""
        await asyncio.to_thread(self._process.stop)

    async def restart(self, *, ready: bool = True) -> None:
        """`stop`, then `start`."""
        await self.stop()
        await self.start(ready=ready)

    def kill(self) -> None:
        """SIGKILL, waited for; the kernel resets its connections."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and silent, and new ones are accepted by the kernel alone."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT: go on as if nothing had happened."""
        self._process.resume()

    def _start(self, fresh: bool, state: str) -> None:
        with self._cluster._changing:
            self._cluster._must_be_open()
            if fresh and not self.running:
                self._fresh += 1
                self.data = self._cluster.folder / f"{self.name}.{self._fresh}"
            self._process.arguments = tuple(self._cluster._arguments(self, state))
            self._process.start()

    def _wait_serving(self) -> None:
        self._wait(lambda timeout_s: self._asked(self.peer_port, "/members", timeout_s, None) is not None)

    def _wait_ready(self) -> None:
        self._wait(self._healthy)

    def _wait(self, reached: Callable[[float], bool]) -> None:
        deadline = time.monotonic() + READY_S
        patience_s = 0.1
        while not reached(patience_s):
            if not self.running:
                raise ServerFailed(f"etcd member {self.name} has ended{self._process.said()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"etcd member {self.name} is not ready after {READY_S:g} s{self._process.said()}")
            time.sleep(POLL_S)
            # A member asked during an election answers after a second: ask again sooner, but not for ever sooner.
            patience_s = min(patience_s * 1.5, 3.0)

    def _healthy(self, timeout_s: float) -> bool:
        answer = self._asked(self.client_port, "/health", timeout_s, self._cluster._client_context)
        try:
            return answer is not None and json.loads(answer).get("health") == "true"
        except ValueError:
            return False

    def _asked(self, port: Port, path: str, timeout_s: float, context: ssl.SSLContext | None) -> bytes | None:
        connection = (
            http.client.HTTPConnection(port.host, port.number, timeout=timeout_s)
            if context is None
            else http.client.HTTPSConnection(port.host, port.number, timeout=timeout_s, context=context)
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read() if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
