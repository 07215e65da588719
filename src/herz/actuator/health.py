"""Health as HTTP: what load balancers, probes and people ask, each with the answer that serves them."""

from __future__ import annotations

from typing import Any, Final

from herz.actuator.response import Response, answer
from herz.app.herz import Herz

PROBES: Final = ("liveness", "readiness")


def health(herz: Herz, details: bool) -> Response:
    """UP with 200, or DOWN with 503, in Spring Boot's shape.

    Warnings do not make it DOWN: they are among the details. A refused or stale source does, though the last good
    configuration goes on serving, so that somebody looks.
    """
    found = herz.health()
    status = "DOWN" if found.status == "DOWN" else "UP"
    body: dict[str, Any] = {"status": status}
    if details:
        body = {**found.as_dict(), **body}
    return answer(body, 503 if status == "DOWN" else 200)


def probe(herz: Herz, name: str) -> Response:
    """For Kubernetes: `liveness` asks whether a restart would help, `readiness` whether requests can be served.

    Whoever answers lives. Ready is whoever has a configuration in force, also while a newer one is refused or a
    source is away: one bad document must not take every instance out of service.
    """
    ready = name == "liveness" or herz.state.running
    return answer({"status": "UP" if ready else "OUT_OF_SERVICE"}, 200 if ready else 503)
