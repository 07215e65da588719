"""Whatever fits the OpenAPI document, and what nearly does, is answered without an error of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from .conftest import Server, layers_of, started

EXAMPLES = 20
PLACE = "/apps/pay/namespaces/default"
HEALTH = list(HealthCheck)
ENDLESS = ("/stream", "/events")
"""They answer as long as they are asked; delivery tries them."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory) -> Iterator[Server]:
    """A server with something in it, for what is found by chance alone is mostly nothing."""
    running = started(tmp_path_factory.mktemp("fuzz"), "--listen", "http://127.0.0.1:0")
    filled(running)
    assert running.api("POST", f"{PLACE}/releases", {"message": "go"}).status_code == 201
    yield running
    running.stop()


def filled(server):
    assert server.api("PUT", f"{PLACE}/draft", {"content": layers_of("a: 1\n")}).status_code == 200


def operations(document):
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if not operation.path.endswith(ENDLESS):
            yield operation


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_meets_an_error_of_the_server(fuzzed, mode):
    document = fuzzed.api("GET", "/openapi.json").json()
    failed = []
    for operation in operations(document):
        filled(fuzzed)

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case):
            if "namespace" in (case.path_parameters or {}) and len(str(case.path_parameters["app"])) % 2:
                case.path_parameters |= {"app": "pay", "namespace": "default"}  # where there is something
            response = case.call(base_url=fuzzed.url, timeout=30)
            if response.status_code >= 500:
                failed.append((case.as_curl_command(), response.status_code, response.text[:500]))
            elif response.status_code >= 400:
                kind = response.headers.get("content-type", [""])[0]
                assert kind == "application/problem+json", (case.as_curl_command(), response.text[:500])

        try:
            ask()
        except Unsatisfiable:  # nothing can be wrong with a request that has no parameters
            assert mode is GenerationMode.NEGATIVE
    assert not failed


def test_the_server_has_logged_no_unexpected_error(fuzzed):
    assert "Traceback" not in fuzzed.log.read_text()
