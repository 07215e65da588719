"""Herz on a real etcd, beside a bare watch of the same server: `python -m benchmarks.etcd`.

Writer, server and follower are processes of their own on this machine. The server keeps its data in memory where there
is /dev/shm, and does not wait for the disk if it can be told so: a slower server hides what a client costs.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from benchmarks._etcd_writer import PUTS, Writer, changing, server_of, versions, writing
from benchmarks._report import Row, bootstrap_ratio_interval, print_table
from benchmarks.workload import LEAVES, Process, quantile, ratio_row, say
from herz.testing.etcd_cluster import EtcdServer

# --- one put, seen -------------------------------------------------------------------------------


class Spells:
    """Marks put one after the other for one follower, and how long each took to be seen."""

    def __init__(self, writer: Writer, prefix: str, follower: Process, *, hot: bool) -> None:
        self._writer, self._prefix, self._follower, self._hot = writer, prefix, follower, hot
        self._number = 0
        self.seconds: list[float] = []
        self.work: dict[str, list[float]] = {"process": [], "engine": []}
        self.missed = 0

    def spell(self, puts: int, choose: random.Random) -> None:
        before = self._follower.ask("work") if self._hot else {}
        issued = self._writer.run(self._put(puts, choose))
        last = next(reversed(issued))
        deadline = time.monotonic() + 3
        while last not in (seen := self._follower.ask("seen")) and time.monotonic() < deadline:
            time.sleep(0.02)
        after = self._follower.ask("work") if self._hot else {}
        visible = deadline
        for mark in reversed(issued):  # it, or a newer one: two puts may be in force before whoever looks wakes up
            visible = min(visible, seen.get(mark, deadline))
            self.missed += visible == deadline
            self.seconds.append(visible - issued[mark])
        for name, values in self.work.items():
            if self._hot:
                values.append((after[name] - before[name]) / puts)

    async def _put(self, puts: int, choose: random.Random) -> dict[str, float]:
        issued: dict[str, float] = {}
        for _ in range(puts):
            await asyncio.sleep(choose.uniform(0.004, 0.012))
            self._number += 1
            mark = f"{self._prefix}{self._number}"
            issued[mark] = time.monotonic()
            await self._writer.store.put(f"{self._prefix}service/mark", mark.encode())
        return issued


def one_put(server: EtcdServer, leaves: int, spells: int, puts: int) -> list[Row]:
    """A put for a bare watch, and for Herz with 100 keys and with many, in turn."""
    with ExitStack() as stack:
        writer = stack.enter_context(writing(server.endpoints))
        sides: dict[str, Spells] = {}
        for name, size in {"raw": 100, "few": 100, "many": leaves}.items():
            prefix = f"/{name}/"
            writer.fill(prefix, size)
            kind = "etcd_raw" if name == "raw" else "etcd_hot"
            follower = stack.enter_context(Process(kind, server.endpoint, prefix))
            for question in ("watch",) if name == "raw" else ("start", "following", "look"):
                follower.ask(question)
            sides[name] = Spells(writer, prefix, follower, hot=name != "raw")
        choose = random.Random(5)
        for side in sides.values():  # warm
            side.spell(puts, choose)
            side.seconds.clear()
            for values in side.work.values():
                values.clear()
        for _ in range(spells):
            order = list(sides.values())
            choose.shuffle(order)
            for side in order:
                side.spell(puts, choose)
    raw, few, many = (sides[name] for name in ("raw", "few", "many"))
    rows = [_quantile_row(share, few, raw, most) for share, most in ((0.5, 1.3), (0.99, 1.5))]
    name = f"one of {leaves:,} keys changed in etcd, put → visible"
    rows.append(ratio_row(name, many.seconds, few.seconds, "100 keys", most=1.2, note=f"{many.missed} missed"))
    for thread, said in (("engine", "of Herz's thread"), ("process", "of the process")):
        rows.append(
            ratio_row(f"… CPU time {said} for it", many.work[thread], few.work[thread], "100 keys", unit="µs", most=1.2)
        )
    return rows


def _quantile_row(share: float, ours: Spells, raw: Spells, most: float) -> Row:
    ours_s, raw_s = quantile(ours.seconds, share), quantile(raw.seconds, share)
    ratio = ours_s / raw_s
    return Row(
        f"put → typed value visible, p{share * 100:.0f}",
        ours_s * 1e3,
        "ms",
        ratio,
        f"≤ {most:g} ×",
        ratio <= most and not ours.missed,
        f"of a bare watch, {raw_s * 1e3:.3g} ms; {len(ours.seconds)} puts each, {ours.missed} missed",
    )


# --- many events ---------------------------------------------------------------------------------


def sustained(server: EtcdServer, leaves: int, transactions: int, repeats: int) -> list[Row]:
    """Transactions written while somebody follows, and found as a backlog by one that stood still meanwhile.

    A bare watch, one that asks for what each event replaces, as many clients do and Herz does not, and Herz, each alone.
    """
    total = transactions * PUTS
    live: dict[str, list[float]] = {"raw": [], "previous": [], "herz": []}
    late: dict[str, list[float]] = {"raw": [], "previous": [], "herz": []}
    with writing(server.endpoints) as writer:
        writer.fill("/sustained/", leaves)
        for repeat in range(repeats):
            for name in sorted(live, reverse=bool(repeat % 2)):
                kind = "etcd_hot" if name == "herz" else "etcd_raw"
                with Process(kind, server.endpoint, "/sustained/") as follower:
                    if name == "herz":
                        follower.ask("start")
                        follower.ask("following")
                    else:
                        follower.ask("watch", name == "previous")
                    pairs = changing(leaves, transactions)
                    start = time.monotonic()
                    revision = writer.run(writer.transactions("/sustained/", pairs))
                    live[name].append(_all_came(follower, revision, total) - start)
                    pairs = changing(leaves, transactions)
                    with _Halted(follower):
                        revision = writer.run(writer.transactions("/sustained/", pairs))
                        start = time.monotonic()
                    late[name].append(_all_came(follower, revision, 2 * total) - start)
                    if name == "herz":
                        entry = writer.run(writer.store.get(f"/sustained/{pairs[-1][0]}"))
                        assert entry is not None
                        assert follower.ask("value", pairs[-1][0].replace("/", ".")) == entry.value.decode()
    version = ".".join(map(str, server.programs.version))
    return [
        *_rate_rows(f"events applied while they are written, etcd {version}", live, total, 0.5),
        *_rate_rows(f"events applied of a backlog of {total:,}, etcd {version}", late, total, None),
    ]


def _all_came(follower: Process, revision: int, events: int) -> float:
    """When the follower had everything."""
    if follower.name == "etcd_hot":
        return float(follower.ask("applied", revision))
    deadline = time.monotonic() + 300
    while (counted := follower.ask("count"))["events"] < events:
        assert time.monotonic() < deadline, f"{counted['events']} of {events} events came"
        time.sleep(0.01)
    return float(counted["last"])


class _Halted:
    """A process that stands still inside the block."""

    def __init__(self, process: Process) -> None:
        self._process = process._process

    def __enter__(self) -> _Halted:
        self._process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGCONT)


def _rate_rows(name: str, seconds: Mapping[str, Sequence[float]], events: int, least: float | None) -> list[Row]:
    rows: list[Row] = []
    for reference, said in (("raw", "a bare watch"), ("previous", "one that asks for the previous values too")):
        ratio, low, high = bootstrap_ratio_interval(seconds[reference], seconds["herz"])
        wanted = least if reference == "raw" else None
        rows.append(
            Row(
                name if reference == "raw" else "… against a watch that asks for previous values",
                events / statistics.median(seconds["herz"]),
                "/s",
                ratio,
                "" if wanted is None else f"≥ {wanted:g} ×",
                None if wanted is None else ratio >= wanted,
                f"of {said}, {events / statistics.median(seconds[reference]):,.0f} /s; {PUTS}-put transactions; "
                f"95 % interval {low:.3g} to {high:.3g}",
            )
        )
    return rows


# --- starting ------------------------------------------------------------------------------------


def cold(server: EtcdServer, leaves: int, repeats: int) -> list[Row]:
    """From `Herz(…)` to readable, each time in a new process, against a new process that only reads and decodes."""
    prefix = "/cold/"
    with writing(server.endpoints) as writer:
        writer.fill(prefix, leaves)
    ours: list[float] = []
    raw: dict[int, list[float]] = {1_000: [], 10_000: []}
    for repeat in range(repeats + 1):
        for page, found in raw.items():
            with Process("etcd_raw", server.endpoint, prefix) as process:
                seconds, count = process.ask("read", page)
                assert count == leaves + 1
                found += [seconds] if repeat else []
        with Process("etcd_hot", server.endpoint, prefix) as process:
            started = process.ask("start")
            assert started["leaves"] == leaves + 1, started
            ours += [started["seconds"]] if repeat else []
            process.ask("stop")
    return [
        ratio_row(
            f"cold start with {leaves:,} keys in etcd" if page == 1_000 else "… against larger pages",
            ours,
            found,
            f"a bare read in pages of {page:,}, decoded",
            most=1.5 if page == 1_000 else None,
            note="connecting included, imports done",
        )
        for page, found in raw.items()
    ]


def run(
    *,
    leaves: int = LEAVES,
    spells: int = 8,
    puts: int = 150,
    transactions: int = 2_000,
    repeats: int = 5,
) -> list[Row]:
    rows: list[Row] = []
    fewer = max(leaves // 10, 100)
    *older, newest = versions()
    for version in older:
        with server_of(version) as server:
            say(f"many transactions, etcd {version}")
            rows += sustained(server, fewer, max(transactions // 10, 20), min(repeats, 2))
    with server_of(newest) as server:
        say("one put, seen")
        rows += one_put(server, leaves, spells, puts)
        say("many transactions")
        rows += sustained(server, fewer, transactions, repeats)
        say("cold starts")
        return rows + cold(server, leaves, repeats)


if __name__ == "__main__":
    print_table(run())
