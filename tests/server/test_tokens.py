"""Tokens: 256 random bits that are kept nowhere, what they allow, and when they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from herz.errors import UsageError
from herz.server.access import Access, Caller, require
from herz.server.problems import Problem
from herz.server.settings import ServerSettings
from herz.server.tokens import Grant, Scope, Tokens

from .conftest import BEN

READ_PAY = (Grant.parse("pay:read"),)


@pytest.fixture
def tokens(light):
    return light.tokens


async def made(tokens, *grants, **further):
    return await tokens.create("ci", [Grant.parse(grant) for grant in grants or ("pay:read",)], by=BEN, **further)


def refused(call, status):
    with pytest.raises(Problem) as caught:
        call()
    assert caught.value.status == status


async def arefused(call, status):
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.status == status


async def test_a_token_is_found_by_its_text(plane):
    text, token = await made(plane.tokens)
    assert await plane.tokens.find(text) == token


async def test_a_token_has_256_random_bits(tokens):
    texts = {(await made(tokens))[0] for _ in range(20)}
    assert len(texts) == 20
    assert all(text.startswith("herz_") and len(text) == 5 + 43 for text in texts)


async def test_a_tokens_text_lies_nowhere_in_the_store(plane):
    text, _ = await made(plane.tokens)
    entries = (await plane.store.range("/herz/")).entries
    assert entries
    assert not any(text.removeprefix("herz_").encode() in entry.value for entry in entries)


async def test_another_text_with_the_same_id_is_not_the_token(tokens, memory):
    text, token = await made(tokens)
    assert not token.matches(text + "x")
    assert await tokens.find(text[:-1]) is None


async def test_a_revoked_token_is_gone(plane):
    text, token = await made(plane.tokens)
    await plane.tokens.revoke(token.id, by=BEN)
    assert await plane.tokens.find(text) is None


async def test_revoking_what_is_not_there_is_not_found(tokens):
    await arefused(tokens.revoke("0" * 16, by=BEN), 404)


async def test_making_and_revoking_are_in_the_audit_log(light):
    _, token = await made(light.tokens)
    await light.tokens.revoke(token.id, by=BEN)
    assert [entry.action for entry in await light.audit.entries()] == ["token.created", "token.revoked"]


@pytest.mark.parametrize(
    "grant", ["", "pay", "pay:", ":read", "pay:everything", "pay/x:read", "**:read", "pay:READ", "<b>:read"]
)
def test_what_is_no_grant_is_refused(grant):
    with pytest.raises(UsageError):
        Grant.parse(grant)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 129])
async def test_a_token_needs_a_name(tokens, name):
    with pytest.raises(UsageError):
        await tokens.create(name, READ_PAY, by=BEN)


async def test_a_token_needs_a_grant(tokens):
    with pytest.raises(UsageError):
        await tokens.create("ci", [], by=BEN)


@pytest.mark.parametrize("expires", [datetime(2000, 1, 1, tzinfo=UTC), datetime(2040, 1, 1)])
async def test_a_token_ends_later_and_in_a_time_zone(tokens, expires):
    with pytest.raises(UsageError):
        await made(tokens, expires=expires)


# --- what they allow


def caller(*grants):
    return Caller("ci", tuple(map(Grant.parse, grants)), "id")


@pytest.mark.parametrize("scope", list(Scope))
def test_admin_holds_every_scope(scope):
    assert caller("*:admin").may(scope, "pay")
    assert caller("pay:admin").may(scope, "pay")
    assert not caller("pay:admin").may(scope, "shop")


@pytest.mark.parametrize("scope", list(Scope))
def test_every_scope_reads_its_application_and_no_other(scope):
    assert caller(f"pay:{scope.value}").may(Scope.READ, "pay")
    assert not caller(f"pay:{scope.value}").may(Scope.READ, "shop")


@pytest.mark.parametrize("held", [scope for scope in Scope if scope is not Scope.ADMIN])
@pytest.mark.parametrize("asked", [scope for scope in Scope if scope is not Scope.READ])
def test_no_scope_holds_another(held, asked):
    assert caller(f"pay:{held.value}").may(asked, "pay") is (held is asked)


def test_what_belongs_to_no_application_needs_a_grant_for_all():
    assert caller("*:admin").may(Scope.ADMIN, None)
    assert not caller("pay:admin").may(Scope.ADMIN, None)


def test_a_missing_scope_is_forbidden():
    refused(lambda: require(caller("pay:read"), Scope.EDIT, "pay"), 403)


# --- access


class Asked:
    """As much of a connection as access looks at."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def access(tokens: Tokens, clock: Any, *, open: bool = False) -> Access:
    return Access(tokens, ServerSettings(open=open, user="root", token_cache_s=10.0), clock)


def asked(**headers: str) -> Any:
    return Asked(**headers)


async def test_without_a_token_nobody_comes_in(tokens, clock):
    await arefused(access(tokens, clock).caller(asked()), 401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic herz_x", "herz_x", "Bearer herz_" + "x" * 43])
async def test_a_wrong_token_is_refused_even_where_none_is_needed(tokens, clock, header):
    for open_ in (False, True):
        await arefused(access(tokens, clock, open=open_).caller(asked(authorization=header)), 401)


async def test_a_token_tells_who_asks(tokens, clock):
    text, token = await made(tokens)
    found = await access(tokens, clock).caller(asked(authorization=f"Bearer {text}", x_herz_author="the boss"))
    assert (found.name, found.token) == ("ci", token.id)


async def test_an_open_server_takes_their_word_for_who_asks(tokens, clock):
    found = await access(tokens, clock, open=True).caller(asked(x_herz_author="eva"))
    assert (found.name, found.token) == ("eva", None)


async def test_an_open_server_knows_the_user_who_started_it(tokens, clock):
    assert (await access(tokens, clock, open=True).caller(asked())).name == "root"


@pytest.mark.parametrize("host", ["127.0.0.1:4379", "localhost", "[::1]:4379", "herz.localhost:1"])
async def test_an_open_server_answers_to_the_names_of_this_machine(tokens, clock, host):
    assert (await access(tokens, clock, open=True).caller(asked(host=host))).name == "root"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:4379"])
async def test_an_open_server_does_not_answer_to_another_name(tokens, clock, host):
    await arefused(access(tokens, clock, open=True).caller(asked(host=host)), 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8000"])
async def test_an_open_server_serves_no_page_of_another_origin(tokens, clock, origin):
    await arefused(access(tokens, clock, open=True).caller(asked(host="127.0.0.1:4379", origin=origin)), 403)


async def test_an_open_server_serves_its_own_pages(tokens, clock):
    asking = asked(host="127.0.0.1:4379", origin="http://127.0.0.1:4379")
    assert (await access(tokens, clock, open=True).caller(asking)).name == "root"


async def test_an_expired_token_is_refused_though_it_is_remembered(tokens, clock):
    text, _ = await made(tokens, expires=clock.now() + timedelta(seconds=5))
    gate = access(tokens, clock)
    found = await gate.bearer(f"Bearer {text}")
    clock.seconds += 5
    await arefused(gate.bearer(f"Bearer {text}"), 401)
    await arefused(gate.check(found), 401)


async def test_a_token_that_another_server_revoked_is_believed_for_the_cache_time_at_most(tokens, clock):
    text, token = await made(tokens)
    gate = access(tokens, clock)
    found = await gate.bearer(f"Bearer {text}")
    await tokens.revoke(token.id, by=BEN)
    clock.seconds += 10
    await arefused(gate.check(found), 401)
    await arefused(gate.bearer(f"Bearer {text}"), 401)


async def test_a_token_that_is_still_good_passes_the_check(tokens, clock):
    text, _ = await made(tokens)
    gate = access(tokens, clock)
    found = await gate.bearer(f"Bearer {text}")
    clock.seconds += 100
    assert await gate.check(found) == found


async def test_a_flood_of_unknown_tokens_fills_no_memory(tokens, clock):
    gate = access(tokens, clock)
    for number in range(50):
        await arefused(gate.bearer(f"Bearer herz_{number:043d}"), 401)
    assert not gate._known
