from __future__ import annotations

import json
from typing import Any

from herz import Herz
from herz.actuator.endpoints import Call, Endpoints, respond

EXPOSED = "management.endpoints.web.exposure.include: [health, refresh]\n"
DETAILS = "management.endpoint.health.show-details: {}\n"


def asked(herz: Herz, path: str = "/health", authorized: bool = False) -> Any:
    response = respond(herz, "GET", path, authorized=authorized)
    return response.status, json.loads(response.body)


def test_health_says_its_status_alone_by_default(configured):
    with configured.herz() as herz:
        assert asked(herz) == (200, {"status": "UP"})
        assert asked(herz, authorized=True) == (200, {"status": "UP"})


def test_details_have_one_row_for_each_source(configured):
    with configured.herz(DETAILS.format("always")) as herz:
        status, body = asked(herz)
    assert (status, body["status"]) == (200, "UP")
    row = body["sources"][0]
    assert row["name"].endswith("application.yml")
    assert (row["revision"], row["error"], row["freshness"]) == (1, None, "CURRENT")
    assert {"state", "age_s"} <= row.keys()


def test_details_for_the_authorized_are_for_nobody_else(configured):
    with configured.herz(DETAILS.format("when-authorized")) as herz:
        assert asked(herz)[1] == {"status": "UP"}
        assert "sources" in asked(herz, authorized=True)[1]


def test_a_warning_is_a_detail_of_health_that_is_up(configured):
    text = DETAILS.format("always")
    with configured.herz(text, watched=True) as herz:
        herz.freeze()
        status, body = asked(herz)
    assert (status, body["status"]) == (200, "UP")
    assert "frozen" in body["warnings"][0]["what"]


def test_a_refused_source_makes_health_down_with_the_place_while_the_last_good_serves(configured):
    with configured.herz(DETAILS.format("always"), EXPOSED, "a: 1") as herz:
        configured.write("a: [1\n")
        assert respond(herz, "POST", "/refresh").status == 422
        status, body = asked(herz)
        assert (status, body["status"]) == (503, "DOWN")
        assert "application.yml:" in body["sources"][0]["error"]
        assert herz.snapshot["a"] == 1


def test_probes_stay_up_while_a_source_is_refused(configured):
    with configured.herz(EXPOSED, "a: 1") as herz:
        configured.write("a: [1\n")
        assert respond(herz, "POST", "/refresh").status == 422
        assert asked(herz)[0] == 503
        assert asked(herz, "/health/readiness") == (200, {"status": "UP"})
        assert asked(herz, "/health/liveness") == (200, {"status": "UP"})


def test_health_is_up_again_after_the_repair(configured):
    with configured.herz(EXPOSED, "a: 1") as herz:
        configured.write("a: [1\n")
        assert respond(herz, "POST", "/refresh").status == 422
        configured.write(EXPOSED, "a: 2")
        assert respond(herz, "POST", "/refresh").status == 200
        assert asked(herz) == (200, {"status": "UP"})


def test_before_the_start_and_after_the_stop_it_lives_and_is_not_ready(configured):
    herz = configured.herz()
    for _ in range(2):
        assert asked(herz) == (503, {"status": "DOWN"})
        assert asked(herz, "/health/liveness") == (200, {"status": "UP"})
        assert asked(herz, "/health/readiness") == (503, {"status": "OUT_OF_SERVICE"})
        assert asked(herz, "/info")[0] == 503
        herz = configured.herz()
        with herz:
            assert asked(herz, "/health/readiness")[0] == 200


def test_after_the_stop_what_was_exposed_says_that_herz_does_not_run(configured):
    herz = configured.herz(EXPOSED)
    endpoints = Endpoints(herz)
    with herz:
        call = endpoints.call("POST", "/refresh", "")
    again = endpoints.call("POST", "/refresh", "")
    for one in (call, again):
        assert isinstance(one, Call)
        response = endpoints.answer(one, False)
        assert response.status == 503
        assert json.loads(response.body)["type"] == "urn:herz:problem:not-running"
