"""`herz set`, `unset`, `history` and `rollback` change a store, and say who did."""

from __future__ import annotations

import io

import pytest

STORE = ("--store", "sqlite:///herz.db#pay")


def test_set_makes_the_store_and_answers_its_revision(folder, herz):
    ran = herz("set", "db.pool=5", "db.name=a=b", *STORE, "--json")
    assert ran.status == 0
    assert ran.json["revision"] == 1
    assert herz("get", "db", "-s", STORE[1], "--json").json == {"pool": "5", "name": "a=b"}


def test_the_store_is_private(folder, herz):
    herz("set", "a=1", *STORE)
    assert (folder / "herz.db").stat().st_mode & 0o777 == 0o600


def test_set_of_what_is_so_already_writes_nothing(folder, herz):
    herz("set", "a=1", *STORE)
    ran = herz("set", "a=1", *STORE, "--json")
    assert (ran.status, ran.json["changed"], ran.json["revision"]) == (0, False, 1)


def test_an_outdated_expectation_writes_nothing_and_ends_with_1(folder, herz):
    herz("set", "a=1", *STORE)
    herz("set", "a=2", *STORE)
    ran = herz("set", "a=3", "--expect", 1, *STORE)
    assert ran.status == 1
    assert "revision 2" in ran.err
    assert herz("get", "a", "-s", STORE[1]).out == "2\n"


def test_an_expectation_that_holds_writes(folder, herz):
    herz("set", "a=1", *STORE)
    assert herz("set", "a=2", "--expect", 1, *STORE).status == 0


def test_unset_deletes(folder, herz):
    herz("set", "a=1", "b=2", *STORE)
    assert herz("unset", "a", *STORE).status == 0
    assert herz("get", "--json", "-s", STORE[1]).json == {"b": "2"}


def test_history_tells_who_why_and_what_newest_first(folder, herz):
    herz("set", "a=1", *STORE, "--author", "ada", "--message", "first")
    herz("set", "a=2", *STORE, "--author", "grace", "-m", "second")
    records = herz("history", *STORE, "--json").json
    assert [(one["author"], one["message"]) for one in records] == [("grace", "second"), ("ada", "first")]
    assert records[0]["changes"] == [{"key": "a", "before": "1", "after": "2", "secret": False}]
    text = herz("history", *STORE).out
    assert "grace" in text
    assert "~ a: 1 → 2" in text


def test_history_of_a_key_leaves_the_others_out(folder, herz):
    herz("set", "a.x=1", *STORE)
    herz("set", "b=1", *STORE)
    assert len(herz("history", "a", *STORE, "--json").json) == 1
    assert len(herz("history", "-n", 1, *STORE, "--json").json) == 1


def test_secrets_are_masked_in_what_set_and_history_print(folder, herz):
    ran = herz("set", "db.password=hunter2", *STORE)
    assert "hunter2" not in ran.out + ran.err + herz("history", *STORE).out + herz("history", "--json", *STORE).out


def test_patterns_of_the_configuration_make_secrets_of_further_keys(folder, herz):
    (folder / "application.yml").write_text("herz: {secrets: {patterns: [pin$]}}")
    assert "1234" not in herz("set", "card.pin=1234", *STORE).out
    assert "1234" not in herz("history", *STORE).out


def test_a_secret_is_read_from_standard_input(folder, herz, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2\n"))
    assert herz("set", "db.password", "--stdin", *STORE).status == 0
    assert herz("get", "db.password", "--reveal", "-s", STORE[1]).out == "hunter2\n"


def test_rollback_brings_the_values_back_as_a_new_revision(folder, herz):
    herz("set", "a=1", *STORE)
    herz("set", "a=2", "b=1", *STORE)
    ran = herz("rollback", 1, *STORE, "--json")
    assert ran.json["revision"] == 3
    assert herz("get", "--json", "-s", STORE[1]).json == {"a": "1"}
    assert herz("history", *STORE, "--json").json[0]["rollback_to"] == 1


def test_rollback_to_the_future_is_a_usage_error(folder, herz):
    herz("set", "a=1", *STORE)
    assert herz("rollback", 9, *STORE).status == 2


def test_the_store_comes_from_the_environment(folder, herz, monkeypatch):
    monkeypatch.setenv("HERZ_STORE", STORE[1])
    assert herz("set", "a=1").status == 0
    assert herz("history").status == 0


def test_the_only_store_of_the_configuration_is_meant(folder, herz):
    (folder / "application.yml").write_text(f'herz: {{config: {{import: ["optional:{STORE[1]}"]}}}}')
    assert herz("set", "a=1").status == 0
    assert herz("get", "a").out == "1\n"


def test_without_a_store_it_says_how_to_name_one(folder, herz):
    ran = herz("set", "a=1")
    assert ran.status == 2
    assert "--store" in ran.err


def test_two_stores_are_not_chosen_between(folder, herz):
    ran = herz("history", "-s", "sqlite:///a.db#x", "-s", "sqlite:///b.db#x")
    assert ran.status == 2
    assert "a.db" in ran.err
    assert "b.db" in ran.err


def test_history_of_a_store_that_is_not_there_does_not_make_it(folder, herz):
    assert herz("history", *STORE).status == 1
    assert not (folder / "herz.db").exists()


@pytest.mark.parametrize("change", ["a", "=1", "a..b=1"])
def test_what_is_no_change_is_a_usage_error(folder, herz, change):
    assert herz("set", change, *STORE).status == 2
    assert not (folder / "herz.db").exists()


def test_a_key_twice_in_one_change_is_refused(folder, herz):
    assert herz("set", "a=1", "a=2", *STORE).status == 2


def test_an_equals_sign_inside_brackets_belongs_to_the_key(folder, herz):
    herz("set", "routes[a=b.c]=1", *STORE)
    assert herz("get", "routes[a=b.c]", "-s", STORE[1]).out == "1\n"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("herz.db", "is no store"),
        ("etcd://me:hunter2@host/x", "••••@host/x is no store"),
        ("sqlite:///herz.db", "sqlite:///herz.db names no application"),
        ("sqlite:///#pay", "names no file"),
    ],
)
def test_what_is_no_store_is_told_as_it_was_written(folder, herz, url, said):
    ran = herz("history", "--store", url)
    assert ran.status == 2
    assert said in ran.err
