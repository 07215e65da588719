"""Cases in which the store itself is not what it was."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from herz.store.base import Delete, DeletePrefix, Put, Txn
from herz.testing.fault_bench.bench import Bench
from herz.testing.fault_bench.case import case


class Pace:
    """How long a consumer takes for each change."""

    pause_s = 0.0

    def block(self) -> None:
        """As a listener of Herz, which has a thread of its own."""
        time.sleep(self.pause_s)

    async def sleep(self) -> None:
        """As a coroutine."""
        await asyncio.sleep(self.pause_s)


def resident_mib() -> float:
    """This process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@case(5, "compaction-in-the-gap")
async def compaction_in_the_gap(bench: Bench) -> None:
    """While the followers are cut off keys are put, deleted, and history is compacted."""
    await bench.start()
    await bench.write(bench.events // 2)
    await bench.settle()
    for proxy in bench.proxies:
        proxy.refuse()
        proxy.cut()
    await bench.write()
    await bench.writer.compact((await bench.writer.status()).revision)
    for proxy in bench.proxies:
        proxy.heal()


@case(10, "restored-behind")
async def restored_behind(bench: Bench) -> None:
    """The cluster is restored from a backup that is older than what the followers have seen."""
    await bench.start()
    await bench.write(bench.events // 2)
    backup = await bench.cluster.snapshot()
    revision, state = (await bench.writer.status()).revision, dict(bench.log.state)
    await bench.write(bench.events // 4)
    await bench.settle()
    await bench.restore(backup, revision, state)
    await bench.until(lambda: bench.hot.herz.snapshot.epoch == 1, "Herz begins a new epoch")
    await bench.write()


@case(11, "restored-and-overtaken")
async def restored_and_overtaken(bench: Bench) -> None:
    """The cluster is restored, and has more revisions than the followers had seen by the time they come back."""
    await bench.start()
    await bench.write(bench.events // 4)
    backup = await bench.cluster.snapshot()
    revision, state = (await bench.writer.status()).revision, dict(bench.log.state)
    await bench.write(bench.events // 4)
    await bench.settle()
    for proxy in bench.proxies:
        proxy.refuse()
        proxy.cut()
    seen = max(one.revision for one in bench.hot.heard)
    await bench.restore(backup, revision, state)
    await bench.write()
    while max(bench.log.written) <= seen:
        await bench.write(20)
    for proxy in bench.proxies:
        proxy.heal()
    await bench.until(lambda: bench.hot.herz.snapshot.epoch == 1, "Herz begins a new epoch")


@case(15, "slow-consumer", share=6)
async def slow_consumer(bench: Bench) -> None:
    """The consumer is slower than the writers, and history is compacted behind its back."""
    pace = Pace()
    await bench.start(consume=pace.block, naive_consume=pace.sleep)
    before = resident_mib()
    pace.pause_s = 0.02
    await bench.write()
    bench.notes["grown_mib"] = round(resident_mib() - before, 1)
    await bench.writer.compact((await bench.writer.status()).revision)
    pace.pause_s = 0.0


@case(19, "poison")
async def poison(bench: Bench) -> None:
    """A value that is not text, a document that is not YAML, the whole prefix deleted: what is good stays in force."""
    await bench.start()
    await bench.write(bench.events // 2)
    await bench.settle()
    good = dict(bench.hot.state)
    bad = f"{bench.prefix}bad"
    await bench.refused([Put(bad, b"\xff\xfe\x00")])
    await bench.refused([Put(f"{bench.prefix}doc.yml", b"a: [1, 2\nb: }")])
    assert bench.hot.state == good, "a bad value replaced a good one"  # noqa: S101  the verdict
    await bench.write(bench.events // 4)  # one bad key never holds up the others
    await bench.until(lambda: bench.hot.state.items() >= bench.log.state.items(), "the others go on")
    await bench.refused([Delete(bad), Delete(f"{bench.prefix}doc.yml")], becomes=lambda: len(bench.hot.rejected) >= 2)
    await bench.settle()
    good = dict(bench.hot.state)
    refused = len(bench.hot.rejected)
    emptied = (await bench.writer.txn(Txn(then=[DeletePrefix(bench.prefix)]))).revision
    await bench.until(lambda: len(bench.hot.rejected) > refused, "the sudden emptiness is refused")
    assert bench.hot.state == good, "an emptied prefix replaced what was good"  # noqa: S101  the verdict
    bench.log.state.clear()
    bench.log.refused.add(emptied)
    await bench.write()
