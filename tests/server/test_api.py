"""The API over HTTP, at a really running `herz serve`: the main paths, problems, limits, who may what."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from herz.server.access import known
from herz.server.app import create_app
from herz.server.parts import all_parts
from herz.testing.memory_store import MemoryStore

from .conftest import Server, started


def at(app, rest="", namespace="default"):
    return f"/apps/{app}/namespaces/{namespace}{rest}"


def layers(text, **further):
    return {"layers": [{"name": name, "text": said} for name, said in {"application": text, **further}.items()]}


def put_draft(server, app, text, **further):
    return server.api("PUT", at(app, "/draft"), {"content": layers(text), **further})


def release(server, app, **further):
    return server.api("POST", at(app, "/releases"), {"message": "go", **further})


def problem(response, status, kind):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["type"], body["status"]) == (f"urn:herz:problem:{kind}", status)
    assert body["title"]
    assert body["what"]
    return body


def test_a_release_from_draft_to_rollback(server, app):
    draft = put_draft(server, app, "a: 1\n", expect=0, message="begin").json()
    assert server.api("GET", at(app, "/draft")).json() == draft
    assert server.api("POST", at(app, "/draft/validate")).json() == {"ok": True, "problems": []}
    first = release(server, app, expect=draft["revision"], patch_id="p1")
    assert first.status_code == 201
    server.api("POST", at(app, "/draft/set"), {"changes": {"a": 2, "b.c": [1, "x"]}})
    changed = server.api("GET", at(app, "/draft/difference")).json()
    assert [(one["key"], one.get("before"), one.get("after")) for one in changed] == [
        ("a", 1, 2),
        ("b.c", None, [1, "x"]),
    ]
    release(server, app)
    assert server.api("GET", at(app, "/channel")).json()["stable"]["release"]["number"] == 2
    moved = server.api("POST", at(app, "/rollback"), {"to": 1, "message": "slow"})
    assert moved.status_code == 200
    assert moved.json()["channel"]["stable"]["release"]["digest"] == first.json()["digest"]
    assert server.api("GET", at(app, "/draft")).json()["content"] == draft["content"]
    assert [one["number"] for one in server.api("GET", at(app, "/releases")).json()] == [2, 1]
    assert server.api("GET", at(app)).json()["newest"]["number"] == 2


def test_releases_are_compared_and_read(server, app):
    for text in ("a: 1\n", "a: 2\n"):
        put_draft(server, app, text)
        release(server, app)
    [one] = server.api("GET", at(app, "/releases/1/difference/2")).json()
    assert (one["key"], one["before"], one["after"], one["after_at"]) == ("a", 1, 2, "application:1")
    assert server.api("GET", at(app, "/releases/1/content")).json() == layers("a: 1\n")
    assert server.api("GET", at(app, "/releases/2")).json()["number"] == 2


def test_publishing_a_dormant_release(server, app):
    put_draft(server, app, "a: 1\n")
    release(server, app, publish=False)
    assert server.api("GET", at(app, "/channel")).json() == {}
    published = server.api("POST", at(app, "/publish"), {"release": 1, "message": "now"})
    assert published.json()["channel"] == server.api("GET", at(app, "/channel")).json()


def test_a_conflict_carries_the_three_way_difference(server, app):
    first = put_draft(server, app, "a: 1\n", expect=0).json()
    put_draft(server, app, "a: 2\n", expect=first["revision"])
    body = problem(put_draft(server, app, "a: 3\n", expect=first["revision"]), 409, "conflict")
    [one] = body["difference"]
    assert (one["key"], one["base"], one["theirs"], one["yours"]) == ("a", 1, 2, 3)
    assert body["theirs"]["revision"] == body["actual"]


def test_many_clients_set_keys_at_once_and_none_is_lost(server, app):
    def set_key(number):
        return server.api("POST", at(app, "/draft/set"), {"changes": {f"k{number}": number}}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(set_key, range(24))) == {200}
    [layer] = server.api("GET", at(app, "/draft")).json()["content"]["layers"]
    assert sorted(layer["text"].splitlines()) == sorted(f"k{number}: {number}" for number in range(24))


def test_a_schema_is_kept_and_judges(server, app):
    schema = {"type": "object", "required": ["b"], "properties": {"a": {"type": "integer"}}}
    assert server.api("PUT", at(app, "/schema"), schema).status_code == 204
    assert server.api("GET", at(app, "/schema")).json() == schema
    put_draft(server, app, "\na: x\n")
    found = server.api("POST", at(app, "/draft/validate")).json()
    assert not found["ok"]
    assert {(one.get("key"), one.get("where")) for one in found["problems"]} == {
        ("a", "application:2"),
        ("", None),
    } or {(one.get("key"), one.get("where")) for one in found["problems"]} == {("a", "application:2"), (None, None)}
    body = problem(release(server, app), 422, "invalid")
    assert {one["where"] for one in body["problems"] if "where" in one} == {"application:2"}
    assert server.api("DELETE", at(app, "/schema")).status_code == 204
    problem(server.api("GET", at(app, "/schema")), 404, "not-found")
    assert release(server, app).status_code == 201


@pytest.mark.parametrize(
    "schema",
    [{"type": "no-such-type"}, {"$ref": "file:///etc/passwd"}, {"$ref": "http://127.0.0.1:1/x"}, {"pattern": "(?<=x)"}],
)
def test_what_is_no_schema_is_refused(server, app, schema):
    problem(server.api("PUT", at(app, "/schema"), schema), 422, "invalid")


def test_secrets_are_not_shown_in_problems_differences_and_audit(server, app):
    server.api("PUT", at(app, "/schema"), {"properties": {"db": {"properties": {"password": {"type": "integer"}}}}})
    put_draft(server, app, "db:\n  password: hunter2\n")
    for response in (
        server.api("POST", at(app, "/draft/validate")),
        release(server, app),
        server.api("GET", at(app, "/draft/difference")),
        server.api("GET", "/audit?limit=500"),
    ):
        assert "hunter2" not in response.text
    assert "password" in server.api("POST", at(app, "/draft/validate")).text


def test_a_content_is_found_by_its_digest_which_is_its_tag(server, app):
    digest = put_draft(server, app, "a: 1\n").json()["digest"]
    found = server.api("GET", f"/content/{digest}")
    assert found.json() == layers("a: 1\n")
    again = server.api("GET", f"/content/{digest}", headers={"if-none-match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "a%2fb", "..%2f..%2faudit", "%3Cscript%3Ealert(1)%3C%2Fscript%3E", "a%00b", "-", "x" * 200]
)
@pytest.mark.parametrize("rest", ["", "/draft", "/channel", "/releases", "/schema", "/instances"])
def test_names_that_lead_elsewhere_are_refused(server, name, rest):
    raw = f"{server.url}/api/v1/apps/{name}/namespaces/default{rest}"
    response = httpx.request("GET", httpx.URL(raw))
    assert response.status_code in (400, 404)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("PUT", "/draft", b"no json"),
        ("PUT", "/draft", b"{}"),
        ("PUT", "/draft", b'{"content": {"layers": [{"name": "a", "text": 1}]}}'),
        ("PUT", "/draft", b'{"content": {"layers": [{"name": "../a", "text": ""}]}}'),
        ("PUT", "/draft", b'{"content": {"layers": [{"name": "a", "text": "", "format": "ini"}]}}'),
        ("PUT", "/draft", b'{"content": {"layers": [{"name": "a", "text": "", "dimension": "x"}]}}'),
        ("PUT", "/draft", b'{"content": {"layers": [{"name": "a", "text": ""}, {"name": "a", "text": ""}]}}'),
        ("POST", "/draft/set", b'{"changes": {}}'),
        ("POST", "/draft/set", b'{"changes": {"a..b": 1}}'),
        ("POST", "/draft/set", b'{"changes": {"a": 1}, "layer": "none"}'),
        ("POST", "/releases", b"{}"),
        ("POST", "/releases", b'{"message": ""}'),
        ("POST", "/releases", b'{"message": "x", "patch_id": ""}'),
        ("POST", "/rollback", b'{"to": 0, "message": "x"}'),
        ("POST", "/rollback", b'{"to": -1, "message": "x"}'),
        ("POST", "/publish", b'{"release": 99999999999999999999, "message": "x"}'),
        ("PUT", "/schema", b"[]"),
        ("DELETE", "/draft?expect=x", b""),
        ("GET", "/releases?limit=0", b""),
        ("GET", "/releases?limit=501", b""),
        ("GET", "/releases?before=0", b""),
    ],
)
def test_what_cannot_be_understood_is_a_400(server, app, method, rest, body):
    put_draft(server, app, "a: 1\n")
    response = server.client.request(
        method, f"/api/v1{at(app, rest)}", content=body, headers={"content-type": "application/json"}
    )
    problem(response, 400, "bad-request")


@pytest.mark.parametrize("rest", ["/draft", "/releases/1", "/releases/1/content", "/releases/1/difference/2", ""])
def test_what_is_not_there_is_a_404(server, app, rest):
    problem(server.api("GET", at(app, rest)), 404, "not-found")


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/api/v1/nothing", "/index.html"])
def test_a_path_that_leads_nowhere_is_a_404(server, path):
    problem(server.client.get(path), 404, "not-found")


def test_a_method_that_is_not_offered_is_a_405(server, app):
    problem(server.api("PATCH", at(app, "/draft")), 405, "method-not-allowed")


@pytest.mark.parametrize(
    ("rest", "method", "body"),
    [
        ("/draft/set", "POST", b'{"changes": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}"),
        ("/schema", "PUT", b'{"a": ' * 5000 + b"1" + b"}" * 5000),
        ("/draft/set", "POST", b'{"changes": {"a": ' + b"9" * 5000 + b"}}"),
        ("/draft/set", "POST", b'{"changes": {"a": "\\ud800"}}'),
        ("/draft/set", "POST", b'{"changes": {"a": 1e400}}'),
    ],
)
def test_json_that_nothing_can_hold_is_a_400(server, app, rest, method, body):
    response = server.client.request(
        method, f"/api/v1{at(app, rest)}", content=body, headers={"content-type": "application/json"}
    )
    problem(response, 400, "bad-request")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000 + "]" * 3000,
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"{name}: &{name} [{','.join([f'*{below}'] * 9)}]\n"
            for below, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "? [x]\n: 1\n",
        "a: 1\na: 2\n",
        "- a\n",
        "a: 1\n---\nb: 2\n",
    ],
)
def test_texts_that_are_no_configuration_are_told_as_faults(server, app, text):
    assert put_draft(server, app, text).status_code == 200
    found = server.api("POST", at(app, "/draft/validate")).json()
    assert not found["ok"]
    assert found["problems"][0]["where"].startswith("application")
    assert release(server, app).status_code == 422


def test_numbers_that_json_lacks_and_dates_are_shown(server, app):
    put_draft(server, app, "a: .inf\nb: .nan\nc: 2020-01-01\n")
    assert [one["key"] for one in server.api("GET", at(app, "/draft/difference")).json()] == ["a", "b", "c"]
    assert release(server, app).status_code == 201


def test_headers_without_an_end_are_cut_off(server):
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(20):
                connection.sendall(b"x" * 10_000)
            assert connection.recv(1) == b""  # the connection is over, one way or the other


def test_a_body_that_is_too_large_is_a_413(server, app):
    body = b'{"message": "' + b"x" * 1_100_000 + b'"}'
    headers = {"content-type": "application/json"}
    response = server.client.post(f"/api/v1{at(app, '/releases')}", content=body, headers=headers)
    problem(response, 413, "too-large")


def test_a_body_without_a_length_is_limited_as_well(server, app):
    def parts() -> Iterator[bytes]:
        yield b'{"message": "'
        for _ in range(20):
            yield b"x" * 100_000

    headers = {"content-type": "application/json"}
    response = server.client.post(f"/api/v1{at(app, '/releases')}", content=parts(), headers=headers)
    problem(response, 413, "too-large")


def test_a_text_that_does_not_decode_is_told_with_its_line(server, app):
    put_draft(server, app, "a: 1\nb: [\n")
    found = server.api("POST", at(app, "/draft/validate")).json()
    assert found["problems"][0]["where"].startswith("application:")
    problem(server.api("GET", at(app, "/draft/difference")), 422, "malformed")


def test_the_audit_log_is_read_and_verified(server, app):
    put_draft(server, app, "a: 1\n")
    release(server, app)
    entries = server.api("GET", "/audit?limit=500").json()
    assert [one["action"] for one in entries if app in one["target"]] == ["draft.written", "release.published"]
    verified = server.api("GET", "/audit/verify").json()
    assert (verified["ok"], verified["entries"], verified["broken_at"]) == (True, len(entries), None)


def test_who_acts_at_an_open_server_is_taken_at_their_word(server, app):
    response = server.api("PUT", at(app, "/draft"), {"content": layers("a: 1\n")}, headers={"x-herz-author": "eva"})
    assert response.json()["author"] == "eva"


def test_an_open_server_serves_no_other_origin(server, app):
    response = server.api("GET", at(app, "/channel"), headers={"origin": "http://evil.example"})
    problem(response, 403, "foreign-origin")


def test_health_tells_the_store(server):
    body = server.client.get("/health").json()
    assert body["status"] == "UP"
    assert body["store"]["identity"] == server.said["identity"]


def test_the_document_describes_every_route_and_its_problems(server):
    document = server.api("GET", "/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            assert one.get("summary"), (method, path)
            assert one.get("description"), (method, path)
            if path.startswith("/api/v1/apps/"):
                assert {"400", "401", "403"} <= one["responses"].keys(), (method, path)
                content = one["responses"]["400"]["content"]
                assert "application/problem+json" in content, (method, path)


async def test_every_route_has_a_guard():
    app = create_app(MemoryStore(), parts=all_parts())
    unguarded = [
        path
        for path, handlers in app.route_handler_method_map.items()
        for method, handler in handlers.items()
        if method != "OPTIONS"
        and not path.startswith("/api/v1/openapi")
        and not path.startswith("/console/")  # tests/console looks at those
        and not any(guard is known or hasattr(guard, "__herz_scope__") for guard in handler.resolve_guards())
    ]
    # Flagger names its token in the body, so its route looks at it by itself; `/` leads to the console.
    assert sorted(unguarded) == ["/", "/api/v1/flagger/{hook:str}", "/health"]


# --- with tokens


@pytest.fixture(scope="module")
def closed(tmp_path_factory) -> Iterator[Server]:
    """A server that asks for tokens; its client shows the first one."""
    running = started(tmp_path_factory.mktemp("closed"), "--listen", "http://127.0.0.1:0", "--require-tokens")
    yield running
    running.stop()


@pytest.fixture
def with_token(closed):
    def ask(*grants):
        made = closed.api("POST", "/tokens", {"name": "ci", "grants": list(grants)}).json()
        return {"authorization": f"Bearer {made['token']}"}, made["id"]

    return ask


ROUTES: list[tuple[str, str, object, str]] = [
    ("GET", "", None, "read"),
    ("GET", "/draft", None, "read"),
    ("PUT", "/draft", {"content": {"layers": []}}, "edit"),
    ("DELETE", "/draft", None, "edit"),
    ("POST", "/draft/set", {"changes": {"a": 1}}, "edit"),
    ("POST", "/draft/validate", None, "read"),
    ("GET", "/draft/difference", None, "read"),
    ("GET", "/schema", None, "read"),
    ("PUT", "/schema", {}, "edit"),
    ("DELETE", "/schema", None, "edit"),
    ("POST", "/releases", {"message": "go"}, "release"),
    ("GET", "/releases", None, "read"),
    ("GET", "/releases/1", None, "read"),
    ("POST", "/rollback", {"to": 1, "message": "x"}, "release"),
    ("POST", "/publish", {"release": 1, "message": "x"}, "release"),
    ("GET", "/channel", None, "read"),
    ("GET", "/policy", None, "read"),
    ("PUT", "/policy", {"layers": ["tenant"]}, "admin"),
    ("DELETE", "/policy", None, "admin"),
    ("GET", "/approvals", None, "read"),
    ("POST", "/approvals", {"digest": "sha256:" + "0" * 64}, "approve"),
    ("DELETE", f"/approvals?digest=sha256:{'0' * 64}", None, "approve"),
    ("GET", "/releases/1/publications", None, "read"),
]


@pytest.mark.parametrize(("method", "rest", "body", "scope"), ROUTES)
def test_a_route_takes_its_scope_in_its_application_and_no_other(closed, with_token, app, method, rest, body, scope):
    right, _ = with_token(f"pay:{scope}")
    allowed = closed.api(method, at("pay", rest), body, headers=right)
    assert allowed.status_code not in (401, 403), allowed.text
    elsewhere, _ = with_token(f"shop:{scope}", "shop:admin")
    problem(closed.api(method, at("pay", rest), body, headers=elsewhere), 403, "forbidden")
    if scope != "read":
        others = [f"pay:{other}" for other in ("read", "report", "edit", "release", "approve") if other != scope]
        wrong, _ = with_token(*others)
        assert problem(closed.api(method, at("pay", rest), body, headers=wrong), 403, "forbidden")["scope"] == scope


@pytest.mark.parametrize(("method", "path"), [("GET", "/audit"), ("GET", "/audit/verify"), ("GET", "/tokens")])
def test_what_concerns_all_takes_an_admin_of_all(closed, with_token, method, path):
    partly, _ = with_token("pay:admin", "*:read", "*:release")
    problem(closed.api(method, path, headers=partly), 403, "forbidden")
    wholly, _ = with_token("*:admin")
    assert closed.api(method, path, headers=wholly).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer herz_" + "x" * 43}, {"authorization": "Basic eDp5"}])
@pytest.mark.parametrize("path", ["/apps", "/apps/pay/namespaces/default", "/content/sha256:" + "0" * 64, "/tokens"])
def test_without_a_token_there_is_a_challenge(closed, path, headers):
    response = httpx.get(f"{closed.url}/api/v1{path}", headers=headers)
    problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_health_and_the_document_need_no_token(closed):
    assert httpx.get(f"{closed.url}/health").status_code == 200
    assert httpx.get(f"{closed.url}/api/v1/openapi.json").status_code == 200


def test_a_token_that_acts_is_the_author_whatever_else_is_said(closed, with_token):
    right, identity = with_token("*:edit")
    headers = {**right, "x-herz-author": "the boss"}
    draft = closed.api("PUT", at("mine", "/draft"), {"content": layers("a: 1\n")}, headers=headers).json()
    assert draft["author"] == "ci"
    assert any(one.get("token") == identity for one in closed.api("GET", "/audit?limit=500").json())


def test_a_revoked_token_is_out_at_once(closed, with_token):
    right, identity = with_token("*:read")
    assert closed.api("GET", "/apps", headers=right).status_code == 200
    assert closed.api("DELETE", f"/tokens/{identity}").status_code == 204
    problem(closed.api("GET", "/apps", headers=right), 401, "unauthorized")


def test_applications_are_listed_for_whom_they_concern(closed, with_token):
    for app in ("seen", "unseen"):
        closed.api("PUT", at(app, "/draft"), {"content": layers("a: 1\n")})
    right, _ = with_token("seen:read")
    assert [one["app"] for one in closed.api("GET", "/apps", headers=right).json()] == ["seen"]


def test_tokens_are_listed_without_what_they_are(closed, with_token):
    with_token("*:read")
    listed = closed.api("GET", "/tokens").text
    assert "herz_" not in listed
    assert "sha256" not in listed


def test_a_released_content_is_whole_under_many_readers(server, app):
    text = "".join(f"k{n}: {n}\n" for n in range(20_000))
    put_draft(server, app, text)
    number = release(server, app).json()["number"]
    seen = set()
    lock = threading.Lock()

    def read(_):
        body = server.api("GET", at(app, f"/releases/{number}/content")).content
        with lock:
            seen.add(body)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(12)))
    [body] = seen
    assert json.loads(body)["layers"][0]["text"] == text
