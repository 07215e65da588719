"""Which control plane and application a command asks, and what it says when it cannot."""

from __future__ import annotations

import pytest

from herz.testing.processes import Port


def test_a_control_plane_that_is_not_there_is_said_with_what_to_do(herz):
    port = Port()
    ran = herz("release", "list", "--server", f"http://{port.address}")
    port.close()
    assert ran.status == 1
    assert "the control plane does not answer" in ran.err
    assert "herz serve" in ran.err


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:4379", "http://", "http://a:b", "http://u:secret@h"])
def test_an_address_that_is_none_is_not_understood_and_shows_no_password(herz, url):
    ran = herz("release", "list", "--server", url)
    assert ran.status == 2
    assert "is no address of a control plane" in ran.err
    assert "secret" not in ran.err


def test_what_answers_but_is_no_control_plane_is_said(herz, server):
    ran = herz("release", "list", "--server", f"{server.url}/elsewhere")
    assert ran.status != 0
    assert "/elsewhere/api/v1" in ran.err


def test_several_applications_and_none_named_is_asked_about(drafted, monkeypatch):
    monkeypatch.delenv("HERZ_APP")
    drafted("draft", "set", "a=1", "--app", "another-one")
    ran = drafted("release", "list")
    assert ran.status == 2
    assert "which application?" in ran.err
    assert "--app" in ran.err


def test_a_version_names_its_application(released, app, monkeypatch):
    monkeypatch.delenv("HERZ_APP")
    assert released("release", "show", f"{app}/default@1").status == 0


@pytest.mark.parametrize("name", ["../x", "a/b/c", "<b>", "a b", "..", "-a"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_asked(herz, name):
    assert herz("release", "list", f"--app={name}").status == 2


def test_a_token_that_no_header_can_carry_is_refused(herz, monkeypatch):
    monkeypatch.setenv("HERZ_TOKEN", "a\nb")
    assert herz("release", "list").status == 2


def test_a_token_file_that_is_not_there_is_named(herz):
    ran = herz("release", "list", "--token-file", "no-such-file")
    assert ran.status == 1
    assert "no-such-file" in ran.err


@pytest.mark.parametrize("command", ["draft", "release", "rollout"])
def test_a_group_without_a_command_is_not_understood(herz, command):
    assert herz(command).status == 2


@pytest.mark.parametrize(
    "command",
    [["draft", "edit"], ["release", "create"], ["rollout", "start"], ["fleet"], ["verify"], ["impact"], ["rollout"]],
)
def test_help_teaches_by_examples(herz, command):
    ran = herz(*command, "--help")
    assert ran.status == 0
    assert "examples:" in ran.out
