"""Real listeners: nothing is bound when one address is bad, and what is bound speaks what its scheme says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from herz.errors import ConfigurationError, TlsError
from herz.tls.context import client_context, server_context
from herz.tls.listener import listen
from herz.tls.material import Fault, TlsMaterial

SRC = Path(__file__).parents[2] / "src"
SERVICE = """
import asyncio, sys
from herz.errors import HerzError
from herz.tls.listener import listen
from herz.tls.material import TlsMaterial

async def main(cert, key, *urls):
    listeners = listen(urls, TlsMaterial(cert or None, key or None))
    for one in listeners:
        await asyncio.start_server(lambda r, w: w.close(), sock=one.socket, ssl=one.context)
    print(*(one.port for one in listeners), flush=True)
    await asyncio.Event().wait()

try:
    asyncio.run(main(*sys.argv[1:]))
except HerzError as error:
    sys.exit(str(error))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVICE, *map(str, arguments)],
        env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def asked(port: int, context: ssl.SSLContext | None) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if context else None
    )
    try:
        writer.write(b"hello\n")
        return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


class Serving:
    def __init__(self, urls, material):
        self.listeners = listen(urls, material)

    async def __aenter__(self):
        self.servers = [await asyncio.start_server(echo, sock=one.socket, ssl=one.context) for one in self.listeners]
        return [one.port for one in self.listeners]

    async def __aexit__(self, *_):
        for server in self.servers:
            server.close()


@pytest.mark.parametrize("order", [1, -1], ids=["bad last", "bad first"])
def test_nothing_is_bound_when_one_address_cannot_be_encrypted(monkeypatch, order):
    bound: list[object] = []
    monkeypatch.setattr(socket.socket, "bind", lambda self, place: bound.append(place))
    with pytest.raises(TlsError):
        listen(["http://127.0.0.1:0", "https://127.0.0.1:1"][::order])
    assert bound == []


def test_nothing_stays_bound_when_a_later_address_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = free_port()
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            listen([f"http://127.0.0.1:{port}", f"http://127.0.0.1:{taken.getsockname()[1]}"])
        assert nobody_listens(port)


def test_a_process_with_a_bad_address_ends_with_an_exit_status_and_the_reason():
    port = free_port()
    process = start("", "", f"http://127.0.0.1:{port}", "https://127.0.0.1:0")
    out, error = process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    assert "HTTPS listen URL requires ClientTLSInfo to be non-empty" in error
    assert "https://127.0.0.1:0" in error
    assert out == ""
    assert nobody_listens(port)


@pytest.mark.parametrize("complete", [True, False], ids=["https with material", "http without"])
def test_a_process_with_good_addresses_starts(good, complete):
    process = start(*((good.cert, good.key, "https://127.0.0.1:0") if complete else ("", "", "http://127.0.0.1:0")))
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert not nobody_listens(port)
    finally:
        process.kill()
        process.communicate()


async def test_an_https_address_speaks_tls_and_an_http_address_plain_text(good):
    async with Serving(["https://127.0.0.1:0", "http://127.0.0.1:0"], good) as (encrypted, plain):
        assert await asked(encrypted, client_context(TlsMaterial(ca=good.ca))) == b"hello\n"
        assert await asked(plain, None) == b"hello\n"
        assert await asked(encrypted, None) == b""
        with pytest.raises(OSError, match=r".*"):
            await asked(plain, client_context(TlsMaterial(ca=good.ca)))


async def test_a_client_takes_no_server_of_an_unknown_authority(good):
    async with Serving(["https://127.0.0.1:0"], good) as (port,):
        with pytest.raises(ssl.SSLCertVerificationError):
            await asked(port, client_context(TlsMaterial()))


async def test_a_client_takes_no_certificate_of_another_host(other):
    async with Serving(["https://127.0.0.1:0"], other) as (port,):
        with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
            await asked(port, client_context(TlsMaterial(ca=other.ca)))


async def test_client_authentication_refuses_clients_without_a_certificate(good, other):
    async with Serving(["https://127.0.0.1:0"], replace(good, client_auth=True)) as (port,):
        assert await asked(port, client_context(other)) == b"hello\n"
        # TLS 1.3 finishes the client's handshake first: the refusal comes as an alert, or as an early end.
        with contextlib.suppress(OSError):
            assert await asked(port, client_context(TlsMaterial(ca=good.ca))) == b""


async def test_tls_1_1_is_not_spoken(good):
    assert server_context(good).minimum_version is client_context(good).minimum_version is ssl.TLSVersion.TLSv1_2
    old = client_context(TlsMaterial(ca=good.ca))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with Serving(["https://127.0.0.1:0"], good) as (port,):
        with pytest.raises(OSError, match=r".*"):
            await asked(port, old)


def test_a_listener_never_makes_a_certificate_of_its_own():
    with pytest.raises(TlsError):
        listen(["https://127.0.0.1:0"], TlsMaterial(auto=True))


def test_a_context_is_refused_for_half_a_pair(good, other):
    for material in (TlsMaterial(), TlsMaterial(cert=good.cert), replace(good, key=other.key)):
        with pytest.raises(TlsError):
            server_context(material)


def test_the_warnings_are_told_to_the_caller(good):
    told: list[Fault] = []
    for one in listen(["http://127.0.0.1:0"], good, tell=told.append):
        one.socket.close()
    assert [one.code for one in told] == ["plain-beside-tls"]
