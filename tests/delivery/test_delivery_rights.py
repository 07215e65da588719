"""Who may follow, report and ask; and what becomes of a stream whose token ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from herz.server.audit import By
from herz.server.settings import ServerSettings
from herz.server.tokens import Grant

BY = By("a test")
PLACE = "/api/v1/apps/pay/namespaces/default"


@pytest.fixture
def closed(sqlite, serving):
    @asynccontextmanager
    async def run(**options):
        store = sqlite()
        async with serving(store, ServerSettings(open=False, proof_s=0.6, token_cache_s=0.1, **options)) as server:
            yield server
        await store.close()

    return run


async def token(server, *grants, expires=None):
    text, made = await server.plane.tokens.create("t", [Grant.parse(one) for one in grants], by=BY, expires=expires)
    return {"Authorization": f"Bearer {text}"}, made


@pytest.mark.parametrize(
    ("grants", "status"),
    [((), 401), (("pay:read",), 403), (("book:report",), 403), (("pay:report",), 200), (("*:admin",), 200)],
)
async def test_following_needs_the_right_to_report(closed, http, grants, status):
    async with closed() as server:
        headers = (await token(server, *grants))[0] if grants else {}
        async with http.get(f"{server.url}{PLACE}/stream?instance=i1&wait=0", headers=headers) as said:
            assert said.status == status
            assert said.content_type == ("application/json" if status == 200 else "application/problem+json")


async def test_a_report_needs_a_token_besides_the_session(closed, http, follow, eventually):
    async with closed() as server:
        headers, _ = await token(server, "pay:report")
        client = follow(server, "i1", headers=headers)
        await eventually(lambda: client.of("state"))
        address = f"{server.url}{PLACE}/instances/i1/report"
        session = {"X-Herz-Stream": client.session}
        other, _ = await token(server, "book:report")
        for sent, status in ((session, 401), (session | other, 403), (session | headers, 204)):
            async with http.put(address, json=client.report(), headers=sent) as said:
                assert said.status == status


async def test_a_stream_ends_when_its_token_expires(closed, follow, eventually):
    async with closed() as server:
        soon = datetime.now(UTC) + timedelta(hours=1)
        headers, _ = await token(server, "pay:report", expires=soon)
        lasting, _ = await token(server, "pay:report")
        client, other = follow(server, "i1", headers=headers), follow(server, "i2", headers=lasting)
        await eventually(lambda: client.of("alive") and other.of("alive"))
        server.clock.ahead_s = 3700
        await asyncio.wait_for(client.ended.wait(), 10)
        assert client.frames[-1]["problem"]["type"] == "urn:herz:problem:unauthorized"
        assert "expired" in client.frames[-1]["problem"]["what"]
        assert not other.of("end")


async def test_a_stream_ends_when_its_token_is_revoked(closed, follow, eventually):
    async with closed() as server:
        headers, made = await token(server, "pay:report")
        client = follow(server, "i1", headers=headers)
        await eventually(lambda: client.of("alive"))
        await server.plane.tokens.revoke(made.id, by=BY)
        await asyncio.wait_for(client.ended.wait(), 10)
        assert client.frames[-1]["problem"]["status"] == 401


async def test_a_graph_needs_the_right_to_report_somewhere(closed, http):
    async with closed() as server:
        for grants, status in ((("pay:read",), 403), (("pay:report",), 400)):  # 400: its digest is another
            headers, _ = await token(server, *grants)
            async with http.put(f"{server.url}/api/v1/graphs/sha256:0", json={}, headers=headers) as said:
                assert said.status == status


async def test_the_short_way_refuses_what_the_route_refuses(closed, http, follow, eventually):
    async with closed() as server:
        headers, _ = await token(server, "pay:report")
        client = follow(server, "i1", headers=headers)
        await eventually(lambda: client.of("state"))
        sent = headers | {"X-Herz-Stream": client.session}
        address = f"{server.url}{PLACE}/instances/i1/report"
        for body, status in ((b"", 422), (b"{", 422), (b"[]", 422), (b"\xff", 422), (b" " * 300_000, 413)):
            async with http.put(address, data=body, headers=sent) as said:
                assert said.status == status, body[:10]
                problem = await said.json()
                assert problem["type"].startswith("urn:herz:problem:")
                assert problem["remedy"]
        for path in (
            "apps/pay/namespaces/default/instances/%2e%2e/report",
            "apps/a%2Fb/namespaces/x/instances/i/report",
        ):
            async with http.put(f"{server.url}/api/v1/{path}", json=client.report(), headers=sent) as said:
                assert said.status in (400, 403, 404)
