"""The case of a fleet that loses its store all at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from typing import Final

from herz.errors import SourceUnavailable
from herz.model.document import Batch, Reset, Revision, replay
from herz.model.tree import Tree, leaves
from herz.sources.base import Item
from herz.sources.store import StoreSource
from herz.store.base import Changes, Put, Txn
from herz.testing.fault_bench.bench import Stage
from herz.testing.fault_bench.case import case
from herz.testing.fault_bench.tally import Count, Heard, Log, count
from herz.testing.memory_store import MemoryStore, Place
from herz.testing.virtual_time import run
from herz.watch.backoff import EXPONENTIAL
from herz.watch.core import State
from herz.watch.session import Session

FLEET: Final = 100
"""Sessions of each kind."""
DOWN_S: Final = 3600.0
"""How long the store is away, in virtual time."""
PREFIX: Final = "/config/fleet/"
PLAIN_RETRY_S: Final = 5.0
"""What a plain client waits between two tries, as every other one of its kind."""


class _Member:
    """One session of Herz, which notes what it is handed and when it tried to come back."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        clock = asyncio.get_running_loop().time
        self.heard: list[Heard] = []
        self.tries: list[float] = []
        self._place, self._clock, self._handled, self._epoch = place, clock, 0, 0
        self._tree: Tree
        self.source = StoreSource(MemoryStore(place, clock=clock), PREFIX)
        self.session = Session(self.source, self._deliver, self._applied, self._changed, clock=clock, chance=rng.random)

    async def start(self) -> None:
        document = await self.source.read()
        self._handled, self._tree = document.revision, document.tree
        self.task = asyncio.create_task(self.session.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.source.close()

    async def _applied(self) -> Revision:
        return self._handled

    def _changed(self, session: Session) -> None:
        if session.state is State.PENDING and self._place.down:
            self.tries.append(self._clock())

    async def _deliver(self, item: Item) -> None:
        if isinstance(item, Batch):
            self._tree = replay(self._tree, item.events)
            self.heard.append(Heard(item.revision, epoch=self._epoch))
        elif isinstance(item, Reset):
            self._tree = item.document.tree
            self._epoch += item.rewound
            self.heard.append(Heard(item.document.revision, reset=True, epoch=self._epoch))
        self._handled = item.document.revision if isinstance(item, Reset) else item.revision

    @property
    def state(self) -> dict[str, str]:
        return {PREFIX + "/".join(path): value for path, value in leaves(self._tree)}


class _Plain:
    """A plain client: tries again every five seconds, and goes on from now."""

    def __init__(self, place: Place) -> None:
        self.heard: list[Heard] = []
        self.tries: list[float] = []
        self._place = place

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        store = MemoryStore(self._place, clock=loop.time)
        while True:
            try:
                self.tries.append(loop.time())
                now = (await store.status()).revision
                async with store.watch(PREFIX, now) as changes:
                    async for change in changes:
                        if isinstance(change, Changes):
                            self.heard.append(Heard(change.revision))
            except SourceUnavailable:
                await asyncio.sleep(PLAIN_RETRY_S)


class _Story:
    """All of it, in virtual time."""

    def __init__(self, bench: Stage) -> None:
        self._bench, self._rng = bench, bench.rng
        self._place = Place()
        self.log = Log(0)

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        place, bench = self._place, self._bench
        self._writer = MemoryStore(place, clock=loop.time)
        await self._writer.put(PREFIX + "first", b"0")
        self.log.start = place.revision
        self.log.state[PREFIX + "first"] = "0"
        fleet = [_Member(place, random.Random(self._rng.random())) for _ in range(FLEET)]  # noqa: S311  a seed
        plain = [_Plain(place) for _ in range(FLEET)]
        tasks = [asyncio.create_task(one.run()) for one in plain]
        for one in fleet:
            await one.start()
        await self._write(bench.events // 3)
        await asyncio.sleep(EXPONENTIAL.healthy_s + 1)
        place.cut()
        await asyncio.sleep(EXPONENTIAL.healthy_s / 2)  # not healthy for long enough: the first try waits as well
        place.down = True
        place.cut()
        for _ in range(10):
            await asyncio.sleep(DOWN_S / 10)
            await self._write(bench.events // 30)
        degraded = sum(one.session.degraded for one in fleet)
        place.down = False
        came_back = loop.time()
        late = 0.0
        for one in fleet:
            while one.session.state is not State.ACTIVE or one.state != self.log.state:
                await asyncio.sleep(0.25)
                assert loop.time() < came_back + 200, f"a session never recovered: {one.session.error}"  # noqa: S101
            late = max(late, loop.time() - came_back)
        await self._write(bench.events - bench.written)
        await asyncio.sleep(10)
        self._verdict(fleet, plain, degraded, late)
        for one in fleet:
            await one.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bench.counted = {
            "naive": _total(count(self.log, one.heard) for one in plain),
            "herz": _total(count(self.log, one.heard) for one in fleet),
        }

    async def _write(self, events: int) -> None:
        while events > 0:
            keys = self._rng.sample(range(64), min(events, self._rng.choice((1, 1, 2, 8))))
            events -= len(keys)
            self._bench.written += len(keys)
            puts = [Put(f"{PREFIX}k{key}", f"v{self._rng.random()}".encode()) for key in keys]
            down, self._place.down = self._place.down, False  # the store is away for the fleet, not for the writer
            result = await self._writer.txn(Txn(then=puts))
            self._place.down = down
            self.log.wrote(result.revision)
            self.log.state.update({put.key: put.value.decode() for put in puts})
            if not down:
                await asyncio.sleep(0.01)

    def _verdict(self, fleet: list[_Member], plain: list[_Plain], degraded: int, late: float) -> None:
        assert degraded == FLEET, f"only {degraded} of {FLEET} sessions said that they are degraded"  # noqa: S101
        for one in fleet:
            gaps = [after - before for before, after in zip(one.tries, one.tries[1:], strict=False)]
            first = gaps[: EXPONENTIAL.retries]
            floors = [2.0 ** min(number, 6) for number in range(EXPONENTIAL.retries)]
            # Each attempt fails at once, so the time between two of them is the wait between.
            fits = all(floor <= gap <= floor + 1.01 for floor, gap in zip(floors[1:], first, strict=False))
            assert fits, f"retries after {[round(gap, 1) for gap in first]} s, and not after {floors[1:]} s"  # noqa: S101
            assert max(gaps) < 65, f"a session waited {max(gaps):.1f} s"  # noqa: S101
        peak = {}
        for name, clients in (("herz", fleet), ("plain", plain)):
            seconds = Counter(int(at) for one in clients for at in one.tries if DOWN_S / 2 < at < DOWN_S)
            peak[name] = max(seconds.values(), default=0)
            self._bench.notes[f"{name}_arrivals_peak_per_s"] = peak[name]
        # 100 sessions that try every 32 s on average: three arrivals a second.
        assert peak["herz"] <= FLEET / 5, f"{peak['herz']} of {FLEET} sessions came in one second"  # noqa: S101
        self._bench.notes["recovered_within_s"] = round(late, 1)


def _total(counts: Iterable[Count]) -> Count:
    total = Count()
    for one in counts:
        total = total + one
    return total


@case(8, "herd", share=0.1, cluster=False)
async def herd(bench: Stage) -> None:
    """A hundred sessions lose their store at the same moment, for an hour of virtual time."""
    await asyncio.to_thread(run, _Story(bench).main())
