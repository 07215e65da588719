"""The TCP fault proxy does to connections what it says, to the byte."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herz.errors import NotRunning, UsageError
from herz.testing.fault_proxy import FaultProxy
from herz.testing.loop_thread import LoopThread

from ..conftest import examples

SOON_S = 5.0


class Echo:
    """Answers every byte with the same byte; in a thread of its own."""

    def __init__(self) -> None:
        self.thread = LoopThread("echo")
        self.server = self.thread.run(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.address = "{}:{}".format(*self.server.sockets[0].getsockname())
        self.ended: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            self.ended.append("FIN")
        except ConnectionResetError:
            self.ended.append("RST")
        finally:
            writer.close()

    def close(self) -> None:
        self.thread.call(self.server.close)
        self.thread.stop()


@pytest.fixture(scope="module")
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo):
    echo.ended.clear()
    with FaultProxy(echo.address, rng=random.Random(7)) as proxy:
        yield proxy


class Client:
    """A blocking socket that tells how its connection ended."""

    def __init__(self, address: str, timeout_s: float = SOON_S) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)

    def ask(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        answer = b""
        while len(answer) < len(data) and (more := self.socket.recv(len(data) - len(answer))):
            answer += more
        return answer

    def rest(self) -> tuple[bytes, str]:
        answer = b""
        try:
            while data := self.socket.recv(65_536):
                answer += data
        except ConnectionResetError:
            return answer, "RST"
        return answer, "FIN"

    def silent(self, seconds: float = 0.1) -> bool:
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(SOON_S)
        return False

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def connect(proxy: FaultProxy):
    clients: list[Client] = []

    def connected() -> Client:
        clients.append(Client(proxy.address))
        return clients[-1]

    yield connected
    for client in clients:
        client.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.001)


def test_bytes_arrive_as_they_were_sent_and_are_counted(proxy, connect):
    data = random.Random(1).randbytes(300_000)
    client = connect()
    received = bytearray()
    for start in range(0, len(data), 10_000):
        received += client.ask(data[start : start + 10_000])
    assert received == data
    assert (proxy.bytes_up, proxy.bytes_down, proxy.connections, proxy.open) == (300_000, 300_000, 1, 1)


def test_a_half_closed_connection_still_delivers_the_answer(connect):
    client = connect()
    client.socket.sendall(b"last words")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.rest() == (b"last words", "FIN")


def test_cut_resets_both_sides_and_welcomes_new_connections(proxy, connect, echo):
    client, other = connect(), connect()
    assert client.ask(b"a") + other.ask(b"b") == b"ab"
    assert proxy.cut() == 2
    assert client.rest()[1] == other.rest()[1] == "RST"
    until(lambda: echo.ended == ["RST", "RST"])
    assert connect().ask(b"c") == b"c"
    assert (proxy.cuts, proxy.connections, proxy.open) == (2, 3, 1)


def test_close_connections_ends_both_sides_in_order(proxy, connect, echo):
    client = connect()
    client.ask(b"a")
    assert proxy.close_connections() == 1
    assert client.rest() == (b"", "FIN")
    until(lambda: echo.ended == ["FIN"])


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100])
def test_exactly_as_many_bytes_arrive_as_the_cut_was_planned_after(proxy, connect, count):
    client = connect()
    planned = proxy.cut_after(count)
    client.socket.sendall(bytes(100))
    assert client.rest() == (bytes(count), "RST")
    assert planned.result(SOON_S) == 1


@settings(max_examples=examples(15), deadline=None)
@given(count=st.integers(0, 400_000), direction=st.sampled_from(["up", "down"]))
def test_a_cut_falls_on_its_byte_however_large_the_transfer(echo, count, direction):
    with FaultProxy(echo.address) as proxy:
        client = Client(proxy.address)
        try:
            planned = proxy.cut_after(count, direction)
            proxy_bytes = 0
            try:
                while not planned.done():
                    proxy_bytes += len(client.ask(bytes(50_000)))
            except ConnectionError:
                pass
            planned.result(SOON_S)
            assert (proxy.bytes_up if direction == "up" else proxy.bytes_down) == count
        finally:
            client.close()


def test_a_planned_cut_happens_once(proxy, connect):
    proxy.cut_after(3)
    client = connect()
    client.socket.sendall(b"12345")
    assert client.rest() == (b"123", "RST")
    assert connect().ask(b"12345") == b"12345"


def test_random_cuts_repeat_with_their_seed(echo):
    def run() -> list[int]:
        lengths = []
        with FaultProxy(echo.address, rng=random.Random(11)) as proxy:
            proxy.cut_randomly(50)
            for number in range(5):
                client = Client(proxy.address)
                client.socket.sendall(bytes(2_000))
                lengths.append(len(client.rest()[0]))
                client.close()
                cuts = number + 1
                until(lambda: proxy.cuts == cuts)  # noqa: B023  called at once
        return lengths

    first = run()
    assert first == run()
    assert len(set(first)) > 1


def test_a_blackhole_keeps_connections_open_and_silent_until_healed(proxy, connect):
    client = connect()
    client.ask(b"a")
    proxy.blackhole()
    client.socket.sendall(b"held")
    newcomer = connect()
    newcomer.socket.sendall(b"new")
    assert client.silent()
    assert newcomer.silent()
    proxy.heal()
    assert client.ask(b"") == b""
    assert client.socket.recv(4) == b"held"
    assert newcomer.socket.recv(3) == b"new"


def test_a_blackhole_may_swallow_one_direction_only(proxy, connect):
    client = connect()
    client.ask(b"a")
    proxy.blackhole("down")
    client.socket.sendall(b"bc")
    until(lambda: proxy.bytes_up == 3)
    assert client.silent()
    proxy.heal()
    assert client.socket.recv(2) == b"bc"


def test_healing_may_reset_what_lived_through_the_fault(proxy, connect):
    client = connect()
    client.ask(b"a")
    proxy.blackhole()
    client.socket.sendall(b"lost")
    proxy.heal(reset=True)
    assert client.rest() == (b"", "RST")
    assert connect().ask(b"b") == b"b"


def test_refused_connections_leave_open_ones_alone(proxy, connect):
    client = connect()
    client.ask(b"a")
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert client.ask(b"b") == b"b"
    proxy.heal()
    assert connect().ask(b"c") == b"c"


def test_a_delay_holds_every_byte_back_in_both_directions_and_in_order(proxy, connect):
    client = connect()
    client.ask(b"warm")
    proxy.delay_s = 0.05
    proxy.jitter_s = 0.02
    data = random.Random(2).randbytes(20_000)
    start = time.monotonic()
    assert client.ask(data) == data
    assert time.monotonic() - start >= 0.1


def test_the_bandwidth_limits_the_rate(proxy, connect):
    client = connect()
    client.ask(b"warm")
    proxy.bandwidth = 200_000
    start = time.monotonic()
    client.ask(bytes(40_000))
    assert time.monotonic() - start >= 0.18


def test_a_new_target_is_used_by_new_connections(proxy, connect):
    other = Echo()
    try:
        client = connect()
        client.ask(b"a")
        proxy.target = other.address
        assert connect().ask(b"b") == b"b"
        proxy.cut()
        until(lambda: other.ended == ["RST"])
    finally:
        other.close()


def test_a_target_that_refuses_resets_the_client(proxy, connect):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy.target = "{}:{}".format(*unused.getsockname())
        with pytest.raises(ConnectionResetError):
            connect().socket.recv(1)  # or even before: connecting may see the reset first
    until(lambda: proxy.connections == 1 and proxy.open == 0)


@pytest.mark.parametrize("target", ["", "2379", "127.0.0.1:", ":2379", "127.0.0.1:etcd"])
def test_a_target_without_host_or_port_is_refused(proxy, target):
    with pytest.raises(UsageError, match="host:port"):
        proxy.target = target


async def test_the_proxy_relays_while_the_loop_under_test_is_blocked(proxy):
    reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
    writer.write(b"now")
    until(lambda: proxy.bytes_down == 3)  # blocks this loop
    assert await reader.readexactly(3) == b"now"
    writer.close()
    await writer.wait_closed()


@pytest.fixture
async def closed(echo) -> FaultProxy:
    async with FaultProxy(echo.address) as proxy:
        pass
    return proxy


async def test_a_closed_proxy_refuses_and_says_so(closed):
    closed.close()
    with pytest.raises(ConnectionRefusedError):
        Client(closed.address)
    with pytest.raises(NotRunning):
        closed.cut()
