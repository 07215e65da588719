"""What the doctor finds wrong with a running service, asked over HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from herz import Herz
from herz.cli.main import main

EXPOSED = (
    "management:\n  endpoints: {web: {exposure: {include: [health, info, refresh, scope]}}}\n"
    "  endpoint: {health: {show-details: always}}\n"
)


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        """The test says what matters."""


@contextmanager
def serving(application):
    """A real server on a port of its own; its URL."""
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def healthy(project):
    (project / "application.yml").write_text(EXPOSED)
    return project


def test_a_healthy_service_has_no_findings(healthy, doctor):
    with Herz("application.yml") as herz, serving(herz.wsgi_actuator()) as url:
        assert doctor("--url", url) == (0, [])


def test_a_service_that_does_not_answer_is_told(healthy, doctor):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ran = doctor("--url", f"http://127.0.0.1:{closed.getsockname()[1]}/actuator")
    assert (ran.status, ran.of("unreachable")["severity"]) == (1, "error")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_service_that_asks_for_authority_is_told(healthy, doctor, status):
    with Herz("application.yml") as herz:
        inner = herz.wsgi_actuator()

        def guarded(environ, start_response):
            if environ["PATH_INFO"] == "/health":
                start_response(status, [("content-type", "application/json")])
                return [b'{"detail": "who are you?"}']
            return inner(environ, start_response)

        with serving(guarded) as url:
            ran = doctor("--url", url)
    assert (ran.status, ran.of("not-authorized")["severity"]) == (1, "warning")
    assert status[:3] in ran.of("not-authorized")["what"]


def test_a_service_without_an_actuator_is_told(healthy, doctor):
    def nothing_here(environ, start_response):
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here"]

    with serving(nothing_here) as url:
        ran = doctor("--url", f"{url}/actuator")
    assert ran.status == 1
    assert "herz.actuator()" in ran.of("no-actuator")["remedy"]


def test_refresh_that_answers_404_comes_with_the_key_to_set(project, doctor):
    (project / "application.yml").write_text("management: {endpoint: {health: {show-details: always}}}\n")
    with Herz("application.yml") as herz, serving(herz.wsgi_actuator()) as url:
        ran = doctor("--url", url)
    found = ran.of("refresh-not-exposed")
    assert (ran.status, found["severity"]) == (1, "warning")
    assert "management.endpoints.web.exposure.include: [health, info, refresh]" in found["remedy"]


def test_asking_about_refresh_refreshes_nothing(project, doctor):
    (project / "application.yml").write_text(EXPOSED + "herz: {config: {watch: {enabled: false}}}\na: 1\n")
    with Herz("application.yml") as herz, serving(herz.wsgi_actuator()) as url:
        (project / "application.yml").write_text(EXPOSED + "herz: {config: {watch: {enabled: false}}}\na: 2\n")
        doctor("--url", url)
        assert herz.snapshot["a"] == 1


def _down(herz: Herz) -> None:
    deadline = time.monotonic() + 10
    while herz.health().status != "DOWN" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert herz.health().status == "DOWN"


def test_a_source_that_is_down_in_the_service_is_told_with_its_reason(healthy, doctor):
    with Herz("application.yml") as herz, serving(herz.wsgi_actuator()) as url:
        (healthy / "application.yml").write_text("a: [\n")
        _down(herz)
        found = doctor("--url", url).of("source-down")
    assert found["severity"] == "error"
    assert "application.yml" in found["what"]
    assert "malformed YAML" in found["what"]


def test_a_service_that_is_down_without_details_comes_with_the_key_that_shows_them(project, doctor):
    (project / "application.yml").write_text(EXPOSED.replace("always", "never"))
    with Herz("application.yml") as herz, serving(herz.wsgi_actuator()) as url:
        (project / "application.yml").write_text("a: [\n")
        _down(herz)
        found = doctor("--url", url).of("service-down")
    assert "management.endpoint.health.show-details" in found["remedy"]


def test_what_the_service_warns_of_is_told(project, doctor):
    (project / "extra").mkdir()
    (project / "extra" / "more.yml").write_text("b: 1\n")
    (project / "application.yml").write_text(
        EXPOSED + "herz: {config: {import: [extra/], watch: {paths: ['classpath:/application.yml']}}}\n"
    )
    with Herz("application.yml") as herz, serving(herz.wsgi_actuator()) as url:
        ran = doctor("--url", url, "--ignore", "not-watched")
    assert ran.status == 1
    assert "classpath:/extra/" in ran.of("service-warning")["remedy"]


def test_what_is_no_address_is_a_usage_error(healthy):
    assert main(["doctor", "--url", "localhost"]) == 2


def test_an_object_that_still_uses_an_old_one_is_told_with_the_keys_that_changed(project, doctor):
    @dataclass
    class Config:
        timeout: str = "3s"

    class Billing:
        def __init__(self, config: Config) -> None:
            self.config = config

    (project / "application.yml").write_text(EXPOSED + "service: {timeout: 3s}\n")
    herz = Herz("application.yml")
    herz.properties("service")(Config)
    with herz:
        billing = Billing(herz.get(Config))
        (project / "application.yml").write_text(EXPOSED + "service: {timeout: 5s}\n")
        herz.refresh()
        deadline = time.monotonic() + 10
        while not (found := herz.scope.holders.find()) and time.monotonic() < deadline:
            time.sleep(0.05)

        def scope(environ, start_response):
            if environ["PATH_INFO"] != "/scope":
                return herz.wsgi_actuator()(environ, start_response)
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"stale_holders": [asdict(one) for one in found]}).encode()]

        with serving(scope) as url:
            told = doctor("--url", url).of("stale-holder")
        assert billing.config.timeout == "3s"
    assert "Billing" in told["what"]
    assert "service.timeout changed since" in told["what"]
