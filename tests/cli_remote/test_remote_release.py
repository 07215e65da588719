"""`herz release`: making, listing, comparing, publishing and taking back."""

from __future__ import annotations

import pytest


def test_create_makes_the_draft_live(drafted, app):
    ran = drafted("release", "create", "-m", "first", "--author", "Ada <ada@example.org>")
    assert ran.status == 0
    assert "release 1  live" in ran.out
    assert "by Ada\n" in ran.out
    shown = drafted("release", "show", f"{app}@1", "--content").out
    assert "pool: 5  # sessions" in shown


def test_a_dormant_release_is_published_later(released):
    released("draft", "set", "db.pool=20")
    ran = released("release", "create", "--dormant", "--patch", "4f1c", "-m", "second")
    assert "nobody runs it yet" in ran.out
    listed = released("release", "list", "--json").json
    assert [(one["number"], one["live"], one.get("patch_id")) for one in listed] == [
        (2, False, "4f1c"),
        (1, True, None),
    ]
    assert released("release", "publish", "2", "-m", "now").out == "release 2 is live\n"


def test_diff_of_one_release_is_against_the_live_one(released):
    released("draft", "set", "db.pool=20")
    released("release", "create", "--dormant", "-m", "second")
    assert released("release", "diff", "2").out == "~ db.pool: 5 → 20  pay.yml:2\n"
    assert released("release", "diff", "2", "1", "--exit-code").status == 1
    assert released("release", "diff", "2", "2", "--exit-code").out == "no key differs\n"


def test_rollback_points_back_and_resets_the_draft(released):
    released("draft", "set", "db.pool=20")
    released("release", "create", "-m", "second")
    assert released("release", "rollback", "1", "-m", "slow bank").out == "release 1 is live\n"
    assert "pool: 5" in released("draft", "show").out


def test_a_release_without_a_message_is_refused(drafted):
    ran = drafted("release", "create")
    assert ran.status == 2
    assert "message" in ran.err


@pytest.mark.parametrize("command", [("show", "7"), ("publish", "7", "-m", "x"), ("diff", "1", "7")])
def test_a_release_that_does_not_exist_is_named(released, command):
    ran = released("release", *command)
    assert ran.status == 1
    assert "release 7" in ran.err


def test_a_version_of_another_application_is_refused(released):
    assert released("release", "show", "elsewhere@1", "--app", "pay").status == 2


def test_no_release_is_said_in_words(herz):
    assert "no release yet" in herz("release", "list").out
