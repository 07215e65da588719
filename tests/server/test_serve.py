"""Servers as processes: how addresses are served, who may come in, how they end, and when the store is in trouble."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import httpx
import pytest

from herz.testing.certificates import Authority
from herz.testing.processes import Port

from .conftest import layers_of as layers
from .conftest import started

ENDS_S = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("herz")


def tls(certificate):
    return "--cert", str(certificate.cert), "--key", str(certificate.key)


def test_it_says_where_it_listens_its_store_and_that_it_is_open(serve, tmp_path):
    server = serve()
    assert server.said["listening"] == [server.url]
    assert server.said["store"] == "sqlite:///herz.db"
    assert (server.said["open"], server.said["token"]) == (True, None)
    assert (tmp_path / "herz.db").exists()


def test_people_are_told_the_same(tmp_path):
    port = Port()
    process = subprocess.Popen(
        [sys.executable, "-m", "herz.cli.main", "serve", "--listen", f"http://{port.address}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert f"http://{port.address}" in said[0]
        assert "sqlite:///herz.db" in said[1]
        assert said[2].startswith("open")
    finally:
        process.terminate()
        process.communicate(timeout=ENDS_S)
        port.close()


def test_several_addresses_are_served_by_one_process(serve):
    server = serve("--listen", "http://127.0.0.1:0", "--listen", "http://[::1]:0")
    server.client.put("/api/v1/apps/pay/namespaces/default/draft", json={"content": layers("a: 1\n")})
    other = httpx.get(f"{server.said['listening'][1]}/api/v1/apps/pay/namespaces/default/draft")
    assert other.json()["content"] == layers("a: 1\n")


def test_https_is_served_with_its_certificate(serve, authority, certificate):
    context = ssl.create_default_context(cafile=str(authority.cert))
    server = serve("--listen", "https://127.0.0.1:0", *tls(certificate), verify=context)
    assert server.client.get("/health").status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{server.url.replace('https', 'http')}/health")


def test_http_and_https_are_served_side_by_side(serve, authority, certificate):
    server = serve("--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0", *tls(certificate))
    assert server.client.get("/health").status_code == 200
    context = ssl.create_default_context(cafile=str(authority.cert))
    assert httpx.get(f"{server.said['listening'][1]}/health", verify=context).status_code == 200


def test_mtls_takes_only_clients_with_a_certificate(serve, authority, certificate):
    context = ssl.create_default_context(cafile=str(authority.cert))
    theirs = authority.issue("client")
    mutual = ssl.create_default_context(cafile=str(authority.cert))
    mutual.load_cert_chain(theirs.cert, theirs.key)
    server = serve(
        "--listen", "https://127.0.0.1:0", *tls(certificate), "--client-ca", str(authority.cert), verify=mutual
    )
    assert server.client.get("/health").status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{server.url}/health", verify=context)


# --- addresses × tokens


OUTSIDE = ["http://0.0.0.0:0", "http://[::]:0"]
INSIDE = ["http://127.0.0.1:0", "http://localhost:0", "http://[::1]:0"]


@pytest.fixture(scope="module")
def with_admin(tmp_path_factory):
    """A store that has a token for everything, and its text."""
    folder = tmp_path_factory.mktemp("with-admin")
    return folder, made_token(folder, "*:admin")


def made_token(folder, *grants):
    options = [word for grant in grants for word in ("--grant", grant)]
    options += ["--store", "sqlite:///herz.db", "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "herz.cli.main", "token", "create", "ops", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=ENDS_S,
        check=True,
    )
    return json.loads(ran.stdout)["token"]


@pytest.mark.parametrize("url", OUTSIDE)
def test_with_a_token_it_starts_and_asks_for_it(with_admin, url):
    folder, token = with_admin
    server = started(folder, "--listen", url)
    try:
        assert (server.said["open"], server.said["token"]) == (False, None)
        here = f"http://127.0.0.1:{server.url.rpartition(':')[2]}"
        if "[::]" in url:
            here = here.replace("127.0.0.1", "[::1]")
        assert httpx.get(f"{here}/api/v1/apps").status_code == 401
        right = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{here}/api/v1/apps", headers=right).status_code == 200
    finally:
        server.stop()


@pytest.mark.parametrize("url", [*INSIDE, *OUTSIDE])
def test_when_tokens_are_required_the_first_one_is_told_once(serve, url):
    server = serve("--listen", url, "--require-tokens")
    assert not server.said["open"]
    assert server.token is not None
    here = (
        f"http://127.0.0.1:{server.url.rpartition(':')[2]}" if "[::" not in url else server.url.replace("::]", "::1]")
    )
    here = here.replace("[::11]", "[::1]")
    right = {"authorization": f"Bearer {server.token}"}
    assert httpx.get(f"{here}/api/v1/tokens", headers=right).status_code == 200
    assert httpx.get(f"{here}/api/v1/tokens").status_code == 401


def test_the_first_token_is_not_made_again(serve):
    server = serve("--require-tokens")
    token = server.token
    assert server.stop() == 0
    again = serve("--require-tokens")
    assert again.token is None
    assert httpx.get(f"{again.url}/api/v1/tokens", headers={"authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize("url", INSIDE)
def test_loopback_is_open_though_there_are_tokens(with_admin, url):
    server = started(with_admin[0], "--listen", url)
    try:
        assert server.said["open"]
        assert server.client.get("/api/v1/apps").status_code == 200
    finally:
        server.stop()


# --- the end


def test_sigterm_ends_it_in_order(serve):
    server = serve()
    assert server.stop() == 0


def test_sigint_ends_it_in_order_as_well(serve):
    server = serve()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(ENDS_S) == 0


def test_a_request_under_way_is_finished(serve):
    server = serve()
    server.client.put("/api/v1/apps/pay/namespaces/default/draft", json={"content": layers("a: 1\n")})
    body = json.dumps({"content": layers("b: 2\n")}).encode()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.settimeout(ENDS_S)
        connection.sendall(
            b"PUT /api/v1/apps/pay/namespaces/default/draft HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        connection.sendall(body[:10])
        server.client.get("/health")  # behind the beginning of the other request
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + ENDS_S
        while "stopping" not in server.log.read_text():
            assert time.monotonic() < deadline
        connection.sendall(body[10:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert server.process.wait(ENDS_S) == 0


def test_a_second_signal_waits_for_nobody(serve):
    server = serve()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"PUT /api/v1/apps/pay/namespaces/default/draft HTTP/1.1\r\ncontent-length: 10\r\n")
        connection.sendall(b"content-type: application/json\r\nhost: 127.0.0.1\r\n\r\n")
        server.client.get("/health")
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + ENDS_S
        while "stopping" not in server.log.read_text():
            assert time.monotonic() < deadline
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(ENDS_S)
        assert time.monotonic() - began < 8


def test_the_log_is_json_where_that_is_asked_for(serve):
    server = serve("--json-log")
    server.stop()
    for line in server.log.read_text().splitlines():
        assert json.loads(line).keys() >= {"time", "level", "message"}


def test_what_was_written_is_there_after_sigkill(serve):
    server = serve()
    for number in range(5):
        body = {"changes": {f"k{number}": number}}
        server.client.post("/api/v1/apps/pay/namespaces/default/draft/set", json=body)
    server.process.kill()
    server.process.wait()
    again = serve()
    found = again.client.get("/api/v1/apps/pay/namespaces/default/draft").json()
    assert found["content"]["layers"][0]["text"] == "".join(f"k{number}: {number}\n" for number in range(5))
    assert again.client.get("/api/v1/audit/verify").json()["ok"]


# --- two servers, one store


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
def test_two_servers_on_one_store_lose_nothing(request, serve, tmp_path, kind):
    if kind == "etcd":
        cluster = request.getfixturevalue("etcd")
        asyncio.run(emptied(f"etcd://{endpoint(cluster)}"))
        store = ("--store", f"etcd://{endpoint(cluster)}")
    else:
        store = ("--store", f"sqlite:///{tmp_path}/shared.db")
    servers = [serve(*store), serve(*store)]
    failed = []

    def edit(server, numbers):
        for number in numbers:
            body = {"changes": {f"k{number}": number}, "message": f"key {number}"}
            response = server.client.post("/api/v1/apps/pay/namespaces/default/draft/set", json=body)
            if response.status_code != 200:
                failed.append(response.text)

    threads = [threading.Thread(target=edit, args=(servers[n], range(n, 16, 2))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    text = servers[0].client.get("/api/v1/apps/pay/namespaces/default/draft").json()["content"]["layers"][0]["text"]
    assert sorted(text.splitlines()) == sorted(f"k{number}: {number}" for number in range(16))
    verified = servers[1].client.get("/api/v1/audit/verify").json()
    assert (verified["ok"], verified["entries"]) == (True, 16)


def endpoint(cluster):
    return cluster.endpoints[0].removeprefix("http://")


async def emptied(url):
    from herz.server.opening import open_store

    store = open_store(url)
    await store.delete_prefix("")
    await store.close()


# --- trouble with the store


def test_a_damaged_record_is_told_and_everything_else_is_served(serve, tmp_path):
    server = serve()
    place = "/api/v1/apps/pay/namespaces/default"
    server.client.put(f"{place}/draft", json={"content": layers("a: 1\n")})
    server.client.post(f"{place}/releases", json={"message": "go"})
    asyncio.run(damaged(f"sqlite:///{tmp_path}/herz.db"))
    response = server.client.get(f"{place}/releases/1")
    assert response.status_code == 500
    assert response.json()["type"] == "urn:herz:problem:store-damaged"
    assert "/releases/0000000001@" in response.json()["where"]
    assert server.client.get(f"{place}/channel").json()["stable"]["release"]["number"] == 1
    assert server.client.get(f"{place}/draft").status_code == 200
    assert server.client.get("/health").status_code == 200


def test_a_damaged_file_is_told_and_what_can_be_read_is_served(serve, tmp_path):
    server = serve()
    places = [f"/api/v1/apps/app{number}/namespaces/default" for number in range(6)]
    for place in places:
        for number in range(8):
            server.client.put(f"{place}/draft", json={"content": layers(f"a: {number}\nb: {'x' * 3000}{place}\n")})
            server.client.post(f"{place}/releases", json={"message": "go"})
    server.stop()
    server = serve()
    file = tmp_path / "herz.db"
    pages = file.stat().st_size // 4096
    with file.open("r+b") as opened:
        for page in range(pages // 3, pages * 2 // 3, 5):
            opened.seek(page * 4096)
            opened.write(b"\xa5" * 4096)
    answers = [server.client.get(f"{place}/releases/{n}/content") for place in places for n in range(1, 9)]
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 500}
    for answer in answers:
        if answer.status_code == 500:
            assert answer.json()["type"] == "urn:herz:problem:store-damaged"
            assert "backup" in answer.json()["remedy"]


async def damaged(url):
    from herz.server.opening import open_store
    from herz.store.plane import release_key

    store = open_store(url)
    await store.put(release_key("pay", "default", 1), b"\x00\x01 gone")
    await store.close()


def test_an_etcd_that_is_gone_is_a_503_and_health_says_down(serve):
    from herz.testing.etcd_cluster import EtcdCluster

    with EtcdCluster(1) as cluster:
        server = serve("--store", f"etcd://{endpoint(cluster)}?dial=500ms")
        server.client.put("/api/v1/apps/pay/namespaces/default/draft", json={"content": layers("a: 1\n")})
        cluster.members[0].kill()
        response = server.client.put("/api/v1/apps/pay/namespaces/default/draft", json={"content": layers("a: 2\n")})
        assert response.status_code == 503
        assert response.json()["type"] == "urn:herz:problem:store-unavailable"
        assert response.headers["retry-after"]
        assert server.client.get("/health").status_code == 503
        asyncio.run(cluster.members[0].start())
        deadline = time.monotonic() + ENDS_S
        while server.client.get("/health").status_code != 200:
            assert time.monotonic() < deadline
        found = server.client.get("/api/v1/apps/pay/namespaces/default/draft").json()
        assert found["content"] == layers("a: 1\n")


def test_a_full_etcd_is_a_507_and_nothing_is_lost(serve):
    from herz.testing.etcd_cluster import EtcdCluster

    with EtcdCluster(1, options=("--quota-backend-bytes", str(8 * 1024 * 1024))) as cluster:
        server = serve("--store", f"etcd://{endpoint(cluster)}")
        place = "/api/v1/apps/pay/namespaces/default/draft"
        written = server.client.put(place, json={"content": layers("a: 1\n")}).json()
        response = None
        for number in range(40):
            text = f"n: {number}\nblob: {'x' * 900_000}\n"
            response = server.client.put(place, json={"content": layers(text)})
            if response.status_code != 200:
                break
            written = response.json()
        assert response is not None
        assert response.status_code == 507
        assert response.json()["type"] == "urn:herz:problem:store-full"
        found = server.client.get(place).json()
        assert (found["revision"], found["digest"]) == (written["revision"], written["digest"])
