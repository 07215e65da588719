"""Invitations: links that are good once and for a day, and the first admin's."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import pytest

from herz.errors import UsageError
from herz.server.audit import By
from herz.server.door.invitations import link
from herz.server.door.rights import Binding
from herz.server.problems import Problem

from .conftest import BEN, PASSWORD, cookie_of, login, on_disk

DAY_S = 24 * 3600.0
SERVE = By("herz serve")


async def accepted(browser, code, name="ana", password=PASSWORD, again=None):
    data = {"code": code, "name": name, "password": password, "again": password if again is None else again}
    return await browser.post("/console/welcome", data=data)


async def test_the_first_link_makes_an_admin_who_is_in_at_once(server):
    code = await server.door.invitations.create(None, by=SERVE)
    browser = await server.browser()
    answer = await accepted(browser, code)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    assert (await browser.get("/console/users")).status_code == 200
    assert (await server.actions()) == ["user.invited", "user.created", "login.succeeded"]


async def test_it_is_good_once(server):
    code = await server.door.invitations.create(None, by=SERVE)
    await accepted(await server.browser(), code)
    answer = await accepted(await server.browser(), code, "mal")
    assert answer.status_code == 410
    assert [user.name for user in await server.door.users.all()] == ["ana"]


@on_disk
async def test_of_many_who_take_it_at_once_one_comes_in(server):
    code = await server.door.invitations.create(None, by=SERVE)
    answers = await asyncio.gather(*[accepted(await server.browser(), code, f"u{number}") for number in range(10)])
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 9
    assert len(await server.door.users.all()) == 1


@on_disk
async def test_two_first_links_make_one_admin(server):
    one, other = [await server.door.invitations.create(None, by=SERVE) for _ in range(2)]
    answers = await asyncio.gather(
        accepted(await server.browser(), one, "ana"), accepted(await server.browser(), other, "eva")
    )
    assert sorted(answer.status_code for answer in answers) == [303, 410]


async def test_the_first_link_is_good_only_as_long_as_there_is_no_admin(server):
    code = await server.door.invitations.create(None, by=SERVE)
    await server.user("eva", "*:admin")
    assert (await accepted(await server.browser(), code)).status_code == 410


async def test_after_a_day_it_is_good_for_nothing_and_its_end_is_in_the_audit_log(server, clock):
    code = await server.door.invitations.create(None, by=SERVE)
    clock.seconds += DAY_S
    assert (await accepted(await server.browser(), code)).status_code == 410
    assert await server.door.invitations.sweep() == 1
    assert (await server.actions())[-1] == "invitation.expired"


async def test_an_invited_user_chooses_the_password(server):
    await server.user("eva", "pay:viewer", password=None)
    code = await server.door.invitations.create("eva", by=BEN)
    assert (await accepted(await server.browser(), code, "Eva")).status_code == 303
    assert (await login(await server.browser(), "eva")).status_code == 303


async def test_a_link_for_another_password_ends_the_sessions(server, clock):
    await server.user("eva")
    before = await server.logged_in("eva")
    code = await server.door.invitations.create("eva", by=BEN)
    await accepted(await server.browser(), code, "eva", "not the same as before")
    clock.seconds += 1
    assert (await before.get("/console/me")).status_code == 303
    assert (await login(await server.browser(), "eva", PASSWORD)).status_code == 401


async def test_an_invitation_is_for_one_user(server):
    await server.user("eva", password=None)
    await server.user("root", "*:admin", password=None)
    code = await server.door.invitations.create("eva", by=BEN)
    assert (await accepted(await server.browser(), code, "root")).status_code == 400
    assert (await accepted(await server.browser(), code, "eva")).status_code == 303


async def test_a_mistake_does_not_use_it_up(server):
    code = await server.door.invitations.create(None, by=SERVE)
    browser = await server.browser()
    assert (await accepted(browser, code, password="short")).status_code == 400
    assert (await accepted(browser, code, again="another password")).status_code == 400
    page = await accepted(browser, code, name="not a name")
    assert page.status_code == 400
    assert f'value="{code}"' in page.text
    assert (await accepted(browser, code)).status_code == 303


@pytest.mark.parametrize("code", ["", "x" * 43, "x" * 5000, "\x00", "../users/ana", "<script>"])
async def test_a_made_up_code_is_good_for_nothing(door, code):
    with pytest.raises(Problem) as caught:
        await door.invitations.accept(code, "ana", PASSWORD, address="127.0.0.1")
    assert caught.value.status == 410


async def test_made_up_codes_are_audited(server):
    await accepted(await server.browser(), "x" * 43)
    (entry,) = await server.plane.audit.entries()
    assert (entry.action, entry.details["reason"]) == ("login.failed", "invitation")


async def test_the_code_is_kept_nowhere(door, store):
    code = await door.invitations.create(None, by=SERVE)
    assert not any(code.encode() in entry.value for entry in (await store.range("")).entries)


async def test_an_invitation_needs_a_user_who_is_there(door):
    with pytest.raises(Problem):
        await door.invitations.create("nobody", by=BEN)
    with pytest.raises(Problem):
        await door.invitations.create("<script>", by=BEN)


def test_the_code_stands_where_browsers_send_it_to_nobody():
    parts = urlsplit(link("https://herz.example/", "the-code", "a+b@c"))
    assert parts.fragment == "the-code"
    assert "the-code" not in parts.path + parts.query
    assert parts.query == "name=a%2Bb%40c"


async def test_a_removed_user_does_not_come_in_by_a_link_of_before(door):
    await door.users.add("eva", by=BEN)
    code = await door.invitations.create("eva", by=BEN)
    await door.users.remove("eva", by=BEN)
    with pytest.raises(Problem):
        await door.invitations.accept(code, "eva", PASSWORD, address="127.0.0.1")


async def test_a_disabled_user_does_not_come_in_by_a_link(server):
    await server.user("eva", password=None)
    code = await server.door.invitations.create("eva", by=BEN)
    await server.door.users.disable("eva", by=BEN)
    browser = await server.browser()
    await accepted(browser, code, "eva")
    assert (await browser.get("/console/me")).status_code == 303


async def test_a_new_link_ends_the_one_before(server):
    await server.user("eva")
    old = await server.door.invitations.create("eva", by=BEN)
    new = await server.door.invitations.create("eva", by=BEN)
    assert (await accepted(await server.browser(), old, "eva")).status_code == 410
    assert (await accepted(await server.browser(), new, "eva")).status_code == 303


@pytest.mark.parametrize("deed", ["password", "disable"])
async def test_a_link_ends_when_the_password_is_changed_or_the_user_disabled(server, deed):
    await server.user("eva")
    code = await server.door.invitations.create("eva", by=BEN)
    if deed == "password":
        await server.door.users.set_password("eva", "not the same as before", by=BEN)
    else:
        await server.door.users.disable("eva", by=BEN)
        await server.door.users.enable("eva", by=BEN)
    assert (await accepted(await server.browser(), code, "eva")).status_code == 410


# --- the page of users


@pytest.fixture
async def admin(server):
    await server.user("root", "*:admin")
    return await server.logged_in("root")


async def test_only_who_may_everything_sees_the_users(server):
    await server.user("ana", "pay:admin", "shop:editor")
    assert (await (await server.logged_in("ana")).get("/console/users")).status_code == 403
    assert (await (await server.browser()).get("/console/users")).status_code == 303


async def test_a_user_is_added_and_comes_in_by_the_link_that_is_shown_once(server, admin):
    page = await admin.post("/console/users", data={"name": "Eva", "app": "pay", "role": "editor"})
    found = re.search(r'id="invitation"[^>]*>([^<]+)<', page.text)
    assert found is not None
    assert found[1].startswith("http://127.0.0.1:4379/console/welcome?name=eva#")
    assert "/console/welcome?name=eva#" not in (await admin.get("/console/users")).text
    browser = await server.browser()
    assert (await accepted(browser, found[1].partition("#")[2], "eva")).status_code == 303
    assert "editor" in (await browser.get("/console/me")).text


@pytest.mark.parametrize(
    "data", [{"name": "<script>alert(1)</script>"}, {"name": "root"}, {"name": "eva", "app": "p/y", "role": "editor"}]
)
async def test_what_cannot_be_added_is_said_and_what_was_typed_is_kept(server, admin, data):
    page = await admin.post("/console/users", data=data)
    assert page.status_code in (400, 409)
    assert 'role="alert"' in page.text
    assert "<script>alert" not in page.text
    assert f'value="{data["name"].replace("<", "&lt;").replace(">", "&gt;")}"' in page.text
    assert len(await server.door.users.all()) == 1


async def test_removing_and_disabling_need_the_name(server, admin):
    await server.user("eva")
    for deed in ("disable", "remove"):
        for typed in ({}, {"confirm": "ev"}, {"confirm": "root"}):
            assert (await admin.post(f"/console/users/eva/{deed}", data=typed)).status_code == 400
    user, _ = await server.door.users.get("eva")
    assert not user.disabled
    assert (await admin.post("/console/users/eva/disable", data={"confirm": "eva"})).status_code == 303
    assert (await admin.post("/console/users/eva/enable")).status_code == 303
    assert (await admin.post("/console/users/eva/remove", data={"confirm": "eva"})).status_code == 303
    assert await server.door.users.find("eva") is None


async def test_an_admin_cannot_lock_everybody_out(server, admin):
    for deed in ("disable", "remove"):
        answer = await admin.post(f"/console/users/root/{deed}", data={"confirm": "root"})
        assert answer.status_code == 409
        assert "nobody would be left" in answer.text
    data = {"subject": "root", "app": "*", "role": "admin", "confirm": "root"}
    assert (await admin.post("/console/users/roles/revoke", data=data)).status_code == 409
    assert (await admin.get("/console/users")).status_code == 200


async def test_roles_are_given_and_taken(server, admin):
    await server.user("eva")
    for subject in ("eva", "group:sre"):
        data = {"subject": subject, "app": "pay", "role": "releaser"}
        assert (await admin.post("/console/users/roles/grant", data=data)).status_code == 303
        assert Binding.parse(subject, "pay:releaser") in (await server.door.rights.read())[0].bindings
        assert (await admin.post("/console/users/roles/revoke", data=data)).status_code == 400
        assert (await admin.post("/console/users/roles/revoke", data={**data, "confirm": subject})).status_code == 303
    assert len((await server.door.rights.read())[0].bindings) == 1


async def test_the_list_is_filtered(server, admin):
    await server.user("eva")
    page = (await admin.get("/console/users", params={"q": "EV"})).text
    assert '<th scope="row">eva</th>' in page
    assert '<th scope="row">root</th>' not in page


async def test_hostile_groups_and_browsers_are_shown_as_text(server, admin):
    group = "group:<img src=x onerror=alert(1)>"
    await server.door.users.grant(Binding.parse(group, "pay:viewer"), by=BEN)
    page = (await admin.get("/console/users")).text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


async def test_a_new_link_is_shown_for_who_forgot_the_password(server, admin):
    await server.user("eva")
    page = await admin.post("/console/users/eva/invite")
    assert "/console/welcome?name=eva#" in page.text
    assert (await admin.post("/console/users/nobody/invite")).status_code == 404


async def test_the_welcome_page_needs_no_session_and_shows_the_name_as_text(server):
    page = await (await server.browser()).get("/console/welcome", params={"name": '"><script>alert(1)</script>'})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "welcome.js" in page.text


async def test_a_password_that_is_too_easy_leaves_the_user_as_it_was(door):
    with pytest.raises(UsageError):
        await door.users.add("eva", by=BEN, password="password1234")
    assert await door.users.find("eva") is None


async def test_who_opens_the_link_in_a_browser_of_another_session_is_the_new_user(server, admin):
    await server.user("eva", password=None)
    code = await server.door.invitations.create("eva", by=BEN)
    before = cookie_of(admin)
    assert (await accepted(admin, code, "eva")).status_code == 303
    assert await server.door.sessions.enter(before) is None
    assert (await admin.get("/console/users")).status_code == 403
