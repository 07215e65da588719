"""Reporting: what a source is told runs is what is in force, fingerprinted by itself, at the cost of what changed."""

from __future__ import annotations

from typing import Any

import pytest
from immutables import Map

from herz import Herz, MappingSource
from herz.app.reporting import Prints
from herz.errors import NotRunning
from herz.merge.fingerprint import Fingerprint
from herz.model.document import Document
from herz.model.origin import Origin
from herz.model.secret import SecretKeys
from herz.model.tree import put


def document(*trees: Any) -> Document:
    origin = Origin("here", "test")
    return Document(origin, 1, parts=tuple(Document(origin, 1, tree) for tree in trees))


def test_a_source_is_told_what_is_in_force_of_it_alone(ahead: Any) -> None:
    over = MappingSource({"pool.size": 9, "other": 1}, "over")
    with Herz(ahead, over, environment={}) as herz:
        running = ahead.running()
        assert running.snapshot is herz.snapshot
        assert running.document.tree == {"pool": {"size": 1}, "name": "pay"}
        alone = str(Fingerprint.of({"pool": {"size": 1}, "name": "pay"}, SecretKeys()))
        assert running.fingerprint == alone != herz.snapshot.release_fingerprint
        herz.wait_for(ahead.update({"name": "new"}), 10, source="memory")
        assert ahead.running().document.tree["name"] == "new"
        assert ahead.running().fingerprint != alone
    assert ahead.detached
    with pytest.raises(NotRunning):
        ahead.running()


def test_a_source_is_woken_by_what_is_applied_and_by_what_is_refused(ahead: Any, eventually: Any) -> None:
    with Herz(ahead, environment={}) as herz:
        assert ahead.running().error is None
        told = ahead.told
        herz.wait_for(ahead.update({"name": "new"}), 10)
        eventually(lambda: ahead.told > told)
        told = ahead.told
        ahead.update({"name": "${nowhere}"})
        eventually(lambda: ahead.told > told and ahead.running().error is not None)
        assert "nowhere" in str(ahead.running().error)
        assert ahead.running().document.tree["name"] == "new"
        herz.wait_for(ahead.update({"name": "newer"}), 10)
        assert ahead.running().error is None


def test_a_source_that_fails_to_take_note_holds_up_no_change(ahead: Any, caplog: Any) -> None:
    with Herz(ahead, environment={}) as herz:
        assert ahead.running().error is None
        ahead.moved = lambda: 1 / 0
        herz.wait_for(ahead.update({"name": "new"}), 10)
        herz.wait_for(ahead.update({"name": "newer"}), 10)
        assert herz.freshness == "CURRENT"
    assert "could not take note" in caplog.text


def test_the_patterns_for_secrets_of_one_program_do_not_change_the_fingerprint(ahead: Any) -> None:
    with Herz(ahead, environment={}) as herz:
        default = ahead.running().fingerprint
        assert default == herz.snapshot.release_fingerprint
    other = type(ahead)({"pool.size": 1, "name": "pay"}, "memory")
    with Herz(other, environment={}, secret_patterns=["name"]) as herz:
        assert herz.snapshot.release_fingerprint != default
        assert other.running().fingerprint == default


def test_the_fingerprint_of_one_changed_key_among_many_is_updated_and_not_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low: Any = Map({f"k{n}": {"a": n, "b": "x"} for n in range(5_000)})
    high: Any = {"k7": {"a": 70}}
    prints = Prints()
    prints.of(document(low, high))
    made = Fingerprint.of
    monkeypatch.setattr(Fingerprint, "of", None)
    changed = put(low, ("k9", "b"), "y")
    found = prints.of(document(changed, high))
    again = prints.of(document(changed, high))
    back = prints.of(document(low, high))
    monkeypatch.setattr(Fingerprint, "of", made)
    merged = put(put(changed, ("k7", "a"), 70), ("k7", "b"), "x")
    assert found == again == str(Fingerprint.of(merged, SecretKeys())) != back


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"a": 1}], [{"a": {"b": 1}}]),
        ([{"a": 1}, {}], [{}, {"a": 2}]),
        ([{"a": {"b": 1}}, {"a": {"b": 2}}], [{"a": {"b": 1}}, {}]),
        ([{"a": 1}], [{"a": 1}, {"b": 2}]),
        ([{"a": 1}], [{}]),
        ([{}], [{"password": "x", "n": 1.0}]),
    ],
)
def test_an_updated_fingerprint_is_that_of_a_fresh_start(before: list[Any], after: list[Any]) -> None:
    prints = Prints()
    prints.of(document(*before))
    assert prints.of(document(*after)) == Prints().of(document(*after))
