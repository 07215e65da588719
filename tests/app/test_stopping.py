"""While Herz stops it says so, and is not ready for requests any more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from herz import Herz, MappingSource, NotRunning, Phase
from herz.actuator.endpoints import respond


def test_an_object_that_is_closed_by_a_stop_sees_stopping_and_readiness_down() -> None:
    seen: dict[str, Any] = {}
    herz = Herz(MappingSource({"a": 1}), environment={})

    @herz.refresh_scope(eager=True)
    class Pool:
        def close(self) -> None:
            health = herz.health()
            seen.update(
                state=herz.state,
                running=health.running,
                status=health.status,
                freshness=health.freshness,
                readiness=respond(herz, "GET", "/health/readiness").status,
                liveness=respond(herz, "GET", "/health/liveness").status,
                health=json.loads(respond(herz, "GET", "/health").body),
                info=respond(herz, "GET", "/info").status,
            )

    with herz:
        assert herz.health().running
        assert respond(herz, "GET", "/health/readiness").status == 200
    assert seen == {
        "state": "STOPPING",
        "running": False,
        "status": "DOWN",
        "freshness": "NOT_RUNNING",
        "readiness": 503,
        "liveness": 200,
        "health": {"status": "DOWN"},
        "info": 503,
    }
    assert herz.state is Phase.STOPPED


def test_the_states_follow_each_other_over_two_lives() -> None:
    heard: list[Phase] = []
    herz = Herz(MappingSource({"a": 1}), environment={})
    herz.events.register("state", heard.append)
    for _ in range(2):
        with herz:
            herz.wait_for(lambda _: herz.state is Phase.WATCHING, 10)
    life = [Phase.LOADING, Phase.LOADED, Phase.WATCHING, Phase.STOPPING, Phase.STOPPED]
    assert heard == life * 2


async def test_an_asynchronous_stop_says_stopping_as_well() -> None:
    seen: list[Phase] = []
    herz = Herz(MappingSource({"a": 1}), environment={})

    @herz.refresh_scope(eager=True)
    class Client:
        async def aclose(self) -> None:
            seen.append(herz.state)

    async with herz:
        pass
    assert seen == [Phase.STOPPING]


def test_accept_after_the_stop_is_not_running() -> None:
    herz = Herz(MappingSource({"a": 1}), environment={})
    with herz:
        assert herz.accept() == ()
    with pytest.raises(NotRunning):
        herz.accept()


@pytest.mark.parametrize("phase", list(Phase))
def test_only_loaded_and_watching_are_running(phase: Phase) -> None:
    assert phase.running is (phase in ("LOADED", "WATCHING"))
