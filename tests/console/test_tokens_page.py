"""The tokens' page: made by boxes, shown once, ended by typing the name; for admins alone."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest

from herz.release.record import encode
from herz.server.tokens import Grant, Scope
from herz.store.plane import TOKENS

from .conftest import ADA, released

TEXT = re.compile(r"herz_[A-Za-z0-9_-]{43}")


async def shown(browser):
    answer = await browser.get("/console/tokens")
    assert answer.status_code == 200
    return answer.text


async def made(browser, *grants, form="f1", name="ci", expires="90", **more):
    data = {"name": name, "grant": list(grants), "expires": expires, "form": form, **more}
    return await browser.post("/console/tokens", data=data)


async def test_without_a_token_it_says_what_they_are_for(browser):
    page = await shown(browser)
    assert "There is no token." in page
    assert "herz token create" in page


async def test_every_application_has_its_boxes(browser, plane):
    await released(plane, "a: 1\n")
    page = await shown(browser)
    for app in ("*", "pay"):
        for scope in Scope:
            assert f'name="grant" value="{app}:{scope.value}"' in page


async def test_a_new_token_is_shown_once_and_works(browser, plane, server, caplog):
    caplog.set_level(logging.DEBUG)
    answer = await made(browser, "pay:read", "pay:edit", further="search:report, *:read", name="ci of pay")
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    (text,) = set(TEXT.findall(answer.text))
    token = await plane.tokens.find(text)
    assert token is not None
    assert token.name == "ci of pay"
    assert list(map(str, token.grants)) == ["pay:read", "pay:edit", "search:report", "*:read"]
    assert token.expires is not None
    assert timedelta(days=89) < token.expires - datetime.now(UTC) < timedelta(days=91)
    assert "location" not in answer.headers
    page = await shown(browser)
    assert not TEXT.search(page)
    assert token.sha256 not in page
    assert text not in caplog.text
    assert all(text not in str(entry) for entry in await plane.audit.entries())


async def test_a_form_that_is_sent_again_makes_no_second_token(browser, plane):
    assert (await made(browser, "pay:read")).status_code == 201
    again = await made(browser, "pay:read")
    assert again.status_code == 409
    assert not TEXT.search(again.text)
    assert len(await plane.tokens.all()) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": " "}, "cannot be called"),
        ({"name": "a\u202eb"}, "cannot be called"),
        ({"further": "nonsense"}, "is no grant"),
        ({"further": "pay:fly"}, "is no grant"),
        ({"further": "../x:read"}, "is not the name of an application"),
        ({"expires": "0"}, "is no lifetime"),
        ({"until": "2020-01-01"}, "is over already"),
        ({"until": "soon"}, "is no day"),
    ],
)
async def test_what_is_wrong_is_told_and_what_was_typed_stays(browser, plane, more, said):
    answer = await made(browser, "*:read", **more)
    assert answer.status_code == 400
    assert said in answer.text
    assert 'value="*:read" aria-label="*:read" checked' in answer.text
    assert await plane.tokens.all() == ()
    assert (await made(browser, "*:read")).status_code == 201  # the form is not used up


async def test_a_token_needs_a_grant(browser):
    answer = await made(browser)
    assert answer.status_code == 400
    assert "without a grant" in answer.text


@pytest.mark.parametrize(
    ("expires", "until", "end"),
    [("never", "", None), ("7", "2999-01-31", datetime(2999, 1, 31, 23, 59, 59, tzinfo=UTC))],
)
async def test_a_token_expires_as_chosen(browser, plane, expires, until, end):
    assert (await made(browser, "pay:read", expires=expires, until=until)).status_code == 201
    (token,) = await plane.tokens.all()
    assert token.expires == end


async def test_what_expires_soon_and_what_has_expired_is_marked(browser, plane):
    now = datetime.now(UTC)
    for name, days in (("late", 400), ("near", 3), ("gone", 1)):
        end = now + timedelta(days=days)
        _, token = await plane.tokens.create(name, [Grant.parse("pay:read")], by=ADA, expires=end)
        if name == "gone":
            over = msgspec.structs.replace(token, expires=now - timedelta(days=1))
            await plane.store.put(TOKENS + token.id, encode(over))
    page = await shown(browser)
    rows = {name: page[page.index(f">{name}</span></th>") :].partition("</tr>")[0] for name in ("late", "near", "gone")}
    marks = {name: [mark for mark in ("soon", "expired") if f">{mark}</span>" in row] for name, row in rows.items()}
    assert marks == {"late": [], "near": ["soon"], "gone": ["expired"]}


async def test_a_token_is_ended_by_typing_its_name(browser, plane):
    text, token = await plane.tokens.create("ci", [Grant.parse("pay:read")], by=ADA)
    assert f'data-confirm="{token.name}"' in await shown(browser)
    wrong = await browser.post("/console/tokens", data={"revoke": token.id, "confirm": "pay"})
    assert wrong.status_code == 400
    assert await plane.tokens.find(text) is not None
    answer = await browser.post("/console/tokens", data={"revoke": token.id, "confirm": "ci"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/tokens")
    assert await plane.tokens.find(text) is None
    assert [entry.action for entry in await plane.audit.entries()] == ["token.created", "token.revoked"]


@pytest.mark.parametrize("id", ["nothing", "../audit/head", ""])
async def test_a_token_that_is_gone_is_a_problem(browser, id):
    answer = await browser.post("/console/tokens", data={"revoke": id, "confirm": ""})
    assert answer.status_code in (400, 404)


async def test_hostile_names_are_text(browser, plane):
    name = "<script>alert(1)</script>\"'"
    answer = await made(browser, "pay:read", name=name)
    assert answer.status_code == 201
    page = await shown(browser)
    for text in (answer.text, page):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text
    (token,) = await plane.tokens.all()
    assert (await browser.post("/console/tokens", data={"revoke": token.id, "confirm": name})).status_code == 303


@pytest.mark.parametrize("grant", ["*:read", "*:release", "pay:admin"])
async def test_tokens_are_for_admins_of_everything(browser, plane, monkeypatch, grant):
    _, token = await plane.tokens.create("ci", [Grant.parse("pay:read")], by=ADA)
    monkeypatch.setattr("herz.server.door.entering.EVERYTHING", (Grant.parse(grant),))
    assert (await browser.get("/console/tokens")).status_code == 403
    assert (await made(browser, "*:admin")).status_code == 403
    assert (await browser.post("/console/tokens", data={"revoke": token.id, "confirm": "ci"})).status_code == 403
    assert await plane.tokens.all() == (token,)


async def test_another_site_makes_and_ends_no_token(server, plane):
    _, token = await plane.tokens.create("ci", [Grant.parse("pay:read")], by=ADA)
    transport = httpx.ASGITransport(app=server)
    headers = {"sec-fetch-site": "cross-site"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4379", headers=headers) as other:
        assert (await made(other, "*:admin")).status_code == 403
        assert (await other.post("/console/tokens", data={"revoke": token.id, "confirm": "ci"})).status_code == 403
    assert await plane.tokens.all() == (token,)
