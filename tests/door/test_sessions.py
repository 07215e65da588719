"""Sessions of servers that share a store: found anywhere, ended at once, and never another's."""

from __future__ import annotations

import asyncio
import dataclasses

import httpx
import pytest

from herz.server.audit import By
from herz.server.door.rights import Binding
from herz.server.door.session import new_cookie
from herz.server.problems import Problem
from herz.server.tokens import Grant, Scope

from .conftest import BEN, PASSWORD, cookie_of, login, on_disk, running

NEXT = "not the same as before"


async def inside(browser: httpx.AsyncClient, **headers: str) -> bool:
    answer = await browser.get("/console/me", headers=headers)
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


async def opened(server, name: str = "ana"):
    """A session of a user who is there, its cookie first."""
    user, at = await server.door.users.get(name)
    made = await server.door.sessions.open(user, at, way="password", address="127.0.0.1", agent="")
    assert made is not None
    return made


@pytest.fixture
async def ana(server) -> httpx.AsyncClient:
    await server.user("ana", "pay:viewer")
    client: httpx.AsyncClient = await server.logged_in("ana")
    return client


async def test_a_session_is_good_at_every_server_of_the_store(server, ana, store, settings, clock):
    async with running(store, settings, clock) as other:
        there = await other.browser()
        there.cookies = ana.cookies
        assert await inside(there)


async def test_a_session_of_another_store_is_good_for_nothing(server, settings, clock):
    from herz.testing.memory_store import MemoryStore

    await server.user("ana")
    elsewhere = MemoryStore()
    async with running(elsewhere, settings, clock) as other:
        await other.user("ana")
        foreign = await other.logged_in("ana")
    browser = await server.browser()
    browser.cookies = foreign.cookies
    assert not await inside(browser)
    await elsewhere.close()


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "0" * 16 + "." + "A" * 43, "a" * 10_000, "..%2f", "0000000000000000.", "\x7f" * 60, '"; Path=/; x="'],
)
async def test_a_made_up_cookie_is_good_for_nothing(server, cookie):
    assert await server.door.sessions.enter(cookie) is None


async def test_a_cookie_with_the_id_of_a_session_and_another_secret_is_good_for_nothing(server, ana):
    id = cookie_of(ana).partition(".")[0]
    assert await server.door.sessions.enter(new_cookie(id)[1]) is None
    assert await inside(ana)


async def test_a_cookie_that_was_planted_is_not_the_one_after_the_login(server):
    await server.user("ana")
    await server.user("mal")
    planted = cookie_of(await server.logged_in("mal"))
    for value in (planted, new_cookie()[1]):
        victim = await server.browser()
        victim.cookies.set("herz-session", value, domain="127.0.0.1", path="/console")
        await login(victim, "ana")
        assert cookie_of(victim) != value
        entered = await server.door.sessions.enter(value)
        assert entered is None or entered.found.user.name != "ana"


async def test_logging_in_again_ends_the_session_before(server, ana):
    before = cookie_of(ana)
    assert (await login(ana, "ana")).status_code == 303
    assert await server.door.sessions.enter(before) is None


async def test_logout_ends_it_in_the_store_at_once(server, ana, store, settings, clock):
    cookie = cookie_of(ana)
    answer = await ana.post("/console/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
    assert not cookie_of(ana)
    assert await server.door.sessions.enter(cookie) is None
    async with running(store, settings, clock) as other:
        assert await other.door.sessions.enter(cookie) is None
    assert (await server.actions())[-1] == "session.left"


async def test_it_ends_when_it_was_not_used_for_an_hour(server, ana, clock):
    clock.seconds += 3599
    assert await inside(ana)
    clock.seconds += 3599
    assert await inside(ana)
    clock.seconds += 3600
    assert not await inside(ana)


async def test_what_an_open_page_asks_by_itself_does_not_keep_it_alive(server, ana, clock):
    for _ in range(5):
        clock.seconds += 700
        await ana.get("/console/me", headers={"x-herz-live": "1"})
    clock.seconds += 200
    assert not await inside(ana)


async def test_it_ends_after_twelve_hours_in_any_case(server, ana, clock):
    for _ in range(71):
        clock.seconds += 600
        assert await inside(ana)
    clock.seconds += 600
    assert not await inside(ana)


async def test_the_cookie_is_another_one_after_a_quarter_of_an_hour(server, ana, clock):
    before = cookie_of(ana)
    clock.seconds += 901
    assert await inside(ana)
    after = cookie_of(ana)
    assert after != before
    assert await inside(ana)
    clock.seconds += 31
    assert await server.door.sessions.enter(before) is None
    assert await inside(ana)


async def test_an_answer_that_is_a_problem_sets_the_new_cookie_as_well(server, ana, clock):
    before = cookie_of(ana)
    clock.seconds += 901
    assert (await ana.get("/console/users")).status_code == 403
    assert cookie_of(ana) != before


@on_disk
async def test_two_tabs_that_ask_at_once_when_it_is_due_both_go_on(server, ana, clock):
    clock.seconds += 901
    tabs = [await server.browser() for _ in range(20)]
    for tab in tabs:
        tab.cookies = httpx.Cookies(ana.cookies)
    assert all(await asyncio.gather(*map(inside, tabs)))
    changed = [tab for tab in tabs if cookie_of(tab) != cookie_of(ana)]
    assert len(changed) == 1
    clock.seconds += 2
    assert all(await asyncio.gather(*map(inside, tabs)))
    assert await inside(changed[0])
    assert await inside(tabs[0])


@on_disk
async def test_at_two_servers_it_changes_once_too(server, ana, store, settings, clock):
    clock.seconds += 901
    async with running(store, settings, clock) as other:
        tabs = [await one.browser() for one in (server, other) for _ in range(5)]
        for tab in tabs:
            tab.cookies = httpx.Cookies(ana.cookies)
        assert all(await asyncio.gather(*map(inside, tabs)))
        assert sum(cookie_of(tab) != cookie_of(ana) for tab in tabs) == 1


# --- rights


async def test_a_disabled_user_is_out_within_a_second_everywhere(server, ana, store, settings, clock):
    async with running(store, settings, clock) as other:
        there = await other.browser()
        there.cookies = ana.cookies
        assert await inside(there)
        await server.door.users.disable("ana", by=BEN)
        clock.seconds += settings.token_cache_s
        assert not await inside(there)
        assert not await inside(ana)


async def test_a_user_who_is_enabled_again_has_to_log_in_anew(server, ana, clock):
    await server.door.users.disable("ana", by=BEN)
    await server.door.users.enable("ana", by=BEN)
    clock.seconds += 1
    assert not await inside(ana)


async def test_the_next_user_of_a_name_has_not_the_sessions_of_the_one_before(server, ana, clock):
    await server.door.users.remove("ana", by=BEN)
    await server.user("ana", "*:admin")
    clock.seconds += 1
    assert not await inside(ana)


async def test_a_role_is_felt_within_a_second_and_changes_the_cookie(server, ana, clock):
    before = cookie_of(ana)
    assert (await ana.get("/console/users")).status_code == 403
    await server.door.users.grant(Binding.parse("ana", "*:admin"), by=BEN)
    clock.seconds += 1
    assert (await ana.get("/console/users")).status_code == 200
    assert cookie_of(ana) != before
    await server.door.users.revoke(Binding.parse("ana", "*:admin"), by=BEN, force=True)
    clock.seconds += 1
    assert (await ana.get("/console/users")).status_code == 403


async def test_an_open_stream_is_told_what_its_session_may_now_and_when_it_ends(server, clock):
    await server.user("ana", "pay:viewer")
    cookie, session = await opened(server)
    entered = await server.door.sessions.enter(cookie)
    assert entered is not None
    caller = entered.found.caller
    access = server.plane.access
    assert await access.check(caller) == caller
    await server.door.users.grant(Binding.parse("ana", "shop:editor"), by=BEN)
    clock.seconds += 1
    assert (await access.check(caller)).may(Scope.EDIT, "shop")
    await server.door.sessions.end(session.id, by=caller.by)
    with pytest.raises(Problem) as caught:
        await access.check(caller)
    assert caught.value.status == 401


@pytest.mark.parametrize("ends", ["disabled", "password", "idle", "removed"])
async def test_an_open_stream_ends_with_its_session(server, clock, ends):
    await server.user("ana")
    cookie, _ = await opened(server)
    entered = await server.door.sessions.enter(cookie)
    assert entered is not None
    if ends == "disabled":
        await server.door.users.disable("ana", by=BEN)
    elif ends == "password":
        await server.door.users.set_password("ana", NEXT, by=BEN)
    elif ends == "removed":
        await server.door.users.remove("ana", by=BEN)
    clock.seconds += 3600 if ends == "idle" else 1
    with pytest.raises(Problem):
        await server.plane.access.check(entered.found.caller)


# --- names in the audit log


async def test_a_deed_names_the_user_and_their_session(server):
    await server.user("ana", "*:admin")
    browser = await server.logged_in("ana")
    await browser.post("/console/users", data={"name": "eva"})
    entry = next(one for one in await server.plane.audit.entries() if one.target == "user eva")
    assert (entry.actor, entry.token) == ("ana", f"session:{cookie_of(browser)[:8]}")


async def test_a_token_that_is_called_like_a_user_is_told_apart(server):
    await server.user("ana", "*:admin")
    _, token = await server.plane.tokens.create("ana", [Grant.parse("*:admin")], by=BEN)
    _, session = await opened(server)
    assert By("ana", token.id) != By("ana", f"session:{session.id[:8]}")
    assert ":" not in token.id


async def test_a_cookie_opens_no_api(server, ana):
    await server.door.users.grant(Binding.parse("ana", "*:admin"), by=BEN)
    assert (await ana.get("/api/v1/tokens")).status_code == 401
    everywhere = await server.browser(cookie=f"herz-session={cookie_of(ana)}; __Host-herz={cookie_of(ana)}")
    assert (await everywhere.get("/api/v1/tokens")).status_code == 401


async def test_a_token_opens_no_page(server):
    text, _ = await server.plane.tokens.create("ci", [Grant.parse("*:admin")], by=BEN)
    browser = await server.browser(authorization=f"Bearer {text}")
    assert (await browser.get("/console/me")).status_code == 303


# --- one's own page


async def test_the_own_page_lists_sessions_and_ends_them(server, ana):
    other = await server.logged_in("ana", **{"user-agent": "<script>alert(1)</script>"})
    page = (await ana.get("/console/me")).text
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    id = cookie_of(other).partition(".")[0]
    assert (await ana.post(f"/console/me/sessions/{id}")).status_code == 303
    assert not await inside(other)
    assert await inside(ana)


async def test_all_other_sessions_end_at_once(server, ana):
    others = [await server.logged_in("ana") for _ in range(3)]
    await ana.post("/console/me/sessions")
    assert [await inside(one) for one in (*others, ana)] == [False, False, False, True]


async def test_nobody_ends_the_session_of_another(server, ana):
    await server.user("eva")
    eva = await server.logged_in("eva")
    assert (await ana.post(f"/console/me/sessions/{cookie_of(eva)[:16]}")).status_code == 404
    assert await inside(eva)


async def test_another_password_ends_all_other_sessions_and_changes_the_cookie(server, ana):
    other, before = await server.logged_in("ana"), cookie_of(ana)
    answer = await ana.post("/console/me/password", data={"old": PASSWORD, "password": NEXT, "again": NEXT})
    assert answer.status_code == 303
    assert cookie_of(ana) != before
    assert await server.door.sessions.enter(before) is None
    assert await inside(ana)
    assert not await inside(other)
    assert (await login(await server.browser(), "ana", PASSWORD)).status_code == 401
    assert (await login(await server.browser(), "ana", NEXT)).status_code == 303


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"old": "wrong", "password": NEXT, "again": NEXT}, 401),
        ({"old": PASSWORD, "password": NEXT, "again": NEXT + "x"}, 400),
        ({"old": PASSWORD, "password": "short", "again": "short"}, 400),
        ({"old": PASSWORD, "password": PASSWORD, "again": PASSWORD}, 400),
    ],
)
async def test_a_password_that_is_not_right_is_not_changed(server, ana, data, status):
    assert (await ana.post("/console/me/password", data=data)).status_code == status
    assert (await login(await server.browser(), "ana", PASSWORD)).status_code == 303


async def test_guessing_the_password_so_far_is_throttled(server, ana):
    data = {"old": "a wrong guess", "password": NEXT, "again": NEXT}
    statuses = [(await ana.post("/console/me/password", data=data)).status_code for _ in range(7)]
    assert statuses[-1] == 429


async def test_who_must_choose_a_password_can_do_nothing_else_first(server):
    await server.user("ana", "*:admin", must_change=True)
    browser = await server.browser()
    answer = await login(browser, "ana", next="/console/users")
    assert answer.headers["location"] == "/console/me"
    assert (await browser.get("/console/users")).status_code == 303
    assert (await browser.get("/console/login")).headers["location"] == "/console/me"
    await browser.post("/console/me/password", data={"old": PASSWORD, "password": NEXT, "again": NEXT})
    assert (await browser.get("/console/users")).status_code == 200


# --- what is over


async def test_what_is_over_is_deleted(server, ana, store, clock):
    await server.user("eva")
    await server.logged_in("eva")
    clock.seconds += 3000
    young = await server.logged_in("ana")
    await server.door.users.disable("eva", by=BEN)
    clock.seconds += 700
    assert await server.door.sessions.sweep() == 2
    assert len((await store.range("/herz/sessions/")).entries) == 1
    assert await inside(young)


async def test_shorter_times_hold_for_sessions_that_are_open(store, settings, clock):
    short = dataclasses.replace(settings, session_idle_s=10.0, session_s=30.0)
    async with running(store, short, clock) as server:
        await server.user("ana")
        browser = await server.logged_in("ana")
        clock.seconds += 11
        assert not await inside(browser)
