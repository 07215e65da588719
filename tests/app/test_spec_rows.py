"""The promises of watching, the actuator and comparison, each tried end to end: real files, a real Herz."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from herz import ABSENT, ChangeSet, Herz, MappingSource, Precision, RestartOnly, Snapshot
from herz.actuator.endpoints import NAMES, respond
from herz.settings import Settings

LIMIT_S = 10


def written(folder: Path, text: str, name: str = "application.yml") -> None:
    """Replace a file, whole."""
    fresh = folder / f".{name}.new"
    fresh.write_text(text)
    fresh.replace(folder / name)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def holds(key: str, value: object) -> Callable[[Snapshot], bool]:
    return lambda snapshot: bool(snapshot[key] == value)


# --- watched paths ----------------------------------------------------------------------------


def test_files_are_watched_when_nothing_is_said(folder: Path) -> None:
    written(folder, "n: 1\n")
    with Herz("application.yml", environment={}) as herz:
        assert herz.runtime.settings.watch_enabled is True
        written(folder, "n: 2\n")
        herz.wait_for(lambda snapshot: snapshot["n"] == 2, LIMIT_S)


def test_without_the_watch_a_change_arrives_with_a_refresh_alone(folder: Path) -> None:
    settings = (
        "herz.config.watch: {enabled: false, interval: 10ms}\n"
        "management.endpoints.web.exposure.include: [health, refresh]\n"
    )
    written(folder, settings + "n: 1\nm: 1\n")
    other = MappingSource({"other": 1}, "memory")
    with Herz("application.yml", other, environment={}) as herz:
        written(folder, settings + "n: 2\nm: 1\nnew: 1\n")
        for n in range(2, 7):  # each of these is taken by itself, long after the file could have been
            other.update({"other": n})
            herz.wait_for(holds("other", n), LIMIT_S)
        assert herz.snapshot["n"] == 1
        assert herz.health().warnings == ()
        response = respond(herz, "POST", "/refresh")
        assert response.status == 200
        assert json.loads(response.body) == ["n", "new"]
        assert herz.snapshot["n"] == 2
        assert json.loads(respond(herz, "POST", "/refresh").body) == []


def test_a_declared_folder_that_is_created_later_is_seen(folder: Path) -> None:
    written(folder, "n: 1\n")
    with Herz("application.yml", "optional:config/", environment={}) as herz:
        assert herz.health().status == "UP"
        (folder / "config").mkdir()
        written(folder / "config", "n: 2\n", "late.yml")
        herz.wait_for(lambda snapshot: snapshot["n"] == 2, LIMIT_S)
        assert "late.yml" in str(herz.snapshot.explain("n"))
        written(folder / "config", "n: 3\n", "late.yml")
        herz.wait_for(lambda snapshot: snapshot["n"] == 3, LIMIT_S)
        (folder / "config" / "late.yml").unlink()
        herz.wait_for(lambda snapshot: snapshot["n"] == 1, LIMIT_S)


# --- actuator ---------------------------------------------------------------------------------


def test_health_and_info_alone_are_exposed_when_nothing_is_said(folder: Path) -> None:
    written(folder, "n: 1\n")
    assert Settings().exposure == {"health", "info"}
    assert Settings().refresh_details == Settings().health_details == "never"
    with Herz("application.yml", environment={}) as herz:
        found = {name: respond(herz, method, f"/{name}").status for name in NAMES for method in ("GET", "POST")}
        assert {name for name, status in found.items() if status != 404} == {"health", "info"}


# --- comparison -------------------------------------------------------------------------------


class Values(BaseModel):
    """What the table of comparisons is tried on; `any` takes whatever is written as it is."""

    any: Any = "unset"
    spare: int = 0
    precise: Annotated[float, Field(json_schema_extra={"precision": "ms"})] = 0.0
    marked: Annotated[float, Precision("ms")] = 0.0
    duration: timedelta = timedelta(0)


class Built:
    def __init__(self, values: Values) -> None:
        self.values = values


ROWS = [
    pytest.param("any", "0.30000000000000004", "0.3", False, id="binary rounding"),
    pytest.param("any", "1000.0000001", "1000", False, id="relative 1e-10"),
    pytest.param("any", "10000000000000000", "10000000000000001", True, id="integers are exact"),
    pytest.param("any", "1e16", "10000000000000001", True, id="integers are exact, however written"),
    pytest.param("any", "10000000000000001", "1.0e16", True, id="integers are exact, the other way"),
    pytest.param("any", "10000000000000000", "1e16", False, id="the same integer, written otherwise"),
    pytest.param("precise", "3.6", "3.6004", False, id="within a millisecond"),
    pytest.param("precise", "3.6", "3.601", True, id="another millisecond"),
    pytest.param("precise", "3.6004", "3.601", True, id="another millisecond, from within"),
    pytest.param("marked", "3.6", "3.6004", False, id="within a millisecond, by the marker"),
    pytest.param("marked", "3.6", "3.601", True, id="another millisecond, by the marker"),
    pytest.param("duration", "3s", "3000ms", False, id="the same duration"),
    pytest.param("duration", "3s", "3001ms", True, id="another duration"),
    pytest.param("any", "1", "true", True, id="a number is no boolean"),
    pytest.param("any", "true", "1", True, id="a boolean is no number"),
    pytest.param("any", None, "null", True, id="absence is not null"),
    pytest.param("any", "null", None, True, id="null is not absence"),
]


@pytest.mark.parametrize(("field", "old", "new", "changes"), ROWS)
def test_a_change_of_meaning_and_nothing_else_rebuilds_and_is_told(
    folder: Path, field: str, old: str | None, new: str | None, changes: bool
) -> None:
    def write(value: str | None, marker: int) -> None:
        line = "" if value is None else f"  {field}: {value}\n"
        written(folder, f"values:\n  spare: 0\n{line}marker: {marker}\n")

    write(old, 0)
    heard: list[ChangeSet] = []
    herz = Herz("application.yml", environment={})
    herz.properties("values")(Values)
    herz.refresh_scope(eager=True, grace_s=0.0)(Built)
    herz.on_change("values")(heard.append)
    with herz:
        built, values, fingerprint = herz.get(Built), herz.get(Values), herz.snapshot.fingerprint
        write(new, 1)
        changed = herz.refresh()
        herz.wait_for(lambda snapshot: snapshot["marker"] == 1, LIMIT_S)
        assert (herz.get(Built) is not built) is changes
        assert (herz.get(Values) is not values) is changes
        assert herz.snapshot.fingerprint != fingerprint  # of the marker at least: every instance ends at the same
        assert set(changed) <= {f"values.{field}", "marker"}
        fresh = Herz("application.yml", environment={})
        fresh.properties("values")(Values)
        with fresh:
            assert fresh.snapshot.fingerprint == herz.snapshot.fingerprint
    # Stopped: whatever was announced lies in the listener's queue, or has been heard.
    if changes:
        until(lambda: heard)
    assert [change.key for one in heard for change in one] == ([f"values.{field}"] if changes else [])


def test_a_listener_is_told_absence_apart_from_null(folder: Path) -> None:
    written(folder, "a: 1\n")
    heard: list[Any] = []
    herz = Herz("application.yml", environment={})
    herz.on_change("n")(lambda changes: heard.extend(changes))
    with herz:
        written(folder, "a: 1\nn: null\n")
        herz.wait_for(lambda snapshot: "n" in snapshot, LIMIT_S)
        until(lambda: heard)
    assert [(one.before, one.after) for one in heard] == [(ABSENT, None)]


def test_twenty_thousand_tiny_steps_add_up() -> None:
    """Tolerance is not transitive: a step of 1e-10 means the same as the one before, their sum does not."""
    steps = 20_000
    source = MappingSource({"values": {"any": 1.0}}, "memory")
    heard: list[ChangeSet] = []
    herz = Herz(source, environment={})
    herz.properties("values")(Values)
    herz.refresh_scope(eager=True, grace_s=0.0)(Built)
    herz.on_change("values.any")(heard.append)
    with herz:
        seen = {id(herz.get(Built)): herz.get(Built)}
        revision = 0
        for step in range(1, steps + 1):
            revision = source.update({"values.any": 1.0 + step * 1e-10})
            if step % 500 == 0:
                herz.wait_for(revision, LIMIT_S, source="memory")
                seen[id(herz.get(Built))] = herz.get(Built)
        herz.wait_for(revision, LIMIT_S, source="memory")
        last = herz.get(Built).values.any
        total = 1.0 + steps * 1e-10
        assert abs(last - total) <= 1e-9 * total * 1.001  # what is in use is never further away than the tolerance
        assert len(seen) > 1
        until(lambda: heard and abs(heard[-1].changes[0].after - total) <= 1e-9 * total * 1.001)
    told = [(change.before, change.after) for one in heard for change in one]
    assert told[0][0] == 1.0
    assert all(before == after for (_, after), (before, _) in pairwise(told))  # a chain without gaps
    assert all(after - before > 0.999e-9 for before, after in told)
    assert 1_500 <= len(told) <= 2_000  # some ten steps to each


# --- refresh scope ----------------------------------------------------------------------------


def test_a_restart_only_property_is_reported_as_waiting_and_not_taken(folder: Path) -> None:
    class Server(BaseModel):
        port: Annotated[int, RestartOnly] = 80
        backlog: int = 1

    written(folder, "server: {port: 80, backlog: 1}\n")
    herz = Herz("application.yml", environment={})
    herz.properties("server")(Server)
    with herz:
        written(folder, "server: {port: 81, backlog: 2}\n")
        herz.wait_for(lambda snapshot: snapshot["server.port"] == 81, LIMIT_S)
        assert (herz.get(Server).port, herz.get(Server).backlog) == (80, 2)
        health = herz.health()
        assert health.status == "WARN"
        assert [one.what for one in health.warnings] == ["server.port changed and waits for a restart"]
        written(folder, "server: {port: 80, backlog: 2}\n")
        herz.wait_for(lambda snapshot: snapshot["server.port"] == 80, LIMIT_S)
        assert herz.health().status == "UP"


def test_a_pin_sees_one_generation_over_a_change(folder: Path) -> None:
    written(folder, "values: {any: 1}\n")
    herz = Herz("application.yml", environment={})
    herz.properties("values")(Values)
    herz.refresh_scope(Built, grace_s=0.0)
    with herz:
        with herz.pin() as generation:
            built = herz.get(Built)
            written(folder, "values: {any: 2}\n")
            assert herz.refresh() == ["values.any"]
            assert herz.get(Built) is built is generation.get(Built)
            assert herz.get(Values).any == herz.snapshot["values.any"] == 1
            assert herz.handle(Values).current.any == 2  # a handle is always the newest
        assert herz.get(Built) is not built
        assert herz.get(Built).values.any == herz.get(Values).any == herz.snapshot["values.any"] == 2
