"""Who may do what with drafts and releases: a page offers no more, and the server takes no more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from herz.server.door.door import Door
from herz.server.door.rights import Binding
from herz.server.settings import ServerSettings

from .conftest import ADA, OWN, URL, released

BASE = "/console/apps/pay/default"
LAYERS = {"layers": [{"name": "a.yml", "text": "a: 1\n"}]}
PASSWORD = "correct horse battery"
POSTS: dict[str, dict[str, dict[str, Any]]] = {
    "editor": {
        f"{BASE}/draft": {"json": {"content": LAYERS, "expect": 0}},
        f"{BASE}/draft/check": {"json": {"content": LAYERS}},
        f"{BASE}/draft/difference": {"json": {"content": LAYERS}},
        f"{BASE}/draft/form": {"json": {"content": LAYERS}},
        f"{BASE}/draft/set": {"json": {"content": LAYERS, "key": "a"}},
        f"{BASE}/draft/merge": {"json": {"content": LAYERS, "seen": 0}},
        f"{BASE}/draft/delete": {"data": {"confirm": "pay", "expect": 0}},
    },
    "releaser": {
        f"{BASE}/draft/release": {"data": {"expect": 0, "message": "m"}},
        f"{BASE}/releases/publish": {"data": {"release": 1, "message": "m", "confirm": "pay"}},
        f"{BASE}/releases/rollback": {"data": {"release": 1, "message": "m", "confirm": "pay"}},
    },
    "approver": {
        f"{BASE}/draft/approve": {"data": {"digest": "sha256:" + "0" * 64}},
        f"{BASE}/releases/1/approve": {"data": {"digest": "sha256:" + "0" * 64}},
    },
}
MAY = {
    "viewer": set(),
    "editor": {"editor"},
    "releaser": {"editor", "releaser"},
    "approver": {"approver"},
}


@pytest.fixture
def settings():
    return ServerSettings(name="test", open=False, argon2=(8, 1, 1))


@pytest.fixture
async def log_in(server, plane):
    clients = []

    async def log_in(role):
        await plane.of(Door).users.add(role, by=ADA, password=PASSWORD, roles=[Binding.parse(role, f"pay:{role}")])
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url=URL, headers=OWN)
        clients.append(client)
        answer = await client.post("/console/login", data={"name": role, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client

    yield log_in
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("role", MAY)
async def test_the_server_takes_what_the_role_allows_and_nothing_else(log_in, plane, role):
    await released(plane, "a: 1\n")
    client = await log_in(role)
    for needed, posts in POSTS.items():
        for url, sent in posts.items():
            status = (await client.post(url, **sent)).status_code
            assert (status != 403) is (needed in MAY[role]), (url, status)


async def test_a_viewer_sees_no_buttons_and_no_secrets(log_in, plane):
    await released(plane, "a: 1\ndb:\n  password: hunter2\n")
    await released(plane, "a: 2\ndb:\n  password: hunter2\n")
    client = await log_in("viewer")
    for url in (f"{BASE}/draft", f"{BASE}/releases", f"{BASE}/releases/1", f"{BASE}/compare?from=1&to=2"):
        page = await client.get(url)
        assert page.status_code == 200, url
        assert "hunter2" not in page.text
        for deed in ("Release…", "Roll back", "Publish", "Save draft", "Throw the draft away", "<dialog"):
            assert deed not in page.text, (url, deed)
    assert "that needs the role editor" in (await client.get(f"{BASE}/draft")).text
    assert (await client.get(f"{BASE}/draft/text")).status_code == 403


async def test_a_new_application_needs_the_right_to_edit_it(log_in):
    client = await log_in("editor")
    assert (await client.get("/console/new?app=pay")).status_code == 303
    assert (await client.get("/console/new?app=shop")).status_code == 403


async def test_another_site_cannot_save_or_release(browser, plane):
    await released(plane, "a: 1\n")
    for posts in POSTS.values():
        for url, sent in posts.items():
            answer = await browser.post(url, **sent, headers={"sec-fetch-site": "cross-site"})
            assert answer.status_code in (303, 403), url  # nobody is logged in, and it comes from elsewhere
    assert len(await plane.desk.releases("pay", "default")) == 1


async def test_a_releaser_alone_forces_nothing(log_in, plane):
    await released(plane, "a: 1\n")
    await plane.desk.drafts.set("pay", "default", {"a": 2}, by=ADA)
    await plane.desk.create("pay", "default", by=ADA, message="later", publish=False)
    client = await log_in("releaser")
    assert 'name="force"' not in (await client.get(f"{BASE}/releases")).text
    asked = {"release": 2, "message": "now", "confirm": "force pay", "force": "yes"}
    answer = await client.post(f"{BASE}/releases/publish", data=asked)
    assert (answer.status_code, "scope approve" in answer.text) == (403, True)
