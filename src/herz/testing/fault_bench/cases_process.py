"""Cases in which the process itself is at fault: its listeners, its factories, its readers, and its end."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import signal
import sys
import threading
import time
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any, Final

from herz.app.herz import Herz
from herz.model.change import ChangeSet
from herz.store.base import Put, Txn
from herz.testing.fault_bench import victim
from herz.testing.fault_bench.bench import Bench
from herz.testing.fault_bench.case import case

READERS: Final = 8
"""Threads that read at once."""
WIDE: Final = 50
"""Keys of one transaction that bear one number."""


class Unlucky(Exception):
    """What the case's own code raises."""


# --- 16 -------------------------------------------------------------------------------------------


@case(16, "listener-factory-kill")
async def listener_factory_kill(bench: Bench) -> None:
    """A listener and a factory raise at random; a process is killed between applying and persisting."""
    await bench.start()
    await _raising(bench)
    await bench.settle()
    await _killed(bench)


async def _raising(bench: Bench) -> None:
    """Half of the case's keys, while a listener raises now and then and a factory refuses some values."""
    raised = [0, 0]
    refusing = True

    def unlucky(changes: ChangeSet) -> None:
        if bench.rng.random() < 0.2:
            raised[0] += 1
            raise Unlucky("a listener")

    bench.hot.herz.on_change()(unlucky)
    config = make_dataclass("Config", [("choice", int, 0)], frozen=True)
    bench.hot.herz.properties("scoped")(config)

    class Scoped:
        def __init__(self, config: Any) -> None:
            self.choice = config.choice
            if refusing and self.choice % 3 == 0:
                raised[1] += 1
                raise Unlucky("a factory")

    Scoped.__init__.__annotations__["config"] = config
    rounds = max(6, min(60, bench.events // 200))
    key = f"{bench.prefix}scoped/choice"
    await bench.txn([Put(key, b"1")])
    await bench.until(lambda: bench.hot.state.get(key) == "1", "the factory's first value")
    bench.hot.herz.refresh_scope(eager=True)(Scoped)
    bench.hot.herz.get(Scoped)
    for number in range(2, 2 + rounds):
        await bench.txn([Put(key, str(number).encode())])
        bench.written += 1
        await bench.write(max(1, bench.events // 2 // rounds))
        if number % 3:
            await bench.until(lambda wanted=number: bench.hot.herz.get(Scoped).choice == wanted, "the next good value")  # type: ignore[misc]
        elif bench.rng.random() < 0.5:
            await bench.until(lambda wanted=str(number): _refused(bench, key, wanted), "the refusal")  # type: ignore[misc]
    await bench.txn([Put(key, b"3")])
    await bench.until(lambda: bench.hot.herz.get(Scoped).choice % 3 != 0 and _refused(bench, key, "3"), "a refusal")
    newest = bench.session  # following goes on while something is refused
    assert str(newest.state) == "ACTIVE", f"a refused value ended the watch: {newest.error}"  # noqa: S101
    await bench.write(20)  # one bad value never holds up the others
    await bench.until(lambda: {**bench.hot.state, key: "3"} == bench.log.state, "the others go on")
    refusing = False
    bench.notes["refused_then_built_s"] = round(
        await bench.until(lambda: bench.hot.herz.get(Scoped).choice == 3, "the refused value is tried again"), 1
    )
    bench.log.refused |= {one.revision for one in bench.hot.rejected}
    bench.notes["listener_raised"], bench.notes["factory_raised"] = raised


def _refused(bench: Bench, key: str, value: str) -> bool:
    """Whether `value` is refused: the key is not at it, and health says so."""
    return bench.hot.state.get(key) != value and bench.hot.health.freshness == "REFUSED"


async def _killed(bench: Bench) -> None:
    """The other half, while a process with a last-good copy is killed again and again.

    Every transaction writes its number, eight values and their checksum. What the disk holds after a kill must be
    whole, and of the revision that it bears.
    """
    prefix, folder = f"{bench.prefix}kill/", bench.folder / "victim"
    folder.mkdir()
    numbers: dict[int, int] = {}
    number = 0

    async def write() -> None:
        nonlocal number
        number += 1
        values = {f"v{at}": f"{number}-{bench.rng.random()}" for at in range(8)}
        values["number"] = str(number)
        values["sum"] = _checksum(values)
        operations = [Put(prefix + key, value.encode()) for key, value in values.items()]
        revision = (await bench.writer.txn(Txn(then=operations))).revision
        bench.log.wrote(revision)
        bench.log.state.update({put.key: put.value.decode() for put in operations})
        bench.written += len(operations)
        numbers[revision] = number

    for _ in range(3):
        await write()
    kills = max(2, min(25, (bench.events - bench.written) // 400))
    share = max(20, (bench.events - bench.written) // 10 // kills)
    offline_ms = []
    held = 0
    for _ in range(kills):
        process = await _spawn(folder, bench.cluster.endpoints, prefix)
        try:
            await _told(process)  # it has started
            life_s = bench.rng.uniform(0.0, 0.9)
            doomed_s = time.monotonic() + life_s
            for _ in range(share):
                await write()
                await asyncio.sleep(life_s / share)
                if time.monotonic() > doomed_s:
                    break
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        if not (folder / "last-good").exists():
            continue  # killed before the first copy
        found = await _offline(folder, prefix)
        offline_ms.append(found["started_ms"])
        content = found["content"]
        assert content["sum"] == _checksum(content), f"torn content on disk at revision {found['revision']}"  # noqa: S101
        bears = max((at for at in numbers if at <= found["revision"]), default=0)
        wanted = numbers.get(bears)
        assert content["number"] == str(wanted), (  # noqa: S101
            f"the disk says revision {found['revision']}, whose number is {wanted}, and holds {content['number']}"
        )
        assert int(content["number"]) >= held, f"number {held} was on disk before {content['number']}"  # noqa: S101
        held = int(content["number"])
        assert found["freshness"] == "STALE", f"started from disk it says {found['freshness']}"  # noqa: S101
    bench.notes["kills"] = kills
    if offline_ms:
        bench.notes["offline_start_ms"] = min(offline_ms)


def _checksum(values: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps({k: v for k, v in sorted(values.items()) if k != "sum"}).encode()).hexdigest()


async def _spawn(folder: Path, endpoints: list[str], prefix: str, *options: str) -> asyncio.subprocess.Process:
    arguments = [sys.executable, "-m", victim.__name__, str(folder), ",".join(endpoints), prefix, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment
    )


async def _told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The line that says what was in force after the start."""
    assert process.stdout is not None  # noqa: S101  it is a pipe
    async with asyncio.timeout(60):
        while line := await process.stdout.readline():
            told: dict[str, Any] = json.loads(line)
            if "content" in told:
                return told
    raise AssertionError("the process ended without having started")


async def _offline(folder: Path, prefix: str) -> dict[str, Any]:
    """What a process puts in force that can reach no server."""
    process = await _spawn(folder, ["127.0.0.1:1"], prefix, "--once")
    try:
        return await _told(process)
    finally:
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


# --- 20 -------------------------------------------------------------------------------------------


class _Storm:
    """Threads that read through pins, and one that collects garbage, until told to stop."""

    def __init__(self, herz: Herz, model: type[Any]) -> None:
        self.reads = self.torn = self.backwards = self.collections = 0
        self.failures: list[BaseException] = []
        self._herz, self._model = herz, model
        self._names = [f"k{at}" for at in range(WIDE)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(READERS)]
        self._threads.append(threading.Thread(target=self._collect, daemon=True))
        self._counting = threading.Lock()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _read(self) -> None:
        reads = torn = backwards = 0
        newest: dict[int, int] = {}
        try:
            while not self._stop.is_set():
                with self._herz.pin():
                    before = self._herz.snapshot
                    config = self._herz.get(self._model)
                    seen = {getattr(config, name) for name in self._names}
                    time.sleep(0)  # others may swap generations here
                    after = self._herz.snapshot
                    seen.add(int(after[f"storm.{self._names[reads % WIDE]}"]))
                    again = self._herz.get(self._model)
                torn += len(seen) > 1 or again is not config or after is not before
                number, epoch = max(seen), before.epoch
                backwards += number < newest.get(epoch, 0)
                newest[epoch] = max(number, newest.get(epoch, 0))
                reads += 1
                if reads % 50 == 0:
                    time.sleep(0.001)  # eight threads that never rest leave the writers nothing
        except BaseException as failure:  # told by the case
            self.failures.append(failure)
        with self._counting:
            self.reads += reads
            self.torn += torn
            self.backwards += backwards

    def _collect(self) -> None:
        while not self._stop.wait(0.02):
            gc.collect()
            self.collections += 1


@case(20, "reader-storm", share=2)
async def reader_storm(bench: Bench) -> None:
    """Eight threads read through pins while generations of fifty keys swap and the garbage collector runs."""
    await bench.start()
    names = [f"k{at}" for at in range(WIDE)]

    async def write(number: int) -> None:
        await bench.txn([Put(f"{bench.prefix}storm/{name}", str(number).encode()) for name in names])
        bench.written += WIDE

    await write(0)
    await bench.until(lambda: f"{bench.prefix}storm/k0" in bench.hot.state, "the first generation")
    model = make_dataclass("Storm", [(name, int) for name in names], frozen=True)
    bench.hot.herz.properties("storm")(model)
    storm = _Storm(bench.hot.herz, model)
    storm.start()
    try:
        number = 0
        while bench.written < bench.events or number < 20:
            number += 1
            await write(number)
            if bench.rng.random() < 0.1:
                bench.rng.choice(bench.proxies).cut()
            await asyncio.sleep(0)
        await bench.settle()
    finally:
        await asyncio.to_thread(storm.stop)
    if storm.failures:
        raise AssertionError(f"a reader failed: {storm.failures[0]!r}") from storm.failures[0]
    bench.notes.update(
        reads=storm.reads, torn=storm.torn, backwards=storm.backwards, collections=storm.collections, swaps=number
    )
    assert storm.reads > 0, "nobody has read anything"  # noqa: S101
    assert storm.torn == 0, f"{storm.torn} of {storm.reads} pins saw two generations"  # noqa: S101
    assert storm.backwards == 0, f"{storm.backwards} reads saw an older number than the one before"  # noqa: S101
