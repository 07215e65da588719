"""Who may see an application's pages, and who may have its instances asked."""

from __future__ import annotations

import httpx
import pytest

from herz.server.door.door import Door
from herz.server.door.rights import Binding
from herz.server.settings import ServerSettings

from .conftest import ADA, OWN, URL, released, written
from .fleets import report, reported

BASE = "/console/apps/pay/default"
PAGES = ("", "/fleet", "/fleet/pay-0", "/fleet.csv", "/fleet.json", "/explain?key=a", "/explain/keys", "/impact")
ASKS = {"/explain/ask": {"key": "a", "instance": "pay-9"}, "/impact/build": {"instance": "pay-9", "release": ""}}
PASSWORD = "correct horse battery"


@pytest.fixture
def settings():
    return ServerSettings(name="test", open=False, argon2=(8, 1, 1))


@pytest.fixture
async def log_in(server, plane):
    clients = []

    async def log_in(role):
        await plane.of(Door).users.add("eve", by=ADA, password=PASSWORD, roles=[Binding.parse("eve", role)])
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url=URL, headers=OWN)
        clients.append(client)
        answer = await client.post("/console/login", data={"name": "eve", "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client

    yield log_in
    for client in clients:
        await client.aclose()


async def scene(plane):
    await released(plane, "a: 1\n")
    await written(plane, "a: 2\n")
    await reported(plane, report(plane, "pay-0"))


async def test_nobody_sees_a_page_who_is_not_logged_in(plane, browser):
    await scene(plane)
    for page in PAGES:
        answer = await browser.get(BASE + page)
        assert answer.status_code == 303, page
        assert answer.headers["location"].startswith("/console/login")


async def test_a_viewer_sees_everything_and_is_not_offered_to_ask(plane, log_in):
    await scene(plane)
    client = await log_in("pay:viewer")
    for page in PAGES:
        answer = await client.get(BASE + page)
        assert answer.status_code == 200, page
        assert "/explain/ask" not in answer.text
        assert "/impact/build" not in answer.text
    for page, data in ASKS.items():
        assert (await client.post(BASE + page, data=data)).status_code == 403


async def test_a_releaser_may_ask(plane, log_in):
    await scene(plane)
    client = await log_in("pay:releaser")
    assert f'action="{BASE}/explain/ask"' in (await client.get(f"{BASE}/explain?key=a")).text
    assert f'action="{BASE}/explain/ask"' in (await client.get(f"{BASE}/fleet/pay-0")).text
    assert f'action="{BASE}/impact/build"' in (await client.get(f"{BASE}/impact")).text
    for page, data in ASKS.items():
        assert (await client.post(BASE + page, data=data)).status_code == 404  # there is no such instance


async def test_who_may_see_another_application_sees_nothing_of_this_one(plane, log_in):
    await scene(plane)
    client = await log_in("search:admin")
    for page in PAGES:
        assert (await client.get(BASE + page)).status_code == 403, page
    for page, data in ASKS.items():
        assert (await client.post(BASE + page, data=data)).status_code == 403
