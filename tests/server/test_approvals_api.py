"""Approval over HTTP: with the tokens of an author, an approver, a releaser and an admin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import Server, layers_of, started


@pytest.fixture(scope="module")
def closed(tmp_path_factory) -> Iterator[Server]:
    running = started(tmp_path_factory.mktemp("closed"), "--listen", "http://127.0.0.1:0", "--require-tokens")
    yield running
    running.stop()


@pytest.fixture
def ask(closed, app):
    """Asks in the test's application with a token of this name; answers the status and the body."""
    tokens: dict[str, str] = {}
    scopes = {"ann": "edit", "rex": "release", "root": "admin"}

    def asked(name, method, rest, body=None, *, scope=None):
        held = f"{name}:{scope}"
        if held not in tokens:
            wanted = {"name": name, "grants": [f"{app}:{scope or scopes.get(name, 'approve')}"]}
            tokens[held] = closed.api("POST", "/tokens", wanted).json()["token"]
        headers = {"authorization": f"Bearer {tokens[held]}"}
        answer = closed.api(method, f"/apps/{app}/namespaces/default{rest}", body, headers=headers)
        return answer.status_code, answer.json() if answer.content else None

    assert asked("root", "PUT", "/policy", {"layers": ["application"]})[0] == 204
    assert asked("ann", "PUT", "/draft", {"content": layers_of("a: 1\n")})[0] == 200
    return asked


def digest(ask):
    return ask("ann", "GET", "/draft")[1]["digest"]


def test_a_policy_is_read_and_ended(ask):
    assert ask("ann", "GET", "/policy") == (200, {"layers": ["application"]})
    assert ask("root", "DELETE", "/policy")[0] == 204
    assert ask("ann", "GET", "/policy")[0] == 404


def test_what_is_not_approved_is_refused_with_what_is_missing(ask):
    status, body = ask("rex", "POST", "/releases", {"message": "go"})
    assert (status, body["type"]) == (409, "urn:herz:problem:approval-needed")
    assert (body["layers"], body["have"], body["need"], body["authors"]) == (["application"], 0, 1, ["ann"])
    assert body["remedy"]


def test_what_is_approved_is_released(ask):
    status, state = ask("cat", "POST", "/approvals", {"digest": digest(ask), "message": "looks right"})
    assert (status, state["ok"], state["given"][0]["approval"]["by"]) == (200, True, "cat")
    assert ask("rex", "POST", "/releases", {"message": "go"})[0] == 201
    [live] = ask("ann", "GET", "/releases/1/publications")[1]
    assert (live["by"], live["approved_by"]) == ("rex", ["cat"])
    assert ask("ann", "GET", "/releases/1")[1]["authors"] == ["ann"]


def test_force_needs_the_right_to_approve_as_well(ask):
    status, body = ask("rex", "POST", "/releases", {"message": "now", "force": True})
    assert (status, body["scope"]) == (403, "approve")
    assert ask("rex", "POST", "/releases", {"message": "for later", "publish": False})[0] == 201
    assert ask("rex", "POST", "/publish", {"release": 1, "message": "now", "force": True})[0] == 403
    assert ask("root", "POST", "/publish", {"release": 1, "message": "now", "force": True})[0] == 200


def test_a_second_token_of_the_author_approves_nothing(ask):
    status, body = ask("ann", "POST", "/approvals", {"digest": digest(ask)}, scope="approve")
    assert (status, body["type"]) == (403, "urn:herz:problem:own-work")


def test_the_state_is_told_before_and_after(ask):
    assert ask("ann", "GET", "/approvals")[1]["ok"] is False
    ask("cat", "POST", "/approvals", {"digest": digest(ask)})
    assert ask("ann", "GET", "/approvals")[1]["ok"] is True


def test_another_content_than_the_one_looked_at_is_not_approved(ask):
    status, body = ask("cat", "POST", "/approvals", {"digest": "sha256:" + "0" * 64})
    assert (status, body["type"], body["actual"]) == (409, "urn:herz:problem:conflict", digest(ask))


def test_ones_own_approval_is_taken_back_by_oneself(ask):
    ask("cat", "POST", "/approvals", {"digest": digest(ask)})
    assert ask("cat", "DELETE", f"/approvals?digest={digest(ask)}&message=no")[0] == 204
    assert ask("ann", "GET", "/approvals")[1]["have"] == 0


def test_somebody_elses_is_taken_back_by_an_admin_only(ask):
    ask("cat", "POST", "/approvals", {"digest": digest(ask)})
    rest = f"/approvals?digest={digest(ask)}&approver=cat"
    assert ask("dan", "DELETE", rest)[0] == 403
    assert ask("root", "DELETE", rest)[0] == 204


def test_a_rollout_begins_with_approval_only(ask):
    assert ask("rex", "POST", "/releases", {"message": "go", "publish": False})[0] == 201
    status, body = ask("rolf", "POST", "/rollouts", {"release": 1}, scope="rollout")
    assert (status, body["type"], body["release"]) == (409, "urn:herz:problem:approval-needed", 1)
    assert ask("cat", "POST", "/approvals", {"digest": digest(ask), "release": 1})[0] == 200
    status, rollout = ask("rolf", "POST", "/rollouts", {"release": 1}, scope="rollout")
    assert (status, rollout["approved_by"]) == (201, ["cat"])


@pytest.mark.parametrize("body", [{"layers": []}, {"layers": ["a b"]}, {"layers": ["a"], "approvals": 0}, {}])
def test_a_policy_that_makes_no_sense_is_not_understood(ask, body):
    assert ask("root", "PUT", "/policy", body)[0] == 400


@pytest.mark.parametrize("rest", ["/approvals?release=7", "/releases/7/publications"])
def test_a_release_that_is_not_there_is_not_found(ask, rest):
    assert ask("ann", "GET", rest)[0] == 404
