from __future__ import annotations

import logging

import pytest

from herz import Herz
from herz.actuator.endpoints import ACTIONS, NAMES, Endpoints, respond

INCLUDE = "management.endpoints.web.exposure.include: {}\n"


def status(herz: Herz, method: str, path: str) -> int:
    return respond(herz, method, path).status


def test_health_and_info_are_exposed_by_default_and_nothing_else(configured) -> None:
    with configured.herz() as herz:
        answered = {name for name in NAMES if status(herz, "POST" if name in ACTIONS else "GET", f"/{name}") != 404}
    assert answered == {"health", "info"}


def test_an_endpoint_that_is_listed_is_exposed_and_the_others_no_longer(configured) -> None:
    with configured.herz(INCLUDE.format('["refresh"]')) as herz:
        assert status(herz, "POST", "/refresh") == 200
        assert status(herz, "GET", "/health") == 404


def test_a_star_exposes_everything(configured) -> None:
    with configured.herz(INCLUDE.format('"*"')) as herz:
        assert {status(herz, "POST" if name in ACTIONS else "GET", f"/{name}") for name in NAMES} == {200}


def test_an_empty_list_exposes_nothing(configured) -> None:
    with configured.herz(INCLUDE.format("[]")) as herz:
        assert {status(herz, method, f"/{name}") for name in NAMES for method in ("GET", "POST")} == {404}


def test_a_change_of_exposure_takes_effect_on_the_next_request(configured) -> None:
    with configured.herz(INCLUDE.format("health")) as herz:
        endpoints = Endpoints(herz)

        def exposed() -> bool:
            return getattr(endpoints.call("GET", "/env", ""), "status", 200) == 200

        assert not exposed()
        configured.write(INCLUDE.format("health, env"))
        herz.refresh()
        assert exposed()
        configured.write(INCLUDE.format("health"))
        herz.refresh()
        assert not exposed()


def test_settings_that_cannot_be_used_leave_the_ones_before(configured, caplog: pytest.LogCaptureFixture) -> None:
    with configured.herz(INCLUDE.format("health, env")) as herz:
        endpoints = Endpoints(herz)
        assert getattr(endpoints.call("GET", "/env", ""), "status", 200) == 200
        configured.write(INCLUDE.format("7"))
        herz.refresh()
        with caplog.at_level(logging.ERROR, "herz"):
            assert getattr(endpoints.call("GET", "/env", ""), "status", 200) == 200
            assert getattr(endpoints.call("GET", "/scope", ""), "status", 200) == 404
    assert "management.endpoints.web.exposure.include" in caplog.text
    assert "application.yml:" in caplog.text


def test_what_is_not_exposed_answers_like_what_does_not_exist(configured) -> None:
    with configured.herz() as herz:
        assert respond(herz, "GET", "/env") == respond(herz, "GET", "/nothing-of-that-name")
        assert respond(herz, "DELETE", "/env") == respond(herz, "GET", "/env")


def test_the_log_says_once_which_key_exposes_it(configured, caplog: pytest.LogCaptureFixture) -> None:
    with configured.herz() as herz, caplog.at_level(logging.WARNING, "herz"):
        endpoints = Endpoints(herz)
        for _ in range(3):
            endpoints.call("POST", "/refresh", "")
    told = [record.getMessage() for record in caplog.records if "refresh" in record.getMessage()]
    assert told == [
        "the actuator answered 404 for refresh, which is not exposed;"
        " add refresh to management.endpoints.web.exposure.include"
    ]


def test_a_name_that_is_no_endpoint_is_told_with_the_nearest_one(configured, caplog: pytest.LogCaptureFixture) -> None:
    with configured.herz(INCLUDE.format('["helth"]')) as herz, caplog.at_level(logging.WARNING, "herz"):
        endpoints = Endpoints(herz)
        endpoints.call("GET", "/info", "")
        endpoints.call("GET", "/info", "")
    assert caplog.text.count("did you mean health") == 1


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//refresh",
        "/refresh/",
        "/refresh//",
        "/./refresh",
        "/health/../refresh",
        "/%72efresh",
        "/%2e%2e/refresh",
        "/refresh;x=1",
        "/refresh.json",
        "/Refresh",
        "/refresh\x00",
        "refresh",
        "/health/",
        "/health/liveness/",
        "/health/other",
        "/env/",
        "/info/x",
    ],
)
async def test_a_path_that_is_not_exactly_an_endpoint_is_404(configured, path: str) -> None:
    with configured.herz(configured.OPEN) as herz:
        for method in ("GET", "POST"):
            assert respond(herz, method, path).status == 404


async def test_percent_signs_are_decoded_once_only(configured) -> None:
    with configured.herz(configured.OPEN) as herz:
        async with configured.client(herz.actuator()) as http:
            assert (await http.post("/%72efresh")).status_code == 200  # RFC 3986, 6.2.2.2: the same path
            assert (await http.post("/%2572efresh")).status_code == 404
            assert (await http.post("/%2e%2e/refresh")).status_code == 404
            assert (await http.post("/health%2F..%2Frefresh")).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "NONSENSE"])
def test_refresh_takes_post_alone_and_says_so(configured, method: str) -> None:
    with configured.herz(configured.OPEN) as herz:
        response = respond(herz, method, "/refresh")
    assert response.status == 405
    assert dict(response.headers)["allow"] == "POST"


@pytest.mark.parametrize("name", sorted(NAMES - ACTIONS))
def test_everything_else_is_read_only_and_says_so(configured, name: str) -> None:
    with configured.herz(configured.OPEN) as herz:
        response = respond(herz, "POST", f"/{name}")
        assert (response.status, dict(response.headers)["allow"]) == (405, "GET, HEAD")
        head, get = respond(herz, "HEAD", f"/{name}"), respond(herz, "GET", f"/{name}")
        assert (head.status, head.body) == (get.status, b"")
        assert int(dict(head.headers)["content-length"]) > 0


async def test_a_method_cannot_be_overridden_by_a_header_or_parameter(configured) -> None:
    with configured.herz(configured.OPEN) as herz:
        async with configured.client(herz.actuator()) as http:
            for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
                answer = await http.get("/refresh?_method=POST", headers={header: "POST"})
                assert answer.status_code == 405


@pytest.mark.parametrize(
    "query", ["limit=x", "&".join(f"a{n}=1" for n in range(1000)), "prefix=" + "a" * 100_000, "=&=&%", "prefix=%ff"]
)
def test_a_hostile_query_never_fails(configured, query: str) -> None:
    with configured.herz(configured.OPEN) as herz:
        for name in NAMES - ACTIONS:
            assert respond(herz, "GET", f"/{name}", query).status in (200, 400)


def test_no_answer_is_kept_by_a_cache(configured) -> None:
    with configured.herz(configured.OPEN) as herz:
        for method, path in (("GET", "/health"), ("POST", "/refresh"), ("GET", "/x"), ("GET", "/refresh")):
            assert dict(respond(herz, method, path).headers)["cache-control"] == "no-store"
