from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from wsgiref.validate import validator

import django
import httpx
import pytest
from django.conf import settings as django_settings
from flask import Flask, Response, stream_with_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server
from werkzeug.test import Client as WsgiClient

from herz import Secret
from herz.actuator.pinning import PinMiddleware, PinWsgiMiddleware

DETAILS = "management.endpoint.health.show-details: when-authorized\n"


@dataclass
class Config:
    number: int = 0


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """`app` behind werkzeug's real server, a thread for each request; its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


# --- the actuator ----------------------------------------------------------------------------------


def test_every_endpoint_keeps_to_the_wsgi_specification(configured):
    with configured.herz(configured.OPEN) as herz:
        http: Any = WsgiClient(validator(herz.wsgi_actuator()))
        for path in ("health", "info", "env", "configprops", "sources", "watch", "scope", "changes", "metrics"):
            assert http.get(f"/{path}", buffered=True).status_code == 200
            head = http.head(f"/{path}", buffered=True)
            assert (head.status_code, head.data) == (200, b"")
        assert http.post("/refresh", buffered=True).json["changed"] == []
        assert http.get("/refresh", buffered=True).headers["Allow"] == "POST"
        assert http.get("/nothing", buffered=True).status_code == 404


def test_flask_mounts_it_with_the_dispatcher_middleware(configured):
    with configured.herz(configured.OPEN, "a: 1") as herz:
        app = Flask(__name__)
        app.add_url_rule("/a", view_func=lambda: str(herz.snapshot["a"]))
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/actuator": herz.wsgi_actuator()})  # type: ignore[method-assign]
        http: Any = app.test_client()
        assert http.get("/a").text == "1"
        configured.write(configured.OPEN, "a: 2")
        assert http.post("/actuator/refresh").json["changed"] == ["a"]
        assert http.get("/a").text == "2"
        assert http.post("/actuator//refresh").status_code == 404
        assert http.get("/actuator").status_code == 404


def test_a_prefix_stands_for_a_mount_where_nothing_mounts(configured):
    with configured.herz() as herz:
        http: Any = WsgiClient(herz.wsgi_actuator(prefix="/actuator"))
        assert http.get("/actuator/health").json == {"status": "UP"}


def test_the_token_and_the_callable_open_details(configured):
    with configured.herz(DETAILS) as herz:
        token: Any = WsgiClient(herz.wsgi_actuator(token=Secret("right")))
        assert "sources" in token.get("/health", headers={"Authorization": "Bearer right"}).json
        assert "sources" not in token.get("/health", headers={"Authorization": "Bearer wrong"}).json
        called: Any = WsgiClient(herz.wsgi_actuator(authorize=lambda environ: environ["REMOTE_ADDR"] == "10.0.0.1"))
        assert "sources" in called.get("/health", environ_base={"REMOTE_ADDR": "10.0.0.1"}).json
        assert "sources" not in called.get("/health", environ_base={"REMOTE_ADDR": "10.0.0.2"}).json


def test_an_asynchronous_callable_authorizes_nobody_and_the_log_says_why(configured, caplog):
    async def authorize(environ):
        return True

    with configured.herz(DETAILS) as herz:
        http: Any = WsgiClient(herz.wsgi_actuator(authorize=authorize))
        assert "sources" not in http.get("/health").json
    assert "asynchronous" in caplog.text


@pytest.mark.parametrize("size", [0, 10, 64 * 1024])
def test_on_a_real_server_a_body_is_ignored(configured, size):
    with configured.herz(configured.OPEN) as herz, served(herz.wsgi_actuator()) as address:
        assert httpx.post(f"{address}/refresh", content=b"x" * size).status_code == 200


def test_many_refreshes_at_once_all_answer(configured):
    with configured.herz(configured.OPEN, "a: 1") as herz, served(herz.wsgi_actuator()) as address:
        configured.write(configured.OPEN, "a: 2")
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: httpx.post(f"{address}/refresh"), range(32)))
    assert {answer.status_code for answer in answers} == {200}
    assert "a" in {key for answer in answers for key in answer.json()["changed"]}


# --- pinning ---------------------------------------------------------------------------------------


class Changing:
    """A Flask application whose requests wait in the middle until the configuration has changed."""

    def __init__(self, configured: Any) -> None:
        self.configured = configured
        self.herz = herz = configured.herz("service.number: 1", configured.OPEN)
        herz.properties("service")(Config)
        self.entered, self.go = threading.Event(), threading.Event()
        app = self.app = Flask(__name__)

        @app.get("/whole")
        def whole() -> str:
            return f"{herz.get(Config).number}{self.pause()}{herz.get(Config).number}"

        @app.get("/stream")
        def stream() -> Response:
            def lines() -> Iterator[str]:
                for _ in range(2):
                    yield f"{herz.get(Config).number}{self.pause()}"

            return Response(stream_with_context(lines()))

        app.wsgi_app = PinWsgiMiddleware(app.wsgi_app, herz)  # type: ignore[method-assign]

    def pause(self) -> str:
        self.entered.set()
        assert self.go.wait(10)
        return ""

    def pins(self) -> list[str]:
        return [pin for one in self.herz.scope.describe()["generations"] for pin in one["pins"]]

    def during(self, ask: Callable[[], str]) -> str:
        """What `ask` answers, during which the configuration changed from 1 to 2."""
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask)
            assert self.entered.wait(10)
            self.configured.write("service.number: 2", self.configured.OPEN)
            assert self.herz.refresh() == ["service.number"]
            self.go.set()
            return asked.result(10)


@pytest.mark.parametrize("path", ["/whole", "/stream"])
def test_a_pinned_request_sees_one_generation_to_its_last_byte(configured, path):
    changing = Changing(configured)
    with changing.herz, served(changing.app) as address:
        assert changing.during(lambda: httpx.get(f"{address}{path}").text) == "11"
        assert httpx.get(f"{address}{path}").text == "22"
        configured.until(lambda: changing.pins() == [])


def test_the_pin_ends_when_the_response_is_closed_unread(configured):
    changing = Changing(configured)
    with changing.herz:
        changing.go.set()
        body: Any = PinWsgiMiddleware(lambda environ, start: iter([b"1", b"2"]), changing.herz)({}, print)
        assert len(changing.pins()) == 1
        body.close()
        body.close()
        assert changing.pins() == []


def test_the_pin_ends_with_a_response_that_nobody_closes(configured):
    changing = Changing(configured)
    with changing.herz:
        body: Any = PinWsgiMiddleware(lambda environ, start: iter([b"1"]), changing.herz)({}, print)
        assert len(changing.pins()) == 1
        del body
        assert changing.pins() == []


def test_the_applications_own_close_is_called_once_while_still_pinned(configured):
    changing = Changing(configured)
    calls = []

    class Body:
        def __iter__(self):
            return iter([b"1"])

        def close(self):
            calls.append(len(changing.pins()))

    with changing.herz:
        http: Any = WsgiClient(
            PinWsgiMiddleware(lambda environ, start: (start("200 OK", []), Body())[1], changing.herz)
        )
        assert http.get("/", buffered=True).data == b"1"
        assert calls == [1]
        assert changing.pins() == []


def test_the_pin_ends_with_a_request_that_fails(configured):
    changing = Changing(configured)

    def failing(environ, start_response):
        raise RuntimeError("as applications do")

    with changing.herz:
        with pytest.raises(RuntimeError, match="as applications do"):
            PinWsgiMiddleware(failing, changing.herz)({}, print)
        assert changing.pins() == []


def test_flask_keeps_its_own_context_in_tests(configured):
    changing = Changing(configured)
    changing.go.set()
    with changing.herz, changing.app.test_client() as http:
        assert http.get("/whole").text == "11"
        assert http.get("/stream").text == "11"


# --- Django ----------------------------------------------------------------------------------------


class Urls:
    urlpatterns: list[Any] = []  # noqa: RUF012  Django wants a list


@pytest.fixture
def project(configured):
    """A real Django project with the actuator among its views, and one view that reads twice."""
    from django.http import HttpResponse
    from django.urls import clear_url_caches, path, re_path

    from herz.actuator.django import actuator_view

    if not django_settings.configured:
        django_settings.configure(
            DEBUG=False, ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF=Urls, MIDDLEWARE=MIDDLEWARE, USE_TZ=True
        )
        django.setup()
    changing = Changing(configured)
    herz = changing.herz

    def whole(request: Any) -> HttpResponse:
        return HttpResponse(f"{herz.get(Config).number}{changing.pause()}{herz.get(Config).number}")

    Urls.urlpatterns[:] = [
        re_path(r"^actuator(?P<path>/.*)$", actuator_view(herz)),
        path("whole", whole),
    ]
    clear_url_caches()
    return changing


MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", "django.middleware.common.CommonMiddleware"]


def test_django_serves_the_actuator_as_a_view(project, configured):
    from django.core.wsgi import get_wsgi_application

    with project.herz, served(get_wsgi_application()) as address:
        assert httpx.get(f"{address}/actuator/health").json()["status"] == "UP"
        head = httpx.head(f"{address}/actuator/health")
        assert (head.status_code, head.content) == (200, b"")
        configured.write("service.number: 2", configured.OPEN)
        assert httpx.post(f"{address}/actuator/refresh").json()["changed"] == ["service.number"]
        assert httpx.get(f"{address}/actuator/refresh").headers["allow"] == "POST"
        assert httpx.get(f"{address}/actuator/env/service.number").json()["value"] == 2
        assert httpx.get(f"{address}/actuator/nothing").status_code == 404


def test_django_under_wsgi_sees_one_generation_in_a_pinned_request(project):
    from django.core.wsgi import get_wsgi_application

    with project.herz, served(PinWsgiMiddleware(get_wsgi_application(), project.herz)) as address:
        assert project.during(lambda: httpx.get(f"{address}/whole").text) == "11"


def test_django_under_asgi_sees_one_generation_in_a_pinned_request(project, configured):
    from django.core.asgi import get_asgi_application

    app = PinMiddleware(get_asgi_application(), project.herz)
    with project.herz, configured.served(app, lifespan="off") as address:
        assert httpx.get(f"{address}/actuator/health").json()["status"] == "UP"
        assert project.during(lambda: httpx.get(f"{address}/whole").text) == "11"
