"""How the sources are followed: each watch session's last steps, and everything countable for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from herz.actuator.response import Response, answer, respond
from herz.actuator.shown import Shown, plain
from herz.app.health import SourceHealth
from herz.app.herz import Herz
from herz.model.credentials import without_credentials
from herz.watch.core import State

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

FRESHNESS: Final = ("CURRENT", "REFUSED", "STALE", "REWOUND", "HALTED")

_Of = tuple[str, str, str, Any]
_ROWS: Final[tuple[_Of, ...]] = (
    ("herz_source_up", "gauge", "1 while current.", lambda row: int(row.status == "UP")),
    ("herz_source_revision", "gauge", "The revision in force.", lambda row: row.revision),
    ("herz_source_age_seconds", "gauge", "Time since the source proved what it holds.", lambda row: row.age_s),
    ("herz_source_retries", "gauge", "Attempts since it was last healthy.", lambda row: row.retries),
    ("herz_source_degraded", "gauge", "1 while the retries are spent.", lambda row: int(row.degraded)),
    ("herz_source_reconnects_total", "counter", "Attempts after the first one.", lambda row: row.reconnects),
    ("herz_source_resets_total", "counter", "Times it was read again as a whole.", lambda row: row.resets),
    ("herz_source_rewinds_total", "counter", "Times the place went back in time.", lambda row: row.rewinds),
    ("herz_source_broken_total", "counter", "Items not taken: they did not continue.", lambda row: row.broken),
)


def watch(herz: Herz) -> Response:
    """One row for each source: how its session stands, and the last steps that it took, newest first.

    `age_s` of a step counts from then to now. A place that stands again has no reason.
    """
    sessions = []
    now = time.monotonic()
    for row, feed in zip(herz.health().sources, herz.runtime.feeds, strict=True):
        steps = () if feed.session is None else tuple(feed.session.history)
        sessions.append(
            {
                "source": row.name,
                "state": row.state,
                "freshness": row.freshness,
                "age_s": row.age_s,
                "retries": row.retries,
                "degraded": row.degraded,
                "error": row.error,
                "steps": [
                    {
                        "state": str(step.state),
                        "says": str(step.says),
                        "age_s": round(max(0.0, now - step.at_s), 3),
                        "retries": step.retries,
                        "reason": step.reason,
                    }
                    for step in reversed(steps)
                ],
            }
        )
    return answer({"sessions": plain(sessions, Shown(herz.scope.current).text)})


def metrics(herz: Herz) -> Response:
    """Gauges and counters in Prometheus's text format."""
    updater, health = herz.runtime.updater, herz.health()
    lines = [
        *_metric("herz_up", "gauge", "1 unless health is DOWN.", [("", int(health.status != "DOWN"))]),
        *_metric("herz_generation", "gauge", "The generation in force.", [("", updater.generation)]),
        *_metric("herz_epoch", "gauge", "Times a place went back in time.", [("", updater.epoch)]),
        *_metric("herz_rejected_total", "counter", "Revisions that were refused.", [("", updater.rejected)]),
        *_metric("herz_frozen", "gauge", "1 while changes wait for a thaw.", [("", int(updater.frozen))]),
        *_metric("herz_warnings", "gauge", "What somebody should look at.", [("", len(health.warnings))]),
    ]
    rows = [(_label(row.name), row) for row in health.sources]
    for name, kind, told, of in _ROWS:
        lines += _metric(name, kind, told, [(f'{{source="{at}"}}', of(row)) for at, row in rows])
    refused = [
        (f'{{source="{_label(feed.name)}"}}', int(feed.refused is not None or feed.failure is not None))
        for feed in herz.runtime.feeds
    ]
    lines += _metric("herz_source_refused", "gauge", "1 while something newer cannot be used.", refused)
    lines += _metric(
        "herz_source_state", "gauge", "1 for the state that its session is in.", _one_of(rows, "state", State)
    )
    lines += _metric("herz_source_freshness", "gauge", "1 for what it says.", _one_of(rows, "freshness", FRESHNESS))
    return respond(200, ("\n".join(lines) + "\n").encode("utf-8", "replace"), PROMETHEUS)


def _one_of(rows: Iterable[tuple[str, SourceHealth]], label: str, values: Iterable[str]) -> Iterable[tuple[str, float]]:
    """A sample for each value that a row's `label` may have: 1 for the one that it has."""
    values = tuple(map(str, values))
    for at, row in rows:
        for value in values:
            yield f'{{source="{at}",{label}="{value}"}}', int(getattr(row, label) == value)


def _metric(name: str, kind: str, told: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} {kind}", *(f"{name}{at} {value}" for at, value in samples)]


def _label(text: str) -> str:
    return without_credentials(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
