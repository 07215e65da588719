"""Cases in which the wire breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from herz.model.change import Change
from herz.store.base import Put
from herz.testing.fault_bench.bench import Bench
from herz.testing.fault_bench.case import case
from herz.testing.rpc_proxy import RpcProxy
from herz.testing.rpc_rules import progress_before_events, reorder_events, replay_events, replay_old_events


@case(1, "stream-cut", share=4)
async def stream_cut(bench: Bench) -> None:
    """The connection is reset again and again while keys are written."""
    await bench.start()
    writing = asyncio.create_task(bench.write())
    while not writing.done():
        await asyncio.wait({writing}, timeout=bench.rng.uniform(0.05, 0.4))
        for proxy in bench.proxies:
            proxy.cut()
        await asyncio.sleep(0.02)
        bench.hurry()  # or it would sit in its back-off while most of the keys are written
    await writing


@case(3, "half-open")
async def half_open(bench: Bench) -> None:
    """Packets vanish on an open connection; nothing says that it is dead."""
    await bench.start(query="?proof=1s")
    await bench.write(bench.events // 3)
    await bench.settle()
    for proxy in bench.proxies:
        proxy.blackhole()
    bench.notes["stale_s"] = await bench.until(lambda: bench.hot.health.freshness == "STALE", "Herz says STALE", 10)
    await bench.write(bench.events // 3)
    for proxy in bench.proxies:
        proxy.heal(reset=True)
    await bench.write()


@case(2, "graceful-stop")
async def graceful_stop(bench: Bench) -> None:
    """Each member is stopped in order (GOAWAY) and started again while keys are written."""
    await bench.start()
    writing = asyncio.create_task(bench.write())
    for member in bench.cluster.members:
        await asyncio.sleep(bench.rng.uniform(0.1, 0.3))
        await member.stop()
        await member.restart()
        await bench.cluster.leader()
    await writing


@case(4, "fragment-cut")
async def fragment_cut(bench: Bench) -> None:
    """Revisions larger than a message is allowed to be are cut off between their fragments."""
    await bench.start()
    torn = 0

    def whole(changes: Iterable[Change]) -> None:
        nonlocal torn
        marks = {str(change.after).partition(":")[0] for change in changes if change.key.startswith("big.")}
        torn += len(marks) > 1

    bench.hot.herz.on_change("big")(whole)
    for number in range(12):
        size = 1_300_000 // 100
        operations = [Put(f"{bench.prefix}big/k{key}", f"{number}:{'x' * size}".encode()) for key in range(100)]
        for proxy in bench.proxies:
            proxy.cut_after(bench.rng.randrange(2_800_000))
        await bench.txn(operations)
        bench.written += len(operations)
        state = bench.hot.state
        torn += len({state[op.key].partition(":")[0] for op in operations if op.key in state}) > 1
        await asyncio.sleep(0.05)
    for proxy in bench.proxies:
        proxy.heal()
    await bench.settle()
    bench.notes["torn"] = torn
    assert torn == 0, f"{torn} revisions were seen in part"  # noqa: S101  the verdict


@case(13, "replayed-and-reordered")
async def replayed_and_reordered(bench: Bench) -> None:
    """A relay between sends messages twice, sends old ones again, and changes their order."""
    relays = [RpcProxy(member.endpoint) for member in bench.cluster.members]
    try:
        await bench.start(endpoints=[relay.address for relay in relays])
        for rule in (
            replay_events(probability=0.2, rng=bench.rng),
            replay_old_events(every=5),
            reorder_events(times=5),
        ):
            for relay in relays:
                relay.add(rule)
            await bench.write(bench.events // 4)
            await asyncio.sleep(0.5)
            for relay in relays:
                relay.clear()
            await bench.settle()
        await bench.write()
        await bench.settle()
        bench.notes["refused"] = bench.session.broken
    finally:
        for relay in relays:
            await asyncio.to_thread(relay.close)


@case(14, "progress-that-runs-ahead")
async def progress_that_runs_ahead(bench: Bench) -> None:
    """Progress notifications name revisions whose events are still on their way."""
    relays = [RpcProxy(member.endpoint) for member in bench.cluster.members]
    try:
        await bench.start(endpoints=[relay.address for relay in relays], query="?proof=1s")
        for relay in relays:
            relay.add(progress_before_events())
        await bench.write(bench.events // 2)
        await asyncio.sleep(1.0)
        for relay in relays:
            relay.clear()
        await bench.write()
        await bench.settle()
    finally:
        for relay in relays:
            await asyncio.to_thread(relay.close)
