"""Herz on a real etcd when something fails, and what its own connection costs: `python -m benchmarks.etcd_faults`.

All servers are down, the member that is watched is killed, a listener blocks while events pile up. That one connection
may fail without the others is why each session has its own; what that takes is measured here as well.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks._etcd_writer import PUTS, changing, server_of, versions, writing
from benchmarks._report import Row, print_table
from benchmarks.workload import LEAVES, Process, limit_row, quantile, say
from herz.errors import HerzError
from herz.testing.etcd_cluster import EtcdCluster, EtcdServer

HEALTHY_S: Final = 10.5
"""After so long a session's first reconnect is immediate."""


# --- every server down ----------------------------------------------------------------------------


def without_servers(sizes: Sequence[int], repeats: int) -> list[Row]:
    """From `Herz(…)` to readable while nobody listens at the three endpoints, from the copy on disk."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder) / f"{size}.json"
            with EtcdCluster(3) as cluster:
                with writing(cluster.endpoints) as writer:
                    writer.fill("/gone/", size)
                endpoints = ",".join(cluster.endpoints)
                with Process("etcd_hot", endpoints, "/gone/", path) as process:
                    for question in (("start",), ("kept", str(path)), ("stop",)):
                        process.ask(*question)
                for member in cluster.members:  # their ports stay taken, and refuse
                    member.kill()
                seconds, said = [], set()
                for _ in range(repeats + 1):
                    with Process("etcd_hot", endpoints, "/gone/", path) as process:
                        started = process.ask("start")
                        assert (started["leaves"], started["mark"]) == (size + 1, "start"), started
                        seconds.append(started["seconds"])
                        said.add(started["freshness"])
                        process.ask("stop")
            row = limit_row(
                f"cold start from disk, {size:,} keys, all three servers down",
                seconds[1:],
                "ms",
                100,
                note=f"says {', '.join(said)}; connections are refused",
            )
            rows.append(row if said == {"STALE"} else Row(row.name, row.value, "ms", None, row.target, False, row.note))
    return rows


# --- a member killed -----------------------------------------------------------------------------


def killed(kills: int, pause_s: float = HEALTHY_S) -> list[Row]:
    """The member that Herz watches is killed while a key is written every 5 ms."""
    prefix = "/killed/"
    reconnected: list[float] = []
    visible: list[float] = []
    leaders = 0
    with ExitStack() as stack:
        cluster = stack.enter_context(EtcdCluster(3))
        writer = stack.enter_context(
            writing(cluster.endpoints, 0.3)
        )  # a follower keeps what the dead leader should have
        writer.fill(prefix, 100)
        hot = stack.enter_context(Process("etcd_hot", ",".join(cluster.endpoints), prefix))
        for question in ("start", "following", "listen", "look"):
            hot.ask(question)
        marks: dict[str, float] = {}
        acknowledged: list[str] = []
        over = threading.Event()

        async def put_on() -> None:
            while not over.is_set():
                mark = f"m{len(marks)}"
                marks[mark] = time.monotonic()
                try:
                    await writer.store.put(f"{prefix}service/mark", mark.encode())
                    acknowledged.append(mark)
                except HerzError:  # the member that it was sent to is gone; whether it was written is not known
                    pass
                await asyncio.sleep(0.005)

        putting = writer.begin(put_on())
        for _ in range(kills):
            time.sleep(pause_s)
            endpoint = hot.ask("endpoint")
            (member,) = (member for member in cluster.members if member.endpoint == endpoint)
            leaders += asyncio.run(cluster.leader()) is member
            at = time.monotonic()
            member.kill()
            visible.append(_newer(hot, marks, at) - at)
            active = [when for when, state in hot.ask("states") if state == "ACTIVE" and when > at]
            reconnected.append(active[0] - at)
            asyncio.run(member.start())
        over.set()
        putting.result(60)
        time.sleep(0.5)
        heard = hot.ask("heard")
    delivered = set(heard["marks"])
    lost = sum(mark not in delivered for mark in acknowledged)
    twice = len(heard["marks"]) - len(delivered)
    ordered = heard["marks"] == sorted(heard["marks"], key=lambda mark: int(mark[1:]))
    p99 = quantile(reconnected, 0.99)
    note = (
        f"slowest of {kills}, p50 {statistics.median(reconnected):.2g} s; until a value written after the kill is "
        f"visible p50 {statistics.median(visible):.2g}, slowest {max(visible):.2g} s ({leaders} were leaders); "
        f"{lost} of {len(acknowledged):,} lost, {twice} twice, {'in' if ordered else 'out of'} order; "
        f"{pause_s:g} s between kills"
    )
    ok = p99 <= 2 and not lost and not twice and ordered and not heard["resets"]
    return [Row("connected member killed → watching again, p99", p99, "s", None, "≤ 2 s", ok, note)]


def _newer(hot: Process, marks: Mapping[str, float], at: float) -> float:
    """When a mark that was put after `at` was seen first."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [when for mark, when in hot.ask("seen").items() if marks.get(mark, 0.0) > at]
        if found:
            return min(found)
        time.sleep(0.02)
    raise TimeoutError("nothing newer was seen within 30 s of a kill")


# --- a slow listener -----------------------------------------------------------------------------


def slow_listener(server: EtcdServer, events: int, puts: int) -> list[Row]:
    """Changes arrive while a listener blocks: what that takes, and whether all are heard in the end."""
    prefix = f"/slow{puts}/"
    leaves = 1_000
    with ExitStack() as stack:
        writer = stack.enter_context(writing(server.endpoints))
        writer.fill(prefix, leaves)
        hot = stack.enter_context(Process("etcd_hot", server.endpoint, prefix))
        for question in ("start", "following", "listen"):
            hot.ask(question)
        warm = writer.run(writer.transactions(prefix, changing(leaves, 50, puts), puts))
        hot.ask("applied", warm)
        _heard(hot, 50 * puts)
        idle = hot.ask("memory")["now"]
        hot.ask("slow", 3600)
        hot.ask("forget_peak")
        revision = writer.run(writer.transactions(prefix, changing(leaves, events // puts, puts), puts))
        hot.ask("applied", revision)
        found = hot.ask("memory")
        hot.ask("slow", 0)
        heard = _heard(hot, (50 + events // puts) * puts)
    above = found["most"] - idle
    return [
        Row(
            f"memory with {events:,} events behind a blocked listener, {puts} per revision",
            above,
            "MiB",
            None,
            "≤ 64 MiB",
            above <= 64 and heard["events"] == (50 + events // puts) * puts,
            f"peak above idle, {idle:.0f} MiB; {found['now'] - idle:.0f} at the end; "
            f"{heard['events'] - 50 * puts:,} heard afterwards, {heard['resets']} resets",
        )
    ]


def _heard(hot: Process, events: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (heard := hot.ask("heard"))["events"] < events and time.monotonic() < deadline:
        time.sleep(0.05)
    return dict(heard)


# --- a connection for each session ---------------------------------------------------------------


def connections(server: EtcdServer, counts: Sequence[int], puts: int) -> list[Row]:
    """What many watches take with a connection each, over one shared, and as Herz's sessions with their proofs."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    with writing(server.endpoints) as writer:
        for count in counts:
            for kind in ("shared", "own", "herz"):
                prefix = f"/{kind}{count}/"
                writer.fill(prefix, 100)
                with Process("etcd_sessions", server.endpoint, prefix) as process:
                    process.ask("open", "shared", 1)  # what grpc itself takes
                    before, server_before = process.ask("standing"), _server_memory(server)
                    opened = process.ask("open", kind, count)
                    start = process.ask("standing")
                    for number in range(puts):
                        writer.run(writer.store.put(f"{prefix}service/mark", str(number).encode()))
                    wanted = start["seen"] + puts * (count + 1)
                    deadline = time.monotonic() + 30
                    while (after := process.ask("standing"))["seen"] < wanted:
                        assert time.monotonic() < deadline, (kind, count, after, wanted)
                        time.sleep(0.02)
                    found[kind, count] = {
                        "opened": opened["seconds"] / count * 1e3,
                        "memory": (opened["memory"] - before["memory"]) * 1024 / count,
                        "server": (_server_memory(server) - server_before) * 1024 / count,
                        "cpu": (after["process"] - start["process"]) / (puts * (count + 1)) * 1e6,
                    }
                    time.sleep(0.2)
    rows: list[Row] = []
    for count in counts:
        shared, own, herz = (found[kind, count] for kind in ("shared", "own", "herz"))
        note = "; ".join(
            f"{name}: {side['opened']:.2g} ms to open, {side['memory']:,.0f} KiB here, {side['server']:,.0f} KiB in etcd, "
            f"{side['cpu']:,.0f} µs of CPU per event"
            for name, side in (("own", own), ("shared", shared), ("Herz's, with proofs", herz))
        )
        sessions = f"{count} sessions" if count > 1 else "one session"
        rows.append(
            Row(
                f"a connection of its own instead of a shared one, {sessions}",
                own["memory"] - shared["memory"],
                "KiB",
                note=note,
            )
        )
    return rows


def _server_memory(server: EtcdServer) -> float:
    fields = Path(f"/proc/{server.member.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(
    *,
    leaves: int = LEAVES,
    repeats: int = 5,
    kills: int = 12,
    pause_s: float = HEALTHY_S,
    events: int = 100_000,
    sessions: Sequence[int] = (1, 10, 50),
) -> list[Row]:
    rows: list[Row] = []
    with server_of(versions()[-1]) as server:
        say("a blocked listener")
        for puts in (PUTS, 10):
            rows += slow_listener(server, events, puts)
        say("connections")
        rows += connections(server, sessions, 20)
    say("every server down")
    rows += without_servers((1_000, leaves), repeats)
    say("a member killed")
    return rows + killed(kills, pause_s)


if __name__ == "__main__":
    print_table(run())
