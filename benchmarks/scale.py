"""How far one store and many nodes carry: measured pieces, and a release to a million instances simulated from them.

`python -m benchmarks.scale`. The pieces are measured here on real stores; what one node costs (a pushed frame, a taken
report) is what `benchmarks.delivery` measures, stated in `Parameters`. The simulation is a queue for each server core, seeded.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks._report import Row, print_table
from herz.release.record import encode
from herz.release.report import Report, Status
from herz.store.base import Changes, Put, Store, Txn
from herz.store.etcd.store import EtcdStore
from herz.store.plane import channel_key, report_key
from herz.store.sqlite import SqliteStore
from herz.testing.etcd_cluster import EtcdCluster

BATCH = 128
"""Reports that a node writes in one transaction."""
PEER_S = 14.5
"""What Facebook's Configerator took end to end, to hundreds of thousands of servers (SOSP 2015)."""
GATHER_S = 0.02
"""How long it gathers them."""


@dataclass(frozen=True)
class Parameters:
    """What a node, the network and an instance cost; seconds, on one core of the machine that measured them."""

    instances: int = 1_000_000
    streams_per_node: int = 10_000
    push_s: float = 40e-6
    """A node's work for one frame of one stream: the release's difference and the pointer."""
    report_s: float = 150e-6
    """A node's work for one report that comes by PUT."""
    apply_s: float = 5e-3
    """An instance's work from the frame to the swap, at the median."""
    wire_s: float = 1e-3
    """One way over the network, at the median; a tenth of the ways take several times that (log-normal, sigma 0.8)."""
    watch_s: float = 2e-3
    """A write of the channel until a node hears of it, without queueing."""
    notify_s: float = 20e-6
    """The store's work for each node that watches the channel."""
    batch_s: float = 0.01
    """The store's work for one transaction of 128 reports."""
    dead_nodes: float = 0.0
    """The share of nodes that are killed just before the write; their instances come back after 1 to 2 seconds."""


def run(*, batches: int = 60, watchers: int = 100, rounds: int = 20, instances: int = 1_000_000) -> list[Row]:
    """The measured pieces, then the simulation."""
    with tempfile.TemporaryDirectory() as folder, EtcdCluster(3) as cluster:
        sqlite_s = asyncio.run(_report_batches(lambda: SqliteStore(Path(folder) / "herz.db", create=True), batches))
        etcd_s = asyncio.run(_report_batches(lambda: EtcdStore(cluster.endpoints), batches))
        heard_s = asyncio.run(_heard(lambda: EtcdStore(cluster.endpoints), watchers, rounds))
    rows = [
        Row("128 reports in one transaction, SQLite", sqlite_s * 1e3, "ms", note=f"{BATCH / sqlite_s:,.0f} reports/s"),
        Row(
            "128 reports in one transaction, etcd of three members",
            etcd_s * 1e3,
            "ms",
            note=f"{BATCH / etcd_s:,.0f} reports/s; one writer at a time, all members on this machine",
        ),
        Row(
            f"a moved pointer until the last of {watchers} watching nodes heard it, etcd",
            heard_s * 1e3,
            "ms",
            note="as many watch streams on connections of their own, in this one process",
        ),
    ]
    measured = Parameters(instances=instances, batch_s=etcd_s, notify_s=heard_s / watchers)
    for name, parameters in {
        "": measured,
        ", one node in twenty killed": replace(measured, dead_nodes=0.05),
        ", 2,500 streams a node": replace(measured, streams_per_node=2_500),
    }.items():
        applied, reported, busiest_s = simulate(parameters)
        applied.sort()
        nodes = math.ceil(parameters.instances / parameters.streams_per_node)
        rows.append(
            Row(
                f"simulated: release → applied on {parameters.instances:,} instances, p99{name}",
                applied[int(0.99 * len(applied))],
                "s",
                target=f"≤ {PEER_S} s",
                ok=applied[int(0.99 * len(applied))] <= PEER_S,
                note=f"p50 {statistics.median(applied):.2f}, last {applied[-1]:.2f} s; {nodes} nodes, the busiest works "
                f"{busiest_s:.1f} s; every report stored after {reported:.0f} s",
            )
        )
    return rows


async def _report_batches(open_store: Callable[[], Store], batches: int) -> float:
    """The median seconds that a store takes for one transaction of `BATCH` reports."""
    store = open_store()
    lease = await store.grant(60)
    took: list[float] = []
    for batch in range(batches):
        puts = []
        for number in range(BATCH):
            name = f"web-{(batch * BATCH + number) % 5_000}"
            puts.append(Put(report_key("pay", "default", name), encode(_report(name, batch)), lease.id))
        started = time.perf_counter()
        await store.txn(Txn(then=tuple(puts)))
        took.append(time.perf_counter() - started)
    await store.revoke(lease.id)
    await store.close()
    return statistics.median(took)


def _report(instance: str, number: int) -> Report:
    return Report(
        instance=instance,
        app="pay",
        namespace="default",
        status=Status.APPLIED,
        time=datetime.now(UTC),
        patch_id="sha256:" + "0" * 64,
        config_version=number,
        digest="sha256:" + "1" * 64,
        fingerprint="sha256:" + "2" * 64,
        effective="sha256:" + "3" * 64,
        generation=number,
        labels={"zone": "eu-central-1a", "tenant": "hospital-berlin"},
    )


async def _heard(open_store: Callable[[], Store], watchers: int, rounds: int) -> float:
    """The median seconds from the write of a channel until the last watcher has it."""
    stores = [open_store() for _ in range(watchers)]
    writer, key = stores[0], channel_key("pay", "default")
    revision = await writer.put(key, b"{}")
    seen = [asyncio.Event() for _ in range(watchers)]

    async def follow(store: Store, event: asyncio.Event) -> None:
        async with store.watch(key, revision) as items:
            async for item in items:
                if isinstance(item, Changes):
                    event.set()

    tasks = [asyncio.create_task(follow(store, event)) for store, event in zip(stores, seen, strict=True)]
    took: list[float] = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        await writer.put(key, b'{"round":%d}' % number)
        await asyncio.wait_for(asyncio.gather(*[event.wait() for event in seen]), 30)
        took.append(time.perf_counter() - started)
        for event in seen:
            event.clear()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for store in stores:
        await store.close()
    return statistics.median(took[1:])  # in the first round the streams are still being opened


# --- the simulation -------------------------------------------------------------------------------


def simulate(parameters: Parameters, seed: int = 1) -> tuple[list[float], float, float]:
    """When each instance has applied, when the last report is stored, and the work of the busiest node, in seconds.

    A node has one core for pushes and reports, first come, first served: at the write it has a push for every stream to do.
    Reports are gathered into transactions, which the store's one writer takes in the order of their arrival.
    """
    rng = random.Random(seed)
    nodes = math.ceil(parameters.instances / parameters.streams_per_node)
    applied: list[float] = []
    transactions: list[float] = []
    busiest_s = 0.0
    for node in range(nodes):
        streams = min(parameters.streams_per_node, parameters.instances - node * parameters.streams_per_node)
        hears_s = parameters.watch_s + node * parameters.notify_s
        dead = node < parameters.dead_nodes * nodes
        times, stored, work_s = _node(parameters, rng, streams, hears_s, dead=dead)
        applied += times
        transactions += stored
        busiest_s = max(busiest_s, work_s)
    free_s = 0.0
    for arrives_s in sorted(transactions):
        free_s = max(free_s, arrives_s) + parameters.batch_s
    return applied, free_s, busiest_s


def _node(
    parameters: Parameters, rng: random.Random, streams: int, hears_s: float, *, dead: bool
) -> tuple[list[float], list[float], float]:
    """One node: when its instances have applied, when its transactions leave it, and how long it works."""
    wire, apply = math.log(parameters.wire_s), math.log(parameters.apply_s)
    free_s = hears_s
    applied: list[float] = []
    arriving: list[float] = []
    # The instances of a killed node come to others within the first step of the back-off, each when its wait is over.
    starts = sorted(1.0 + rng.random() for _ in range(streams)) if dead else [hears_s] * streams
    waiting: list[float] = []
    for starts_s in starts:
        free_s = max(free_s, starts_s) + parameters.push_s
        while waiting and waiting[0] <= free_s:  # reports that came meanwhile have their turn
            arriving.append(max(free_s, heapq.heappop(waiting)))
            free_s += parameters.report_s
        done_s = free_s + rng.lognormvariate(wire, 0.8) + rng.lognormvariate(apply, 0.5)
        applied.append(done_s)
        heapq.heappush(waiting, done_s + rng.lognormvariate(wire, 0.8))
    while waiting:
        free_s = max(free_s, heapq.heappop(waiting)) + parameters.report_s
        arriving.append(free_s)
    transactions: list[float] = []
    held = 0
    leaves_s = 0.0
    for arrives_s in arriving:
        if held == 0:
            leaves_s = arrives_s + GATHER_S
        held += 1
        if held == BATCH or arrives_s >= leaves_s:
            transactions.append(min(leaves_s, arrives_s) if held == BATCH else leaves_s)
            held = 0
    if held:
        transactions.append(leaves_s)
    return applied, transactions, streams * (parameters.push_s + parameters.report_s)


if __name__ == "__main__":
    print_table(run())
