"""`herz get`, `explain` and `fingerprint` show what a service would see."""

from __future__ import annotations

import pytest


def test_a_value_is_printed_as_it_is(application, herz):
    assert herz("get", "herz.service.timeout") == (0, "3s\n", "")


def test_a_table_is_printed_as_yaml(application, herz):
    assert herz("get", "herz").out == "service:\n  retries: 3\n  timeout: 3s\n"


def test_what_get_prints_is_yaml_that_means_the_same(folder, herz):
    (folder / "application.yml").write_text(
        "a: {text: 'true', number: '1', empty: '', nothing: null, list: [1, 'x: y', {deep: ['- no']}], none: []}\n"
        "'1e3': ' # no comment'\nb: {}\nlines: \"one\\ntwo\"\n"
    )
    printed = herz("get").out
    (folder / "again.yml").write_text(printed)
    assert herz("diff", "application.yml", "again.yml", "--exact").out == "no difference\n"


def test_without_a_key_everything_is_printed(application, herz):
    assert herz("get", "--json").json == {
        "herz": {"service": {"timeout": "3s", "retries": 3}},
        "db": {"password": "••••", "url": "••••"},
    }


def test_a_key_is_found_in_any_spelling(folder, herz):
    (folder / "application.yml").write_text("pool:\n  max-size: 7\n")
    assert herz("get", "POOL.max_size").out == "7\n"


def test_a_secret_and_what_was_made_of_it_are_masked(application, herz):
    for command in (["get"], ["get", "db.url"], ["get", "--json"], ["explain", "db"], ["explain", "db", "--json"]):
        assert "hunter2" not in herz(*command).out


def test_reveal_prints_the_secret(application, herz):
    assert herz("get", "db.password", "--reveal").out == "hunter2\n"


def test_a_key_that_is_not_set_ends_with_1_and_the_nearest_key(application, herz):
    status, out, err = herz("get", "herz.service.timeot")
    assert (status, out) == (1, "")
    assert "herz.service.timeot is not set" in err
    assert "did you mean herz.service.timeout?" in err


def test_a_default_stands_in_for_a_key_that_is_not_set(application, herz):
    assert herz("get", "nothing.here", "--default", "9s") == (0, "9s\n", "")


def test_a_key_that_is_none_is_a_usage_error(application, herz):
    assert herz("get", "a..b").status == 2


def test_explain_names_the_winner_and_what_it_overrode(application, herz, monkeypatch):
    monkeypatch.setenv("HERZ__SERVICE__TIMEOUT", "5s")
    out = herz("explain", "herz.service.timeout").out
    assert "'5s'  from env:HERZ__SERVICE__TIMEOUT" in out
    assert "overrides '3s'  from application.yml:3" in out


def test_explain_as_json_has_places_for_winner_and_losers(application, herz, monkeypatch):
    monkeypatch.setenv("HERZ__SERVICE__TIMEOUT", "5s")
    explained = herz("explain", "herz.service.timeout", "--json").json
    assert explained["winner"] == {"layer": "environment", "place": "env:HERZ__SERVICE__TIMEOUT", "written": "5s"}
    assert [loser["place"] for loser in explained["losers"]] == ["application.yml:3"]


def test_explain_of_a_table_explains_each_key_under_it(application, herz):
    explained = herz("explain", "herz.service", "--json").json
    assert [one["key"] for one in explained] == ["herz.service.retries", "herz.service.timeout"]


def test_explain_of_a_key_that_is_not_set_ends_with_1(application, herz):
    assert herz("explain", "nothing").status == 1


def test_the_release_fingerprint_does_not_see_the_environment(application, herz, monkeypatch):
    effective, release = herz("fingerprint").out, herz("fingerprint", "--release").out
    monkeypatch.setenv("HERZ__SERVICE__TIMEOUT", "5s")
    assert herz("fingerprint").out != effective
    assert herz("fingerprint", "--release").out == release
    assert herz("fingerprint", "--json").json["overridden_locally"] == ["herz.service.timeout"]


def test_a_fingerprint_of_a_table_sees_only_the_table(application, herz):
    before = herz("fingerprint", "herz.service").out
    text = (application / "application.yml").read_text()
    (application / "application.yml").write_text(text + "other: 1\n")
    assert herz("fingerprint", "herz.service").out == before
    (application / "application.yml").write_text(text.replace("3s", "4s"))
    assert herz("fingerprint", "herz.service").out != before


def test_a_value_has_no_fingerprint(application, herz):
    ran = herz("fingerprint", "herz.service.timeout")
    assert ran.status == 1
    assert "tables" in ran.err


def test_later_sources_win(application, herz):
    (application / "more.toml").write_text('[herz.service]\ntimeout = "9s"\n')
    assert herz("get", "herz.service.timeout", "-s", "application.yml", "-s", "more.toml").out == "9s\n"


def test_sources_come_from_the_environment(application, herz, monkeypatch):
    (application / "more.json").write_text('{"a": 1}')
    monkeypatch.setenv("HERZ_SOURCES", "application.yml, more.json")
    assert herz("get", "a").out == "1\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("application.yaml", "a: 1"),
        ("application.toml", "a = 1"),
        ("application.json", '{"a": 1}'),
        ("application.properties", "a=1"),
    ],
)
def test_the_default_file_is_found_in_each_format(folder, herz, name, text):
    (folder / name).write_text(text)
    assert herz("get", "a").out == "1\n"


def test_no_configuration_at_all_is_a_usage_error_that_says_what_to_pass(herz):
    ran = herz("get", "a")
    assert ran.status == 2
    assert "--source" in ran.err


def test_a_profile_adds_its_file(application, herz):
    (application / "application-prod.yml").write_text("herz: {service: {timeout: 1s}}")
    assert herz("get", "herz.service.timeout", "--profile", "prod").out == "1s\n"


def test_classpath_is_looked_for_in_the_base_folder(folder, herz):
    (folder / "src" / "config").mkdir(parents=True)
    (folder / "src" / "config" / "a.yml").write_text("a: here")
    assert herz("get", "a", "-s", "classpath:/config/", "--base-folder", "src").out == "here\n"


def test_a_malformed_file_ends_with_1_and_its_line(folder, herz):
    (folder / "application.yml").write_text("a: 1\nb: [\n")
    ran = herz("get", "a")
    assert ran.status == 1
    assert "application.yml:" in ran.err
    assert "Traceback" not in ran.err


def test_an_error_is_json_where_json_was_asked_for(folder, herz):
    (folder / "application.yml").write_text("a: 1\nb: [\n")
    error = herz("get", "a", "--json").json["error"]
    assert error["where"].startswith("application.yml:")
    assert error["remedy"]


def test_looking_at_a_store_that_is_not_there_does_not_make_it(folder, herz):
    (folder / "application.yml").write_text('herz: {config: {import: ["sqlite:///imported.db#pay"]}}')
    assert herz("get", "a", "-s", "sqlite:///none.db#pay").status == 1
    assert herz("get", "a").status == 1
    assert sorted(path.name for path in folder.iterdir()) == ["application.yml"]
