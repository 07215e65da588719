"""Outlets: written at once where the client takes it, in order where it does not, cut off where it never does."""

from __future__ import annotations

import asyncio

import pytest

from herz.server.access import Caller
from herz.server.outlet import BACKLOG, PIECE_BYTES, Outlet
from herz.server.stream import Stream


class Client:
    """An ASGI `send` that waits while `takes` is not set, as servers do while a buffer is full."""

    def __init__(self) -> None:
        self.takes = asyncio.Event()
        self.takes.set()
        self.got: list[bytes] = []
        self.ended = False

    async def send(self, message) -> None:
        await self._room()
        assert not self.ended, "after the end"
        self.got.append(message["body"])
        self.ended = not message["more_body"]

    async def _room(self) -> None:
        if not self.takes.is_set():
            await self.takes.wait()


class Noted(Outlet):
    reasons: list[str]

    def fell_behind(self, reason: str) -> None:
        self.reasons = [*getattr(self, "reasons", []), reason]
        super().fell_behind(reason)


@pytest.fixture
def client() -> Client:
    return Client()


async def test_a_client_that_takes_it_is_written_to_without_a_task(client):
    outlet = Outlet(client.send)
    before = len(asyncio.all_tasks())
    outlet.write(b"1", 1)
    outlet.write(b"2", 1)
    assert client.got == [b"1", b"2"]
    assert len(asyncio.all_tasks()) == before
    assert not outlet.behind


async def test_a_client_that_is_behind_gets_everything_in_order(client, eventually):
    outlet = Outlet(client.send)
    client.takes.clear()
    for number in range(5):
        outlet.write(b"%d" % number, 10)
    outlet.finish(10)
    assert client.got == []
    assert outlet.behind
    client.takes.set()
    await eventually(lambda: client.ended)
    assert b"".join(client.got) == b"01234"
    await eventually(lambda: not outlet.behind)


async def test_it_is_written_to_at_once_again_after_it_has_caught_up(client, eventually):
    outlet = Outlet(client.send)
    client.takes.clear()
    outlet.write(b"1", 10)
    client.takes.set()
    await eventually(lambda: not outlet.behind)
    outlet.write(b"2", 10)
    assert client.got == [b"1", b"2"]


async def test_a_large_frame_is_handed_over_in_pieces(client, eventually):
    data = bytes(range(256)) * 1000
    outlet = Outlet(client.send)
    outlet.write(data, 10)
    outlet.write(b"next", 10)
    await eventually(lambda: not outlet.behind)
    assert b"".join(client.got) == data + b"next"
    assert max(map(len, client.got)) == PIECE_BYTES


async def test_a_client_that_takes_nothing_is_cut_off_with_the_reason(client, eventually):
    outlet = Noted(client.send)
    client.takes.clear()
    outlet.write(b"1", 0.05)
    await eventually(lambda: getattr(outlet, "reasons", []))
    assert outlet.reasons == ["it took nothing for 0.05 s"]
    assert outlet.closed
    client.takes.set()
    outlet.write(b"2", 1)
    await asyncio.sleep(0)
    assert client.got == []


async def test_a_backlog_is_bounded(client):
    outlet = Noted(client.send)
    client.takes.clear()
    for _ in range(BACKLOG + 2):
        outlet.write(b"x", 10)
    assert outlet.reasons == [f"{BACKLOG} frames wait for it"]
    assert not outlet.behind


async def test_a_connection_that_is_broken_ends_the_outlet_alone(client):
    async def broken(message) -> None:
        raise ConnectionResetError

    outlet = Outlet(broken)
    outlet.write(b"1", 1)
    assert outlet.closed


async def test_nothing_is_written_after_the_end(client):
    outlet = Outlet(client.send)
    outlet.finish(1)
    outlet.write(b"late", 1)
    outlet.finish(1)
    assert client.got == [b""]


async def test_an_abandoned_outlet_leaves_no_task(client, eventually):
    outlet = Outlet(client.send)
    before = len(asyncio.all_tasks())
    client.takes.clear()
    outlet.write(b"1", 10)
    outlet.abandon()
    await eventually(lambda: len(asyncio.all_tasks()) == before)
    assert client.got == []


async def test_others_have_the_loop_between_two_pieces(client, eventually):
    outlet = Outlet(client.send)
    seen: list[int] = []

    async def look() -> None:
        while len(client.got) < 5:
            seen.append(len(client.got))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    outlet.write(b"x" * 5 * PIECE_BYTES, 10)
    await looking
    assert set(seen) >= {1, 2, 3, 4}


async def test_a_large_content_is_kept_once_for_all_who_take_nothing(sqlite, serving, publisher, eventually):
    store = sqlite()
    await publisher(store).release("text: " + "x" * 5 * PIECE_BYTES)
    async with serving(store) as server:
        slow = Client()
        slow.takes.clear()
        streams = [Stream(f"i{n}", (), Caller("i", ()), slow.send, lambda stream: None) for n in range(2)]
        for stream in streams:
            server.delivery.join(("pay", "default"), stream)
        await eventually(lambda: all(stream.settled for stream in streams))
        kept = [stream._backlog or () for stream in streams]
        one, other = ([frame for frame in frames if frame is not None and len(frame) > PIECE_BYTES] for frames in kept)
        assert len(one) == 1
        assert one[0] is other[0]
        for stream in streams:
            server.delivery.leave(("pay", "default"), stream)
    await store.close()
