"""Rehearsal: what is built ahead is put in force as it was built, and nothing else is changed by it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from herz import ChangeSet, Herz, MappingSource, Rejected
from herz.model.snapshot import Snapshot
from herz.sources.base import Rehearsal


@dataclass(frozen=True)
class Pool:
    size: int = 1


class Built:
    """Says when it is made and closed; cannot be made of a size of 13."""

    made: list[int]
    closed: list[int]

    def __init__(self, pool: Pool) -> None:
        self.size = pool.size
        Built.made.append(pool.size)
        if pool.size == 13:
            raise RuntimeError("thirteen, and the password is hunter2")

    def close(self) -> None:
        Built.closed.append(self.size)


class Lazy:
    def __init__(self, pool: Pool) -> None:
        self.size = pool.size


@pytest.fixture(autouse=True)
def _clean() -> None:
    Built.made, Built.closed = [], []


def herz_of(*sources: Any) -> Herz:
    herz = Herz(*sources, environment={})
    herz.properties("pool")(Pool)
    herz.refresh_scope(eager=True, grace_s=0.0)(Built)
    herz.refresh_scope(Lazy)
    return herz


def rehearsed(herz: Herz, ahead: Any, eventually: Any, **changes: Any) -> Rehearsal:
    """Prepare `changes` and wait for what comes of it."""
    document = ahead.prepare({"pool.size": 1, "name": "pay", **changes})
    return outcome(ahead, eventually, document)


def outcome(ahead: Any, eventually: Any, document: Any) -> Rehearsal:
    found: list[Rehearsal] = []

    def told() -> bool:
        rehearsal = ahead.running().rehearsal
        if rehearsal is not None and rehearsal.document is document:
            found.append(rehearsal)
        return bool(found)

    eventually(told)
    return found[0]


def test_what_was_prepared_is_put_in_force_without_building_again(ahead: Any, eventually: Any) -> None:
    heard: list[ChangeSet] = []
    with herz_of(ahead) as herz:
        herz.on_change()(heard.append)
        found = rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        assert (found.error, found.rebuilt, found.unbuilt) == (None, ("Built",), ("Lazy",))
        assert (Built.made, herz.get(Pool).size, herz.snapshot["pool.size"]) == ([1, 2], 1, 1)
        one = herz.get(Built)
        revision = ahead.commit()
        snapshot = herz.wait_for(revision, 10)
        assert Built.made == [1, 2]
        assert (herz.get(Built).size, herz.get(Pool).size, snapshot["pool.size"]) == (2, 2, 2)
        assert one is not herz.get(Built)
        assert found.fingerprint == ahead.running().fingerprint == snapshot.release_fingerprint
        eventually(lambda: heard)
        assert [(one.revision, one.reset, [change.key for change in one]) for one in heard] == [
            (revision, False, ["pool.size"])
        ]
        eventually(lambda: Built.closed == [1])
        assert ahead.running().rehearsal is None


def test_the_flip_merges_binds_and_builds_nothing(ahead: Any, eventually: Any, monkeypatch: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        updater = herz.runtime.updater

        def never(*anything: object) -> None:
            raise AssertionError("the flip must not do this again")

        monkeypatch.setattr(updater, "_built", never)
        monkeypatch.setattr(herz.scope, "prepare", never)
        assert herz.wait_for(ahead.commit(), 10)["pool.size"] == 2
        assert herz.runtime.updater.refreshes[-1][0].swap_ms < 1


def test_a_reset_without_a_reason_is_put_in_force_from_what_was_prepared_as_well(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        herz.wait_for(ahead.commit(whole=True), 10)
        assert (Built.made, herz.get(Built).size) == ([1, 2], 2)


def test_two_in_a_row_are_each_built_once(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        for size in (2, 3):
            rehearsed(herz, ahead, eventually, **{"pool.size": size})
            herz.wait_for(ahead.commit(), 10)
        assert Built.made == [1, 2, 3]


def test_a_change_that_was_not_prepared_comes_between_and_what_was_prepared_is_built_anew(
    ahead: Any, eventually: Any
) -> None:
    other = MappingSource({"other.n": 1}, "other")
    with herz_of(ahead, other) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        other.update({"other.n": 2})
        herz.wait_for(lambda snapshot: snapshot["other.n"] == 2, 10)
        eventually(lambda: Built.made == [1, 2, 2])
        eventually(lambda: ahead.running().rehearsal is not None)
        assert Built.closed == [2]
        herz.wait_for(ahead.commit(), 10, source="memory")
        assert (Built.made, herz.snapshot["other.n"], herz.get(Built).size) == ([1, 2, 2], 2, 2)


def test_what_fails_to_be_built_ahead_is_told_and_changes_nothing(ahead: Any, eventually: Any) -> None:
    refused: list[Rejected] = []
    with herz_of(ahead) as herz:
        herz.on_rejected(refused.append)
        before: Snapshot = herz.snapshot
        eventually(lambda: herz.health().status == "UP")
        found = rehearsed(herz, ahead, eventually, **{"pool.size": 13})
        assert "Built could not be built" in str(found.error)
        assert (herz.snapshot, herz.health().status, refused) == (before, "UP", [])
        assert herz.runtime.updater._until_retry() is None
        found = rehearsed(herz, ahead, eventually, **{"pool.size": "many"})
        assert "pool.size" in str(found.error)
        assert (herz.snapshot, herz.health().status, refused) == (before, "UP", [])
        herz.wait_for(ahead.update({"name": "pay2"}), 10)


def test_what_failed_to_be_built_ahead_is_refused_only_when_it_is_to_be_in_force(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": "many"})
        ahead.commit()
        eventually(lambda: herz.freshness == "REFUSED")
        assert herz.get(Built).size == 1


def test_a_withdrawn_preparation_closes_what_was_built(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        ahead.prepare(None)
        eventually(lambda: Built.closed == [2])
        assert ahead.running().rehearsal is None
        assert herz.get(Built).size == 1


def test_a_dry_build_is_told_and_closed_at_once_and_what_stood_prepared_is_built_anew(
    ahead: Any, eventually: Any
) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        document = ahead.prepare({"pool.size": 5, "name": "pay"}, keep=False)
        eventually(lambda: ahead.running().dry is not None)
        dry = ahead.running().dry
        assert (dry.document is document, dry.rebuilt, dry.error) == (True, ("Built",), None)
        eventually(lambda: Built.made == [1, 2, 5, 2])
        assert Built.closed == [2, 5]
        herz.wait_for(ahead.commit(), 10)
        assert (Built.made, herz.get(Built).size) == ([1, 2, 5, 2], 2)


def test_a_lazy_object_that_is_first_used_meanwhile_is_of_the_new_generation_too(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        assert herz.get(Lazy).size == 1
        herz.wait_for(ahead.commit(), 10)
        assert herz.get(Lazy).size == 2
        assert Built.made == [1, 2]


@dataclass(frozen=True)
class Name:
    name: str = ""


def test_a_model_that_is_declared_meanwhile_sees_what_is_committed(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, name="new")
        herz.properties("")(Name)
        assert herz.get(Name).name == "pay"
        herz.wait_for(ahead.commit(), 10)
        assert herz.get(Name).name == "new"


def test_a_stop_closes_what_stands_prepared(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
    assert sorted(Built.closed) == [1, 2]


def test_two_sources_may_prepare_at_once_and_both_come_into_force(ahead: Any, eventually: Any) -> None:
    other = type(ahead)({"more.n": 1}, "more")
    with herz_of(ahead, other) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        document = other.prepare({"more.n": 2})
        outcome(other, eventually, document)
        assert ahead.running().rehearsal is not None
        herz.wait_for(ahead.commit(), 10, source="memory")
        eventually(lambda: other.running().rehearsal is not None)
        herz.wait_for(other.commit(), 10, source="more")
        assert (herz.snapshot["more.n"], herz.get(Built).size) == (2, 2)


def test_a_refused_document_of_another_source_is_tried_again_after_the_flip(ahead: Any, eventually: Any) -> None:
    other = MappingSource({"limit.n": 1}, "other")
    herz = herz_of(ahead, other)
    herz.properties("limit")(Pool2)
    with herz:
        other.update({"limit.n": "${name}"})
        eventually(lambda: herz.freshness == "REFUSED")
        rehearsed(herz, ahead, eventually, name="7")
        herz.wait_for(ahead.commit(), 10, source="memory")
        eventually(lambda: herz.freshness == "CURRENT")
        assert herz.get(Pool2).n == 7


@dataclass(frozen=True)
class Pool2:
    n: int = 0


def test_a_forked_child_begins_without_what_the_parent_prepared(ahead: Any, eventually: Any) -> None:
    with herz_of(ahead) as herz:
        rehearsed(herz, ahead, eventually, **{"pool.size": 2})
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ahead.attached.clear()
                herz.health()  # waits until it has started
                os.write(write, f"{herz.get(Built).size} {ahead.running().rehearsal}".encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        assert os.read(read, 100).decode() == "1 None"
        os.close(read)
        herz.wait_for(ahead.commit(), 10)
        assert herz.get(Built).size == 2


def test_readers_see_the_old_generation_or_the_new_one(ahead: Any, eventually: Any) -> None:
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()
    with herz_of(ahead) as herz:

        def read() -> None:
            while not stop.is_set():
                with herz.pin() as generation:
                    seen.add((generation.get(Pool).size, generation.get(Built).size))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for size in range(2, 12):
                rehearsed(herz, ahead, eventually, **{"pool.size": size})
                herz.wait_for(ahead.commit(), 10)
        finally:
            stop.set()
            reader.join()
    assert all(pool == built for pool, built in seen)
    assert Built.made == list(range(1, 12))
