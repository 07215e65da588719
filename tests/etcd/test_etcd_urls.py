"""What URLs of etcd mean, which are refused, and that no credentials show."""

from __future__ import annotations

import traceback

import pytest

from herz.errors import HerzError, UsageError
from herz.sources.store import StoreSource
from herz.sources.urls import source_for
from herz.store.etcd.address import EtcdAddress
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer

SECRET = "s3cr3t!word"


@pytest.mark.parametrize(
    ("url", "endpoints", "prefix"),
    [
        ("etcd://h:1/config/pay", ("h:1",), "/config/pay/"),
        ("etcd://h:1/config/pay/", ("h:1",), "/config/pay/"),
        ("etcd://h/config/p%20y", ("h:2379",), "/config/p y/"),
        ("etcd://a:1,b:2,[::1]:3,[::1]/x", ("a:1", "b:2", "[::1]:3", "[::1]:2379"), "/x/"),
        ("etcd://h:1", ("h:1",), "/"),
        ("etcd://h:1#pay", ("h:1",), "/config/pay/"),
        ("etcd://h:1/config/pay?format=yaml", ("h:1",), "/config/pay"),
    ],
)
def test_a_url_names_endpoints_and_a_prefix(url: str, endpoints: tuple[str, ...], prefix: str):
    at = EtcdAddress.parse(url)
    assert (at.endpoints, at.prefix) == (endpoints, prefix)


def test_a_url_carries_login_and_tls_and_its_name_shows_neither():
    at = EtcdAddress.parse("etcd+tls://us%40er:s3cr3t%21word@h:1/p?ca=a.pem&cert=c.pem&key=k.pem&server_name=n")
    assert at.tls is not None
    assert (at.tls.ca, at.tls.cert, at.tls.key, at.server_name) == ("a.pem", "c.pem", "k.pem", "n")
    assert at.username == "us@er"
    assert at.password is not None
    assert at.password.reveal() == SECRET
    assert at.name == "etcd+tls://h:1/p"
    assert SECRET not in repr(at)


@pytest.mark.parametrize(
    "url",
    [
        "etcd:///config",
        "etcd://u:s3cr3t!word@/config",
        "etcd://u:s3cr3t!word@h:port/config",
        "etcd://u:s3cr3t!word/@h:1/config",
        "etcd://u:s3cr3t!word@h:99999/config",
        "etcd://u:s3cr3t!word@h:1/config?ca=ca.pem",
        "etcd://u:s3cr3t!word@h:1/config?prefix=x",
        "etcd://u:s3cr3t!word@h:1/config?format=",
        "etcd://u:s3cr3t!word@h:1/config#app",
        "etcd://u:s3cr3t!word@h:1#no/app",
    ],
)
def test_a_url_that_means_nothing_is_refused_without_showing_the_password(url: str):
    with pytest.raises(UsageError) as caught:
        source_for(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_half_a_pair_of_tls_files_is_refused():
    with pytest.raises(HerzError, match="cert"):
        source_for("etcd+tls://h:1/p?cert=c.pem")


@pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd: tools/servers installs it")
async def test_a_prefix_and_a_document_are_read_through_their_urls():
    async with EtcdServer() as server:
        await server.put("/config/pay/db/pool", "7")
        await server.put("/config/payments/db/pool", "8")
        await server.put("/settings", "db:\n  pool: 9\n")
        await server.put("/settings.old", "not ours")
        prefix = source_for(server.url("/config/pay"))
        document = source_for(server.url("/settings", format="yaml"))
        assert isinstance(prefix, StoreSource)
        assert isinstance(document, StoreSource)
        try:
            read = await prefix.read()
            assert read.tree["db"]["pool"] == "7"
            assert read.locate(("db", "pool")).startswith("/config/pay/db/pool@")
            assert (await document.read()).tree["db"]["pool"] == 9
        finally:
            await prefix.close()
            await document.close()
