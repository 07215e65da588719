"""Views: what the other endpoints show, as plain data without secrets. All of them read; none takes a lock for long."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from herz.actuator.response import Response, answer, problem
from herz.actuator.shown import Shown, plain
from herz.app.herz import Herz
from herz.errors import NotRunning, UsageError
from herz.model.explanation import Contribution, Explanation
from herz.model.key import Path, covers, split
from herz.model.tree import ABSENT, find, is_table

CHANGE_SETS: Final = 50
"""How many change sets `/changes` shows when nobody says."""


def info(herz: Herz) -> Response:
    """What runs: everything under the configuration's `info.`, then Python and Herz."""
    from herz import __version__

    runtime, shown = herz.runtime, _shown(herz)
    snapshot, health = shown.snapshot, herz.health()
    own = snapshot.get("info") if is_table(find(snapshot.composed.tree, ("info",))) else {}
    return answer(
        {
            **_table(shown, ("info",), own),
            "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
            "herz": {
                "version": __version__,
                "state": health.state,
                "freshness": health.freshness,
                "generation": snapshot.generation,
                "epoch": snapshot.epoch,
                "revisions": dict(snapshot.revisions),
                "fingerprint": snapshot.fingerprint,
                "release_fingerprint": snapshot.release_fingerprint,
                "profiles": list(runtime.settings.profiles),
                "uptime_s": round(time.monotonic() - runtime.started_s, 3),
            },
        }
    )


def env(herz: Herz, key: str, query: Mapping[str, str]) -> Response:
    """Every key in force with its value and where it was written (`?prefix=` for some); or all about one key."""
    shown = _shown(herz)
    if key:
        return _explained(shown, key)
    prefix = query.get("prefix", "")
    try:
        found = sorted(shown.snapshot.find(prefix))
    except UsageError as error:
        return problem(400, "key", "Not a key", detail=str(error))
    locate = shown.snapshot.composed.locate
    properties: dict[str, Any] = {}
    for name, value in found:
        path = split(name)
        properties[name] = {"value": shown.value(path, value), "origin": shown.text(locate(path))}
    layers = [
        {"name": shown.text(layer.name), "source": layer.source, "rank": layer.rank, "local": layer.local}
        for layer in reversed(shown.snapshot.composed.layers)
    ]
    return answer({"profiles": list(herz.runtime.settings.profiles), "layers": layers, "properties": properties})


def _explained(shown: Shown, key: str) -> Response:
    try:
        explanation = shown.snapshot.explain(key)
    except UsageError as error:
        return problem(400, "key", "Not a key", detail=str(error))
    if explanation.value is ABSENT:
        return problem(404, "key", "Not set", detail=f"{key} is not set")
    return answer(_explanation(shown, explanation))


def _explanation(shown: Shown, one: Explanation) -> dict[str, Any]:
    path = split(one.key)

    def said(by: Contribution) -> dict[str, Any]:
        return {"value": _at(shown, path, by.value), "origin": shown.text(by.place), "layer": shown.text(by.layer)}

    return {
        "key": one.key,
        "value": _at(shown, path, one.value),
        "origin": None if one.winner is None else shown.text(one.winner.place),
        "written": None if one.winner is None else said(one.winner),
        "overrides": [said(loser) for loser in one.losers],
        "references": [_explanation(shown, reference) for reference in one.references],
    }


def _at(shown: Shown, path: Path, value: Any) -> Any:
    return _table(shown, path, value) if isinstance(value, Mapping) else shown.value(path, value)


def _table(shown: Shown, path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _at(shown, (*path, name), value) for name, value in table.items()}


def configprops(herz: Herz) -> Response:
    """Every declared properties class with its prefix and its values as the program sees them, defaults included."""
    shown = _shown(herz)
    return answer(
        {
            "properties": [
                {
                    "class": one.properties.name,
                    "prefix": one.properties.at,
                    "declared_at": one.properties.place,
                    "values": shown.model(one),
                }
                for one in shown.models
            ]
        }
    )


def sources(herz: Herz) -> Response:
    """One row for each source, lowest rank first: how it does, what it holds, what was refused."""
    rows = {row.name: asdict(row) for row in herz.health().sources}
    found = []
    for feed in herz.runtime.feeds:
        refused = feed.refused
        found.append(
            {
                **rows.get(feed.name, {"name": feed.name}),
                "local": feed.source.local,
                "optional": feed.source.optional,
                "from_last_good": feed.from_last_good,
                "waiting": feed.waiting,
                "refused": None if refused is None else {"revision": refused.revision, "attempts": refused.attempts},
            }
        )
    return answer({"sources": plain(found, _shown(herz).text)})


def scope(herz: Herz) -> Response:
    """What is built from what, the generations alive and who holds them, stale holders, the last refreshes."""
    last = [
        {**report._asdict(), "merge_ms": merge_ms, "duration_ms": merge_ms + report.duration_ms}
        for report, merge_ms in reversed(tuple(herz.runtime.updater.refreshes))
    ]
    stale = [asdict(holder) for holder in herz.scope.holders.find()]
    return answer(plain({**herz.scope.describe(), "refreshes": last, "stale_holders": stale}, _shown(herz).text))


def changes(herz: Herz, query: Mapping[str, str]) -> Response:
    """The last change sets, newest first (`?limit=`, `?prefix=`): each key with before, after and cause."""
    shown, prefix = _shown(herz), query.get("prefix", "")
    try:
        limit = int(query.get("limit", CHANGE_SETS))
    except ValueError:
        return problem(400, "limit", "Not a number", detail="limit must be a whole number")
    found: list[dict[str, Any]] = []
    for applied in reversed(tuple(herz.runtime.updater.recent)):
        if len(found) >= limit:
            break
        told = [change for change in applied.change_set if covers(prefix, change.key)]
        if not told and (prefix or not applied.reset):
            continue
        found.append(
            {
                "source": applied.source,
                "revision": applied.revision,
                "generation": applied.generation,
                "reset": applied.reset,
                "changes": [
                    {
                        "key": change.key,
                        **_sides(shown, change.key, before=change.before, after=change.after),
                        "cause": shown.text(change.cause),
                    }
                    for change in told
                ],
            }
        )
    return answer({"changes": found})


def _sides(shown: Shown, key: str, **sides: Any) -> dict[str, Any]:
    """`before` and `after`, each left out where the key was not set: absence is not null."""
    path = split(key)
    return {name: _at(shown, path, value) for name, value in sides.items() if value is not ABSENT}


def _shown(herz: Herz) -> Shown:
    """The generation in force, not the one that this request may be pinned to: who asks wants to know what is."""
    current = herz.scope.current
    if current.snapshot is None:
        raise NotRunning("Herz is not running")
    return Shown(current)
