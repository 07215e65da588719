"""Secrets on pages: none of them shows one to who may not write it, whatever page comes later."""

from __future__ import annotations

import re

import httpx
import pytest

from herz.server.app import API
from herz.server.door.door import Door
from herz.server.door.rights import Binding
from herz.server.settings import ServerSettings

from .conftest import ADA, OWN, URL, released, written

PLANTED = "Planted-7Q"
PASSWORD = "correct horse battery"
PLACES = {"app:str": "pay", "namespace:str": "default", "number:int": "2", "instance:str": "pay-1", "rollout:str": "r1"}
"""A new kind of place in a page's path must be named here."""
ELSEWHERE = ("/console/live", "/console/static", "/console/login", "/console/logout", "/console/welcome")
"""An endless stream, files, and the door itself."""
ASKED = {"explain": "?key=db.password", "explain/keys": "?q=db", "compare": "?from=1&to=draft", "fleet": "?key=db"}


@pytest.fixture
def settings():
    return ServerSettings(name="test", open=False, argon2=(8, 1, 1))


@pytest.fixture(params=["viewer", "approver"])
async def client(request, server, plane):
    role = request.param
    await plane.of(Door).users.add(role, by=ADA, password=PASSWORD, roles=[Binding.parse(role, f"pay:{role}")])
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=OWN) as client:
        assert (await client.post("/console/login", data={"name": role, "password": PASSWORD})).status_code == 303
        yield client


def text_of(turn: str) -> str:
    return f"db:\n  host: h{turn}\n  password: {PLANTED}-{turn}  # was {PLANTED}-before\n# token: {PLANTED}\n"


async def test_no_page_shows_a_secret_to_who_may_not_write_it(client, server, plane):
    await released(plane, text_of("1"))
    await released(plane, text_of("2"))
    await written(plane, text_of("3"))
    paths = sorted(
        path
        for path, handlers in server.route_handler_method_map.items()
        if "GET" in handlers and path.startswith("/console") and not path.startswith(ELSEWHERE)
    )
    shown = []
    for path in paths:
        filled = re.sub(r"{(.+?)}", lambda found: PLACES[found[1]], path)
        for url in (filled, filled + ASKED.get(filled.partition("/default/")[2], "?x=1")):
            answer = await client.get(url)
            assert answer.status_code in (200, 303, 400, 403, 404), (url, answer.status_code)
            assert PLANTED not in answer.text, url
            shown += [url] if answer.status_code == 200 else []
    assert len(shown) > 25, shown


async def test_the_way_of_programs_takes_no_session(client, plane):
    await released(plane, text_of("1"))
    answer = await client.get(f"{API}/apps/pay/namespaces/default/draft")
    assert answer.status_code == 401
    assert PLANTED not in answer.text
