"""The gRPC proxy passes everything as it is, until a rule says otherwise; before a real etcd."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from herz.store.etcd.messages import METHODS, message
from herz.testing import rpc_rules
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
from herz.testing.rpc_proxy import Answer, Fail, Frame, Later, RpcProxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd here: tools/servers installs it"),
]
SOON_S = 10.0


@pytest.fixture(scope="module")
def server():
    with EtcdServer() as server:
        yield server


@pytest.fixture
def proxy(server):
    with RpcProxy(server.endpoint) as proxy:
        yield proxy


class Client:
    """Calls of etcd's API by name, as plainly as can be."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(
            address, options=[("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
        )

    def stream(self, name: str, metadata: Any = None) -> Any:
        method = METHODS[name]
        return self.channel.stream_stream(method.path, method.request.SerializeToString, method.response.FromString)(
            timeout=SOON_S, metadata=metadata
        )

    async def ask(self, name: str, metadata: Any = None, **fields: Any) -> Any:
        method = METHODS[name]
        call = self.channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
        return await call(method.request(**fields), timeout=SOON_S, metadata=metadata)

    async def put(self, key: bytes, value: bytes = b"v") -> int:
        return (await self.ask("KV.Put", key=key, value=value)).header.revision

    async def watch(self, prefix: bytes, **fields: Any) -> Any:
        stream = self.stream("Watch.Watch")
        create = message("WatchCreateRequest")(key=prefix, range_end=prefix + b"\xff", **fields)
        await stream.write(message("WatchRequest")(create_request=create))
        created = await stream.read()
        assert created.created
        return stream


@pytest.fixture
async def client(proxy) -> AsyncIterator[Client]:
    client = Client(proxy.address)
    yield client
    await client.channel.close()


@pytest.fixture
async def direct(server) -> AsyncIterator[Client]:
    client = Client(server.endpoint)
    yield client
    await client.channel.close()


@pytest.fixture
def prefix() -> bytes:
    return f"/{uuid.uuid4().hex}/".encode()


async def events(stream: Any, count: int) -> list[bytes]:
    values: list[bytes] = []
    while len(values) < count:
        response = await stream.read()
        assert response is not grpc.aio.EOF
        values += [event.kv.value for event in response.events]
    return values


async def test_unary_calls_streams_and_errors_pass_as_they_are(proxy, client, direct, prefix):
    revision = await client.put(prefix + b"a", b"1")
    through, straight = [await each.ask("KV.Range", key=prefix + b"a") for each in (client, direct)]
    assert through.kvs == straight.kvs
    assert through.kvs[0].mod_revision == revision
    stream = await client.watch(prefix, start_revision=revision)
    assert await events(stream, 1) == [b"1"]
    await direct.put(prefix + b"a", b"2")
    assert await events(stream, 1) == [b"2"]
    failures = []
    for each in (client, direct):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await each.ask("KV.Range", key=b"a", revision=10**9)
        failures.append((failed.value.code(), failed.value.details()))
    assert failures[0] == failures[1] == (grpc.StatusCode.OUT_OF_RANGE, failures[1][1])
    assert proxy.calls == 4


async def test_large_answers_and_a_rapid_stream_pass_whole_and_in_order(client, direct, prefix):
    big = bytes(1_000_000)
    for number in range(6):
        await direct.put(prefix + b"big%d" % number, big)
    found = await client.ask("KV.Range", key=prefix, range_end=prefix + b"\xff")
    assert [len(kv.value) for kv in found.kvs] == [len(big)] * 6
    stream = await client.watch(prefix + b"n")
    count = 500
    for start in range(0, count, 50):
        await asyncio.gather(*(direct.put(prefix + b"n", b"%d" % number) for number in range(start, start + 50)))
    assert sorted(map(int, await events(stream, count))) == list(range(count))


async def test_the_clients_metadata_reaches_the_server(client):
    # A member of a healthy cluster accepts the demand for a leader, and refuses a token that it has not issued.
    await client.ask("KV.Range", key=b"a", metadata=[("hasleader", "true")])
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await client.ask("Auth.UserList", metadata=[("token", "made.up")])
    assert "token" in (failed.value.details() or "") or failed.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_that_goes_away_ends_the_servers_watch(server, client, prefix):
    stream = await client.watch(prefix)
    assert await watchers(server) == 1
    stream.cancel()
    deadline = time.monotonic() + SOON_S
    while await watchers(server):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def watchers(server: EtcdServer) -> int:
    reader, writer = await asyncio.open_connection(*server.endpoint.split(":"))
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    (line,) = [line for line in text.splitlines() if line.startswith("etcd_debugging_mvcc_watcher_total ")]
    return int(float(line.split()[1]))


async def test_a_dead_server_is_told_as_unavailable(proxy, client):
    proxy.target = "127.0.0.1:1"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await client.ask("KV.Range", key=b"a")
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_restart_ends_streams_and_serves_again_on_the_same_port(proxy, client, prefix):
    stream = await client.watch(prefix)
    await asyncio.to_thread(proxy.restart)
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.read()
    again = Client(proxy.address)
    try:
        await again.put(prefix, b"1")
    finally:
        await again.channel.close()


async def test_rules_see_every_message_in_order_and_form_a_chain(proxy, client, prefix):
    seen = []

    def note(frame: Frame) -> list[Any]:
        seen.append((frame.direction, frame.method, type(frame.message).__name__))
        return [frame.message]

    def shout(frame: Frame) -> list[Any]:
        if frame.method == "KV.Put" and frame.direction == "up":
            frame.message.value = frame.message.value.upper()
        return [frame.message]

    proxy.add(note)
    added = proxy.add(shout)
    await client.put(prefix, b"quiet")
    assert seen == [("up", "KV.Put", "PutRequest"), ("down", "KV.Put", "PutResponse")]
    assert (await client.ask("KV.Range", key=prefix)).kvs[0].value == b"QUIET"
    proxy.remove(added)
    await client.put(prefix, b"quiet")
    proxy.clear()
    assert (await client.ask("KV.Range", key=prefix)).kvs[0].value == b"quiet"


def broken(frame: Frame) -> list[Any]:
    raise ZeroDivisionError


async def test_a_rule_that_raises_fails_the_call_and_the_test(server):
    proxy = RpcProxy(server.endpoint, rules=[broken])
    client = Client(proxy.address)
    try:
        with pytest.raises(grpc.aio.AioRpcError, match="ZeroDivisionError") as failed:
            await client.put(b"a")
        assert failed.value.code() is grpc.StatusCode.INTERNAL
    finally:
        await client.channel.close()
        with pytest.raises(ZeroDivisionError):
            proxy.close()


async def test_a_rule_may_answer_delay_and_fail(proxy, client, prefix):
    def rule(frame: Frame) -> list[Any]:
        if frame.method == "KV.Put":
            return [Answer(message("PutResponse")(header=message("ResponseHeader")(revision=42)))]
        if frame.method == "KV.DeleteRange" and frame.direction == "up":
            return [Fail("PERMISSION_DENIED", "no")]
        return [Later(frame.message, 0.1)]

    proxy.add(rule)
    assert await client.put(prefix) == 42
    start = time.monotonic()
    assert not (await client.ask("KV.Range", key=prefix)).kvs
    assert time.monotonic() - start >= 0.2
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await client.ask("KV.DeleteRange", key=prefix)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, "no")


# --- the rules that come along --------------------------------------------------------------------


async def put_all(client: Client, key: bytes, values: str) -> None:
    for value in values:
        await client.put(key, value.encode())


async def watched(client: Client, direct: Client, prefix: bytes, values: str, count: int) -> str:
    """What a watch through the proxy delivers of values that were put one by one."""
    stream = await client.watch(prefix)
    await put_all(direct, prefix, values)
    return b"".join(await events(stream, count)).decode()


@pytest.mark.parametrize(
    ("rule", "delivered"),
    [
        (rpc_rules.replay_events(), "aabbccdd"),
        (rpc_rules.replay_old_events(every=2), "abacda"),
        (rpc_rules.reorder_events(times=1), "bacd"),
        (rpc_rules.reorder_events(), "badc"),
        (rpc_rules.add_foreign_event(b"/elsewhere", b"!"), "a!bcd"),
    ],
    ids=["replay", "replay old", "reorder once", "reorder", "foreign event"],
)
async def test_a_rule_changes_the_order_or_number_of_events(proxy, client, direct, prefix, rule, delivered):
    stream = await client.watch(prefix)
    proxy.add(rule)
    for value in "abcd":
        await direct.put(prefix, value.encode())
        await asyncio.sleep(0.02)  # one response each: events that come together share one
    assert b"".join(await events(stream, len(delivered))).decode() == delivered


async def test_progress_runs_ahead_of_its_events(proxy, client, direct, prefix):
    proxy.add(rpc_rules.progress_before_events(times=1))
    stream = await client.watch(prefix)
    revision = await direct.put(prefix)
    progress, event = await stream.read(), await stream.read()
    assert (progress.header.revision, list(progress.events)) == (revision, [])
    assert event.events[0].kv.mod_revision == revision


async def test_the_revision_of_a_progress_notification_is_raised(proxy, client, direct, prefix):
    proxy.add(rpc_rules.run_ahead(5))
    stream = await client.watch(prefix, progress_notify=True)
    revision = await direct.put(prefix + b"a")
    assert (await stream.read()).header.revision == revision
    assert (await stream.read()).header.revision == revision + 5


async def test_an_answer_to_a_keep_alive_is_late(proxy, client):
    lease = (await client.ask("Lease.LeaseGrant", TTL=5)).ID
    proxy.add(rpc_rules.delay("Lease.LeaseKeepAlive", 0.3, times=1))
    stream = client.stream("Lease.LeaseKeepAlive")
    took = []
    for _ in range(2):
        start = time.monotonic()
        await stream.write(message("LeaseKeepAliveRequest")(ID=lease))
        assert (await stream.read()).TTL == 5
        took.append(time.monotonic() - start)
    assert took[0] >= 0.3 > took[1]


async def test_linearizable_reads_are_late_and_serializable_ones_are_not(proxy, client):
    proxy.add(rpc_rules.delay_linearizable_reads(0.3))
    took = []
    for serializable in (False, True):
        start = time.monotonic()
        await client.ask("KV.Range", key=b"a", serializable=serializable)
        took.append(time.monotonic() - start)
    assert took[0] >= 0.3 > took[1]


async def test_a_watch_is_refused_once(proxy, client, prefix):
    proxy.add(rpc_rules.refuse_watch())
    with pytest.raises(grpc.aio.AioRpcError, match="lease not found") as failed:
        await client.watch(prefix)
    assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    await client.watch(prefix)


async def test_a_watch_is_created_and_canceled_at_once(proxy, client, prefix):
    proxy.add(rpc_rules.refuse_watch_in_stream("etcdserver: permission denied"))
    stream = client.stream("Watch.Watch")
    create = message("WatchRequest")(create_request=message("WatchCreateRequest")(key=prefix))
    await stream.write(create)
    refused = await stream.read()
    assert (refused.created, refused.canceled, refused.cancel_reason) == (True, True, "etcdserver: permission denied")
    await stream.write(create)
    assert not (await stream.read()).canceled


async def test_a_running_watch_is_canceled_with_a_reason(proxy, client, direct, prefix):
    stream = await client.watch(prefix)
    proxy.add(rpc_rules.cancel_watch("compacted", compact_revision=7))
    await direct.put(prefix)
    response = await stream.read()
    assert (response.canceled, response.cancel_reason, response.compact_revision) == (True, "compacted", 7)
    assert not response.events


async def test_a_read_finds_a_key_that_was_not_asked_for(proxy, client, prefix):
    await client.put(prefix + b"a")
    proxy.add(rpc_rules.add_foreign_key(b"/elsewhere"))
    found = await client.ask("KV.Range", key=prefix, range_end=prefix + b"\xff")
    assert [kv.key for kv in found.kvs] == [prefix + b"a", b"/elsewhere"]


async def test_a_call_is_refused_as_often_as_said(proxy, client):
    proxy.add(rpc_rules.refuse("KV.Range", times=2))
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError, match="leader changed"):
            await client.ask("KV.Range", key=b"a")
    await client.ask("KV.Range", key=b"a")


@pytest.mark.parametrize("then_fail", [True, False])
async def test_a_revision_is_cut_between_its_fragments(proxy, client, direct, prefix, then_fail):
    put = message("PutRequest")
    request = message("RequestOp")
    keys = [prefix + b"%d" % number for number in range(6)]
    for _ in range(2):  # the second time prev_kv doubles the size of one revision's events: 3 MiB in fragments
        for pair in zip(keys[::2], keys[1::2], strict=True):
            await direct.ask(
                "KV.Txn", success=[request(request_put=put(key=key, value=bytes(500_000))) for key in pair]
            )
    revision = (await direct.ask("KV.Range", key=keys[0])).kvs[0].mod_revision
    proxy.add(rpc_rules.drop_fragments_tail(then_fail=then_fail))
    stream = await client.watch(prefix, start_revision=revision, fragment=True, prev_kv=True)
    first = await stream.read()
    assert first.fragment
    if then_fail:
        with pytest.raises(grpc.aio.AioRpcError, match="between fragments"):
            await stream.read()
    else:
        await direct.put(prefix + b"next", b"next")
        response = await stream.read()
        assert [event.kv.value for event in response.events] == [b"next"]


async def test_a_rule_may_be_limited_to_some_frames(proxy, client):
    proxy.add(
        rpc_rules.only(
            lambda frame: frame.direction == "up" and frame.message.key == b"b", rpc_rules.refuse("KV.Range")
        )
    )
    await client.ask("KV.Range", key=b"a")
    with pytest.raises(grpc.aio.AioRpcError, match="leader changed"):
        await client.ask("KV.Range", key=b"b")
