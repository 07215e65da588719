"""`herz user` and `herz role`, on the store itself."""

from __future__ import annotations

import io
import json

import pytest

from herz.cli.main import main
from herz.server.settings import ServerSettings

from .conftest import CHEAP, PASSWORD


@pytest.fixture
def herz(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own: its status, and what it printed."""
    monkeypatch.chdir(tmp_path)
    cheap = ServerSettings(argon2=CHEAP)
    monkeypatch.setattr("herz.server.settings.ServerSettings", lambda: cheap)

    def run(*words: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = main(words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def added(herz, name: str = "ana", *roles: str) -> None:
    words = [word for role in roles for word in ("--role", role)]
    status, _, said = herz("user", "add", name, *words, "--password-stdin", typed=PASSWORD + "\n")
    assert status == 0, said


def test_a_user_is_made_and_listed_without_the_hash(herz):
    added(herz, "Ana", "*:admin", "pay:editor")
    status, said, _ = herz("user", "list", "--json")
    (user,) = json.loads(said)["users"]
    assert status == 0
    assert (user["name"], user["roles"], user["password"]) == ("ana", ["*:admin", "pay:editor"], True)
    assert "argon2" not in said
    assert "ana" in herz("user", "list")[1]


@pytest.mark.parametrize("typed", ["", "short\n", "password1234\n"])
def test_a_password_that_is_too_easy_is_refused(herz, typed):
    added(herz, "root")
    status, _, said = herz("user", "add", "ana", "--password-stdin", typed=typed)
    assert status == 2
    assert "→" in said
    assert "ana" not in herz("user", "list")[1]


def test_without_anybody_to_ask_the_password_is_not_asked_for(herz):
    status, _, said = herz("user", "add", "ana")
    assert status == 2
    assert "--password-stdin" in said


def test_a_password_is_asked_for_twice(herz, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    said = [PASSWORD, PASSWORD, PASSWORD, "another one here"]
    monkeypatch.setattr("getpass.getpass", lambda prompt: said.pop(0))
    monkeypatch.setattr("sys.stdin", Terminal())
    assert main(["user", "add", "ana"]) == 0
    assert main(["user", "add", "eva"]) == 2


def test_an_invitation_is_printed_as_a_link(herz):
    status, said, _ = herz("user", "add", "eva", "--invite", "--url", "https://herz.example/", "--json")
    assert status == 0
    assert json.loads(said)["link"].startswith("https://herz.example/console/welcome?name=eva#")
    assert "http://127.0.0.1:4379/console/welcome?name=eva#" in herz("user", "invite", "eva")[1]
    assert herz("user", "invite", "nobody")[0] == 1


def test_users_are_disabled_enabled_and_removed(herz):
    added(herz)
    assert herz("user", "disable", "ana")[0] == 0
    assert json.loads(herz("user", "list", "--json")[1])["users"][0]["disabled"]
    assert herz("user", "enable", "ana", "--json")[1] == '{\n  "enabled": "ana"\n}\n'
    assert herz("user", "remove", "ana")[0] == 0
    assert herz("user", "list")[1] == "there are no users\n"
    assert herz("user", "remove", "ana")[0] == 1


def test_a_password_is_changed(herz):
    added(herz)
    assert herz("user", "password", "ana", "--password-stdin", "--must-change", typed="another good one")[0] == 0
    assert json.loads(herz("user", "list", "--json")[1])["users"][0]["must_change"]
    assert herz("user", "password", "eva", "--password-stdin", typed="another good one")[0] == 1


def test_the_last_admin_goes_only_by_force(herz):
    added(herz, "ana", "*:admin")
    for words in (("user", "remove", "ana"), ("user", "disable", "ana"), ("role", "revoke", "ana", "*:admin")):
        status, _, said = herz(*words)
        assert status == 1
        assert "nobody would be left" in said
    assert herz("role", "revoke", "ana", "*:admin", "--force")[0] == 0


def test_roles_are_granted_revoked_and_listed(herz):
    added(herz)
    assert herz("role", "grant", "ana", "pay:releaser")[0] == 0
    assert herz("role", "grant", "group:sre", "*:viewer")[0] == 0
    assert json.loads(herz("role", "list", "--json")[1])["roles"] == [
        {"subject": "ana", "app": "pay", "role": "releaser"},
        {"subject": "group:sre", "app": "*", "role": "viewer"},
    ]
    assert herz("role", "revoke", "ana", "pay:releaser")[0] == 0
    assert herz("role", "revoke", "ana", "pay:releaser")[0] == 1
    assert herz("role", "grant", "ana", "pay:boss")[0] == 2
    assert herz("role", "grant", "nobody", "pay:viewer")[0] == 1


def test_a_store_that_is_not_there_is_not_made_by_looking(herz, tmp_path):
    assert herz("user", "list", "--store", f"sqlite:///{tmp_path}/none.db")[0] == 1
    assert not (tmp_path / "none.db").exists()


def test_what_was_done_is_in_the_audit_log_by_name(herz):
    added(herz)
    status, said, _ = herz("audit", "list", "--store", "sqlite:///herz.db", "--json")
    assert status == 0
    assert "user.created" in said
