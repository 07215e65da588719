"""`herz diff` tells what differs by meaning."""

from __future__ import annotations

import sys

STORE = "sqlite:///herz.db#pay"


def test_two_files_that_mean_the_same_do_not_differ(folder, herz):
    (folder / "a.yml").write_text("x: 1.0\ny: [1, 2]\nz: {w: 0.3}\n")
    (folder / "b.json").write_text('{"z": {"w": 0.30000000000000004}, "y": [1, 2], "x": 1}')
    assert herz("diff", "a.yml", "b.json") == (0, "no difference in meaning\n", "")


def test_exact_tells_what_is_only_written_differently(folder, herz):
    (folder / "a.yml").write_text("x: 1.0")
    (folder / "b.yml").write_text("x: 1")
    assert herz("diff", "a.yml", "b.yml", "--exact", "--json").json["changes"][0]["key"] == "x"


def test_added_removed_and_changed_keys_are_told_with_their_place(folder, herz):
    (folder / "a.yml").write_text("gone: 1\nsame: 1\nchanged: 1\n")
    (folder / "b.yml").write_text("same: 1\nchanged: 2\nnew: null\n")
    assert herz("diff", "a.yml", "b.yml", "--json").json["changes"] == [
        {"key": "changed", "before": 1, "after": 2, "cause": "b.yml:2"},
        {"key": "gone", "before": 1, "cause": "b.yml"},
        {"key": "new", "after": None, "cause": "b.yml:3"},
    ]


def test_exit_code_is_1_only_when_asked_for(folder, herz):
    (folder / "a.yml").write_text("x: 1")
    (folder / "b.yml").write_text("x: 2")
    assert herz("diff", "a.yml", "b.yml").status == 0
    assert herz("diff", "a.yml", "b.yml", "--exit-code").status == 1
    assert herz("diff", "a.yml", "a.yml", "--exit-code").status == 0


def test_two_revisions_of_a_store_are_compared(folder, herz):
    herz("set", "x=1", "y=1", "--store", STORE)
    herz("set", "x=2", "--store", STORE)
    changes = herz("diff", "1", "2", "--store", STORE, "--json").json["changes"]
    assert [(one["key"], one["before"], one["after"]) for one in changes] == [("x", "1", "2")]


def test_a_file_is_compared_with_what_is_live(application, herz):
    text = (application / "application.yml").read_text()
    (application / "new.yml").write_text(text.replace("3s", "5s"))
    changes = herz("diff", "live", "new.yml", "--json").json["changes"]
    assert [one["key"] for one in changes] == ["herz.service.timeout"]


def test_secrets_are_masked(folder, herz):
    (folder / "a.yml").write_text("password: hunter1")
    (folder / "b.yml").write_text("password: hunter2")
    for command in (["diff", "a.yml", "b.yml"], ["diff", "a.yml", "b.yml", "--json"]):
        out = herz(*command).out
        assert "hunter" not in out
        assert "password" in out


def test_durations_are_equal_by_the_models_of_the_application(folder, herz):
    (folder / "a.yml").write_text("service: {timeout: 3s}")
    (folder / "b.yml").write_text("service: {timeout: 3000ms}")
    (folder / "diffed_app.py").write_text(
        "from dataclasses import dataclass\nfrom datetime import timedelta\nfrom herz import Herz\n"
        "herz = Herz('a.yml')\n@herz.properties('service')\n@dataclass\nclass C:\n    timeout: timedelta\n"
    )
    try:
        assert len(herz("diff", "a.yml", "b.yml", "--json").json["changes"]) == 1
        assert herz("diff", "a.yml", "b.yml", "--json", "--app", "diffed_app:herz").json["changes"] == []
    finally:
        sys.modules.pop("diffed_app", None)
        sys.path.remove(str(folder))


def test_a_file_that_is_not_there_ends_with_1(folder, herz):
    (folder / "a.yml").write_text("x: 1")
    ran = herz("diff", "a.yml", "b.yml")
    assert ran.status == 1
    assert "b.yml" in ran.err
