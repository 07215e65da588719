"""The login page: who comes in, what the cookie is like, and what an attacker makes of the form."""

from __future__ import annotations

import asyncio
import dataclasses
import re

import pytest

from herz.server.door.answers import next_of

from .conftest import BEN, CHEAP, OWN, PASSWORD, URL, cookie_of, login, running


async def test_the_right_password_lets_in_and_leads_to_the_page_that_was_asked_for(server):
    await server.user("ana", "pay:viewer")
    browser = await server.browser()
    asked = await browser.get("/console/me")
    assert (asked.status_code, asked.headers["location"]) == (303, "/console/login?next=%2Fconsole%2Fme")
    answer = await login(browser, "ana", next="/console/me")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/me")
    assert "ana" in (await browser.get("/console/me")).text


async def test_the_name_is_taken_in_any_case_and_with_blanks_around_it(server):
    await server.user("ana")
    assert (await login(await server.browser(), " Ana ")).status_code == 303


async def test_the_password_is_taken_in_any_unicode_form(server):
    await server.user("ana", password="Ångström ﬁnds it")
    assert (await login(await server.browser(), "ana", "A\u030angstro\u0308m finds it")).status_code == 303


async def test_on_loopback_the_cookie_goes_to_the_console_alone_and_no_script_sees_it(server):
    await server.user("ana")
    header = (await login(await server.browser(), "ana")).headers["set-cookie"].lower()
    assert header.startswith("herz-session=")
    assert "httponly" in header
    assert "path=/console" in header
    assert "samesite=lax" in header
    assert "secure" not in header


async def test_over_tls_the_cookie_is_bound_to_the_host_and_secure(server):
    await server.user("ana")
    browser = await server.browser(url="https://herz.example")
    header = (await login(browser, "ana")).headers["set-cookie"]
    assert header.startswith("__Host-herz=")
    assert "; Secure" in header
    assert "Path=/;" in header
    assert "domain" not in header.lower()
    assert (await browser.get("/console/me")).status_code == 200


async def test_the_cookie_of_loopback_is_no_good_over_tls(server):
    await server.user("ana")
    value = cookie_of(await server.logged_in("ana"))
    over_tls = await server.browser(url="https://herz.example", cookie=f"herz-session={value}")
    assert (await over_tls.get("/console/me")).status_code == 303


async def test_behind_a_proxy_that_speaks_tls_the_cookie_is_secure(store, settings, clock):
    behind = dataclasses.replace(settings, public_url="https://herz.example")
    async with running(store, behind, clock) as server:
        await server.user("ana")
        answer = await login(await server.browser(url="http://10.0.0.5:4379"), "ana")
        assert "__Host-herz=" in answer.headers["set-cookie"]


async def test_behind_a_proxy_old_browsers_are_known_by_the_public_name(store, settings, clock):
    behind = dataclasses.replace(settings, public_url="https://herz.example")
    async with running(store, behind, clock) as server:
        await server.user("ana")
        browser = await server.browser(url="http://10.0.0.5:4379")
        del browser.headers["sec-fetch-site"]
        browser.headers["origin"] = "https://herz.example"
        assert (await login(browser, "ana")).status_code == 303


@pytest.mark.parametrize(("behind", "address"), [(True, "198.51.100.7"), (False, "10.0.0.1")])
async def test_the_address_is_what_the_proxy_added_last_and_only_where_there_is_one(
    store, settings, clock, behind, address
):
    public = dataclasses.replace(settings, public_url="https://herz.example" if behind else None)
    async with running(store, public, clock) as server:
        browser = await server.browser(address="10.0.0.1", **{"x-forwarded-for": "192.0.2.1, 198.51.100.7"})
        await login(browser, "nobody", "x")
        (entry,) = await server.plane.audit.entries()
        assert entry.details["address"] == address


async def test_nobody_logs_in_where_the_password_would_travel_unencrypted(server):
    await server.user("ana")
    answer = await login(await server.browser(url="http://10.0.0.5:4379"), "ana")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_the_store_holds_neither_the_cookie_nor_the_password(server, store):
    await server.user("ana")
    secret = cookie_of(await server.logged_in("ana")).partition(".")[2]
    assert len(secret) == 43
    entries = (await store.range("")).entries
    assert not any(secret.encode() in entry.value or PASSWORD.encode() in entry.value for entry in entries)


# --- who fails


async def test_an_unknown_user_and_a_wrong_password_are_answered_alike(server):
    await server.user("ana")
    browser = await server.browser()
    wrong = await login(browser, "ana", "not the password")
    unknown = await login(browser, "eva", "not the password")
    await server.door.users.disable("ana", by=BEN)
    disabled = await login(browser, "ana", PASSWORD)
    plain = [answer.text.replace('value="ana"', "").replace('value="eva"', "") for answer in (wrong, unknown, disabled)]
    assert {answer.status_code for answer in (wrong, unknown, disabled)} == {401}
    assert without_nonce(plain[0]) == without_nonce(plain[1]) == without_nonce(plain[2])


def without_nonce(text):
    return re.sub(r'content="[\w-]{20,}"', "", text)


async def test_an_unknown_user_costs_the_same_time_as_a_wrong_password(store, settings, clock):
    costly = dataclasses.replace(settings, argon2=(16_384, 2, 1))
    async with running(store, costly, clock) as server:
        await server.user("ana")
        door = server.door
        found, _ = await door.users.get("ana")
        await door.passwords.verify(None, "warm up: the decoy is made")
        times: dict[str | None, float] = {}
        for hash in (found.hash, None):
            spent = []
            for _ in range(9):
                begun = asyncio.get_running_loop().time()
                assert not await door.passwords.verify(hash, "not the password")
                spent.append(asyncio.get_running_loop().time() - begun)
            times[hash] = min(spent)
        assert 0.6 < times[None] / times[found.hash] < 1.7


async def test_every_attempt_is_in_the_audit_log_with_its_reason(server):
    await server.user("ana")
    await server.user("off")
    await server.door.users.disable("off", by=BEN)
    await server.user("guest", password=None)
    browser = await server.browser(address="192.0.2.7")
    for name, password in (("ana", "wrong"), ("off", PASSWORD), ("guest", PASSWORD), ("nobody", PASSWORD)):
        await login(browser, name, password)
    await login(browser, "ana")
    found = [entry for entry in await server.plane.audit.entries(limit=100) if entry.action.startswith("login")]
    assert [(entry.action, entry.target, entry.details.get("reason")) for entry in found] == [
        ("login.failed", "user ana", "wrong-password"),
        ("login.failed", "user off", "disabled"),
        ("login.failed", "user guest", "no-password"),
        ("login.failed", "user (unknown)", "unknown-user"),
        ("login.succeeded", "user ana", None),
    ]
    assert {entry.details["address"] for entry in found} == {"192.0.2.7"}
    assert found[-1].token.startswith("session:")


async def test_what_is_typed_as_a_name_is_not_kept_unless_somebody_is_called_so(server, store):
    await login(await server.browser(), "my-secret-password-in-the-wrong-field", "x")
    assert not any(b"wrong-field" in entry.value for entry in (await store.range("")).entries)


HOSTILE = (
    "<script>alert(1)</script>",
    "\u202eana",
    "a" * 10_000,
    "a\x00b",
    "",
    " ",
    "../../herz/users/ana",
    "ana\r\nx: y",
    "🦊",
    "\ud800",
)


async def test_a_hostile_name_is_refused_like_any_other(server):
    await server.user("ana")
    for number, name in enumerate(HOSTILE):
        answer = await posted(await server.browser(address=f"10.0.0.{number}"), name, PASSWORD)
        assert answer.status_code in (400, 401)
        assert "<script>alert" not in answer.text
        assert len(answer.text) < 20_000


async def test_a_hostile_password_is_refused_like_any_other(server):
    await server.user("ana")
    for number, password in enumerate(("", "x" * 2000, "a\x00b" * 10, "\ud800" * 12)):
        answer = await posted(await server.browser(address=f"10.0.0.{number}"), "ana", password)
        assert answer.status_code in (400, 401)


async def posted(browser, name, password):
    """The form as bytes, for what no browser could send."""
    return await browser.post(
        "/console/login",
        content=b"name=" + percent(name) + b"&password=" + percent(password),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )


def percent(text):
    return b"".join(b"%%%02X" % byte for byte in text.encode("utf-8", "surrogatepass"))


async def test_a_store_that_is_down_is_said_and_the_attempt_is_not_counted(server, store):
    await server.user("ana")
    browser = await server.browser()

    store.place.down = True
    answers = [await login(browser, "ana") for _ in range(8)]
    store.place.down = False
    assert {answer.status_code for answer in answers} == {503}
    assert "store does not answer" in answers[0].text
    assert (await login(browser, "ana")).status_code == 303


async def test_a_page_says_when_the_store_is_down_and_the_session_goes_on_afterwards(server, store, clock):
    await server.user("ana")
    browser = await server.logged_in("ana")
    clock.seconds += 2
    store.place.down = True
    assert (await browser.get("/console/me")).status_code == 503
    assert (await browser.post("/console/logout")).status_code == 503
    store.place.down = False
    assert (await browser.get("/console/me")).status_code == 200


# --- forged requests


FORMS = ("login", "logout", "welcome", "me/password", "me/sessions", "users", "users/ana/remove", "users/roles/grant")
FORGED: tuple[dict[str, str], ...] = (
    {},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": URL},
    {"sec-fetch-site": "none"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8000"},
)


async def test_a_form_of_another_site_is_refused(server):
    await server.user("ana", "*:admin")
    browser = await server.logged_in("ana")
    del browser.headers["sec-fetch-site"]
    data = {"name": "ana", "password": PASSWORD, "again": PASSWORD, "code": "x", "old": "x", "confirm": "ana"}
    data |= {"subject": "ana", "app": "*", "role": "viewer"}
    before = await server.actions()
    for path in FORMS:
        for headers in FORGED:
            answer = await browser.post(f"/console/{path}", data=data, headers=headers)
            assert (path, headers, answer.status_code) == (path, headers, 403)
            assert "set-cookie" not in answer.headers
    assert await server.actions() == before


async def test_an_old_browser_is_known_by_the_origin(server):
    await server.user("ana")
    browser = await server.browser()
    del browser.headers["sec-fetch-site"]
    browser.headers["origin"] = URL
    assert (await login(browser, "ana")).status_code == 303


# --- where to go next


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        ("/console/me", "/console/me"),
        ("/console", "/console"),
        ("/console/apps/pay/default/explain?key=db.pool&x=1", "/console/apps/pay/default/explain?key=db.pool&x=1"),
        ("/console/apps/pay/default/explain?key=%C3%A9", "/console/apps/pay/default/explain?key=%C3%A9"),
        ("", "/console/"),
        ("//evil.example/console/", "/console/"),
        ("https://evil.example/console/", "/console/"),
        ("/console/../../evil", "/console/"),
        ("/console/%2e%2e/api", "/console/"),
        ("/console//evil.example", "/console/"),
        ("/consolex", "/console/"),
        ("/\\evil.example", "/console/"),
        ("/console\\evil", "/console/"),
        ("/console/%5cevil", "/console/"),
        ("/console/\r\nset-cookie: a=b", "/console/"),
        ("/console/%0d%0aset-cookie:%20a=b", "/console/"),
        ("javascript:alert(1)", "/console/"),
        ("/console/login", "/console/"),
        ("/console/logout", "/console/"),
        ("/console/" + "a" * 3000, "/console/"),
        ("http://[", "/console/"),
    ],
)
def test_next_leads_only_to_pages_of_the_console(wanted, goes):
    assert next_of(wanted) == goes


async def test_nothing_of_next_becomes_a_header_of_its_own(server):
    await server.user("ana")
    for wanted in ("/console/\r\nset-cookie: a=b", "/console/x?\r\nset-cookie:%20a=b", "/console/%0d%0aset-cookie:a=b"):
        answer = await login(await server.browser(), "ana", next=wanted)
        assert answer.headers["location"] == "/console/"
        assert "a=b" not in str(answer.headers.multi_items())


async def test_who_is_logged_in_already_is_sent_on(server):
    await server.user("ana")
    browser = await server.logged_in("ana")
    answer = await browser.get("/console/login", params={"next": "/console/me"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/me")


# --- many at once


async def test_200_people_log_in_at_once(server):
    for number in range(200):
        await server.user(f"u{number}", password=PASSWORD)
    browsers = [await server.browser(address=f"10.0.{number % 7}.1") for number in range(200)]
    answers = await asyncio.gather(*(login(one, f"u{number}") for number, one in enumerate(browsers)))
    assert {answer.status_code for answer in answers} == {303}
    assert len({cookie_of(one) for one in browsers}) == 200


async def test_more_than_can_wait_are_asked_to_come_again(store, settings, clock, monkeypatch):
    monkeypatch.setattr("herz.server.door.passwords.WAITING", 2)
    slow = dataclasses.replace(settings, argon2=(4096, 2, 1))
    async with running(store, slow, clock) as server:
        for number in range(8):
            await server.user(f"u{number}")
        answers = await asyncio.gather(*[login(await server.browser(), f"u{number}") for number in range(8)])
    assert {answer.status_code for answer in answers} == {303, 503}
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert busy.headers["retry-after"]


async def test_the_page_is_reached_without_a_session_and_lets_nothing_in_from_elsewhere(server):
    answer = await (await server.browser()).get("/console/login")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


async def test_an_open_server_answers_no_login_by_another_name(store, settings, clock):
    open_ = dataclasses.replace(settings, open=True, argon2=CHEAP)
    async with running(store, open_, clock) as server:
        await server.user("ana")
        assert (await login(await server.browser(), "ana")).status_code == 303
        rebound = await server.browser(url="https://evil.example", **OWN)
        assert (await login(rebound, "ana")).status_code == 403


async def test_on_an_open_server_who_logs_in_is_themselves(store, settings, clock):
    open_ = dataclasses.replace(settings, open=True, user="root")
    async with running(store, open_, clock) as server:
        await server.user("ana", "pay:viewer")
        assert (await (await server.browser()).get("/console/users")).status_code == 200
        browser = await server.logged_in("ana")
        assert "ana" in (await browser.get("/console/me")).text
        assert (await browser.get("/console/users")).status_code == 403


# --- every page


def handlers(app):
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if route.path.startswith("/console") and handler.http_methods != {"OPTIONS"}:
                yield route.path, handler


OPEN_PAGES = {"/console/login", "/console/logout", "/console/welcome", "/console/language"}


async def test_every_page_names_who_may_enter(server):
    found = list(handlers(server.app))
    assert len(found) > 30
    unguarded = {
        path
        for path, handler in found
        if not any(hasattr(guard, "__herz_scope__") for guard in handler.resolve_guards())
    }
    assert {path for path in unguarded if not path.startswith("/console/static")} <= OPEN_PAGES | {
        "/console/login/provider"
    }


async def test_nobody_sees_a_page_without_logging_in(server):
    browser = await server.browser()
    for path, handler in handlers(server.app):
        if path in OPEN_PAGES or "GET" not in handler.http_methods or path.startswith("/console/static"):
            continue
        asked = re.sub(r"\{\w+:int\}", "1", re.sub(r"\{\w+:str\}", "x", path))
        assert ((await browser.get(asked)).status_code, asked) == (303, asked)
        assert ((await browser.get(asked, headers={"x-herz-live": "1"})).status_code, asked) == (401, asked)


async def test_who_may_the_same_does_not_see_anothers_page(server):
    await server.user("ana", "pay:viewer")
    await server.user("eva", "pay:viewer")
    live = {"x-herz-live": "1"}
    for name in ("ana", "eva"):
        browser = await server.logged_in(name)
        assert f"<dd>{name}</dd>" in (await browser.get("/console/me", headers=live)).text
