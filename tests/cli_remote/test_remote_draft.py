"""`herz draft`: what the next release will hold, edited by one and by two at once."""

from __future__ import annotations

import sys

import pytest

from herz.cli.draft_content import assignments
from herz.errors import UsageError


def editor(tmp_path, monkeypatch, program: str) -> None:
    """An editor that runs `program`, in which `path` is the file."""
    script = tmp_path / "editor.py"
    script.write_text(f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{program}\n")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")


def test_without_a_draft_show_says_how_to_begin(herz):
    ran = herz("draft", "show")
    assert (ran.status, ran.out) == (1, "")
    assert "herz draft edit" in ran.err


def test_a_file_becomes_a_layer_of_its_name(drafted):
    ran = drafted("draft", "show")
    assert ran.out == "db:\n  pool: 5  # sessions\ntimeout: 3s\n"
    assert "by ada" in ran.err
    (layer,) = drafted("draft", "show", "--json").json["content"]["layers"]
    assert layer["name"] == "pay.yml"


def test_files_replace_layers_of_their_names_and_only_drops_the_others(drafted, tmp_path):
    (tmp_path / "tenant.json").write_text('{"db": {"pool": 9}}')
    assert drafted("draft", "write", "tenant.json").status == 0
    shown = drafted("draft", "show").out
    assert "# --- pay.yml (yaml)" in shown
    assert "# --- tenant.json (json)" in shown
    assert drafted("draft", "show", "--layer", "tenant.json").out == '{"db": {"pool": 9}}\n'
    assert drafted("draft", "write", "tenant.json", "--only").status == 0
    assert "pay.yml" not in drafted("draft", "show").out


def test_set_changes_keys_and_leaves_comments(drafted):
    assert drafted("draft", "set", "db.pool=20", "--unset", "timeout").status == 0
    assert drafted("draft", "show").out == "db:\n  pool: 20  # sessions\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        (str(10**30), 10**30),
        ("true", True),
        ("3s", "3s"),
        ('"20"', "20"),
        ("[1, 2]", [1, 2]),
        ("", ""),
        ("a: b", "a: b"),
        ("[x", "[x"),
        ("a # b", "a"),
        ("a=b", "a=b"),
    ],
)
def test_values_are_read_as_yaml_reads_them(text, value):
    assert assignments([f"key={text}"], []) == {"key": value}


@pytest.mark.parametrize(
    ("changes", "unset"),
    [
        ([], []),
        (["a=1", "a=2"], []),
        (["a=1"], ["a"]),
        (["a=null"], []),
        (["a"], []),
        (["a=.inf"], []),
        (["a=[1, .nan]"], []),
    ],
)
def test_a_change_that_says_two_things_or_nothing_is_refused(changes, unset):
    with pytest.raises(UsageError):
        assignments(changes, unset)


def test_diff_tells_what_changes_with_places(released):
    assert released("draft", "diff").out == "the draft changes nothing\n"
    released("draft", "set", "db.pool=20", "db.name=bank", "--unset", "timeout")
    ran = released("draft", "diff", "--exit-code")
    assert ran.status == 1
    assert ran.out.splitlines() == [
        "+ db.name: bank  pay.yml:3",
        "~ db.pool: 5 → 20  pay.yml:2",
        "- timeout: 3s  pay.yml:3",
    ]
    assert [one["key"] for one in released("draft", "diff", "--json").json] == ["db.name", "db.pool", "timeout"]


def test_the_second_of_two_is_told_theirs_and_yours_and_nothing_is_lost(drafted):
    seen = drafted("draft", "show", "--json").json["revision"]
    drafted("draft", "set", "db.pool=20", "timeout=9s", "--author", "grace", "-m", "more load")
    ran = drafted("draft", "set", "db.pool=7", "--expect", seen)
    assert (ran.status, ran.out) == (1, "")
    told = [line.split() for line in ran.err.splitlines()]
    assert ["base", "5"] in told
    assert ["theirs", "20", "pay.yml:2"] in told
    assert ["yours", "7", "pay.yml:2"] in told
    assert "theirs: grace, more load" in ran.err
    assert "~ timeout: 3s → 9s" in ran.err
    assert "pool: 20" in drafted("draft", "show").out


def test_a_conflict_is_data_for_programs(drafted):
    ran = drafted("draft", "set", "db.pool=7", "--expect", 0, "--json")
    error = ran.json["error"]
    assert (ran.status, error["type"]) == (1, "DraftConflict")
    assert [one["key"] for one in error["difference"]] == ["db.pool"]
    assert error["theirs"]["author"] == "ada"


def test_edit_writes_what_the_editor_left(drafted, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "path.write_text(path.read_text().replace('5', '8'))")
    assert drafted("draft", "edit", "-m", "by hand").status == 0
    assert drafted("draft", "show").out == "db:\n  pool: 8  # sessions\ntimeout: 3s\n"


def test_the_editor_gets_a_private_file_that_says_its_format(drafted, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    look = "{path.name} {path.parent.stat().st_mode & 0o077}"
    editor(tmp_path, monkeypatch, f"open({str(seen)!r}, 'w').write(f'{look}')")
    ran = drafted("draft", "edit")
    assert (ran.status, ran.out) == (0, "nothing was changed\n")
    assert seen.read_text() == "pay.yml 0"  # nobody else may enter its folder


def test_edit_without_a_draft_begins_from_what_is_live(released, tmp_path, monkeypatch):
    released("draft", "reset")
    editor(tmp_path, monkeypatch, "path.write_text(path.read_text() + 'new: true\\n')")
    assert released("draft", "edit").status == 0
    assert released("draft", "diff").out == "+ new: true  pay.yml:4\n"


def test_an_editor_that_fails_writes_nothing(drafted, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "path.write_text('gone: 1'); sys.exit(3)")
    ran = drafted("draft", "edit")
    assert ran.status == 1
    assert "ended with 3" in ran.err
    assert "pool: 5" in drafted("draft", "show").out


def test_a_text_that_does_not_decode_is_kept_in_a_file(drafted, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "path.write_text('db: [\\n')")
    ran = drafted("draft", "edit")
    assert ran.status == 1
    (kept,) = tmp_path.glob("pay-*.rejected.yml")
    assert kept.read_text() == "db: [\n"
    assert kept.name in ran.err
    assert "pool: 5" in drafted("draft", "show").out


def test_a_text_that_meets_a_conflict_is_kept_in_a_file(drafted, tmp_path, monkeypatch, server, app):
    other = f"main(['draft', 'set', 'db.pool=20', '--app', {app!r}, '--server', {server.url!r}])"
    editor(tmp_path, monkeypatch, f"from herz.cli.main import main; {other}; path.write_text('db:\\n  pool: 7\\n')")
    ran = drafted("draft", "edit")
    assert ran.status == 1
    assert "theirs 20" in ran.err
    (kept,) = tmp_path.glob("pay-*.rejected.yml")
    assert kept.read_text() == "db:\n  pool: 7\n"


def test_validate_lists_every_problem(drafted, tmp_path):
    assert drafted("draft", "validate").out == "the draft can be released\n"
    (tmp_path / "pay.yml").write_text("db: [\n")
    drafted("draft", "write", "pay.yml")
    ran = drafted("draft", "validate")
    assert ran.status == 1
    assert "✗" in ran.out
    assert "pay.yml:" in ran.out


def test_a_schema_is_set_printed_obeyed_and_deleted(drafted, tmp_path):
    assert drafted("draft", "schema").status == 1
    (tmp_path / "schema.yml").write_text("properties: {db: {properties: {pool: {maximum: 10}}}}\n")
    assert drafted("draft", "schema", "schema.yml").status == 0
    assert drafted("draft", "schema").json["properties"]["db"] == {"properties": {"pool": {"maximum": 10}}}
    drafted("draft", "set", "db.pool=20")
    ran = drafted("draft", "validate")
    assert ran.status == 1
    assert ran.out.startswith("✗ db.pool: ")
    refused = drafted("release", "create", "-m", "too much")
    assert refused.status == 1
    assert "db.pool" in refused.err
    assert drafted("draft", "schema", "--delete").status == 0
    assert drafted("release", "create", "-m", "now").status == 0
