from __future__ import annotations

import asyncio
import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from herz import Secret, UsageError
from herz.actuator.asgi import Actuator

DETAILS = "management.endpoint.health.show-details: when-authorized\n"


def scope_of(path: str, root_path: str = "", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "scheme": "http",
        "query_string": b"",
        "headers": [],
        **more,
    }


async def status_of(app: Any, scope: Any) -> Any:
    sent = []

    async def receive():
        raise AssertionError("the body is not read")

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/health", ""),  # alone
        ("/actuator/health", "/actuator"),  # mounted, as ASGI says
        ("/health", "/actuator"),  # mounted by a framework that strips
        ("/api/actuator/health", "/api/actuator"),  # mounted in a mounted application
        ("/actuator/health", "/api/actuator"),  # behind a proxy that strips /api
        ("/health", "/"),
    ],
)
async def test_it_answers_below_its_mount_point(configured, path, root_path):
    with configured.herz() as herz:
        assert await status_of(herz.actuator(), scope_of(path, root_path)) == 200


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/actuator", "/actuator"),
        ("/actuatorhealth", "/actuator"),
        ("/actuator//health", "/actuator"),
        ("/other/health", "/actuator"),
    ],
)
async def test_what_is_not_below_its_mount_point_is_404(configured, path, root_path):
    with configured.herz() as herz:
        assert await status_of(herz.actuator(), scope_of(path, root_path)) == 404


async def test_a_prefix_stands_for_a_mount_where_nothing_mounts(configured):
    with configured.herz() as herz:
        app = herz.actuator(prefix="/actuator")
        assert await status_of(app, scope_of("/actuator/health")) == 200
        assert await status_of(app, scope_of("/actuator/other")) == 404


async def test_fastapi_and_starlette_mount_it(configured):
    with configured.herz() as herz:
        fast = FastAPI()
        fast.mount("/actuator", herz.actuator())
        nested = Starlette(routes=[Mount("/api", app=fast)])
        for app, path, root_path in (
            (fast, "/actuator/health", ""),
            (nested, "/api/actuator/health", ""),
            (fast, "/actuator/health", "/behind"),
            (fast, "/behind/actuator/health", "/behind"),
        ):
            async with configured.client(app, root_path=root_path) as http:
                assert (await http.get(path)).json() == {"status": "UP"}


async def test_a_websocket_is_turned_away(configured):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    with configured.herz() as herz:
        await herz.actuator()({"type": "websocket", "path": "/health"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_it_agrees_to_lifespan_events(configured):
    with configured.herz() as herz, configured.served(herz.actuator(), lifespan="on") as address:
        assert httpx.get(f"{address}/health").status_code == 200


async def test_an_unknown_kind_of_scope_is_refused(configured):
    with configured.herz() as herz, pytest.raises(RuntimeError, match="telepathy"):
        await herz.actuator()({"type": "telepathy"}, None, None)


# --- access ----------------------------------------------------------------------------------------


async def detailed(configured: Any, app: Any, **headers: str) -> bool:
    async with configured.client(app) as http:
        return "sources" in (await http.get("/health", headers=headers)).json()


async def test_nobody_is_authorized_by_default(configured):
    with configured.herz(DETAILS) as herz:
        assert not await detailed(configured, herz.actuator())
        assert not await detailed(configured, herz.actuator(), Authorization="Bearer ")


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("Bearer s3cret-token", True),
        ("bearer  s3cret-token ", True),
        ("Basic s3cret-token", False),
        ("Bearer s3cret-toke", False),
        ("Bearer s3cret-token2", False),
        ("Bearer", False),
        ("s3cret-token", False),
        ("", False),
        ("Bearer \xff\xfe", False),
    ],
)
async def test_the_bearer_token_opens_details(configured, header, allowed):
    with configured.herz(DETAILS) as herz:
        app = herz.actuator(token=Secret("s3cret-token"))
        given = [(b"authorization", header.encode("latin-1"))]
        sent = []

        async def send(message):
            sent.append(message)

        await app(scope_of("/health", headers=given), None, send)
        assert ("sources" in json.loads(sent[1]["body"])) is allowed


async def test_two_authorization_headers_open_nothing(configured):
    with configured.herz(DETAILS) as herz:
        sent = []

        async def send(message):
            sent.append(message)

        given = [(b"authorization", b"Bearer right"), (b"authorization", b"Bearer right")]
        await herz.actuator(token="right")(scope_of("/health", headers=given), None, send)
        assert json.loads(sent[1]["body"]) == {"status": "UP"}


async def test_a_token_in_the_query_opens_nothing(configured):
    with configured.herz(DETAILS) as herz:
        async with configured.client(herz.actuator(token="right")) as http:
            assert "sources" not in (await http.get("/health?access_token=right&token=right")).json()


async def test_a_callable_authorizes_plain_or_async_by_the_scope(configured):
    async def asynchronous(scope):
        await asyncio.sleep(0)
        return dict(scope["headers"]).get(b"x-role") == b"admin"

    with configured.herz(DETAILS) as herz:
        plain = herz.actuator(authorize=lambda scope: dict(scope["headers"]).get(b"x-role") == b"admin")
        for app in (plain, herz.actuator(authorize=asynchronous)):
            assert await detailed(configured, app, **{"X-Role": "admin"})
            assert not await detailed(configured, app, **{"X-Role": "guest"})


async def test_a_callable_that_fails_or_is_vague_authorizes_nobody(configured):
    def failing(scope):
        raise KeyError("user")

    async def failing_later(scope):
        raise KeyError("user")

    with configured.herz(DETAILS) as herz:
        for authorize in (failing, failing_later, lambda scope: "yes", lambda scope: 1, lambda scope: None):
            assert not await detailed(configured, herz.actuator(authorize=authorize))


async def test_the_callable_is_not_asked_where_the_answer_would_not_matter(configured):
    asked: list[Any] = []
    with configured.herz() as herz:
        await detailed(configured, herz.actuator(authorize=asked.append))
    assert asked == []


def test_an_empty_token_and_two_ways_at_once_are_refused(configured):
    herz = configured.herz()
    with pytest.raises(UsageError, match="empty"):
        herz.actuator(token="")
    with pytest.raises(UsageError, match="both"):
        Actuator(herz, token="x", authorize=lambda scope: True)


# --- on a real server -------------------------------------------------------------------------------


def test_on_a_real_server_alone_every_endpoint_answers(configured):
    with configured.herz(configured.OPEN) as herz, configured.served(herz.actuator()) as address:
        for path in ("health", "info", "env", "configprops", "sources", "watch", "scope", "changes", "metrics"):
            answer = httpx.get(f"{address}/{path}")
            assert answer.status_code == 200
            head = httpx.head(f"{address}/{path}")
            assert (head.status_code, head.content) == (200, b"")
        assert httpx.post(f"{address}/refresh").status_code == 200


def test_on_a_real_server_a_changed_file_is_refreshed_end_to_end(configured):
    exposed = "management.endpoints.web.exposure.include: [health, refresh]\n"
    with configured.herz(exposed, "a: 1") as herz:
        app = FastAPI()
        app.mount("/actuator", herz.actuator())
        app.add_api_route("/a", lambda: herz.snapshot["a"])
        with configured.served(app) as address, httpx.Client(base_url=address) as http:
            assert http.get("/a").json() == 1
            configured.write(exposed, "a: 2")
            assert http.get("/a").json() == 1
            assert http.post("/actuator/refresh").json() == ["a"]
            assert http.get("/a").json() == 2


def test_many_refreshes_at_once_all_answer(configured):
    with configured.herz(configured.OPEN, "a: 1") as herz, configured.served(herz.actuator()) as address:
        configured.write(configured.OPEN, "a: 2")
        with ThreadPoolExecutor(16) as pool, httpx.Client(base_url=address) as http:
            answers = list(pool.map(lambda _: http.post("/refresh"), range(64)))
        assert {answer.status_code for answer in answers} == {200}
        assert "a" in {key for answer in answers for key in answer.json()["changed"]}
        assert herz.snapshot["a"] == 2


@pytest.mark.parametrize("size", [0, 10, 64 * 1024, 3_000_000])
def test_a_body_is_ignored_whatever_its_size(configured, size):
    with (
        configured.herz(configured.OPEN) as herz,
        configured.served(herz.actuator()) as address,
        httpx.Client(base_url=address) as http,
    ):
        for _ in range(3):
            assert http.post("/refresh", content=b"x" * size).status_code == 200
        assert http.get("/health").status_code == 200


def test_a_body_that_never_comes_holds_up_nothing(configured):
    with configured.herz(configured.OPEN) as herz, configured.served(herz.actuator()) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            raw.sendall(b"POST /refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            assert raw.recv(12) == b"HTTP/1.1 200"


def test_strange_request_targets_never_reach_an_endpoint(configured):
    with configured.herz(configured.OPEN) as herz, configured.served(herz.actuator()) as address:
        host, port = address.removeprefix("http://").split(":")
        for target in (
            "//refresh",
            "/refresh/",
            "/%2e%2e/refresh",
            "/refresh%00",
            "/..;/refresh",
            "/a/../refresh",
            "/refresh%20",
        ):
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            connection.putrequest("POST", target, skip_host=False)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            assert connection.getresponse().status in (400, 404), target
            connection.close()
