"""The etcd store beyond the contract: failover, identity, what is repeated and what is not, forks, missing packages."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from herz.errors import SourceDenied, SourceUnavailable, StoreError
from herz.store.base import Put, Txn
from herz.store.etcd.messages import METHODS
from herz.store.etcd.rpc import CallFailed, Connection, Timing
from herz.store.etcd.store import EPOCH_KEY, EtcdStore
from herz.testing.etcd_cluster import EtcdCluster, EtcdPrograms, EtcdServer

pytestmark = pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd: tools/servers installs it")


async def test_reads_and_writes_go_on_at_another_endpoint_when_one_is_gone():
    async with EtcdCluster(3) as cluster:
        store = EtcdStore(cluster.endpoints, dial_timeout_s=1.0)
        await store.put("/a", b"1")
        leader = await cluster.leader()
        follower = next(member for member in cluster.members if member is not leader)
        store = EtcdStore([follower.endpoint, leader.endpoint], dial_timeout_s=1.0)
        await store.put("/a", b"2")
        follower.kill()
        entry = await store.get("/a")
        assert entry is not None
        assert entry.value == b"2"
        await store.put("/a", b"3")
        await store.close()


async def test_a_write_that_may_have_arrived_is_not_repeated():
    async with EtcdServer() as server:
        store = EtcdStore(server.endpoints * 3, dial_timeout_s=0.5, request_timeout_s=0.5)
        await store.put("/n", b"1")
        server.member.pause()
        with pytest.raises(SourceUnavailable, match="read before repeating"):
            await store.put("/n", b"2")
        server.member.resume()
        entry = await store.get("/n")
        assert entry is not None
        assert entry.version <= 2
        await store.close()


async def test_a_call_whose_connection_is_closed_fails_and_cancels_nobody():
    with EtcdServer() as server:
        connection = Connection(server.endpoint, timing=Timing())
        await connection.dial()
        server.member.pause()
        asked = METHODS["Maintenance.Status"].request()
        call = asyncio.create_task(connection.call("Maintenance.Status", asked))
        stream = connection.stream("Watch.Watch")
        read = asyncio.create_task(stream.read())
        await asyncio.sleep(0.1)  # both are under way
        await connection.close()
        for waiting in (call, read):
            with pytest.raises(CallFailed):
                await asyncio.wait_for(waiting, 10)
        server.member.resume()


async def test_a_call_that_is_cancelled_is_cancelled():
    with EtcdServer() as server:
        connection = Connection(server.endpoint, timing=Timing())
        await connection.dial()
        server.member.pause()
        asked = METHODS["Maintenance.Status"].request()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.call("Maintenance.Status", asked)
        await connection.close()
        server.member.resume()


async def test_a_store_made_anew_has_another_identity():
    async with EtcdServer() as server:
        store = EtcdStore(server.endpoints)
        before = (await store.status()).identity
        await server.member.stop()
        await server.member.start(fresh=True)
        after = (await store.status()).identity
        assert before.partition("/")[0] == after.partition("/")[0]  # the cluster's id is the same, so it takes an epoch
        assert before != after
        await store.close()


async def test_who_may_not_write_the_epoch_is_told_the_cluster_alone():
    async with EtcdServer() as server:
        await server.add_user("reader", "pw", prefix="/config/", permission="read")
        await server.enable_auth()
        store = EtcdStore(server.endpoints, username="reader", password="pw")
        await store.range("/config/")
        status = await store.status()
        assert "/" not in status.identity
        with pytest.raises(SourceDenied, match="permission denied"):
            await store.put("/config/a", b"")
        with pytest.raises(SourceDenied, match="permission denied"):
            await store.get(EPOCH_KEY)
        await store.close()


async def test_the_last_compaction_is_found_among_many_revisions():
    async with EtcdServer() as server:
        store = EtcdStore(server.endpoints)
        revisions = [await store.put("/a", b"") for _ in range(200)]
        assert (await store.status()).compacted == 0
        for revision in (revisions[0], revisions[130], revisions[-1]):
            await store.compact(revision)
            for _ in range(2):
                assert (await store.status()).compacted == revision
        await store.close()


async def test_a_request_larger_than_the_server_takes_is_refused_with_what_to_do():
    async with EtcdServer(options=("--max-request-bytes", "10000")) as server:
        store = EtcdStore(server.endpoints)
        with pytest.raises(StoreError, match="max-request-bytes"):
            await store.txn(Txn(then=(Put("/a", bytes(20_000)),)))
        await store.close()


async def test_an_old_server_is_told():
    async with EtcdServer(version="3.4") as server:
        store = EtcdStore(server.endpoints)
        assert not store.notices
        await store.status()
        assert any("3.4.23" in notice for notice in store.notices)
        await store.close()


FORK = """
import asyncio, os, sys, time
from herz.errors import StoreError
from herz.store.etcd.store import EtcdStore

async def revision(store):
    return (await store.status()).revision

loop = asyncio.new_event_loop()
store = EtcdStore([sys.argv[1]])
loop.run_until_complete(revision(store))
if sys.argv[2] == "closed":
    loop.run_until_complete(store.close())
    store = EtcdStore([sys.argv[1]])
    time.sleep(1.2)
if (child := os.fork()) == 0:
    try:
        asyncio.run(revision(store))
        print("child: works", flush=True)
    except StoreError as error:
        print("child:", error.what, flush=True)
    sys.exit()
print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
loop.run_until_complete(revision(store))
print("parent: works")
loop.run_until_complete(store.close())
"""


@pytest.mark.parametrize(("state", "said"), [("open", "child: this process was forked"), ("closed", "child: works")])
def test_a_fork_beside_an_open_connection_is_told_and_harms_nobody(state: str, said: str):
    with EtcdServer() as server:
        command = [sys.executable, "-c", FORK, server.endpoint, state]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    child, exited, parent = done.stdout.splitlines()
    assert child.startswith(said)
    assert (exited, parent) == ("exit 0", "parent: works")


def test_grpc_is_imported_only_when_a_store_of_etcd_is_made():
    script = (
        "import sys, herz, herz.sources.store; assert not {'grpc', 'google.protobuf'} & set(sys.modules)\n"
        "sys.modules['grpc'] = None\n"
        "from herz.sources.urls import source_for\n"
        "try: source_for('etcd://h:1/config/pay')\n"
        "except herz.errors.MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert "pip install 'herz[etcd]'" in done.stdout, done.stderr
