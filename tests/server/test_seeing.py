"""Who sees secrets over the API of a really running server: those who write them, and the instances that run them.

The sweeps take their routes from the server's own table, so that a route which comes later is asked as well.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from herz import Herz
from herz.model.secret import MASK
from herz.release.content import Content, digest_of
from herz.release.record import decode
from herz.server.app import create_app
from herz.server.parts import all_parts
from herz.server.plane import API
from herz.testing.memory_store import MemoryStore

from .conftest import Server, started

PLANTED = "Planted-7Q"
"""What every secret of the scene begins with."""
OTHERS = ("read", "release", "rollout", "approve")
"""Scopes that show no secret."""
PLACE = "/apps/pay/namespaces/default"


def texts(turn: str) -> list[dict[str, str]]:
    """A layer of each format, all with secrets of this turn."""
    said = f"{PLANTED}-{turn}"
    return [
        {
            "name": "base.yml",
            "text": f"db:\n  host: h\n  password: {said}-yaml\npool: {len(turn)}\n# token: {said}-old\n",
        },
        {"name": "more.json", "format": "json", "text": json.dumps({"api": {"token": f"{said}-json", "n": turn}})},
        {"name": "third.toml", "format": "toml", "text": f'[vault]\ncredentials = ["{said}-toml"]\nname = "{turn}"\n'},
        {"name": "fourth.properties", "format": "properties", "text": f"mail.passphrase={said}-properties\n"},
        {"name": "last.env", "format": "env", "text": f'SMTP__PASSWORD="{said}-env"\nSMTP__PORT=1\n'},
    ]


SCHEMA = {
    "properties": {
        "db": {
            "default": {"host": "h", "password": f"{PLANTED}-default"},
            "properties": {
                "password": {
                    "type": "string",
                    "default": f"{PLANTED}-default",
                    "examples": [f"{PLANTED}-example"],
                    "allOf": [{"enum": [f"{PLANTED}-enum"]}, {"const": f"{PLANTED}-const"}, {"pattern": PLANTED + "x"}],
                    "not": {"const": f"{PLANTED}-draft-yaml"},
                },
                "host": {"type": "string", "default": "h"},
            },
        }
    }
}


class Scene(NamedTuple):
    server: Server
    tokens: dict[str, dict[str, str]]
    digests: dict[str, str]

    def ask(self, scope: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.server.api(method, path, body, headers={**self.tokens[scope], **headers})

    def layers(self, scope: str, path: str) -> list[str]:
        answer = self.ask(scope, "GET", path)
        assert answer.status_code == 200, answer.text
        content = answer.json().get("content", answer.json())
        return [layer["text"] for layer in content["layers"]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Iterator[Scene]:
    """Two releases and a draft with secrets, an instance that overrides one, a rollout, a schema and a policy."""
    folder = tmp_path_factory.mktemp("seeing")
    server = started(folder, "--listen", "http://127.0.0.1:0", "--require-tokens")
    tokens, texts_of = {}, {}
    for scope in (*OTHERS, "report", "edit", "admin"):
        made = server.api("POST", "/tokens", {"name": scope, "grants": [f"pay:{scope}"]}).json()
        tokens[scope], texts_of[scope] = {"authorization": f"Bearer {made['token']}"}, made["token"]
    digests = {}
    for turn in ("one", "second", "draft"):
        body = {"content": {"layers": texts(turn)}, "message": turn}
        digests[turn] = server.api("PUT", f"{PLACE}/draft", body).json()["digest"]
        if turn != "draft":
            publish = {"message": turn, "publish": turn == "one"}
            assert server.api("POST", f"{PLACE}/releases", publish).status_code == 201
    assert server.api("PUT", f"{PLACE}/schema", SCHEMA).status_code == 204
    (folder / "own.yml").write_text(f"db:\n  password: {PLANTED}-own\n")
    (folder / "token").write_text(texts_of["report"])
    url = f"{server.url.replace('http', 'herz')}/pay?instance=pay-1&token-file={folder}/token"
    with Herz(url, str(folder / "own.yml")) as instance:
        wait_until(lambda: server.api("GET", f"{PLACE}/instances").json())
        plan = {"kind": "explicit", "percent": [100], "bake_s": 0}
        begun = server.api("POST", f"{PLACE}/rollouts", {"release": 2, "plan": plan, "message": "go"})
        if begun.status_code == 201:
            wait_until(lambda: server.api("GET", f"{PLACE}/rollouts/r1").json().get("phase") in OVER)
        assert instance.snapshot["db.host"] == "h"
        assert server.api("PUT", f"{PLACE}/policy", {"layers": ["base.yml"]}).status_code == 204
        yield Scene(server, tokens, digests)
    server.stop()


OVER = ("PROMOTED", "ROLLED_BACK")


def wait_until(holds: Any) -> Any:
    deadline = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# --- sweeps ---------------------------------------------------------------------------------------


def gets() -> list[str]:
    """Every GET route of the API by its path; `PLACES` fills in what is asked for."""
    paths = create_app(MemoryStore(), parts=all_parts()).route_handler_method_map
    return sorted(
        path for path, handlers in paths.items() if "GET" in handlers and path.startswith((API, "/health", "/metrics"))
    )


PLACES: dict[str, tuple[str, ...]] = {
    "app:str": ("pay",),
    "namespace:str": ("default",),
    "number:int": ("1", "2"),
    "after:int": ("1", "2"),
    "digest:str": ("one", "second", "draft"),
    "instance:str": ("pay-1",),
    "rollout:str": ("r1",),
    "path:str": ("openapi.json",),
}
"""A new kind of place in a path must be named here, so that its route is asked for something that is there."""


def filled(path: str, digests: dict[str, str]) -> list[str]:
    found = [path]
    for name in re.findall(r"{(.+?)}", path):
        found = [one.replace(f"{{{name}}}", digests.get(value, value)) for one in found for value in PLACES[name]]
    return found


@pytest.fixture(scope="module")
def routes() -> list[str]:
    async def found() -> list[str]:  # an application is made where a loop runs
        return gets()

    return asyncio.run(found())


@pytest.mark.parametrize("scope", OTHERS)
def test_no_route_tells_a_secret_to_who_may_not_write_it(scene, routes, scope):
    told = []
    for path in [one for route in routes for one in filled(route, scene.digests)]:
        answer = scene.server.client.get(path, headers=scene.tokens[scope])
        assert answer.status_code in (200, 403, 404), (path, answer.text)
        assert PLANTED not in answer.text + str(answer.headers), path
        told += [path] if answer.status_code == 200 else []
    assert len(told) > 20, told


ASKED: list[tuple[str, str, Any]] = [
    ("read", f"{PLACE}/draft/validate", None),
    ("read", f"{PLACE}/impact", {}),
    ("read", f"{PLACE}/impact", {"release": 2}),
    ("release", f"{PLACE}/impact", {"dry_build": "pay-1"}),
    ("release", f"{PLACE}/asks", {"kind": "explain", "keys": ["db.password", "api.token"], "sources": True}),
    ("rollout", f"{PLACE}/verify", {"config_version": 1}),
    ("rollout", f"{PLACE}/verify", {"config_version": 2}),
    ("rollout", "/argo-rollouts/pay/default", {"config_version": 2}),
]


@pytest.mark.parametrize(("scope", "path", "body"), ASKED)
def test_no_question_is_answered_with_a_secret(scene, scope, path, body):
    answer = scene.ask(scope, "POST", path, body)
    assert answer.status_code == 200, answer.text
    assert PLANTED not in answer.text


def test_a_conflict_tells_no_secret_even_to_who_may_write_it(scene):
    layers = [{"name": "base.yml", "text": f"db:\n  password: {PLANTED}-mine\n"}]
    answer = scene.ask("edit", "PUT", f"{PLACE}/draft", {"content": {"layers": layers}, "expect": 1})
    assert answer.status_code == 409
    assert answer.json()["difference"]
    assert PLANTED not in answer.text


MALFORMED = [
    ("yaml", f"db:\n  password: {PLANTED}: [x\n"),
    ("yaml", f'db:\n  password: "{PLANTED}\n'),
    ("yaml", f"db:\n  password: {PLANTED}\n  password: {PLANTED}\n"),
    ("yaml", f"db:\n  password: !!int {PLANTED}\n"),
    ("yaml", f"db:\n  password: *{PLANTED}\n"),
    ("yaml", f"db:\n  password: !{PLANTED} x\n"),
    ("yaml", f"db:\n  password: &{PLANTED}\n"),
    ("yaml", f"db:\n  password: !!{PLANTED} x\n"),
    ("yaml", f"db:\n  password: ! {PLANTED}\n"),
    ("yaml", f"db:\n  password: @{PLANTED}\n"),
    ("yaml", f"db:\n  password: %{PLANTED}\n"),
    ("yaml", f"db:\n  password: [{PLANTED}\n"),
    ("yaml", f"db:\n  password: |{PLANTED}\n"),
    ("yaml", f"db:\n  password: #{PLANTED}\n"),
    ("json", f'{{"password": "{PLANTED}}}'),
    ("json", f'{{"password": {PLANTED}}}'),
    ("toml", f"password = {PLANTED}\n"),
    ("toml", f'password = "{PLANTED}\n'),
    ("properties", f"password={PLANTED}\npassword.x={PLANTED}\n"),
    ("env", f"PASSWORD={PLANTED}\nPASSWORD={PLANTED}\n"),
    ("env", f'PASSWORD="{PLANTED}\n'),
]


@pytest.mark.parametrize(("format", "text"), MALFORMED)
def test_of_a_text_that_cannot_be_read_nothing_is_told(scene, app, format, text):
    made = scene.server.api("POST", "/tokens", {"name": "reader", "grants": ["*:read"]}).json()
    reader = {"authorization": f"Bearer {made['token']}"}
    place = f"/apps/{app}/namespaces/default"
    body = {"content": {"layers": [{"name": "one", "format": format, "text": text}]}}
    assert scene.server.api("PUT", f"{place}/draft", body).status_code == 200
    asked = {"/draft": "GET", "/draft/difference": "GET", "/draft/validate": "POST", "/impact": "POST"}
    for rest, method in asked.items():
        answer = scene.server.api(method, f"{place}{rest}", {} if rest == "/impact" else None, headers=reader)
        assert PLANTED not in answer.text, (rest, answer.text)


# --- who sees what --------------------------------------------------------------------------------


CONTENTS = (f"{PLACE}/draft", f"{PLACE}/releases/1/content", f"{PLACE}/releases/2/content")


@pytest.mark.parametrize("path", CONTENTS)
def test_what_is_masked_says_so_and_all_else_stands(scene, path):
    answer = scene.ask("read", "GET", path).json()
    content = answer.get("content", answer)
    assert content["masked"] is True
    whole = scene.layers("edit", path)
    for masked, text in zip(content["layers"], whole, strict=True):
        assert masked["text"].count(MASK) == text.count(PLANTED)
        assert "withheld" not in masked
    assert content["layers"][0]["text"].startswith(f"db:\n  host: h\n  password: {MASK}\n")


@pytest.mark.parametrize("scope", ["edit", "admin"])
@pytest.mark.parametrize("path", CONTENTS)
def test_whoever_may_write_a_draft_sees_it_whole(scene, scope, path):
    answer = scene.ask(scope, "GET", path).json()
    assert "masked" not in answer.get("content", answer)
    turn = {"draft": "draft", "1": "one", "2": "second"}[path.removesuffix("/content").rpartition("/")[2]]
    assert scene.layers(scope, path) == [layer["text"] for layer in texts(turn)]


def test_who_may_write_elsewhere_sees_nothing_here(scene):
    made = scene.server.api("POST", "/tokens", {"name": "x", "grants": ["shop:admin", "pay:read"]}).json()
    headers = {"authorization": f"Bearer {made['token']}"}
    for path in (*CONTENTS, *(f"/content/{digest}" for digest in scene.digests.values())):
        answer = scene.server.api("GET", path, headers=headers)
        assert answer.status_code == 200
        assert PLANTED not in answer.text


def test_an_instance_sees_what_it_is_to_run_and_no_other(scene):
    channel = scene.ask("report", "GET", f"{PLACE}/channel").json()
    runs = channel["stable"]["release"]["digest"]
    assert channel.get("cohorts", {}) == {}
    for turn, number in (("one", 1), ("second", 2)):
        for path in (f"{PLACE}/releases/{number}/content", f"/content/{scene.digests[turn]}"):
            told = PLANTED in scene.ask("report", "GET", path).text
            assert told == (scene.digests[turn] == runs), path
    assert PLANTED not in scene.ask("report", "GET", f"{PLACE}/draft").text
    assert PLANTED not in scene.ask("report", "GET", f"/content/{scene.digests['draft']}").text


def test_an_editor_sees_by_its_digest_what_a_reset_put_aside(scene):
    place = "/apps/aside/namespaces/default"
    edit, read = [
        {"authorization": f"Bearer {scene.server.api('POST', '/tokens', body).json()['token']}"}
        for body in ({"name": "e", "grants": ["aside:edit"]}, {"name": "r", "grants": ["aside:read"]})
    ]
    first = scene.server.api("PUT", f"{place}/draft", {"content": {"layers": texts("mine")}}).json()["digest"]
    kept = scene.server.api("PUT", f"{place}/draft", {"content": {"layers": texts("theirs")}}).json()["kept"]
    assert kept == first
    assert PLANTED in scene.server.api("GET", f"/content/{kept}", headers=edit).text
    assert PLANTED not in scene.server.api("GET", f"/content/{kept}", headers=read).text


def test_nobody_has_another_applications_content_built_to_see_it(scene):
    place = "/apps/shop/namespaces/default"
    scene.server.api("PUT", f"{place}/draft", {"content": {"layers": [{"name": "a", "text": "a: 1\n"}]}})
    made = scene.server.api("POST", "/tokens", {"name": "x", "grants": ["shop:release", "shop:report"]}).json()
    headers = {"authorization": f"Bearer {made['token']}"}
    ask = {"kind": "build", "digest": scene.digests["one"], "instances": ["me"], "window_s": 0.2}
    answer = scene.server.api("POST", f"{place}/asks", ask, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:herz:problem:not-found")
    own = scene.server.api("GET", f"{place}/draft", headers=headers).json()["digest"]
    assert scene.server.api("POST", f"{place}/asks", {**ask, "digest": own}, headers=headers).status_code == 200


def test_where_there_is_no_secret_nothing_is_masked(scene, app):
    place = f"/apps/{app}/namespaces/default"
    layers = [{"name": "a", "text": "# ours\na: 1  # one\n"}]
    digest = scene.server.api("PUT", f"{place}/draft", {"content": {"layers": layers}}).json()["digest"]
    made = scene.server.api("POST", "/tokens", {"name": "x", "grants": [f"{app}:read"]}).json()
    headers = {"authorization": f"Bearer {made['token']}"}
    assert scene.server.api("GET", f"{place}/draft", headers=headers).json()["content"] == {"layers": layers}
    answer = scene.server.api("GET", f"/content/{digest}", headers=headers)
    assert (answer.json(), answer.headers["etag"]) == ({"layers": layers}, f'"{digest}"')


def test_a_text_that_is_too_large_to_be_masked_is_withheld(scene, app):
    place = f"/apps/{app}/namespaces/default"
    large = "".join(f"k{number}: {number}\n" for number in range(60_000))
    layers = [{"name": "large", "text": large}, {"name": "small", "text": "a: 1\n"}]
    scene.server.api("PUT", f"{place}/draft", {"content": {"layers": layers}})
    made = scene.server.api("POST", "/tokens", {"name": "x", "grants": [f"{app}:read"]}).json()
    content = scene.server.api("GET", f"{place}/draft", headers={"authorization": f"Bearer {made['token']}"}).json()[
        "content"
    ]
    assert content == {
        "layers": [{"name": "large", "text": "", "withheld": True}, {"name": "small", "text": "a: 1\n"}],
        "masked": True,
    }


def test_a_schema_tells_what_a_secret_is_to_who_may_write_it_only(scene):
    assert scene.ask("edit", "GET", f"{PLACE}/schema").json() == SCHEMA
    masked = scene.ask("read", "GET", f"{PLACE}/schema").json()
    assert masked == json.loads(re.sub(rf"{PLANTED}[\w-]*", MASK, json.dumps(SCHEMA)))
    refused(scene.ask("edit", "PUT", f"{PLACE}/schema", masked), "properties")
    assert scene.ask("edit", "GET", f"{PLACE}/schema").json() == SCHEMA


def test_what_a_schema_says_of_a_secret_is_in_no_fault(scene):
    faults = scene.ask("read", "POST", f"{PLACE}/draft/validate").json()["problems"]
    said = {fault["what"] for fault in faults if fault["key"] == "db.password"}
    assert said == {f"it is not what {keyword} of the schema says" for keyword in ("const", "enum", "not", "pattern")}


# --- caches ---------------------------------------------------------------------------------------


def test_masked_and_whole_are_told_apart_by_caches(scene):
    path = f"/content/{scene.digests['draft']}"
    whole, masked = scene.ask("edit", "GET", path), scene.ask("read", "GET", path)
    assert whole.headers["etag"] == f'"{scene.digests["draft"]}"'
    assert masked.headers["etag"] != whole.headers["etag"]
    for answer in (whole, masked):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "authorization"
    for scope, seen, status in (
        ("edit", whole, 304),
        ("read", masked, 304),
        ("edit", masked, 200),
        ("read", whole, 200),
    ):
        answer = scene.ask(scope, "GET", path, **{"if-none-match": seen.headers["etag"]})
        assert answer.status_code == status
        assert (PLANTED in answer.text) == (scope == "edit" and status == 200)


@pytest.mark.parametrize("path", CONTENTS)
def test_nobody_on_the_way_keeps_a_content(scene, path):
    assert scene.ask("edit", "GET", path).headers["cache-control"] == "no-store"


def test_a_digest_is_not_that_of_what_is_masked(scene):
    masked = decode(scene.ask("read", "GET", f"/content/{scene.digests['draft']}").content, Content, "")
    assert digest_of(masked) != scene.digests["draft"]


# --- writing it back ------------------------------------------------------------------------------


def refused(answer: Any, where: str | None) -> None:
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert (body["type"], body.get("where")) == ("urn:herz:problem:masked", where)
    assert "masked" in body["what"]
    assert "edit" in body["remedy"]


def test_what_is_masked_cannot_be_written_back(scene):
    masked = scene.ask("read", "GET", f"{PLACE}/draft").json()["content"]
    before = scene.ask("edit", "GET", f"{PLACE}/draft").json()
    assert before["content"]["layers"] == texts("draft")
    refused(scene.ask("edit", "PUT", f"{PLACE}/draft", {"content": masked}), "base.yml:3")
    stripped = {"layers": masked["layers"]}
    refused(scene.ask("edit", "PUT", f"{PLACE}/draft", {"content": stripped}), "base.yml:3")
    only_marked = {"layers": [{"name": "a", "text": "a: 1\n"}], "masked": True}
    refused(scene.ask("edit", "PUT", f"{PLACE}/draft", {"content": only_marked}), None)
    withheld = {"layers": [{"name": "a", "text": "", "withheld": True}]}
    refused(scene.ask("edit", "PUT", f"{PLACE}/draft", {"content": withheld}), "a")
    assert scene.ask("edit", "GET", f"{PLACE}/draft").json() == before


@pytest.mark.parametrize("value", [MASK, ["x", f"pg://u:{MASK}@h"], {"inner": MASK}])
def test_a_key_is_not_set_to_what_is_masked(scene, value):
    before = scene.ask("edit", "GET", f"{PLACE}/draft").json()
    refused(scene.ask("edit", "POST", f"{PLACE}/draft/set", {"changes": {"api.token": value}}), "api.token")
    assert scene.ask("edit", "GET", f"{PLACE}/draft").json() == before
