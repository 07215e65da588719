"""How long a client may take to say what it wants, and how much room its headers have; answers may last."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from herz.server import listening
from herz.server.listening import Serving
from herz.tls.listener import listen
from herz.tls.material import TlsMaterial

LIMIT_S = 0.3
HEAD = b"PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\n"


async def answering(scope, receive, send):
    """An application that takes the body, and answers at once, or in two halves."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * LIMIT_S)
    await send({"type": "http.response.body", "body": b"half"})


@pytest.fixture
async def connect(monkeypatch):
    """Opens connections to a server with limits of a fraction of a second."""
    monkeypatch.setattr(listening, "HEADERS_S", LIMIT_S)
    monkeypatch.setattr(listening, "BODY_S", LIMIT_S)
    (listener,) = listen(["http://127.0.0.1:0"], TlsMaterial())
    serving = Serving(answering, [listener], grace_s=1)
    running = asyncio.create_task(serving.run())
    await serving.started()

    @asynccontextmanager
    async def connected():
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    yield connected
    serving.stop(now=True)
    await running
    listener.socket.close()


async def closed(reader):
    """Whether the server ends the connection, without an answer, in a few times the limit."""
    try:
        async with asyncio.timeout(20 * LIMIT_S):
            return await reader.read() == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


async def answered(reader):
    """Whether a whole answer comes."""
    async with asyncio.timeout(20 * LIMIT_S):
        return (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200") and await reader.readexactly(8)


@pytest.mark.parametrize(
    "begin",
    [b"", b"PUT / HTTP/1.1\r\nHost: 127", HEAD, HEAD + b"bod"],
    ids=["nothing", "half of the headers", "no body", "half of the body"],
)
async def test_who_does_not_say_all_of_it_in_time_is_cut_off(connect, begin):
    async with connect() as (reader, writer):
        writer.write(begin)
        assert await closed(reader)


@pytest.mark.parametrize("begin", [b"PUT / HTTP/1.1\r\nX-Slow: ", HEAD.replace(b"4", b"4000")], ids=["headers", "body"])
async def test_saying_it_a_letter_at_a_time_gains_no_time(connect, begin):
    async with connect() as (reader, writer):
        writer.write(begin)
        ended = asyncio.create_task(closed(reader))
        for _ in range(100):
            if ended.done():
                break
            writer.write(b"x")
            await asyncio.sleep(LIMIT_S / 10)
        assert ended.done()
        assert await ended


async def test_the_second_request_of_a_connection_has_no_more_time_than_the_first(connect):
    async with connect() as (reader, writer):
        writer.write(HEAD + b"body")
        assert await answered(reader)
        writer.write(HEAD + b"bod")
        assert await closed(reader)


async def test_a_connection_waits_for_its_next_request_and_for_its_answer(connect):
    async with connect() as (reader, writer):
        for path in (b"/slow", b"/"):
            writer.write(HEAD.replace(b"/", path, 1) + b"body")
            assert await answered(reader)
            await asyncio.sleep(2 * LIMIT_S)
        writer.write(HEAD)
        await asyncio.sleep(LIMIT_S / 10)
        writer.write(b"body")
        assert await answered(reader)


async def test_headers_have_so_much_room(connect, monkeypatch):
    monkeypatch.setattr(listening, "HEAD_BYTES", 1000)
    async with connect() as (reader, writer):
        writer.write(b"PUT / HTTP/1.1\r\nX-Long: " + b"x" * 2000)
        assert await closed(reader)


async def test_a_request_that_is_there_as_a_whole_needs_no_clock(connect, monkeypatch):
    async with connect() as (reader, writer):
        writer.write(HEAD + b"body")
        assert await answered(reader)
        loop, clocks = asyncio.get_running_loop(), []
        call_later = loop.call_later

        def counted(delay, *arguments, **options):
            if delay == LIMIT_S:
                clocks.append(delay)
            return call_later(delay, *arguments, **options)

        monkeypatch.setattr(loop, "call_later", counted)
        writer.write(HEAD + b"body")
        assert await answered(reader)
        assert not clocks
        writer.write(HEAD)
        await asyncio.sleep(LIMIT_S / 10)
        assert clocks == [LIMIT_S]
