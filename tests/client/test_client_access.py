"""Tokens and TLS by the client, against servers that ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from herz.client import ControlPlane, Namespace
from herz.errors import SourceDenied, SourceUnavailable
from herz.release.content import Content, LayerText
from herz.testing.certificates import Authority
from herz.testing.control_plane import ControlPlaneServer

CONTENT = Content(layers=(LayerText(name="pay.yml", text="pool: 5\n"),))


@pytest.fixture(scope="module")
def guarded() -> Iterator[ControlPlaneServer]:
    """A server that asks for tokens."""
    with ControlPlaneServer("--require-tokens") as server:
        yield server


async def created(guarded: ControlPlaneServer, *grants: str, **options: datetime) -> str:
    async with ControlPlane(guarded.url, token=guarded.token) as plane:
        return str((await plane.create_token("test", grants, **options))["token"])


async def test_without_a_token_nothing_is_told(guarded, app):
    async with ControlPlane(guarded.url) as plane:
        with pytest.raises(SourceDenied, match="token"):
            await plane.namespace(app).releases()
        assert await plane.health()


async def test_the_token_is_taken_from_a_file(guarded, app, tmp_path):
    (tmp_path / "token").write_text(f"{guarded.token}\n")
    async with ControlPlane(guarded.url, token_file=tmp_path / "token") as plane:
        assert await plane.namespace(app).releases() == ()


async def test_a_token_does_what_its_scope_says_where_it_says_and_no_more(guarded, app):
    token = await created(guarded, f"{app}:edit")
    async with ControlPlane(guarded.url, token=token) as plane:
        await plane.namespace(app).write_draft(CONTENT)
        with pytest.raises(SourceDenied):
            await plane.namespace(app).release("first")
        with pytest.raises(SourceDenied):
            await plane.namespace("elsewhere").write_draft(CONTENT)
        with pytest.raises(SourceDenied):
            await plane.audit()


async def test_an_expired_or_revoked_token_opens_nothing(guarded, app):
    async with ControlPlane(guarded.url, token=guarded.token) as plane:
        made = await plane.create_token("test", [f"{app}:read"])
        async with ControlPlane(guarded.url, token=made["token"]) as other:
            await other.namespace(app).releases()
            await plane.revoke_token(made["id"])
            with pytest.raises(SourceDenied):
                await other.namespace(app).releases()
        assert made["id"] not in {one["id"] for one in await plane.tokens()}
    soon = await created(guarded, f"{app}:read", expires=datetime.now(UTC) + timedelta(seconds=0.2))
    async with ControlPlane(guarded.url, token=soon) as plane:
        pay = plane.namespace(app)
        with pytest.raises(SourceDenied):
            await _asked_for_ever(pay)


async def _asked_for_ever(pay: Namespace) -> None:
    while True:
        await pay.releases()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[ControlPlaneServer]:
    """A server that asks its clients for certificates, too."""
    material = authority.issue("serve")
    options = ("--cert", str(material.cert), "--key", str(material.key), "--client-ca", str(authority.cert))
    with ControlPlaneServer(*options, scheme="https") as server:
        yield server


async def test_mutual_tls_lets_in_who_shows_a_certificate_and_knows_the_authority(encrypted, authority, app):
    ours = authority.issue("client")
    async with ControlPlane(encrypted.url, ca=authority.cert, cert=ours.cert, key=ours.key) as plane:
        assert await plane.namespace(app).releases() == ()


async def test_who_shows_no_certificate_is_turned_away(encrypted, authority, app):
    async with ControlPlane(encrypted.url, ca=authority.cert) as plane:
        with pytest.raises(SourceUnavailable):
            await plane.namespace(app).releases()


async def test_a_server_of_another_authority_is_not_believed(encrypted, authority, app, tmp_path):
    ours = authority.issue("client")
    stranger = Authority(tmp_path)
    async with ControlPlane(encrypted.url, ca=stranger.cert, cert=ours.cert, key=ours.key) as plane:
        with pytest.raises(SourceUnavailable, match="certificate") as caught:
            await plane.namespace(app).releases()
    assert caught.value.remedy == "mend the URL, or the certificates"
