"""`herz approval`: asking for it, seeing what is missing, giving it and taking it back."""

from __future__ import annotations

import pytest


@pytest.fixture
def guarded(released):
    """`herz`, where release 1 is live, and ada has drafted what cannot be live without approval."""
    assert released("approval", "policy", "pay.yml").status == 0
    assert released("draft", "set", "db.pool=20", "--author", "ada").status == 0
    return released


def test_a_policy_is_set_shown_and_ended(herz):
    assert herz("approval", "policy").out == "nothing needs approval\n"
    said = "a change of base, tenant needs 2 approvals\n"
    assert herz("approval", "policy", "base", "tenant", "--approvals", "2").out == said
    assert herz("approval", "policy").out == said
    assert herz("approval", "policy", "--json").json == {"layers": ["base", "tenant"], "approvals": 2}
    assert herz("approval", "policy", "*").out == "a change of any layer needs 1 approval\n"
    assert herz("approval", "policy", "--delete").out == "nothing needs approval\n"
    assert herz("approval", "policy", "--json").json is None


def test_what_is_not_approved_is_refused_with_the_remedy(guarded):
    ran = guarded("release", "create", "-m", "more load")
    assert ran.status == 1
    assert "changes pay.yml, which needs approval by somebody other than ada: 0 of 1 given" in ran.err
    assert "herz approval give" in ran.err


def test_what_is_missing_is_listed(guarded):
    ran = guarded("approval", "list", "--exit-code")
    assert ran.status == 1
    assert "✗ not approved, 0 of 1 approval" in ran.out
    assert "changes pay.yml against release 1, which is live" in ran.out
    assert "written by ada" in ran.out


def test_what_somebody_else_approves_is_released(guarded):
    ran = guarded("approval", "give", "-m", "looks right", "--author", "cat")
    assert ran.status == 0
    assert "✓ approved, 1 of 1 approval" in ran.out
    assert "looks right" in ran.out
    assert guarded("approval", "list", "--exit-code").status == 0
    assert guarded("release", "create", "-m", "more load", "--author", "ada").status == 0


def test_a_release_shows_who_wrote_it_and_who_agreed(guarded):
    guarded("approval", "give", "--author", "cat")
    guarded("release", "create", "-m", "more load", "--author", "ada")
    shown = guarded("release", "show", "2").out
    assert "  written by ada\n" in shown
    assert "by ada, approved by cat\n" in shown
    guarded("draft", "set", "db.pool=30", "--author", "ada")
    guarded("release", "create", "--force", "-m", "now", "--author", "ada")
    assert "by ada, forced\n" in guarded("release", "show", "3").out
    [live] = guarded("release", "show", "2", "--json").json["publications"]
    assert live["approved_by"] == ["cat"]


def test_ones_own_work_is_not_approved(guarded):
    ran = guarded("approval", "give", "--author", "Ada")
    assert ran.status == 1
    assert "ada wrote some of it" in ran.err


def test_a_release_is_approved_by_its_version(guarded, app):
    guarded("release", "create", "--dormant", "-m", "more load", "--author", "ada")
    assert guarded("rollout", "start", "2").status == 1
    assert guarded("approval", "give", f"{app}@2", "--author", "cat").status == 0
    assert guarded("approval", "list", "2", "--json").json["ok"] is True
    assert guarded("release", "publish", "2", "-m", "now").status == 0


def test_only_what_was_looked_at_is_approved(guarded):
    digest = guarded("approval", "list", "--json").json["digest"].removeprefix("sha256:")
    guarded("draft", "set", "db.pool=30", "--author", "ada")
    ran = guarded("approval", "give", "--digest", digest[:8], "--author", "cat")
    assert ran.status == 1
    assert f"not {digest[:8]}; nothing was written" in ran.err
    assert guarded("approval", "give", "--digest", digest[:3], "--author", "cat").status == 2
    digest = guarded("approval", "list", "--json").json["digest"]
    assert guarded("approval", "give", "--digest", digest, "--author", "cat").status == 0


def test_an_approval_is_taken_back(guarded):
    guarded("approval", "give", "--author", "cat")
    ran = guarded("approval", "withdraw", "-m", "not yet", "--author", "cat")
    assert "✗ not approved, 0 of 1 approval" in ran.out
    assert guarded("approval", "withdraw", "--author", "cat").status == 1
    guarded("approval", "give", "--author", "dan")
    assert guarded("approval", "withdraw", "--approver", "dan", "--author", "root", "--json").json["have"] == 0


def test_what_was_live_before_needs_none(guarded):
    guarded("approval", "give", "--author", "cat")
    guarded("release", "create", "-m", "more load", "--author", "ada")
    assert "was live before: needs no approval" in guarded("approval", "list", "1").out
    assert guarded("release", "rollback", "1", "-m", "3 a.m.").status == 0


def test_an_approval_that_counts_no_more_says_why(guarded):
    guarded("release", "create", "--dormant", "-m", "more load", "--author", "ada")
    guarded("approval", "give", "2", "--author", "cat")
    guarded("draft", "set", "db.pool=9", "--author", "ada")
    guarded("release", "create", "--force", "-m", "now", "--author", "ada")
    assert "does not count: what is live has changed in pay.yml since" in guarded("approval", "list", "2").out


def test_a_draft_that_changes_nothing_says_so(released):
    released("approval", "policy", "pay.yml")
    assert "changes nothing that needs approval" in released("approval", "list").out
