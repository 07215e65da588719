"""Lost connections, expired sessions, restored data, killed leaders: what a source tells, and a session makes of it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from contextlib import suppress

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OperationTimeoutError,
    SessionExpiredError,
)
from kazoo.retry import KazooRetry

from herz.errors import SourceUnavailable
from herz.model.document import Batch, Progress, Reset, replay
from herz.model.tree import EMPTY
from herz.sources.base import Item
from herz.sources.zookeeper import ZookeeperSource
from herz.testing.fault_proxy import FaultProxy
from herz.testing.zookeeper import ZookeeperEnsemble
from herz.watch.core import State
from herz.watch.session import Session

LOST = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, ConnectionClosedError)


class Oracle:
    """Follows a source through a real session with short waits, and notes everything that is delivered."""

    def __init__(self, source: ZookeeperSource) -> None:
        self.source = source
        self.items: list[Batch | Reset] = []
        self.tree = EMPTY
        self.epoch = 0
        self.faults: list[str] = []
        self._revision = -1
        self._moved = asyncio.Condition()
        self.session = Session(
            source, self._deliver, self._applied, sleep=lambda wait_s: asyncio.sleep(min(wait_s, 0.05))
        )

    async def __aenter__(self) -> Oracle:
        document = await self.source.read()
        self._revision, self.tree = document.revision, document.tree
        self._task = asyncio.create_task(self.session.run())
        await self.until(lambda: self.session.state is State.ACTIVE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.source.close()

    async def _applied(self) -> int:
        return self._revision

    async def _deliver(self, item: Item) -> None:
        revision = item.document.revision if isinstance(item, Reset) else item.revision
        if isinstance(item, Reset) and item.rewound:
            self.epoch += 1
        elif isinstance(item, Batch) and revision <= self._revision:
            self.faults.append(f"{revision} after {self._revision}")
        elif revision < self._revision:
            self.faults.append(f"back from {self._revision} to {revision}")
        self._revision = revision
        if isinstance(item, Batch | Reset):
            self.tree = item.document.tree
            self.items.append(item)
        async with self._moved:
            self._moved.notify_all()

    async def until(self, holds, limit_s: float = 40.0) -> None:
        async with asyncio.timeout(limit_s):
            while not holds():
                async with self._moved:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._moved.wait(), 0.02)


@pytest.fixture
def proxy(server: ZookeeperEnsemble):
    with FaultProxy(server.servers[0].address) as found:
        yield found


def through(proxy: FaultProxy, path: str, **options: object) -> ZookeeperSource:
    query = "&".join(f"{name}={value}" for name, value in {"proof": 1.5, "session": 3, **options}.items())
    return ZookeeperSource.from_url(f"zookeeper://{proxy.address}{path}?{query}")


async def test_a_cut_connection_ends_the_stream_with_its_reason(zk, path, proxy):
    source = through(proxy, path)
    document = await source.read()

    async def followed() -> None:
        async with asyncio.timeout(10), source.follow(document.revision) as items:
            proxy.cut()
            while isinstance(await anext(items), Progress):
                pass

    with pytest.raises(SourceUnavailable, match="connection was lost"):
        await followed()
    await source.close()


async def test_what_changed_while_it_was_cut_off_is_told_once(zk, path, proxy):
    zk.create(f"{path}/a", b"0")
    zk.create(f"{path}/b", b"0")
    async with Oracle(through(proxy, path)) as oracle:
        for number in range(1, 6):
            proxy.refuse()
            proxy.cut()
            zxid = zk.set(f"{path}/a", str(number).encode()).mzxid
            proxy.heal()
            await oracle.until(lambda expected=str(number): oracle.tree["a"] == expected)
            assert isinstance(oracle.items[-1], Batch)
            assert oracle.items[-1].revision == zxid
        assert len(oracle.items) == 5
        assert not oracle.faults
        assert oracle.session.rewinds == oracle.session.resets == 0


async def test_a_session_that_expired_is_replaced_and_watches_anew(server, zk, path):
    zk.create(f"{path}/a", b"0")
    source = ZookeeperSource.from_url(f"zookeeper://{server.hosts}{path}?proof=1.5")
    async with Oracle(source) as oracle:
        for number in range(1, 6):
            mirror = source._mirror
            assert mirror is not None
            thief = KazooClient(server.hosts, client_id=mirror.connection._client.client_id)
            thief.start()
            thief.stop()  # ends the session that both have
            thief.close()
            zk.set(f"{path}/a", str(number).encode())
            await oracle.until(lambda expected=str(number): oracle.tree["a"] == expected)
            await oracle.until(lambda former=mirror: source._mirror is not former)
        assert [item.document.tree["a"] for item in oracle.items] == ["1", "2", "3", "4", "5"]
        assert not oracle.faults


async def test_a_silent_server_is_noticed_within_the_proof_time(zk, path, proxy):
    zk.create(f"{path}/a", b"0")
    async with Oracle(through(proxy, path, proof=1, call=2)) as oracle:
        started = time.monotonic()
        proxy.blackhole()
        await oracle.until(lambda: oracle.session.state is not State.ACTIVE)
        assert time.monotonic() - started < 5
        zk.set(f"{path}/a", b"1")
        proxy.heal()
        await oracle.until(lambda: oracle.tree["a"] == "1")
        assert not oracle.faults


async def test_an_unreachable_server_is_unavailable_with_the_reason(zk, path, proxy):
    proxy.refuse()
    source = through(proxy, path, dial=0.5)
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match="no ZooKeeper server took us in"):
        await source.read()
    assert time.monotonic() - started < 3
    source = ZookeeperSource.from_url("zookeeper://no-such-host.invalid/config?dial=0.5")
    with pytest.raises(SourceUnavailable, match=r"no-such-host\.invalid"):
        await source.read()


@pytest.mark.slow
async def test_a_server_put_back_to_an_older_copy_starts_a_new_epoch():
    with ZookeeperEnsemble() as ensemble:
        with _writer(ensemble) as zk:
            zk.create("/config/pay/limit", b"1", makepath=True)
            copy = ensemble.backup()
        source = ZookeeperSource.from_url(f"zookeeper://{ensemble.hosts}/config/pay?proof=1.5")
        async with Oracle(source) as oracle:
            with _writer(ensemble) as zk:
                zk.set("/config/pay/limit", b"2")
                zk.create("/config/pay/other", b"2")
            await oracle.until(lambda: oracle.tree == {"limit": "2", "other": "2"})
            await asyncio.to_thread(ensemble.restore, copy)
            await oracle.until(lambda: oracle.tree == {"limit": "1"})
            assert (oracle.epoch, oracle.session.rewinds) == (1, 1)
            with _writer(ensemble) as zk:  # a new client: the server refuses one that has seen more than itself
                zk.set("/config/pay/limit", b"3")
            await oracle.until(lambda: oracle.tree == {"limit": "3"})
            assert not oracle.faults


async def test_a_restored_server_that_has_overtaken_us_starts_a_new_epoch():
    with ZookeeperEnsemble() as ensemble, FaultProxy(ensemble.servers[0].address) as proxy:
        with _writer(ensemble) as zk:
            zk.create("/config/pay/limit", b"1", makepath=True)
            zk.create("/config/pay/other", b"1")
            copy = ensemble.backup()
        async with Oracle(through(proxy, "/config/pay")) as oracle:
            with _writer(ensemble) as zk:
                zk.set("/config/pay/limit", b"2")
            await oracle.until(lambda: oracle.tree["limit"] == "2")
            proxy.refuse()
            proxy.cut()
            await asyncio.to_thread(ensemble.restore, copy)
            with _writer(ensemble) as zk:
                for number in range(40):
                    zk.set("/config/pay/other", str(number).encode())
            proxy.heal()
            await oracle.until(lambda: oracle.tree == {"limit": "1", "other": "39"})
            assert (oracle.epoch, oracle.session.rewinds) == (1, 1)


@pytest.mark.slow
async def test_a_restart_with_the_same_data_is_no_rewind():
    with ZookeeperEnsemble() as ensemble:
        with _writer(ensemble) as zk:
            zk.create("/config/pay/limit", b"1", makepath=True)
        async with Oracle(ZookeeperSource.from_url(f"zookeeper://{ensemble.hosts}/config/pay?proof=1.5")) as oracle:
            ensemble.servers[0].kill()
            await oracle.until(lambda: oracle.session.state is not State.ACTIVE)
            await asyncio.to_thread(ensemble.start)
            with _writer(ensemble) as zk:
                zk.set("/config/pay/limit", b"2")
            await oracle.until(lambda: oracle.tree["limit"] == "2")
            assert oracle.epoch == oracle.session.rewinds == 0
            assert not oracle.faults


async def test_a_transaction_is_never_seen_in_part_under_a_storm_of_writes(server, zk, path):
    names = [f"key{number}" for number in range(8)]
    for name in names:
        zk.create(f"{path}/{name}", b"0")
    ends = threading.Event()
    rate: list[int] = []

    def storm() -> None:
        pending = []
        number = 0
        while not ends.is_set():
            number += 1
            transaction = zk.transaction()
            for name in names:
                transaction.set_data(f"{path}/{name}", str(number).encode())
            pending.append(transaction.commit_async())
            if len(pending) > 20:
                pending.pop(0).get()
        for one in pending:
            one.get()
        rate.append(number)

    source = ZookeeperSource.from_url(f"zookeeper://{server.hosts}{path}")
    document = await source.read()
    torn, seen = [], 0
    async with source.follow(document.revision) as items:
        writing = asyncio.ensure_future(asyncio.to_thread(storm))
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            item = await anext(items)
            if isinstance(item, Batch | Reset):
                seen += 1
                if len(set(item.document.tree.values())) != 1:
                    torn.append(dict(item.document.tree))
        ends.set()
        await writing
    await source.close()
    print(f"{rate[0]} transactions, {seen} consistent states")
    assert not torn
    assert seen >= 3  # each needs a moment in which all of it can be read


async def test_a_storm_of_births_and_deaths_leaves_the_state_of_the_server(server, zk, path):
    rng = random.Random(3)
    folders, leaves = ["a", "b", "a/c"], ["x", "y", "a/x", "a/c/x", "b/x", "b/y"]

    def storm() -> None:
        for number in range(600):
            target = f"{path}/{rng.choice(folders + leaves)}"
            data = str(number).encode() if target.rpartition("/")[2] in "xy" else b""
            with suppress(NoNodeError, NodeExistsError, NotEmptyError):
                if (turn := rng.random()) < 0.45:
                    zk.create(target, data)
                elif turn < 0.6 and data:
                    zk.set(target, data)
                else:
                    zk.delete(target)
        zk.create(f"{path}/end", b"1")

    def state(under: str) -> dict:
        found = {}
        for name in zk.get_children(under):
            data = zk.get(f"{under}/{name}")[0].decode()
            below = state(f"{under}/{name}")
            if data or below:
                found[name] = data or below
        return found

    zk.create(f"{path}/always", b"1")  # so that it is never empty
    source = ZookeeperSource.from_url(f"zookeeper://{server.hosts}{path}")
    async with Oracle(source) as oracle:
        before = oracle.tree
        writing = asyncio.ensure_future(asyncio.to_thread(storm))
        await oracle.until(lambda: "end" in oracle.tree)
        await writing
        assert oracle.tree == state(path)
        assert not oracle.faults
        for item in oracle.items:
            if isinstance(item, Batch):
                assert replay(before, item.events) == item.document.tree
            before = item.document.tree
        assert sum(isinstance(item, Batch) for item in oracle.items) > 50


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_twenty_killed_leaders_and_cut_sessions_lose_nothing_repeat_nothing_and_never_go_back():
    rng = random.Random(7)
    with ZookeeperEnsemble(3) as ensemble:
        names = [f"key{number}" for number in range(10)]
        with _writer(ensemble) as zk:
            for name in names:
                zk.create(f"/config/pay/{name}", b"0", makepath=True)
        hosts = ensemble.hosts
        source = ZookeeperSource.from_url(f"zookeeper://{hosts}/config/pay?proof=3&session=3&dial=1")
        ends, written = threading.Event(), {}

        def write() -> None:
            with _writer(ensemble) as zk:
                number = 0
                while not ends.is_set():
                    name, number = rng.choice(names), number + 1
                    while True:  # until it is known to be written: the oracle needs the last value of each
                        try:
                            zk.set(f"/config/pay/{name}", str(number).encode())
                            break
                        except LOST:
                            time.sleep(0.05)
                    written[name] = str(number)
                    time.sleep(0.002)

        latest: dict[str, int] = {}
        backwards = []
        async with Oracle(source) as oracle:
            writing = asyncio.ensure_future(asyncio.to_thread(write))
            for turn in range(20):
                before = len(oracle.items)
                if turn % 2:
                    leader = await asyncio.to_thread(ensemble.leader)
                    leader.kill()
                    await asyncio.to_thread(ensemble.leader)
                    await oracle.until(lambda past=before: len(oracle.items) > past)
                    leader.start()
                    await asyncio.to_thread(leader.wait_ready)
                else:
                    mirror = source._mirror
                    if mirror is not None and (socket := mirror.connection._client._connection._socket) is not None:
                        with suppress(OSError):
                            socket.shutdown(2)
                    await oracle.until(lambda former=mirror: source._mirror is not former)
                await oracle.until(lambda past=before: len(oracle.items) > past)
            ends.set()
            await writing
            expected = {name: written.get(name, "0") for name in names}
            await oracle.until(lambda: oracle.tree == expected)
            assert not oracle.faults
            assert oracle.session.reconnects >= 15
            assert oracle.session.rewinds == 0
        for item in oracle.items:
            for name, value in item.document.tree.items():
                if int(value) < latest.get(name, 0):
                    backwards.append((name, latest[name], value))
                latest[name] = int(value)
        assert not backwards
        told = [item for item in oracle.items if isinstance(item, Batch)]
        print(f"{max(map(int, written.values()))} writes: {len(told)} batches, {len(oracle.items) - len(told)} resets")
        changed = [
            (event.path, event.before, event.after)
            for item in oracle.items
            if isinstance(item, Batch)
            for event in item.events
        ]
        assert len(changed) == len(set(changed))


class _writer:
    """A kazoo client that is patient about servers that come and go."""

    def __init__(self, ensemble: ZookeeperEnsemble) -> None:
        patience = {"max_tries": -1, "max_delay": 0.3}
        self._client = KazooClient(ensemble.hosts, timeout=4.0, connection_retry=KazooRetry(**patience))

    def __enter__(self) -> KazooClient:
        self._client.start(40)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.stop()
        self._client.close()
