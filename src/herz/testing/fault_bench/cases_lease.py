"""Cases in which a lease runs out: the client stands still, or the answers to its signs of life come late."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from herz.discovery import (
    Happened,
    Registered,
    Registration,
    RegistrationEvent,
    ServiceCache,
    ServiceEvent,
    ServiceRegistry,
)
from herz.errors import HerzError
from herz.store.etcd.store import EtcdStore
from herz.testing.fault_bench import registrant
from herz.testing.fault_bench.bench import Bench
from herz.testing.fault_bench.case import case
from herz.testing.fault_proxy import FaultProxy
from herz.testing.rpc_proxy import Frame, RpcProxy
from herz.testing.rpc_rules import delay, refuse_watch

TTL_S: Final = 2.0
"""Leases of these cases."""
LATE_S: Final = TTL_S * 0.6 / 5
"""As 600 ms are to a lease of 5 s."""
SERVER_S: Final = 2.0
"""What a server may take to end a lease that has run out: it looks every 500 ms, and deletes by consensus."""
SERVICE: Final = "pay"


class _Joins:
    """What a cache has told, with the times."""

    def __init__(self, cache: ServiceCache) -> None:
        self.cache = cache
        self.told: list[tuple[float, ServiceEvent]] = []
        cache.subscribe(lambda event: self.told.append((time.monotonic(), event)))

    def has(self, name: str) -> bool:
        return any(instance.name == name for instance in self.cache.instances())

    def last(self, name: str, what: Happened, after_s: float) -> float | None:
        """When it told that `name` did `what`, if it has since `after_s`."""
        times = [at for at, event in self.told if event.instance.name == name and event.what is what and at >= after_s]
        return times[-1] if times else None


class _Steps:
    """What a registration has told, with the times."""

    def __init__(self) -> None:
        self.told: list[tuple[float, RegistrationEvent]] = []

    def __call__(self, event: RegistrationEvent) -> None:
        self.told.append((time.monotonic(), event))

    def lost_at(self, after_s: float) -> float | None:
        return next((at for at, event in self.told if event.state is Registered.LOST and at >= after_s), None)


@case(17, "lease-expiry", share=0.3)
async def lease_expiry(bench: Bench) -> None:
    """A client is frozen for longer than its lease, the answers to its signs of life come late, or nothing arrives."""
    await bench.start()
    root = f"/services{bench.prefix}"
    rounds = max(1, min(8, bench.events // 2500))
    writing = asyncio.create_task(bench.write())
    store = EtcdStore(bench.cluster.endpoints)
    try:
        async with ServiceRegistry(store, root=root).watch(SERVICE) as cache:
            joins = _Joins(cache)
            for _ in range(rounds):
                await _frozen(bench, joins, root)
                await _answers_late(bench, joins, root)
                await _nothing_arrives(bench, joins, root)
    finally:
        await writing
        await store.close()


async def _frozen(bench: Bench, joins: _Joins, root: str) -> None:
    """SIGSTOP for twice the lease: gone for everybody in time, and back by itself."""
    name = "frozen"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    arguments = [",".join(bench.cluster.endpoints), root, SERVICE, name, str(TTL_S)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", registrant.__name__, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    told: list[dict[str, Any]] = []
    assert process.stdout is not None  # noqa: S101  a pipe
    reading = asyncio.create_task(_lines(process.stdout, told))
    try:
        await bench.until(lambda: joins.has(name), "the instance joins", 60)
        await asyncio.sleep(bench.rng.uniform(0.0, TTL_S))
        os.kill(process.pid, signal.SIGSTOP)
        frozen = time.monotonic()
        left_s = await bench.until(lambda: not joins.has(name), "the frozen instance leaves", 30)
        _least(bench, "dead_seen_s", left_s)
        assert left_s <= TTL_S + SERVER_S, f"a frozen instance was seen for {left_s:.1f} s"  # noqa: S101
        await asyncio.sleep(max(0.0, frozen + 2 * TTL_S - time.monotonic()))
        already = len(told)
        os.kill(process.pid, signal.SIGCONT)
        await bench.until(lambda: joins.has(name), "the instance joins again", 30)
        await bench.until(lambda: len(told) > already, "it tells of itself", 10)
        steps = [step["state"] for step in told[already:]]
        assert steps[0] == "LOST", f"thawed, it first said {steps[0]}"  # noqa: S101
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
        await process.wait()
        await reading
    await bench.until(lambda: not joins.has(name), "the killed instance leaves", TTL_S + SERVER_S + 5)


async def _lines(stream: asyncio.StreamReader, told: list[dict[str, Any]]) -> None:
    while line := await stream.readline():
        told.append(json.loads(line))


async def _answers_late(bench: Bench, joins: _Joins, root: str) -> None:
    """The server keeps renewing a lease whose holder hears nothing of that: lost locally, long before the server's."""
    with RpcProxy((await bench.cluster.leader()).endpoint) as relay:
        async with _registered([relay.address], root, "late") as (registration, steps):
            await bench.until(lambda: joins.has("late"), "the instance joins", 30)
            first = registration.health().lease
            began = time.monotonic()
            rule = relay.add(delay("Lease.LeaseKeepAlive", 2 * TTL_S))
            await bench.until(lambda: steps.lost_at(began) is not None, "it says LOST", 30)
            lost = steps.lost_at(began) or 0.0
            assert lost - began <= TTL_S + 0.5, f"it said LOST after {lost - began:.1f} s"  # noqa: S101
            left = joins.last("late", Happened.LEFT, began)
            assert left is None or lost < left, "the server ended the lease before its holder knew"  # noqa: S101
            relay.remove(rule)
            again = time.monotonic()
            await bench.until(
                lambda: registration.state is Registered.REGISTERED and registration.health().lease != first,
                "it registers anew",
                30,
            )
            _least(bench, "registered_again_s", time.monotonic() - again)
            await bench.until(lambda: joins.has("late"), "everybody sees it", 30)
    await bench.until(lambda: not joins.has("late"), "it leaves", TTL_S + SERVER_S + 5)


async def _nothing_arrives(bench: Bench, joins: _Joins, root: str) -> None:
    """Nothing goes through any more: the holder knows before the server does."""
    with FaultProxy((await bench.cluster.leader()).endpoint) as proxy:
        async with _registered([proxy.address], root, "cut") as (registration, steps):
            await bench.until(lambda: joins.has("cut"), "the instance joins", 30)
            await asyncio.sleep(bench.rng.uniform(0.0, TTL_S))
            began = time.monotonic()
            stood: list[Registered] = []

            def left(event: ServiceEvent) -> None:
                if event.instance.name == "cut" and event.what is Happened.LEFT:
                    stood.append(registration.state)

            forget = joins.cache.subscribe(left)
            proxy.blackhole()
            await bench.until(lambda: not joins.has("cut"), "the server ends the lease", 30)
            forget()
            await bench.until(lambda: steps.lost_at(began) is not None, "it says LOST", 30)
            lost, gone = steps.lost_at(began) or 0.0, joins.last("cut", Happened.LEFT, began) or 0.0
            _least(bench, "lost_before_the_server_s", gone - lost)
            known = stood[0] in (Registered.LOST, Registered.REGISTERING)
            assert known, f"the server had ended the lease, and its holder said {stood[0]}"  # noqa: S101
            proxy.heal(reset=True)
            await bench.until(lambda: joins.has("cut"), "it joins again", 60)
            assert registration.state is not Registered.LOST, "it is back and says LOST"  # noqa: S101
    await bench.until(lambda: not joins.has("cut"), "it leaves", TTL_S + SERVER_S + 5)


@asynccontextmanager
async def _registered(endpoints: list[str], root: str, name: str) -> AsyncIterator[tuple[Registration, _Steps]]:
    store, steps = EtcdStore(endpoints), _Steps()
    registry = ServiceRegistry(store, root=root)
    try:
        async with registry.register(SERVICE, name, "127.0.0.1:1", ttl_s=TTL_S, changed=steps) as registration:
            yield registration, steps
    finally:
        await store.close()


def _least(bench: Bench, name: str, seconds: float) -> None:
    """Note the extreme of several rounds: the least for margins, the most for delays."""
    best = min if name.startswith("lost_before") else max
    bench.notes[name] = round(best(bench.notes.get(name, seconds), seconds), 2)


# --- 21 -------------------------------------------------------------------------------------------


class _Wire:
    """A rule that lets everything pass and notes what goes up: watches of the services, leases, proofs."""

    def __init__(self, root: str) -> None:
        self.seen: list[str] = []
        self._root = root.encode()

    def __call__(self, frame: Frame) -> Iterable[Any]:
        if frame.direction == "up":
            if frame.method == "Watch.Watch" and frame.message.HasField("create_request"):
                create = frame.message.create_request
                if create.key.startswith(self._root) and create.start_revision >= 0:  # the others are probes
                    self.seen.append("watch")
            elif frame.method in ("Lease.LeaseGrant", "Lease.LeaseKeepAlive"):
                self.seen.append("lease")
        return [frame.message]

    @property
    def blind(self) -> int:
        """How often a watch was opened twice without a look at the lease in between."""
        return sum(a == b == "watch" for a, b in zip(self.seen, self.seen[1:], strict=False))


@case(21, "lease-late-and-stream-reset", share=0.3)
async def lease_late_and_stream_reset(bench: Bench) -> None:
    """A sign of life is answered late, the lease is gone, the stream is reset, and the next watch is refused."""
    root = f"/services{bench.prefix}"
    relays = [RpcProxy(member.endpoint) for member in bench.cluster.members]
    store = EtcdStore([relay.address for relay in relays], proof_s=1.0)
    wire = _Wire(root)
    rounds = max(1, min(3, bench.events // 2500))
    try:
        await bench.start(endpoints=[relay.address for relay in relays])
        registry, steps = ServiceRegistry(store, root=root), _Steps()
        async with (
            registry.register(SERVICE, "one", "127.0.0.1:1", ttl_s=TTL_S, changed=steps) as registration,
            registry.watch(SERVICE, proof_s=1.0) as cache,
        ):
            joins = _Joins(cache)
            await bench.until(lambda: joins.has("one"), "the instance joins", 30)
            for _ in range(rounds):
                writing = asyncio.create_task(bench.write(bench.events // rounds))
                await _round(bench, relays, wire, registration, joins)
                await writing
        for relay in relays:
            relay.clear()
        bench.hurry()
        await bench.settle()
    finally:
        await store.close()
        for relay in relays:
            await asyncio.to_thread(relay.close)


async def _round(bench: Bench, relays: list[RpcProxy], wire: _Wire, registration: Registration, joins: _Joins) -> None:
    lease = registration.health().lease
    for relay in relays:
        relay.clear()
        relay.add(delay("Lease.LeaseKeepAlive", LATE_S))
        relay.add(wire)  # it sees the attempt before it is refused
        relay.add(refuse_watch(times=None))
    assert lease is not None, "it is registered and has no lease"  # noqa: S101
    try:
        await bench.writer.revoke(lease)
    except HerzError as error:
        raise AssertionError(f"the lease was gone before it was taken: {error}") from error
    began = time.monotonic()
    for relay in relays:
        await asyncio.to_thread(relay.restart)
    # An attempt that a later relay's restart has cut off was not refused; only from here on every watch is.
    wire.seen.clear()
    # No watch stands, whatever is tried. That must be said, within the deadline.
    await bench.until(lambda: not joins.cache.freshness.current, "the cache says that it is not current", 10)
    _least(bench, "said_stale_s", time.monotonic() - began)
    reason = joins.cache.freshness.reason
    assert reason, "it is stale and does not say why"  # noqa: S101
    await bench.until(
        lambda: registration.state is Registered.REGISTERED and registration.health().lease != lease,
        "a new lease is granted and registered",
        30,
    )
    # After many rounds the sessions wait up to 65 s for their next attempt.
    await bench.until(lambda: wire.seen.count("watch") >= 2, "the watch is tried again", 90)
    assert wire.blind == 0, f"a refused watch was opened again blindly: {wire.seen}"  # noqa: S101
    for relay in relays:
        relay.clear()
        relay.add(delay("Lease.LeaseKeepAlive", LATE_S))
    again = time.monotonic()
    await bench.until(
        lambda: joins.has("one") and joins.cache.freshness.current and registration.state is not Registered.LOST,
        "the cache has the instance again, and is current",
        90,
    )
    _least(bench, "current_again_s", time.monotonic() - again)
    # What it watches now is not silent: a change is seen.
    await registration.update(metadata={"round": str(time.monotonic())})
    await bench.until(
        lambda: any(one.metadata == registration.instance.metadata for one in joins.cache.instances()),
        "a change is seen",
        10,
    )
