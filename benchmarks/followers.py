"""Who follows etcd in the benchmarks, each in a process of its own: a bare watch, Herz, and many sessions at once.

`benchmarks.processes` makes them; a question is the name of a method and its arguments. Times are of the system's
monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from herz import ChangeSet, Herz
from herz.model.tree import leaves
from herz.store.etcd.messages import message
from herz.store.etcd.rpc import Connection, Stream, Timing
from herz.store.etcd.store import EtcdStore
from herz.store.etcd.translate import bounds
from herz.testing.loop_thread import LoopThread

TIMING: Final = Timing(3.0, 60.0, 10.0, 20.0)


def answering(follower: object) -> Callable[..., Any]:
    """What `benchmarks.workload.Process` asks."""
    return lambda what, *arguments: getattr(follower, what)(*arguments)


def memory() -> dict[str, float]:
    """MiB of this process now, and at most since `forget_peak`."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    now, most = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return {"now": now, "most": most}


def forget_peak() -> bool:
    """Count the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5")
    return True


class Raw:
    """A bare watch: nothing is verified, no value is merged or typed. What no client in Python can be faster than."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self._endpoint = endpoint
        self._key, self._end = bounds(prefix)
        self._thread = LoopThread("raw")
        self._seen: dict[str, float] = {}
        self._events, self._last = 0, 0.0
        self._following: Any = None

    def read(self, page: int) -> tuple[float, int]:
        """Seconds until all was read in pages and decoded, connecting included; and how many keys."""
        return self._thread.run(self._read(page))

    async def _read(self, page: int) -> tuple[float, int]:
        start, values, first = time.perf_counter(), dict[str, str](), self._key
        connection = Connection(self._endpoint, timing=TIMING)
        await connection.dial()
        revision = 0
        while True:
            request = message("RangeRequest")(key=first, range_end=self._end, limit=page, revision=revision)
            response = await connection.call("KV.Range", request)
            values |= {pair.key.decode(): pair.value.decode() for pair in response.kvs}
            revision = response.header.revision
            if not response.more:
                break
            first = response.kvs[-1].key + b"\0"
        seconds = time.perf_counter() - start
        await connection.close()
        return seconds, len(values)

    def watch(self, previous: bool = False) -> bool:
        """Follow from now on; returns when the server has confirmed the watch. `previous`: ask for what is replaced."""
        started = threading.Event()
        self._following = asyncio.run_coroutine_threadsafe(self._watch(started, previous), self._thread._loop)
        return started.wait(10)

    async def _watch(self, started: threading.Event, previous: bool) -> None:
        connection = Connection(self._endpoint, timing=TIMING)
        await connection.dial()
        stream = connection.stream("Watch.Watch")
        await stream.write(message("WatchRequest")(create_request=_create(self._key, self._end, previous)))
        while True:
            response = await stream.read()
            started.set()
            for event in response.events:
                key, value = event.kv.key.decode(), event.kv.value.decode()
                if key.endswith("service/mark"):
                    self._seen[value] = time.monotonic()
            self._events += len(response.events)
            self._last = time.monotonic()

    def seen(self) -> dict[str, float]:
        """When each mark was seen."""
        return self._seen

    def count(self) -> dict[str, float]:
        """How many events came, and when the last did."""
        return {"events": self._events, "last": self._last}


@dataclass(frozen=True, slots=True)
class Service:
    """What is read through a handle."""

    mark: str = ""


class Hot:
    """Herz, on everything under a prefix."""

    def __init__(self, endpoints: str, prefix: str, last_good: str = "", **_: Any) -> None:
        self._url = f"etcd://{endpoints}{prefix.rstrip('/')}?proof=60s" if ":" in endpoints else endpoints
        self._last_good = last_good or None
        self._seen: dict[str, float] = {}
        self._marks: list[str] = []
        self._states: list[tuple[float, str]] = []
        self._events = self._resets = 0
        self._slow_s = 0.0
        self._herz: Herz
        logging.disable(logging.ERROR)  # servers are killed on purpose

    def start(self, url: str = "") -> dict[str, Any]:
        """Seconds from `Herz(…)` until everything can be read; what there is then, and what is said of it."""
        start = time.perf_counter()
        herz = Herz(url or self._url, environment={}, last_good=self._last_good)
        herz.properties("service")(Service)
        herz.on_session(lambda step: self._states.append((step.at_s, str(step.state))))
        herz.start()
        mark = herz.handle(Service).current.mark
        seconds = time.perf_counter() - start
        self._herz = herz
        count = sum(1 for _ in leaves(herz.snapshot.composed.tree, ()))
        return {"seconds": seconds, "leaves": count, "mark": mark, "freshness": str(herz.freshness)}

    def following(self) -> bool:
        """Returns once the watch stands."""
        deadline = time.monotonic() + 30
        while self._herz.health().sources[0].state != "ACTIVE" or self._herz.freshness != "CURRENT":
            assert time.monotonic() < deadline, self._herz.health()
            time.sleep(0.01)
        return True

    def kept(self, path: str) -> bool:
        """Returns once the last-good copy is written."""
        deadline = time.monotonic() + 30
        while not Path(path).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return True

    def stop(self) -> bool:
        """End it."""
        self._herz.stop()
        return True

    # --- what is visible

    def look(self) -> bool:
        """Note from now on when each mark is visible through a handle, on the thread that brings it, as `Raw` does."""
        handle = self._herz.handle(Service)
        self._herz.events.register("applied", lambda _: self._seen.setdefault(handle.current.mark, time.monotonic()))
        return True

    def seen(self) -> dict[str, float]:
        """When each mark was seen."""
        return self._seen

    def applied(self, revision: int) -> float:
        """When `revision` was in force, waited for."""
        self._herz.wait_for(revision, timeout=120)
        return time.monotonic()

    def value(self, key: str) -> str:
        """The value of a key now."""
        return str(self._herz.snapshot[key])

    # --- a listener

    def listen(self) -> bool:
        """Hear every change."""
        self._herz.on_change(self._heard)
        return True

    def _heard(self, changes: ChangeSet) -> None:
        self._events += len(changes)
        self._resets += changes.reset
        self._marks += [str(change.after) for change in changes if change.key == "service.mark"]
        until = time.monotonic() + self._slow_s
        while time.monotonic() < until and self._slow_s:
            time.sleep(0.02)

    def slow(self, seconds: float) -> bool:
        """What each call of the listener takes from now on, and what is left of this one."""
        self._slow_s = seconds
        return True

    def heard(self) -> dict[str, Any]:
        """What the listener has heard."""
        return {"events": self._events, "resets": self._resets, "marks": self._marks}

    # --- what it costs

    def memory(self) -> dict[str, float]:
        """MiB of this process."""
        return memory()

    def forget_peak(self) -> bool:
        """Count the peak from now on."""
        return forget_peak()

    def work(self) -> dict[str, float]:
        """CPU seconds so far, of the process and of the engine's thread; and the updater's own count of its merging."""
        (engine,) = (thread for thread in threading.enumerate() if thread.name == "herz")
        assert engine.ident is not None
        return {
            "process": time.process_time(),
            "engine": time.clock_gettime(time.pthread_getcpuclockid(engine.ident)),
        }

    # --- its session

    def endpoint(self) -> str:
        """The member that its watch is connected to."""
        (watch,) = self._herz.runtime.feeds[0].source.store._watches  # type: ignore[attr-defined]
        return str(watch._endpoint)

    def states(self) -> list[tuple[float, str]]:
        """When the session became what."""
        return self._states


class Sessions:
    """Many watches at once: each with a connection of its own, or all over one."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self._endpoint = endpoint
        self._key, self._end = bounds(prefix)
        self._prefix = prefix
        self._thread = LoopThread("sessions")
        self._seen = 0
        self._last = 0.0
        self._tasks: list[Any] = []
        self._stack = AsyncExitStack()

    def open(self, kind: str, count: int) -> dict[str, float]:
        """`count` watches, "own", "shared", or "herz": what that took, in seconds and in seconds of CPU."""
        start, cpu = time.perf_counter(), time.process_time()
        self._thread.run(self._open(kind, count))
        return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, **self.standing()}

    async def _open(self, kind: str, count: int) -> None:
        if kind == "herz":
            store = EtcdStore([self._endpoint])
            revision = (await store.status()).revision
            for _ in range(count):
                watch = await self._stack.enter_async_context(store.watch(self._prefix, revision, previous=False))
                self._tasks.append(asyncio.create_task(self._count_changes(watch)))
            return
        connection: Connection | None = None
        for _ in range(count):
            if connection is None or kind == "own":
                connection = Connection(self._endpoint, timing=TIMING)
                await connection.dial()
            stream = connection.stream("Watch.Watch")
            await stream.write(message("WatchRequest")(create_request=_create(self._key, self._end)))
            await stream.read()
            self._tasks.append(asyncio.create_task(self._count_events(stream, connection)))

    async def _count_events(self, stream: Stream, connection: Connection) -> None:
        while True:
            response = await stream.read()
            self._seen += len(response.events)
            self._last = time.monotonic()

    async def _count_changes(self, items: Any) -> None:
        async for item in items:
            self._seen += len(getattr(item, "events", ()))
            self._last = time.monotonic()

    def standing(self) -> dict[str, float]:
        """MiB, threads, and what was seen so far and when last, with the CPU seconds that it took."""
        threads = int(re.search(r"Threads:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
        return {
            "memory": memory()["now"],
            "threads": threads,
            "seen": self._seen,
            "last": self._last,
            "process": time.process_time(),
        }


def _create(key: bytes, end: bytes, previous: bool = False) -> Any:
    return message("WatchCreateRequest")(key=key, range_end=end, prev_kv=previous)
