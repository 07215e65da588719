"""Secrets on the command line: what is masked says so, and who sees it; nobody begins to edit from dots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from herz.client import ControlPlane
from herz.testing.control_plane import ControlPlaneServer

from .conftest import Ran, Run

SECRET = "Planted-7Q"
MASKED = "secrets are masked (••••): a token with the scope edit shows them\n"
As = Callable[..., Ran]


@pytest.fixture(scope="module")
def guarded() -> Iterator[ControlPlaneServer]:
    with ControlPlaneServer("--require-tokens") as server:
        yield server


@pytest.fixture
def run_as(guarded: ControlPlaneServer, herz: Run, app: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> As:
    """Runs the command with a token of one scope; a release, and a draft that changes its secret, are there."""
    monkeypatch.setenv("HERZ_SERVER", guarded.url)

    def run(scope: str, *arguments: object) -> Ran:
        with ControlPlane.blocking(guarded.url, token=guarded.token) as plane:
            monkeypatch.setenv("HERZ_TOKEN", str(plane.create_token("test", [f"{app}:{scope}"])["token"]))
        return herz(*arguments)

    for turn in ("old", "new"):
        (tmp_path / "pay.yml").write_text(f"db:\n  pool: 5\n  password: {SECRET}-{turn}\n")
        assert run("edit", "draft", "write", "pay.yml").status == 0
        if turn == "old":
            assert run("release", "release", "create", "-m", "first").status == 0
    return run


@pytest.mark.parametrize("command", [("draft", "show"), ("release", "show", "1", "--content")])
def test_what_is_shown_is_masked_and_says_who_sees_it(run_as, command):
    ran = run_as("read", *command)
    assert ran.status == 0
    assert "db:\n  pool: 5\n  password: ••••\n" in ran.out
    assert MASKED in ran.err
    assert SECRET not in ran.out + ran.err
    whole = run_as("edit", *command)
    assert SECRET in whole.out
    assert "masked" not in whole.err


@pytest.mark.parametrize("command", [("draft", "show"), ("release", "show", "1", "--content")])
def test_programs_are_told_that_it_is_masked(run_as, command):
    assert run_as("read", *command, "--json").json["content"]["masked"] is True
    assert "masked" not in run_as("edit", *command, "--json").json["content"]


@pytest.mark.parametrize("scope", ["read", "edit"])
@pytest.mark.parametrize("command", [("draft", "diff"), ("release", "diff", "1", "2")])
def test_comparisons_are_masked_for_everybody_and_say_so(run_as, scope, command):
    if command[0] == "release":
        assert run_as("release", "release", "create", "-m", "second").status == 0
    ran = run_as(scope, *command)
    assert ran.out == "~ db.password: ••••, differs  pay.yml:3\n"
    assert ran.err == "secrets are masked (••••) in comparisons, whatever the scope\n"


def test_what_a_schema_says_of_a_secret_is_masked_and_says_so(run_as, tmp_path):
    schema = {"properties": {"password": {"type": "string", "default": SECRET}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    assert run_as("edit", "draft", "schema", "schema.json").status == 0
    ran = run_as("read", "draft", "schema")
    assert ran.json == {"properties": {"password": {"type": "string", "default": "••••"}}}
    assert ran.err == "what it says of secrets is masked (••••): a token with the scope edit shows it\n"
    whole = run_as("edit", "draft", "schema")
    assert (whole.json, whole.err) == (schema, "")


@pytest.mark.parametrize("reset", [False, True])
def test_nobody_edits_what_they_see_masked(run_as, app, tmp_path, monkeypatch, reset):
    monkeypatch.setenv("VISUAL", "false")  # an editor that fails: it is not reached
    if reset:
        assert run_as("edit", "draft", "reset").status == 0
    (tmp_path / "other.yml").write_text("a: 1\n")
    for command in (("edit",), ("write", "other.yml")):
        ran = run_as("read", "draft", *command)
        assert ran.status != 0
        assert "it cannot be edited: secrets are masked in what this token may see" in ran.err
        assert f"{app}:edit" in ran.err


def test_what_was_shown_masked_is_not_written_by_who_may_write(run_as, tmp_path):
    (tmp_path / "pay.yml").write_text(run_as("read", "draft", "show").out)
    ran = run_as("edit", "draft", "write", "pay.yml")
    assert ran.status != 0
    assert "secrets are masked in this (••••), and would be lost; nothing was written (pay.yml:3)" in ran.err
    assert run_as("edit", "draft", "set", "db.password=••••").status != 0
    [layer] = run_as("edit", "draft", "show", "--json").json["content"]["layers"]
    assert layer["text"].endswith(f"{SECRET}-new\n")


def test_what_cannot_be_masked_is_left_out_and_named(run_as, tmp_path):
    (tmp_path / "broken.yml").write_text(f"password: '{SECRET}\n")
    assert run_as("edit", "draft", "write", "broken.yml").status == 0
    ran = run_as("read", "draft", "show")
    assert "broken.yml cannot be masked, and is left out" in ran.err
    assert SECRET not in json.dumps([ran.out, ran.err])
