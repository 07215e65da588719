"""Encrypted connections to ZooKeeper: verified both ways, and never given up for plain text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from herz.errors import SourceUnavailable, TlsError
from herz.sources.urls import source_for
from herz.testing.certificates import Authority
from herz.testing.zookeeper import ZookeeperEnsemble
from herz.tls.material import TlsMaterial


def made(url: str) -> Any:
    return source_for(url)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ensemble(authority: Authority) -> Iterator[ZookeeperEnsemble]:
    with ZookeeperEnsemble(tls=replace(authority.issue("server"), client_auth=True)) as found:
        yield found


def url(hosts: str, material: TlsMaterial) -> str:
    named = {"ca": material.ca, "cert": material.cert, "key": material.key, "dial": "1.5"}
    query = "&".join(f"{name}={value}" for name, value in named.items() if value)
    return f"optional:zookeeper+tls://{hosts}/config?{query}"


async def reason(spec: str) -> str:
    source = made(spec)
    with pytest.raises(SourceUnavailable) as caught:
        await source.read()
    await source.close()
    return str(caught.value)


async def test_both_sides_prove_who_they_are(ensemble, authority):
    source = made(url(ensemble.secure_hosts, authority.issue("client")))
    assert (await source.read()).tree == {}
    assert source.origin.name.startswith("zookeeper+tls://")
    await source.close()


async def test_a_server_of_another_authority_is_not_believed(ensemble, authority, tmp_path):
    client = authority.issue("stranger")
    other = Authority(tmp_path, "other")
    assert "TLS" in await reason(url(ensemble.secure_hosts, replace(client, ca=str(other.cert))))


async def test_a_client_without_a_certificate_is_not_let_in(ensemble, authority):
    assert "no ZooKeeper server took us in" in await reason(
        url(ensemble.secure_hosts, TlsMaterial(ca=str(authority.cert)))
    )


@pytest.mark.slow
async def test_a_name_that_the_certificate_does_not_have_is_not_believed(authority):
    with ZookeeperEnsemble(tls=authority.issue("elsewhere", hosts=["elsewhere.example"])) as ensemble:
        assert "TLS: " in await reason(url(ensemble.secure_hosts, authority.issue("client2")))


@pytest.mark.slow
async def test_an_expired_certificate_is_named_as_the_reason(authority):
    past = datetime.now(UTC) - timedelta(days=2)
    expired = authority.issue("expired", begins=past - timedelta(days=1), ends=past)
    with ZookeeperEnsemble(tls=expired) as ensemble:
        assert "expired" in await reason(url(ensemble.secure_hosts, TlsMaterial(ca=str(authority.cert))))


async def test_a_server_that_speaks_plain_text_is_not_talked_to(ensemble, authority):
    assert "TLS" in await reason(url(ensemble.hosts, authority.issue("client3")))


def test_a_certificate_without_its_key_is_refused_before_anything_is_sent(authority, tmp_path: Path):
    material = authority.issue("half")
    with pytest.raises(TlsError, match="key"):
        source_for(f"zookeeper+tls://127.0.0.1:1/config?ca={authority.cert}&cert={material.cert}")
