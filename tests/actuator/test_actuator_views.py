from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

import herz as package
from herz import Herz, Secret
from herz.actuator.endpoints import respond
from herz.actuator.shown import plain
from herz.model.credentials import without_credentials
from herz.model.secret import MASK


def body(herz: Herz, path: str, query: str = "") -> Any:
    response = respond(herz, "GET", path, query)
    assert response.status == 200, response.body
    return json.loads(response.body)


# --- info ------------------------------------------------------------------------------------------


def test_info_tells_the_application_python_and_herz(configured):
    with configured.herz(configured.OPEN, "info.app: {name: pay, version: 1.2.3, api-token: verborgen}") as herz:
        found = body(herz, "/info")
        assert found["app"] == {"name": "pay", "version": "1.2.3", "api-token": MASK}
        assert found["python"]["version"] == platform.python_version()
        assert found["herz"]["version"] == package.__version__
        assert found["herz"]["fingerprint"] == herz.snapshot.fingerprint
        assert found["herz"]["release_fingerprint"] == herz.snapshot.release_fingerprint
        assert found["herz"]["revisions"] == dict(herz.snapshot.revisions)
        assert (found["herz"]["state"], found["herz"]["freshness"]) == (str(herz.state), "CURRENT")
        assert found["herz"]["uptime_s"] >= 0


def test_info_of_an_application_cannot_pose_as_herz(configured):
    with configured.herz("info: {herz: {state: FINE}, python: none}") as herz:
        found = body(herz, "/info")
        assert found["herz"]["state"] != "FINE"
        assert found["python"] != "none"


# --- env -------------------------------------------------------------------------------------------


def test_env_has_every_key_with_value_and_origin_and_the_layers(configured):
    environment = {"SERVICE__RETRIES": "7"}
    with configured.herz(configured.OPEN, "service: {retries: 3, name: pay}", environment=environment) as herz:
        found = body(herz, "/env")
        assert set(found["properties"]) == set(herz.snapshot.keys())
        assert found["properties"]["service.retries"] == {"value": "7", "origin": "env:SERVICE__RETRIES"}
        assert found["properties"]["service.name"]["value"] == "pay"
        assert found["properties"]["service.name"]["origin"].startswith(f"{configured.file}:")
        assert [layer["local"] for layer in found["layers"]] == [True, False]


def test_env_below_a_prefix_shows_that_alone(configured):
    with configured.herz(configured.OPEN, "a: {x: 1, y: 2}\nab: 3") as herz:
        assert set(body(herz, "/env", "prefix=a")["properties"]) == {"a.x", "a.y"}
        assert body(herz, "/env", "prefix=nothing")["properties"] == {}


def test_env_of_one_key_names_winner_losers_and_references(configured):
    text = "host: db\nurl: 'jdbc:${host}'"
    with configured.herz(
        configured.OPEN, text, environment={"URL_": "", "HOST": "x"}, arguments=["--host=prod"]
    ) as herz:
        found = body(herz, "/env/url")
        assert (found["value"], found["written"]["value"]) == ("jdbc:prod", "jdbc:${host}")
        assert found["references"][0]["key"] == "host"
        assert found["references"][0]["overrides"][0]["value"] == "db"
        assert body(herz, "/env/management")["value"]["endpoints"] is not None
        assert respond(herz, "GET", "/env/nothing.there").status == 404
        assert respond(herz, "GET", "/env/a[b").status == 400


def test_env_masks_by_key_by_reference_by_model_and_in_urls(configured):
    text = """
db:
  password: geheim-1
  copy: "x${db.password}"
  main: geheim-2
  also: "see geheim-2 there"
  url: postgres://me:geheim-3@db/x
  dsn-text: host=db password=geheim-4 user=me
  secrets: {of: [geheim-5]}
"""
    herz = configured.herz(configured.OPEN, text)

    class Db(BaseModel):
        main: SecretStr
        url: str = ""

    herz.properties("db")(Db)
    with herz:
        for path in ("/env", "/env/db", "/env/db.main", "/env/db.copy", "/configprops", "/changes", "/scope", "/info"):
            assert "geheim" not in respond(herz, "GET", path).body.decode(), path
        found = body(herz, "/env")["properties"]
        assert {found[f"db.{name}"]["value"] for name in ("password", "copy", "main")} == {MASK}
        assert found["db.url"]["value"] == f"postgres://{MASK}@db/x"


def test_changes_mask_what_was_before_and_is_after(configured):
    def text(number: int) -> str:
        return f"db: {{password: geheim-{number}, main: geheim-{number}, url: 'http://u:geheim-{number}@h'}}"

    herz = configured.herz(configured.OPEN, text(1))

    @herz.properties("db")
    @dataclass
    class Db:
        main: Secret = Secret("")  # noqa: RUF009

    with herz:
        configured.write(configured.OPEN, text(2))
        assert respond(herz, "POST", "/refresh").status == 200
        answer = respond(herz, "GET", "/changes").body.decode()
        assert "geheim" not in answer
        assert [change["key"] for change in json.loads(answer)["changes"][0]["changes"]] == [
            "db.main",
            "db.password",
            "db.url",
        ]


# --- changes ---------------------------------------------------------------------------------------


def test_changes_are_newest_first_and_leave_out_what_was_absent(configured):
    with configured.herz(configured.OPEN, "a: 1") as herz:
        for lines in ("a: 2", "a: 2\nb: null", "b: null"):
            configured.write(configured.OPEN, lines)
            respond(herz, "POST", "/refresh")
        found = body(herz, "/changes")["changes"]
        assert [one["generation"] for one in found] == [4, 3, 2]
        gone, new, changed = (one["changes"][0] for one in found)
        assert (changed["before"], changed["after"]) == (1, 2)
        assert changed["cause"].startswith(f"{configured.file}:")
        assert ("before" in new, new["after"]) == (False, None)
        assert (gone["before"], "after" in gone) == (2, False)
        assert len(body(herz, "/changes", "limit=1")["changes"]) == 1
        assert len(body(herz, "/changes", "prefix=b")["changes"]) == 1
        assert body(herz, "/changes", "limit=-1")["changes"] == []


# --- configprops, sources, scope, metrics ----------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    path: Path = Path("/tmp/x")
    token: str = ""


@dataclass
class Service:
    timeout: timedelta = timedelta(seconds=3)
    colour: Colour = Colour.RED
    inner: Inner = field(default_factory=Inner)
    hidden: Secret | None = None
    many: dict[str, Inner] = field(default_factory=dict)
    ratio: float = float("inf")


def test_configprops_show_values_as_the_program_sees_them_with_defaults_and_without_secrets(configured):
    herz = configured.herz(
        configured.OPEN,
        "service: {timeout: 1500ms, inner: {token: geheim}, hidden: geheim, many: {a: {token: geheim}}}",
    )
    herz.properties("service")(Service)
    with herz:
        (row,) = body(herz, "/configprops")["properties"]
        assert (row["class"], row["prefix"]) == ("Service", "service")
        assert row["values"] == {
            "timeout": "1.5s",
            "colour": "red",
            "inner": {"path": "/tmp/x", "token": MASK},
            "hidden": MASK,
            "many": {"a": {"path": "/tmp/x", "token": MASK}},
            "ratio": "inf",
        }


def test_sources_have_a_row_each_with_what_was_refused(configured):
    with configured.herz(configured.OPEN, "a: 1") as herz:
        herz.properties("a2")(dataclass(type("A", (), {"__annotations__": {"b": int}, "b": 1})))
        configured.write(configured.OPEN, "a: 1\na2: {b: x}")
        assert respond(herz, "POST", "/refresh").status == 422
        file, environment = body(herz, "/sources")["sources"]
        assert (file["status"], file["local"], environment["local"]) == ("DOWN", False, True)
        assert file["refused"] == {"revision": 2, "attempts": 1}
        assert "a2.b" in file["error"]


def test_scope_shows_the_graph_who_holds_it_and_the_last_refreshes(configured):
    herz = configured.herz(configured.OPEN, "service.timeout: 1s")
    herz.properties("service")(Service)

    @herz.refresh_scope
    class Client:
        def __init__(self, config: Service) -> None:
            self.config = config

    with herz, herz.lease(Client), herz.pin():
        found = body(herz, "/scope")
        assert found["generation"] == 1
        assert found["scoped"][0]["depends_on"] == ["Service"]
        assert "test_scope_shows_the_graph" in found["scoped"][0]["leases"][0]
        assert "test_scope_shows_the_graph" in found["generations"][0]["pins"][0]
        configured.write(configured.OPEN, "service.timeout: 2s")
        herz.refresh()
        assert body(herz, "/scope")["generation"] == 2  # not the pinned one
        assert body(herz, "/scope")["refreshes"][0]["rebuilt"] == ["Client"]


def test_metrics_are_in_the_text_format_of_prometheus(configured):
    with configured.herz(configured.OPEN) as herz:
        response = respond(herz, "GET", "/metrics")
        lines = response.body.decode().splitlines()
        assert dict(response.headers)["content-type"].startswith("text/plain; version=0.0.4")
        assert "herz_generation 1" in lines
        assert f'herz_source_up{{source="{configured.file}"}} 1' in lines
        samples = [line for line in lines if not line.startswith("#")]
        assert all(float(line.rpartition(" ")[2]) >= 0 for line in samples)


def test_metrics_and_the_watch_tell_how_each_source_is_followed(configured):
    with configured.herz(configured.OPEN, "a: 1") as herz:
        name = herz.health().sources[0].name
        configured.until(lambda: herz.state == "WATCHING")
        lines = respond(herz, "GET", "/metrics").body.decode().splitlines()
        for sample in (
            "herz_epoch 0",
            f'herz_source_state{{source="{name}",state="ACTIVE"}} 1',
            f'herz_source_state{{source="{name}",state="BACKOFF"}} 0',
            f'herz_source_freshness{{source="{name}",freshness="CURRENT"}} 1',
            f'herz_source_age_seconds{{source="{name}"}} 0.0',
            *(f'herz_source_{what}{{source="{name}"}} 0' for what in ("retries", "degraded", "refused")),
            *(
                f'herz_source_{what}_total{{source="{name}"}} 0'
                for what in ("reconnects", "resets", "rewinds", "broken")
            ),
        ):
            assert sample in lines
        session = body(herz, "/watch")["sessions"][0]
        assert (session["source"], session["state"], session["freshness"]) == (name, "ACTIVE", "CURRENT")
        assert [step["state"] for step in session["steps"]] == ["ACTIVE", "PENDING"]
        assert all(step["reason"] is None and step["age_s"] >= 0 for step in session["steps"])
        configured.write(configured.OPEN, "a: [")
        assert respond(herz, "POST", "/refresh").status == 422
        lines = respond(herz, "GET", "/metrics").body.decode().splitlines()
        assert f'herz_source_refused{{source="{name}"}} 1' in lines
        assert f'herz_source_freshness{{source="{name}",freshness="REFUSED"}} 1' in lines


# --- values ----------------------------------------------------------------------------------------


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.timedeltas()
        | st.datetimes(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.frozensets(st.integers())
        ),
        max_leaves=10,
    )
)
def test_every_value_becomes_json(value):
    json.dumps(plain(value), allow_nan=False)


def test_a_number_too_long_to_write_and_an_unknown_object_are_named_not_shown():
    class Session:
        def __str__(self):
            return "geheim"

    assert plain(10**5000) == "<an integer of 16610 bits>"
    assert "Session" in plain(Session())
    assert "geheim" not in plain(Session())


SAFE = st.text("abcXYZ019-_.~", min_size=1)


@given(st.sampled_from(["http", "postgres", "amqp+ssl"]), SAFE, st.text("abc:/?#@!$,;= ü", min_size=0), SAFE)
def test_no_password_in_a_url_is_shown(scheme, user, odd, host):
    password = f"Pq{odd.replace(' ', '')}qP"
    shown = without_credentials(f"see {scheme}://{user}:{password}@{host}/path, and so on")
    assert password not in shown
    assert "qP" not in shown


def test_what_carries_no_credentials_is_shown_as_it_is():
    for text in (
        "http://host:8080/a?b=c#d",
        "mail me@example.org",
        "a = b",
        "http://host:8080/users/@me",
        "max_tokens=5",
        "postgres://host:5432/db",
    ):
        assert without_credentials(text) == text
