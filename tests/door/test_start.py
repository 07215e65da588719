"""Servers as processes: the first start, the options, the live stream, two servers, and stores of each kind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from herz.server.opening import open_store
from herz.testing.certificates import Authority
from herz.testing.etcd_cluster import EtcdCluster

from .conftest import OWN, PASSWORD

pytestmark = pytest.mark.slow

WITHIN_S = 15.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


class Server:
    """A running `herz serve`."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.log = folder / f"serve-{time.monotonic_ns()}.log"
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "herz.cli.main", "serve", "--json", *arguments],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**ENVIRONMENT, **environment},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("{"), line + self.log.read_text()
        self.said = json.loads(line)
        self.url: str = self.said["listening"][0]

    def browser(self, **further) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=OWN, timeout=30, **further)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def serve(tmp_path) -> Iterator:
    servers: list[Server] = []

    def start(*arguments: str, **environment: str) -> Server:
        if "--listen" not in arguments:
            arguments = ("--listen", "http://127.0.0.1:0", *arguments)
        servers.append(Server(tmp_path, *arguments, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def herz(tmp_path):
    """Runs a command in the folder of the servers."""

    def run(*words: str, typed: str = "") -> str:
        command = [sys.executable, "-m", "herz.cli.main", *words]
        done = subprocess.run(
            command, cwd=tmp_path, input=typed, capture_output=True, text=True, env=ENVIRONMENT, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def welcomed(server: Server, browser: httpx.Client, name: str = "ana") -> httpx.Response:
    code = urlsplit(server.said["admin_link"]).fragment
    data = {"code": code, "name": name, "password": PASSWORD, "again": PASSWORD}
    return browser.post("/console/welcome", data=data)


@contextmanager
def logged_in(server: Server, name: str = "ana", **further) -> Iterator[httpx.Client]:
    with server.browser(**further) as browser:
        answer = browser.post("/console/login", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        yield browser


def inside(browser: httpx.Client) -> bool:
    return browser.get("/console/me").status_code == 200


def until(met) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not met():
        assert time.monotonic() < deadline


def test_the_first_start_prints_a_link_that_makes_the_first_admin(serve):
    server = serve("--require-tokens")
    link = server.said["admin_link"]
    assert link.startswith(server.url + "/console/welcome#")
    assert server.said["token"]
    with server.browser() as browser:
        assert browser.get("/console/").status_code == 303
        assert welcomed(server, browser).status_code == 303
        assert browser.get("/console/users").status_code == 200
    with server.browser() as other:
        assert welcomed(server, other, "mal").status_code == 410


def test_the_link_is_printed_until_there_is_an_admin(serve):
    first = serve("--require-tokens")
    first.stop()
    again = serve("--require-tokens")
    assert (again.said["token"], bool(again.said["admin_link"])) == (None, True)
    with again.browser() as browser:
        assert welcomed(again, browser).status_code == 303
    again.stop()
    third = serve("--require-tokens")
    assert (third.said["token"], third.said["admin_link"]) == (None, None)


def test_who_has_made_a_token_for_everything_gets_no_link_into_the_log_at_each_start(serve, herz):
    herz("token", "create", "ops", "--grant", "*:admin", "--store", "sqlite:///herz.db")
    assert serve("--require-tokens").said["admin_link"] is None


def test_an_open_server_prints_no_link(serve):
    server = serve()
    assert server.said["admin_link"] is None
    with server.browser() as browser:
        assert browser.get("/console/users").status_code == 200


def test_an_admin_who_is_there_lets_it_listen_to_others(serve, herz):
    herz("user", "add", "ana", "--role", "*:admin", "--password-stdin", typed=PASSWORD)
    server = serve("--listen", "http://0.0.0.0:0")
    port = urlsplit(server.url).port
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=OWN) as browser:
        assert browser.post("/console/login", data={"name": "ana", "password": PASSWORD}).status_code == 303


def test_over_tls_the_cookie_is_secure_and_comes_back(serve, herz, tmp_path):
    authority = Authority(tmp_path / "authority")
    made = authority.issue("herz")
    herz("user", "add", "ana", "--role", "*:admin", "--password-stdin", typed=PASSWORD)
    server = serve("--listen", "https://127.0.0.1:0", "--cert", str(made.cert), "--key", str(made.key))
    with logged_in(server, verify=False) as browser:
        assert list(browser.cookies) == ["__Host-herz"]
        assert inside(browser)


def test_another_server_of_the_same_file_knows_the_session_and_its_end(serve, herz):
    herz("user", "add", "ana", "--role", "*:admin", "--password-stdin", typed=PASSWORD)
    one, other = serve("--require-tokens"), serve("--require-tokens")
    with logged_in(one) as here, other.browser(cookies=dict(here.cookies)) as there:
        assert inside(there)
        assert here.post("/console/logout").status_code == 303
        until(lambda: not inside(there))


def test_servers_on_one_etcd_share_users_and_sessions(serve, herz):
    with EtcdCluster(1) as cluster:
        store = f"etcd://{cluster.endpoints[0].removeprefix('http://')}"
        herz("user", "add", "ana", "--role", "*:admin", "--password-stdin", "--store", store, typed=PASSWORD)
        one = serve("--require-tokens", "--store", store)
        other = serve("--require-tokens", "--store", store)
        with logged_in(one) as here, other.browser(cookies=dict(here.cookies)) as there:
            assert inside(there)
            herz("user", "disable", "ana", "--force", "--store", store)
            until(lambda: not inside(there))
            until(lambda: not inside(here))
        one.stop()
        other.stop()


@pytest.mark.parametrize("ends", ["disable", "logout"])
def test_an_open_stream_ends_with_the_session(serve, herz, ends):
    herz("user", "add", "ana", "--role", "*:admin", "--password-stdin", typed=PASSWORD)
    server = serve("--require-tokens")
    with logged_in(server) as browser, browser.stream("GET", "/console/live") as live:
        lines = live.iter_lines()
        assert next(lines) == "event: hello"
        if ends == "disable":
            herz("user", "disable", "ana", "--force")
        else:
            with server.browser(cookies=dict(browser.cookies)) as tab:
                tab.post("/console/logout")
        assert "event: end" in list(lines)


def test_a_session_ends_after_the_time_that_the_command_line_gives(serve, herz):
    herz("user", "add", "ana", "--password-stdin", typed=PASSWORD)
    server = serve("--require-tokens", "--session-idle", "1s")
    with logged_in(server) as browser:
        time.sleep(1.1)  # the time itself is what is tried
        assert not inside(browser)


def test_the_audit_log_is_whole_after_all_that(serve, herz):
    server = serve("--require-tokens")
    with server.browser() as browser:
        welcomed(server, browser)
        for password in ("wrong password", PASSWORD):
            browser.post("/console/login", data={"name": "ana", "password": password})
        browser.post("/console/logout")
    assert json.loads(herz("audit", "verify", "--store", "sqlite:///herz.db", "--json"))["ok"]


def test_one_server_deletes_what_is_over_for_all(serve, tmp_path):
    serve("--require-tokens")
    serve("--require-tokens")

    async def duties() -> list[str]:
        store = open_store(f"sqlite:///{tmp_path}/herz.db")
        found = [entry.key for entry in (await store.range("/herz/duties/")).entries]
        await store.close()
        return found

    until(lambda: asyncio.run(duties()).count("/herz/duties/door") == 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--oidc-issuer", "https://login.example"], "--oidc-client-id"),
        (["--oidc-issuer", "http://login.example", "--oidc-client-id", "herz"], "not encrypted"),
        (["--public-url", "herz.example"], "no address"),
        (["--session-idle", "soon"], "no time"),
        (
            ["--oidc-issuer", "https://login.example", "--oidc-client-id", "x", "--oidc-client-secret-file", "none"],
            "read",
        ),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_served(tmp_path, arguments, says):
    done = subprocess.run(
        [sys.executable, "-m", "herz.cli.main", "serve", "--listen", "http://127.0.0.1:0", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=30,
    )
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert done.stdout == ""


def test_the_provider_may_be_named_by_the_environment(serve, tmp_path):
    (tmp_path / "secret").write_text("s\n")
    server = serve(
        "--require-tokens",
        HERZ_OIDC_ISSUER="https://login.example",
        HERZ_OIDC_CLIENT_ID="herz",
        HERZ_OIDC_CLIENT_SECRET_FILE="secret",
    )
    with server.browser() as browser:
        assert "Sign in with login.example" in browser.get("/console/login").text
