"""Whatever a client sends to follow, report or answer is answered without an error of the server."""

from __future__ import annotations

import http.client
import json
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from herz.testing.control_plane import ControlPlaneServer

from ..conftest import examples

PLACE = "/api/v1/apps/{}/namespaces/{}"
NAME = st.one_of(
    st.sampled_from(["pay", "default", "i1", "..", "a/b", "<b>", "", "x" * 300, "%00"]), st.text(max_size=8)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
REPORT = {"instance": "i1", "app": "pay", "namespace": "default", "status": "APPLIED", "time": "2026-01-01T00:00:00Z"}
BODY = st.one_of(
    st.binary(max_size=40),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from([*REPORT, "labels", "overrides", "rehearsed", "generation"]), JSON, max_size=3).map(
        lambda changes: json.dumps(REPORT | changes).encode()
    ),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server():
    with ControlPlaneServer() as running:
        yield running


def ask(server, method, path, body=None):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {"X-Herz-Stream": "0" * 32, "content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read()
    finally:
        connection.close()


def fine(status, kind, body):
    assert status < 500, body
    if status >= 400:
        assert kind == "application/problem+json", body
        assert json.loads(body)["what"]


LAW = settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))


@LAW
@given(app=NAME, namespace=NAME, instance=NAME, have=NAME, after=st.one_of(st.integers(), NAME))
@example(app="pay", namespace="default", instance="i1", have="sha256:" + "0" * 64, after=2**70)
@example(app="pay", namespace="default", instance="i1", have="", after=-1)
def test_following(server, app, namespace, instance, have, after):
    path = PLACE.format(quote(app, safe=""), quote(namespace, safe=""))
    query = f"instance={quote(instance)}&have={quote(have)}&after={quote(str(after))}&wait=0"
    fine(*ask(server, "GET", f"{path}/stream?{query}"))


@LAW
@given(
    query=st.binary(max_size=60).map(quote) | st.text("=&%?;+ax", max_size=30).map(lambda text: quote(text, "=&%?;+"))
)
def test_any_query(server, query):
    fine(*ask(server, "GET", PLACE.format("pay", "default") + f"/stream?wait=0&{query}"))


@LAW
@given(app=NAME, instance=NAME, body=BODY)
@example(app="pay", instance="i1", body=b"[" * 100_000)
@example(app="pay", instance="i1", body=b'{"time":"9999-99-99T00:00:00Z"}')
def test_reporting(server, app, instance, body):
    path = PLACE.format(quote(app, safe=""), "default")
    fine(*ask(server, "PUT", f"{path}/instances/{quote(instance, safe='')}/report", body))


@LAW
@given(nonce=NAME, instance=NAME, body=BODY)
def test_answering(server, nonce, instance, body):
    path = PLACE.format("pay", "default")
    fine(*ask(server, "PUT", f"{path}/asks/{quote(nonce, safe='')}/answers/{quote(instance, safe='')}", body))


@pytest.mark.parametrize("depth", [10, 500, 5_000, 50_000])
def test_a_graph_of_any_depth(server, depth):
    body = b'{"details":{"a":' + b"[" * depth + b"]" * depth + b"}}"
    fine(*ask(server, "PUT", f"/api/v1/graphs/sha256:{'0' * 64}", body))


def test_the_server_has_logged_no_unexpected_error(server):
    assert "Traceback" not in server._log.read_text()
