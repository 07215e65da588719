"""What `herz serve` refuses, before anything is bound: addresses, TLS, tokens, stores. The setting to fix is named."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys

import pytest

from herz.cli.main import main, parser
from herz.cli.serve import options_of
from herz.errors import HerzError
from herz.server.serve import serve
from herz.testing.certificates import Authority
from herz.testing.processes import Port

OUTSIDE = ["http://0.0.0.0:0", "http://[::]:0"]
INSIDE = "http://127.0.0.1:0"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("herz")


def refused(folder, *arguments):
    """What a server says that does not start."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        options = options_of(parser().parse_args(["serve", *arguments]))
        with pytest.raises(HerzError) as caught:
            asyncio.run(serve(options, lambda _: None, lambda _: None))
    finally:
        os.chdir(before)
    return f"{caught.value.what} ({caught.value.where}) → {caught.value.remedy}"


def test_https_without_a_certificate_is_refused_and_names_the_setting(tmp_path):
    said = refused(tmp_path, "--listen", "https://127.0.0.1:0")
    assert "HTTPS listen URL requires ClientTLSInfo to be non-empty: https://127.0.0.1:0" in said
    assert "--cert and --key" in said


def test_nothing_is_bound_when_one_address_of_several_is_refused(tmp_path):
    port = Port()
    refused(tmp_path, "--listen", f"http://{port.address}", "--listen", "https://127.0.0.1:0")
    with socket.socket() as asking:
        assert asking.connect_ex(("127.0.0.1", port.number)) != 0
    port.close()


@pytest.mark.parametrize("half", ["--cert", "--key"])
def test_half_of_a_pair_is_refused(tmp_path, certificate, half):
    file = certificate.cert if half == "--cert" else certificate.key
    assert ("--key" if half == "--cert" else "--cert") in refused(
        tmp_path, "--listen", "https://127.0.0.1:0", half, str(file)
    )


@pytest.mark.parametrize("url", ["127.0.0.1:4379", "ftp://127.0.0.1:1", "http://127.0.0.1:99999", "http://127.0.0.1:x"])
def test_what_is_no_address_is_refused(tmp_path, url):
    assert "→" in refused(tmp_path, "--listen", url)


def test_a_port_in_use_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen on {url}" in refused(tmp_path, "--listen", url)


@pytest.mark.parametrize(
    "store",
    ["sqlite:", "herz.db", "mysql://x", "sqlite:///herz.db#pay", "etcd://127.0.0.1:2379/config/pay", "sqlite://"],
)
def test_what_is_no_store_is_refused(tmp_path, store):
    assert "→" in refused(tmp_path, "--store", store)


def test_a_damaged_store_is_refused_and_says_what_to_do(tmp_path):
    (tmp_path / "herz.db").write_bytes(b"this is no database" * 1000)
    said = refused(tmp_path, "--listen", "http://127.0.0.1:0")
    assert "not an SQLite file" in said
    assert "→" in said


@pytest.mark.parametrize("url", OUTSIDE)
def test_an_address_that_others_reach_is_refused_without_a_token(tmp_path, url):
    said = refused(tmp_path, "--listen", url)
    assert "herz token create" in said
    assert "--require-tokens" in said


def test_a_loopback_address_beside_it_changes_nothing(tmp_path):
    assert "herz token create" in refused(tmp_path, "--listen", INSIDE, "--listen", OUTSIDE[0])


@pytest.mark.parametrize("grants", [("pay:admin",), ("*:release", "*:read")])
def test_a_token_that_is_not_for_everything_is_not_enough(tmp_path, monkeypatch, grants):
    monkeypatch.chdir(tmp_path)
    options = [word for grant in grants for word in ("--grant", grant)]
    assert main(["token", "create", "ops", *options, "--store", "sqlite:///herz.db"]) == 0
    assert "herz token create" in refused(tmp_path, "--listen", OUTSIDE[0])


def test_a_server_that_cannot_bind_leaves_no_token_behind(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(tmp_path, "--require-tokens", "--listen", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert main(["token", "list", "--store", f"sqlite:///{tmp_path}/herz.db", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tokens": []}


@pytest.mark.slow
@pytest.mark.parametrize("listen", ["https://127.0.0.1:0", "http://0.0.0.0:0", "nonsense"])
def test_the_command_ends_with_another_status_than_0_and_no_trace(tmp_path, listen):
    ran = subprocess.run(
        [sys.executable, "-m", "herz.cli.main", "serve", "--listen", listen],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode in (1, 2)
    assert "→" in ran.stderr
    assert "Traceback" not in ran.stderr
