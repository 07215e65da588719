"""Faults: the store is cut, goes back in time, or stands still; the server dies; clients are slow, many, or flap."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from herz.release.channel import Channel, Pointer
from herz.server import stream as stream_module
from herz.server.settings import ServerSettings
from herz.store.etcd.store import EtcdStore
from herz.testing.control_plane import ControlPlaneServer
from herz.testing.fault_proxy import FaultProxy
from herz.testing.memory_store import MemoryStore, Place

PLACE = "/api/v1/apps/pay/namespaces/default"


@pytest.mark.slow
async def test_a_server_whose_store_is_cut_off_vouches_for_nothing(etcd, serving, follow, eventually, http, publisher):
    direct = EtcdStore([etcd.endpoint])
    await direct.delete_prefix("/herz/")
    with FaultProxy(etcd.endpoint) as proxy:
        store = EtcdStore([proxy.address], proof_s=0.6)
        async with serving(store, ServerSettings(proof_s=0.9)) as server:
            client = follow(server, "i1")
            await publisher(direct).release("a: 1\n")
            await eventually(lambda: client.running == 1 and client.of("alive"))
            await asyncio.to_thread(proxy.blackhole)
            await eventually(lambda: not server.hub.freshness.current)
            seen = len(client.of("alive"))
            await asyncio.sleep(1.2)  # four rounds
            assert len(client.of("alive")) == seen
            async with http.get(f"{server.url}/metrics") as said:
                assert "herz_store_current 0.0" in await said.text()
            late = publisher(direct)
            late.number = 1
            await late.release("a: 2\n")
            await asyncio.to_thread(proxy.heal)
            await eventually(lambda: client.running == 2, 30)
            await eventually(lambda: len(client.of("alive")) > seen)
            assert client.text == "a: 2\n"
            assert not client.of("end"), "the stream outlasted it"
        await store.close()
    await direct.close()


async def test_a_backup_that_counts_as_far_as_before_is_not_what_was_told(serving, follow, eventually, publisher):
    place = Place()
    store, writer = MemoryStore(place), publisher(MemoryStore(place))
    await writer.release("a: 1\n")
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.running == 1)
        kept = client.of("state")[-1]["mark"]
        backup = place.backup()
        await writer.release("a: 2\n")
        await eventually(lambda: client.running == 2)
        mark, revision = client.of("state")[-1]["mark"], client.of("state")[-1]["revision"]
    place.restore(backup)
    writer.number = 1
    for number in range(10):
        await writer.store.put(f"/elsewhere/{number}", b"")
    for other in ("a: other\n", None):  # before the channel is written anew, and after
        async with serving(MemoryStore(place)) as server:
            for shown, continues in ((mark, False), (kept, True), (f"{revision}-{'0' * 16}", False)):
                again = follow(server, "i1", f"&after={revision}&mark={shown}")
                await eventually(lambda client=again: client.of("state"))
                assert again.of("hello")[0].get("continues", True) is continues
                await again.stop()
            if other is not None:
                await writer.release(other)


async def test_a_store_that_goes_back_in_time_ends_streams_and_they_begin_anew(serving, follow, eventually, publisher):
    place = Place()
    store = MemoryStore(place)
    writer = publisher(MemoryStore(place))
    old = await writer.release("a: old\n")
    backup = place.backup()
    async with serving(store, ServerSettings(proof_s=0.6)) as server:
        client = follow(server, "i1")
        await writer.release("a: new\n")
        await eventually(lambda: client.running == 2)
        place.restore(backup)
        place.cut()
        await asyncio.wait_for(client.ended.wait(), 20)
        assert client.frames[-1]["problem"]["type"] == "urn:herz:problem:rewound"
        assert server.hub.epoch == 1
        again = follow(server, "i1", f"&after={client.of('state')[-1]['revision']}")
        await eventually(lambda: again.running == old.number)
        assert again.of("hello")[0]["revision"] < client.of("state")[-1]["revision"]
        assert again.text == "a: old\n"


async def test_history_that_is_gone_is_read_again_without_ending_streams(serving, follow, eventually, publisher):
    place = Place()
    store, other = MemoryStore(place), MemoryStore(place)
    writer = publisher(other)
    async with serving(store, ServerSettings(proof_s=0.6)) as server:
        client = follow(server, "i1")
        await writer.release("a: 1\n")
        await writer.assign("b", "i1")
        await eventually(lambda: client.running == 1 and client.of("state")[-1]["cohort"] == "b")
        place.cut()
        await writer.release("a: 2\n")
        await other.delete_prefix("/herz/live/pay/default/to/")
        await other.compact((await other.status()).revision)
        await eventually(lambda: client.running == 2 and client.of("state")[-1]["cohort"] == "stable")
        assert not client.of("end")


async def test_a_client_that_takes_nothing_is_cut_off_and_others_are_not_held_up(
    sqlite, serving, follow, eventually, publisher, monkeypatch
):
    monkeypatch.setattr(stream_module, "SLOW_S", 0.5)
    store = sqlite()
    async with serving(store) as server:
        fast = follow(server, "fast")
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
        await loop.sock_sendall(slow, f"GET {PLACE}/stream?instance=slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await eventually(lambda: server.delivery.connected == 2)
        publish = publisher(store)
        choose = random.Random(1)
        for _ in range(4):
            await publish.release("".join(f"k{choose.random()}: {choose.random()}\n" for _ in range(60_000)))
            await eventually(lambda: fast.running == publish.number)
        await eventually(lambda: server.delivery.counts.cut_off == 1)
        await eventually(lambda: server.delivery.connected == 1)
        slow.close()
        back = follow(server, "slow")
        await eventually(lambda: back.running == publish.number)
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_clients_resume_after_the_server_was_ended_and_started_again(follow, eventually, publisher, how):
    from herz.store.sqlite import SqliteStore

    server = await asyncio.to_thread(ControlPlaneServer().__enter__)
    try:
        store = SqliteStore(server.store.removeprefix("sqlite:///"))
        publish = publisher(store)
        await publish.release("a: 1\n")
        clients = [follow(server, f"i{number}") for number in range(20)]
        await eventually(lambda: all(client.running == 1 for client in clients))
        for client in clients:
            assert await client.say(config_version=1) == 204
        await asyncio.to_thread(server.kill if how == "kill" else server.stop)
        for client in clients:
            await asyncio.wait_for(client.ended.wait(), 15)
            assert bool(client.of("end")) is (how == "stop")
        await publish.release("a: 2\n")  # while nobody serves
        await asyncio.to_thread(server.start)
        for client in clients:
            held = client.of("state")[-1]["pointer"]["release"]["digest"]
            client.start(f"&have={held}&after={client.of('state')[-1]['revision']}")
        await eventually(lambda: all(client.running == 2 for client in clients))
        for client in clients:
            assert client.text == "a: 2\n"
            assert len(client.of("content")) == 2, "what it had was not sent again"
            assert len({hello["stream"] for hello in client.of("hello")}) == 2
            assert await client.say(config_version=2) == 204
        await store.close()
    finally:
        await asyncio.to_thread(server.close)


async def test_an_instance_that_flaps_leaves_nothing_behind(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        clients = []
        for _ in range(30):
            clients.append(follow(server, "i1"))
            await eventually(lambda: clients[-1].of("state"))
            await clients[-1].stop()
        await eventually(lambda: server.delivery.connected == 0)
        assert server.delivery.audiences == {}
    await store.close()


@pytest.mark.slow
async def test_five_hundred_streams_are_told_every_release_exactly(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store) as server:
        clients = [follow(server, f"i{number}") for number in range(500)]
        await eventually(lambda: all(client.of("state") for client in clients), 40)
        publish = publisher(store)
        old = await publish.release("head: 1\n" + "same: x\n" * 200)
        await eventually(lambda: all(client.running == 1 for client in clients), 40)
        new = await publish.content("head: 2\n" + "same: x\n" * 200)
        members = [f"i{number}" for number in range(0, 500, 5)]
        await publish.assign("r1-b1", *members)
        prepare = Pointer(release=old, prepare=new)
        await publish.point(Channel(stable=Pointer(release=old), cohorts={"r1-b1": prepare}))
        commit = Pointer(release=new)
        await publish.point(Channel(stable=Pointer(release=old), cohorts={"r1-b1": commit}))
        chosen = [client for client in clients if client.instance in members]
        await eventually(lambda: all(client.running == 2 for client in chosen), 40)
        others = [client for client in clients if client.instance not in members]
        assert all(client.running == 1 for client in others)
        await publish.release("head: 3\n" + "same: x\n" * 200)
        await eventually(lambda: all(client.running == 3 for client in others), 40)
        for client in clients:
            told = [state["pointer"]["release"]["number"] for state in client.of("state") if state["pointer"]]
            assert told == sorted(told)
            whole = [frame for frame in client.of("content") if frame["base"] is None]
            assert len(whole) == 1, "after the first, only what changed"
            digests = [frame["digest"] for frame in client.of("content")]
            assert len(digests) == len(set(digests))
