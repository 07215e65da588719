"""What was emptied on purpose is accepted by an operator, over HTTP and with `herz accept`."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from pydantic import BaseModel

from herz import Herz, HerzError, UsageError
from herz.actuator.endpoints import respond
from herz.cli.main import main

EXPOSED = "management.endpoints.web.exposure.include: [health, refresh, accept]\n"


@pytest.fixture
def routes(configured) -> Iterator[tuple[Herz, Path]]:
    """Herz on application.yml and routes.yml, of which the latter has just been emptied, and refused."""
    routes = configured.folder / "routes.yml"
    routes.write_text("routes:\n  a: /a\n")
    with configured.herz(EXPOSED, more=[routes]) as herz:
        routes.write_text("")
        with pytest.raises(HerzError, match="herz accept"):
            herz.refresh()
        assert herz.health().status == "DOWN"
        assert herz.snapshot["routes.a"] == "/a"
        yield herz, routes


def name_of(herz: Herz, file: Path) -> str:
    return next(row.name for row in herz.health().sources if row.name.endswith(file.name))


def test_accept_takes_the_emptiness_and_answers_the_places(routes) -> None:
    herz, _ = routes
    response = respond(herz, "POST", "/accept")
    assert response.status == 200
    [place] = json.loads(response.body)
    assert place.endswith("routes.yml")
    assert "routes.a" not in herz.snapshot
    assert herz.health().status == "UP"


def test_accept_of_one_source_leaves_another_refused(configured) -> None:
    files = [configured.folder / "a.yml", configured.folder / "b.yml"]
    for file in files:
        file.write_text(f"{file.stem}: 1\n")
    with configured.herz(EXPOSED, more=files) as herz:
        for file in files:
            file.write_text("")
        with pytest.raises(HerzError):
            herz.refresh()
        response = respond(herz, "POST", "/accept", f"source={name_of(herz, files[0])}")
        assert [Path(place).name for place in json.loads(response.body)] == ["a.yml"]
        assert "a" not in herz.snapshot
        assert herz.snapshot["b"] == 1
        assert herz.health().status == "DOWN"


def test_accept_when_nothing_waits_answers_an_empty_list(configured) -> None:
    with configured.herz(EXPOSED) as herz:
        assert respond(herz, "POST", "/accept").body == b"[]"


def test_a_name_that_no_source_has_is_told_with_the_names_that_there_are(routes) -> None:
    herz, file = routes
    response = respond(herz, "POST", "/accept", "source=nowhere.yml")
    assert response.status == 400
    body = json.loads(response.body)
    assert body["type"] == "urn:herz:problem:source"
    assert file.name in body["remedy"]
    with pytest.raises(UsageError, match=r"nowhere\.yml"):
        herz.accept("nowhere.yml")


def test_accept_is_refused_while_frozen(routes) -> None:
    herz, _ = routes
    herz.freeze()
    assert respond(herz, "POST", "/accept").status == 409
    assert "routes.a" in herz.snapshot


def test_accept_that_leaves_a_required_key_unset_is_refused_and_keeps_the_last_good(configured) -> None:
    class Routes(BaseModel):
        a: str

    file = configured.folder / "routes.yml"
    file.write_text("routes:\n  a: /a\n")
    herz = configured.herz(EXPOSED, more=[file])
    herz.properties("routes")(Routes)
    with herz:
        file.write_text("")
        with pytest.raises(HerzError):
            herz.refresh()
        response = respond(herz, "POST", "/accept")
        assert response.status == 422
        assert "routes.a" in json.loads(response.body)["detail"]
        assert herz.get(Routes).a == "/a"
        assert herz.health().status == "DOWN"


def test_accept_is_not_exposed_by_default(configured) -> None:
    with configured.herz() as herz:
        assert respond(herz, "POST", "/accept").status == 404


def test_accept_needs_a_running_herz(configured) -> None:
    herz = configured.herz(EXPOSED)
    with herz:
        respond(herz, "POST", "/accept")
    assert respond(herz, "POST", "/accept").status in (404, 503)


async def test_accept_does_not_block_the_loop_that_asks(configured) -> None:
    file = configured.folder / "routes.yml"
    file.write_text("routes: 1\n")
    herz = configured.herz(EXPOSED, more=[file])
    async with herz, configured.client(herz.actuator()) as http:
        file.write_text("")
        assert (await http.post("/refresh")).status_code == 422
        assert (await http.get("/accept")).status_code == 405
        places = (await http.post("/accept")).json()
        assert [Path(place).name for place in places] == ["routes.yml"]
        assert (await http.get("/health")).status_code == 200
        assert await herz.aaccept() == ()


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def command(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["accept", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are not told on standard error, where the command tells its own errors."""


@contextlib.contextmanager
def wsgi_served(app) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_the_command_ends_what_a_refusal_began(configured, command, kind: str) -> None:
    """From the emptied file to a healthy service, all over a real socket, the file watched."""
    file = configured.folder / "routes.yml"
    file.write_text("routes:\n  a: /a\n")
    herz = configured.herz(EXPOSED, more=[file], watched=True)
    serving = (
        configured.served(herz.actuator(prefix="/actuator"))
        if kind == "asgi"
        else wsgi_served(herz.wsgi_actuator(prefix="/actuator"))
    )
    with herz, serving as url:
        file.write_text("")
        configured.until(lambda: httpx.get(f"{url}/actuator/health").status_code == 503)
        assert herz.snapshot["routes.a"] == "/a"
        status, out, err = command(name_of(herz, file), "--url", f"{url}/actuator/")
        assert (status, err) == (0, "")
        assert out.startswith("accepted ")
        assert out.endswith("routes.yml\n")
        assert "routes.a" not in herz.snapshot
        assert httpx.get(f"{url}/actuator/health").status_code == 200
        assert command("--url", f"{url}/actuator") == (0, "nothing is waiting to be accepted\n", "")


def test_the_command_prints_json(routes, configured, command) -> None:
    herz, _ = routes
    with configured.served(herz.actuator()) as url:
        status, out, _ = command("--url", url, "--json")
        assert status == 0
        assert [Path(place).name for place in json.loads(out)["accepted"]] == ["routes.yml"]


def test_the_command_names_the_key_to_expose_on_404(configured, command) -> None:
    with configured.herz() as herz, configured.served(herz.actuator()) as url:
        status, out, err = command("--url", url, "--json")
        assert status == 1
        assert "management.endpoints.web.exposure.include" in err
        assert json.loads(out)["error"]["type"] == "SourceUnavailable"


def test_the_command_tells_an_unknown_source_and_the_known_ones(routes, configured, command) -> None:
    herz, file = routes
    with configured.served(herz.actuator()) as url:
        status, _, err = command("nowhere.yml", "--url", url)
        assert status == 2
        assert "nowhere.yml" in err
        assert file.name in err


def test_the_command_says_why_the_service_refuses(configured, command) -> None:
    class Routes(BaseModel):
        a: str

    file = configured.folder / "routes.yml"
    file.write_text("routes:\n  a: /a\n")
    herz = configured.herz(EXPOSED, more=[file])
    herz.properties("routes")(Routes)
    with herz, configured.served(herz.actuator()) as url:
        file.write_text("")
        with pytest.raises(HerzError):
            herz.refresh()
        status, _, err = command("--url", url)
        assert status == 1
        assert "routes.a" in err


def test_the_command_sends_its_token_and_says_when_it_is_needed(routes, configured, command, monkeypatch) -> None:
    herz, _ = routes
    actuator, seen = herz.actuator(), []

    async def guarded(scope, receive, send):
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]).get(b"authorization"))
            if seen[-1] != b"Bearer correct-horse":
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await actuator(scope, receive, send)

    with configured.served(guarded) as url:
        status, _, err = command("--url", url)
        assert status == 1
        assert "--token" in err
        monkeypatch.setenv("HERZ_TOKEN", "battery-staple")
        status, _, err = command("--url", url)
        assert status == 1
        assert "battery" not in err
        assert command("--url", url, "--token", "correct-horse")[0] == 0
    assert seen == [None, b"Bearer battery-staple", b"Bearer correct-horse"]


def test_the_command_takes_its_token_nowhere_else(configured, command) -> None:
    async def elsewhere(scope, receive, send):
        headers = [(b"location", b"http://127.0.0.1:9/accept")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    with configured.served(elsewhere, lifespan="off") as url:
        status, _, err = command("--url", url, "--token", "t")
        assert status == 1
        assert "redirect" in err


def test_the_command_says_when_nobody_answers(command) -> None:
    status, _, err = command("--url", "http://127.0.0.1:9/actuator")
    assert status == 1
    assert "does not answer" in err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "file:///etc/passwd", "http://", "http://h:x/", "http://[::1/a"])
def test_the_command_refuses_what_is_no_address(command, url: str) -> None:
    status, _, err = command("--url", url)
    assert status == 2
    assert "no address of a service" in err
