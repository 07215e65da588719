"""What URLs of releases mean, which are refused, as whom a process reports, and that no credentials show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from herz.errors import HerzError, MissingExtra, SourceDenied, TlsError, UsageError
from herz.sources.released import ReleasedSource
from herz.sources.released_url import Address, Identity
from herz.sources.urls import source_for


@pytest.mark.parametrize(
    ("url", "endpoints", "place"),
    [
        ("herz://h/pay", ("http://h:4379",), ("pay", "default")),
        ("herz://h:1/pay/eu", ("http://h:1",), ("pay", "eu")),
        ("herz://a:1,b,[::1]:3/pay/", ("http://a:1", "http://b:4379", "http://[::1]:3"), ("pay", "default")),
        ("herz+tls://h/pay?ca=ca.pem", ("https://h:4379",), ("pay", "default")),
    ],
)
def test_a_url_names_servers_application_and_namespace(
    url: str, endpoints: tuple[str, ...], place: tuple[str, str]
) -> None:
    at = Address.parse(url, {})
    assert (at.transport, at.endpoints, (at.app, at.namespace)) == ("http", endpoints, place)


def test_a_url_names_a_store_that_is_followed_directly() -> None:
    at = Address.parse("herz+sqlite:///dir/herz.db?instance=i#pay/eu", {})
    assert (at.transport, at.store, at.app, at.namespace) == ("sqlite", "dir/herz.db", "pay", "eu")
    at = Address.parse("herz+etcd+tls://us:s3cret@a:1,b:2/pay?ca=ca.pem&label.zone=eu&proof=2s", {})
    assert (at.transport, at.store) == ("etcd", "etcd+tls://us:s3cret@a:1,b:2/?ca=ca.pem&proof=2.0s")
    assert (at.name, at.identity.labels) == ("herz+etcd+tls://a:1,b:2/pay", {"zone": "eu"})
    assert "s3cret" not in repr(at)


def test_instance_labels_patch_and_token_come_from_the_environment_and_the_url_wins(tmp_path: Path) -> None:
    environment = {
        "HERZ_INSTANCE": "pod-7",
        "HERZ_LABELS": "zone=us,container=main,",
        "HERZ_PATCH_ID": "p1",
        "HERZ_TOKEN": "t0ken",
    }
    at = Address.parse("herz://h/pay", environment)
    assert at.identity == Identity("pod-7", {"zone": "us", "container": "main"}, "p1")
    assert at.token is not None
    assert at.token.reveal() == "t0ken"
    (tmp_path / "token").write_text("other\n")
    at = Address.parse(f"herz://h/pay?instance=me&label.zone=eu&token-file={tmp_path}/token", environment)
    assert (at.identity.instance, at.identity.labels["zone"]) == ("me", "eu")
    assert at.token is not None
    assert at.token.reveal() == "other"
    assert "other" not in repr(at) + at.name


@pytest.mark.parametrize(
    "url",
    [
        "herz://h",
        "herz:///pay",
        "herz://h/pay/eu/x",
        "herz://h:x/pay",
        "herz://h/../pay",
        "herz://h/pay?instance=a%2Fb",
        "herz://h/pay?colour=red",
        "herz://h/pay?ca=ca.pem",
        "herz://h/pay?instance=",
        "herz://h/pay?label.=x",
        "herz://h/pay?proof=0s",
        "herz://h/pay?proof=soon",
        "herz://me:secret@h/pay",
        "herz://h/pay#eu",
        "herz+sqlite:///#pay",
        "herz+sqlite://h/herz.db#pay",
        "herz+sqlite:///herz.db",
        "herz+sqlite:///herz.db?ca=x#pay",
        "herz+etcd://h/pay?colour=red",
        "herz+etcd://h/",
    ],
)
def test_a_url_that_is_none_is_refused_and_shows_no_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        source_for(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("labels", "token"), [("zone", ""), ("=eu", ""), ("", "a b"), ("", "a\nb"), ("", "é")])
def test_an_environment_that_cannot_be_meant_is_refused(labels: str, token: str) -> None:
    with pytest.raises(UsageError):
        Address.parse("herz://h/pay", {"HERZ_LABELS": labels, "HERZ_TOKEN": token})


def test_a_token_that_cannot_be_read_and_a_certificate_that_is_not_there_are_told_at_once() -> None:
    with pytest.raises(SourceDenied, match="nowhere"):
        Address.parse("herz://h/pay?token-file=nowhere", {})
    with pytest.raises(TlsError):
        source_for("herz+tls://h/pay?ca=nowhere.pem")


def test_an_instance_without_a_name_is_called_by_host_and_process() -> None:
    assert re.fullmatch(rf".+-{os.getpid()}", Address.parse("herz://h/pay", {}).identity.instance)


def test_a_forked_child_has_a_name_of_its_own() -> None:
    for given in ({}, {"HERZ_INSTANCE": "pod-7"}):
        identity = Address.parse("herz://h/pay", given).identity
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, f"{identity.instance} {os.getpid()}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        name, pid = os.read(read, 1000).decode().split()
        os.close(read)
        assert name.endswith(f"-{pid}")
        assert name != identity.instance


def test_a_token_in_plain_text_to_another_machine_is_told() -> None:
    def notices(url: str) -> tuple[str, ...]:
        source = ReleasedSource.from_url(url, context=_Context({"HERZ_TOKEN": "t"}))
        return source.notices

    assert any("plain text" in notice for notice in notices("herz://10.0.0.1/pay"))
    assert notices("herz://127.0.0.1/pay") == ()


class _Context:
    limits = None

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment


WITHOUT = """
import asyncio, sys
sys.modules["aiohttp"] = None
from herz.errors import MissingExtra
from herz.sources.urls import source_for
source = source_for("herz://127.0.0.1:1/pay")
try:
    asyncio.run(source.read())
except MissingExtra as error:
    print(error.remedy)
source_for("herz+sqlite:///herz.db#pay")
"""


def test_only_http_needs_an_extra_and_says_which(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'herz[client]'"
    assert issubclass(MissingExtra, HerzError)
