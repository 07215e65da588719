"""The case of ZooKeeper: an older data folder put back, sessions that end, a znode deleted and made again.

ZooKeeper keeps the latest state only. So what counts as lost here is a transaction that was neither handed on nor
covered by a change set marked `reset`, as everywhere; values in between may be gone, when that is said.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from herz.sources.zookeeper import ZookeeperSource
from herz.testing.fault_bench.bench import Stage
from herz.testing.fault_bench.case import case
from herz.testing.fault_bench.hot import HotClient
from herz.testing.fault_bench.tally import Heard, Log, count
from herz.testing.fault_proxy import FaultProxy
from herz.testing.zookeeper import ZookeeperEnsemble

ROOT: Final = "/faults/zookeeper"
PATH: Final = f"{ROOT}/"
KEYS: Final = 24
CONNECT_S: Final = 30.0
FOUND_S: Final = 60.0


class _Kazoo(Protocol):
    """What is used of a client of kazoo's."""

    client_id: tuple[int, bytes]

    def __getattr__(self, name: str) -> Any: ...


def _connected(hosts: str, **options: Any) -> _Kazoo:
    from kazoo.client import KazooClient

    client: _Kazoo = KazooClient(hosts, timeout=3.0, **options)
    client.start(CONNECT_S)
    return client


def _end(client: _Kazoo) -> None:
    client.stop()
    client.close()


class _Writer:
    """Writes transactions, each of which sets the znode `number`, so that its zxid is known."""

    def __init__(self, stage: Stage, log: Log, hosts: str) -> None:
        self._stage, self._log, self._hosts = stage, log, hosts
        self._zk = _connected(hosts)

    def begin(self) -> None:
        """Make the path, and let the log begin there."""
        self._zk.ensure_path(ROOT)
        self._zk.create(f"{PATH}number", b"0")
        self._zk.create(f"{PATH}again", b"v-first")
        self._log.start = self._zk.get(f"{PATH}again")[1].mzxid
        self._log.state.update({f"{PATH}number": "0", f"{PATH}again": "v-first"})

    def write(self, keys: int, pause_s: float = 0.0) -> None:
        """Transactions of 1 to 8 keys, a tenth of them deletions, until so many are written; rests after each."""
        rng = self._stage.rng
        while keys > 0:
            slots = rng.sample(range(KEYS), min(keys, rng.choice((1, 1, 1, 2, 8))))
            keys -= len(slots)
            changes: dict[str, str | None] = {}
            for slot in slots:
                key = f"{PATH}k{slot}"
                gone = key in self._log.state and rng.random() < 0.1
                changes[key] = None if gone else f"v{rng.random()}"
            self.commit(changes)
            time.sleep(pause_s)

    def commit(self, changes: dict[str, str | None]) -> None:
        """One transaction."""
        log = self._log
        transaction = self._zk.transaction()
        for key, value in changes.items():
            if value is None:
                transaction.delete(key)
            elif key in log.state:
                transaction.set_data(key, value.encode())
            else:
                transaction.create(key, value.encode())
        number = str(int(log.state[f"{PATH}number"]) + 1)
        transaction.set_data(f"{PATH}number", number.encode())
        results = transaction.commit()
        for result in results:
            if isinstance(result, Exception):
                raise result
        log.wrote(results[-1].mzxid)
        log.state[f"{PATH}number"] = number
        for key, value in changes.items():
            if value is None:
                log.state.pop(key, None)
            else:
                log.state[key] = value
        self._stage.written += len(changes)

    def recreate(self, key: str, value: str) -> int:
        """Delete a znode and make it again, so that its version is what it was; the version."""
        self.commit({key: None})
        self.commit({key: value})
        return int(self._zk.get(key)[1].version)

    def reconnect(self) -> None:
        _end(self._zk)
        self._zk = _connected(self._hosts)

    def close(self) -> None:
        _end(self._zk)


class _Plain:
    """A plain client: kazoo's own recipes, a watch on the children and one on the data of each."""

    def __init__(self, hosts: str) -> None:
        self.heard: list[Heard] = []
        self._got: set[int] = set()
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self.zk = _connected(hosts)
        self.zk.ChildrenWatch(ROOT)(self._family)
        self._begun = True

    _begun = False

    def _family(self, names: list[str]) -> None:
        for name in set(names) - self._known:
            self._known.add(name)
            self.zk.DataWatch(f"{PATH}{name}")(self._value)

    def _value(self, data: bytes | None, stat: Any) -> None:
        with self._lock:
            if stat is not None and self._begun and stat.mzxid not in self._got:
                self._got.add(stat.mzxid)
                self.heard.append(Heard(stat.mzxid))


@case(12, "zookeeper", share=0.2, cluster=False)
async def zookeeper(stage: Stage) -> None:
    """ZooKeeper: sessions end, a znode is deleted and made again at version 0, an older data folder is put back."""
    loop = asyncio.get_running_loop()
    ensemble = await asyncio.to_thread(ZookeeperEnsemble)
    closing: list[Callable[[], object]] = [ensemble.close]
    source: ZookeeperSource | None = None
    hot: HotClient | None = None
    try:
        log = Log(0)
        said = await asyncio.to_thread(ensemble.servers[0].command, "srvr")
        stage.servers["ZooKeeper"] = said.partition("version: ")[2].partition("-")[0]
        writer = await asyncio.to_thread(_Writer, stage, log, ensemble.hosts)
        closing.append(writer.close)
        await asyncio.to_thread(writer.begin)
        proxy = FaultProxy(ensemble.servers[0].address, rng=stage.rng)
        closing.append(proxy.close)
        source = ZookeeperSource.from_url(f"zookeeper://{proxy.address}{ROOT}?proof=1.5&session=3")
        hot = HotClient([source], PATH)
        await hot.start()
        plain = await asyncio.to_thread(_Plain, proxy.address)
        closing.append(lambda: _end(plain.zk))
        await _story(stage, _Faults(ensemble, proxy, writer, log, hot, source, plain))
        stage.counted = {
            "naive": count(log, list(plain.heard), rewinds=log.rewinds),
            "herz": count(log, list(hot.heard), rewinds=log.rewinds),
        }
        stage.notes["resets"] = sum(heard.reset for heard in hot.heard)
        stage.notes["single_revisions"] = len(hot.heard) - stage.notes["resets"]
    finally:
        if hot is not None:
            await hot.stop()
        if source is not None:
            await source.close()
        for close in reversed(closing):
            await loop.run_in_executor(None, close)


class _Faults:
    """What the story plays with."""

    def __init__(
        self,
        ensemble: ZookeeperEnsemble,
        proxy: FaultProxy,
        writer: _Writer,
        log: Log,
        hot: HotClient,
        source: ZookeeperSource,
        plain: _Plain,
    ) -> None:
        self.ensemble, self.proxy, self.writer, self.log = ensemble, proxy, writer, log
        self.hot, self.source, self.plain = hot, source, plain

    def end_sessions(self) -> None:
        """Have both followers' sessions ended by the server: somebody else closes them."""
        mirror = self.source._mirror  # the bench looks inside
        ours = [] if mirror is None else [mirror.connection._client.client_id]
        for client_id in (*ours, self.plain.zk.client_id):
            _end(_connected(self.ensemble.hosts, client_id=client_id))


async def _story(stage: Stage, at: _Faults) -> None:
    writer, hot, log = at.writer, at.hot, at.log
    share = max(10, stage.events // 6)

    async def write(pause_s: float = 0.0) -> None:
        await asyncio.to_thread(writer.write, share, pause_s)

    async def settle(what: str) -> None:
        await stage.until(lambda: hot.state == log.state, f"Herz holds what ZooKeeper holds, {what}", FOUND_S)
        await stage.until(lambda: hot.has_heard(max(log.written)), f"Herz has heard the newest of it, {what}", FOUND_S)

    await write(0.02)  # slowly enough for each to be seen
    await settle("at first")
    for _ in range(max(1, min(10, stage.events // 2000))):
        writing = asyncio.create_task(write())
        await asyncio.sleep(stage.rng.uniform(0.0, 0.2))
        await asyncio.to_thread(at.end_sessions)
        await writing
        await settle("after its session was ended")
    # A znode that was deleted and made again while nobody looked has the version that it had.
    at.proxy.refuse()
    at.proxy.cut()
    version = await asyncio.to_thread(writer.recreate, f"{PATH}again", "v-second")
    assert version == 0, f"the new znode has version {version}"  # noqa: S101  or the case shows nothing
    at.proxy.heal()
    await settle("after a znode was deleted and made again")
    # A session that expires while nothing goes through.
    at.proxy.blackhole()
    await write()
    await stage.until(lambda: hot.health.freshness == "STALE", "behind a broken wire Herz says STALE", 20)
    await asyncio.sleep(3.0)
    at.proxy.heal(reset=True)
    await settle("after its session expired")
    await _restored(stage, at, write, settle)


async def _restored(stage: Stage, at: _Faults, write: Any, settle: Any) -> None:
    """An older data folder is put back."""
    copy = await asyncio.to_thread(at.ensemble.backup)
    await asyncio.to_thread(at.writer.reconnect)
    revision, state = max(at.log.written), dict(at.log.state)
    await settle("after a restart with its own data")
    epoch = at.hot.herz.snapshot.epoch
    assert epoch == 0, "a restart with the same data was taken for a rewind"  # noqa: S101  the verdict
    await write()
    await settle("before the restore")
    await asyncio.to_thread(at.ensemble.restore, copy)
    at.log.restored(revision, state)
    await asyncio.to_thread(at.writer.reconnect)
    await stage.until(lambda: at.hot.herz.snapshot.epoch == 1, "Herz begins a new epoch", FOUND_S)
    await settle("after the restore")
    await write()
    await settle("at the end")
