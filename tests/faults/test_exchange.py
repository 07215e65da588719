"""An exchange is cut at every byte; a client that resumes at the next revision loses nothing, on a real etcd."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import grpc.aio
import pytest

from herz.store.etcd.messages import METHODS, message
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
from herz.testing.exchange import cut_everywhere, offsets

WATCH = METHODS["Watch.Watch"]
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
]


async def test_every_offset_of_an_exchange_is_cut_once():
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    async def receive(address: str) -> bytes:
        received = b""
        try:
            reader, writer = await asyncio.open_connection(*address.split(":"))
            try:
                while data := await reader.read(1):
                    received += data
            finally:
                writer.close()
                await writer.wait_closed()
        except ConnectionResetError:
            pass
        return received

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        target = "{}:{}".format(*server.sockets[0].getsockname())
        runs = [run async for run in cut_everywhere(target, receive)]
    assert [run.offset for run in runs] == [None, 0, 1, 2, 3, 4, 5]
    assert all(run.length == 5 for run in runs)
    assert [run.result for run in runs[2:]] == [b"h", b"he", b"hel", b"hell", b"hello"]
    assert runs[0].result == b"hello"
    assert [run.cut for run in runs] == [False, *[True] * 6]


def test_a_sample_of_offsets_has_both_ends_and_repeats_with_its_seed():
    chosen = offsets(1_000, sample=20, rng=random.Random(3))
    assert chosen == offsets(1_000, sample=20, rng=random.Random(3)) == sorted(set(chosen))
    assert (len(chosen), chosen[0], chosen[-1]) == (20, 0, 1_000)
    assert offsets(3) == offsets(3, sample=9) == [0, 1, 2, 3]
    assert offsets(9, sample=1) == [0]


async def follow(address: str, prefix: bytes, first: int, last: int) -> list[int]:
    """The revisions that a client sees which resumes at the one after the last that it has seen."""
    seen: list[int] = []
    while not seen or seen[-1] < last:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            stream: Any = channel.stream_stream(WATCH.path, WATCH.request.SerializeToString, WATCH.response.FromString)(
                timeout=10, wait_for_ready=True
            )
            create = message("WatchCreateRequest")(
                key=prefix, range_end=prefix + b"\xff", start_revision=seen[-1] + 1 if seen else first
            )
            try:
                await stream.write(message("WatchRequest")(create_request=create))
                while not seen or seen[-1] < last:
                    response = await stream.read()
                    if response is grpc.aio.EOF:
                        break
                    seen += [event.kv.mod_revision for event in response.events]
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
                    raise
            except asyncio.InvalidStateError:
                pass  # written to a stream that has just ended
    return seen


@pytest.mark.slow
@pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd here: tools/servers installs it")
async def test_a_watch_that_resumes_at_the_next_revision_survives_a_cut_at_any_byte():
    async with EtcdServer() as server:
        revisions = [await server.put("/cut/a", str(number)) for number in range(5)]

        async def exchange(address: str) -> list[int]:
            return await follow(address, b"/cut/", revisions[0], revisions[-1])

        runs = [run async for run in cut_everywhere(server.endpoint, exchange, sample=24, rng=random.Random(5))]
    for run in runs:
        assert run.result == revisions, run
    assert sum(run.cut for run in runs) >= 20
    assert all(run.connections > 1 for run in runs if run.cut and run.offset is not None and run.offset < 100)
