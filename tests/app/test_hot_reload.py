"""The main job: a change of a file reaches every object, whole, or changes nothing."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from herz import ABSENT, ChangeSet, ConfigLoadError, Herz, HerzError, MappingSource, Rejected, Secret, UsageError
from herz.merge.fingerprint import Fingerprint

FIRST = "herz:\n  service:\n    timeout: 3s\n    retries: 3\nother: 1\n"


class ServiceConfig(BaseModel):
    timeout: timedelta = timedelta(seconds=3)
    retries: int = 3


class Client:
    def __init__(self, config: ServiceConfig) -> None:
        self.timeout = config.timeout
        self.closed = False

    def close(self) -> None:
        self.closed = True


def written(folder: Path, text: str, name: str = "application.yml") -> None:
    (folder / name).write_text(text)


@pytest.fixture
def herz(folder: Path) -> Herz:
    written(folder, FIRST)
    herz = Herz("application.yml", environment={})
    herz.properties("herz.service")(ServiceConfig)
    herz.refresh_scope(Client, grace_s=0.0)
    return herz


def test_an_edit_reaches_the_bound_class_and_what_was_built_from_it(herz: Herz, folder: Path) -> None:
    with herz:
        old, handle = herz.get(Client), herz.handle(ServiceConfig)
        assert old.timeout == timedelta(seconds=3)
        written(folder, FIRST.replace("3s", "5s"))
        herz.wait_for(lambda snapshot: snapshot["herz.service.timeout"] == "5s", 10)
        assert herz.get(Client) is not old
        assert herz.get(Client).timeout == handle.current.timeout == timedelta(seconds=5)
    assert old.closed


def test_a_difference_in_writing_only_rebuilds_nothing(herz: Herz, folder: Path) -> None:
    heard: list[ChangeSet] = []
    herz.on_change()(heard.append)
    with herz:
        old, config = herz.get(Client), herz.get(ServiceConfig)
        fingerprint = herz.snapshot.fingerprint
        written(folder, "# the same\nother: 1.0\nherz:\n  service: {retries: 3, timeout: 3000ms}\n")
        herz.wait_for(lambda snapshot: snapshot["herz.service.timeout"] == "3000ms", 10)
        assert herz.get(Client) is old
        assert herz.get(ServiceConfig) is config
        assert herz.snapshot.fingerprint != fingerprint
        assert herz.refresh() == []
    assert not heard


def test_what_cannot_be_used_changes_nothing_and_says_where(herz: Herz, folder: Path) -> None:
    refused: list[Rejected] = []
    herz.on_rejected(refused.append)
    with herz:
        old = herz.get(Client)
        written(folder, FIRST.replace("3s", "abc").replace("other: 1", "other: 2"))
        with pytest.raises(HerzError, match=r"herz\.service\.timeout.*abc.*application\.yml:3"):
            herz.refresh()
        assert herz.get(Client) is old
        assert herz.snapshot["other"] == 1
        health = herz.health()
        assert health.status == "DOWN"
        assert "application.yml:3" in str(health.sources[0].error)
        assert herz.freshness == "REFUSED"
        written(folder, FIRST.replace("other: 1", "other: 2"))
        herz.wait_for(lambda snapshot: snapshot["other"] == 2, 10)
        assert herz.health().status == "UP"
    assert [one.source for one in refused] == ["application.yml"]


def test_one_refused_source_does_not_hold_up_another(folder: Path) -> None:
    written(folder, "a: {n: 1}\n", "a.yml")
    written(folder, "b: {n: 1}\n", "b.yml")

    @dataclass
    class A:
        n: int

    herz = Herz("a.yml", "b.yml", environment={})
    herz.properties("a")(A)
    with herz:
        written(folder, "a: {n: x}\n", "a.yml")
        herz.wait_for(lambda _: herz.health().status == "DOWN", 10)
        written(folder, "b: {n: 2}\n", "b.yml")
        herz.wait_for(lambda snapshot: snapshot["b.n"] == 2, 10)
        assert herz.get(A).n == 1
        written(folder, "a: {n: 3}\n", "a.yml")
        herz.wait_for(lambda snapshot: snapshot["a.n"] == 3, 10)
        assert herz.health().status == "UP"


def test_a_factory_that_fails_is_tried_again_by_itself(folder: Path) -> None:
    written(folder, FIRST)
    broken = threading.Event()

    class Pool:
        def __init__(self, config: ServiceConfig) -> None:
            if broken.is_set():
                raise OSError("the database does not answer")
            self.retries = config.retries

    herz = Herz("application.yml", environment={})
    herz.properties("herz.service")(ServiceConfig)
    herz.refresh_scope(Pool)
    with herz:
        old = herz.get(Pool)
        broken.set()
        written(folder, FIRST.replace("retries: 3", "retries: 4"))
        herz.wait_for(lambda _: herz.health().status == "DOWN", 10)
        assert herz.get(Pool) is old
        assert "the database does not answer" in str(herz.health().sources[0].error)
        broken.clear()
        herz.wait_for(lambda snapshot: snapshot["herz.service.retries"] == 4, 20)
        assert herz.get(Pool).retries == 4


def test_listeners_hear_each_revision_once_in_order_with_its_cause(herz: Herz, folder: Path) -> None:
    heard: list[ChangeSet] = []
    source = MappingSource({"x": {"n": 0}}, "memory")
    herz = Herz(source, environment={})
    herz.on_change("x")(heard.append)
    with herz:
        for number in range(1, 200):
            source.update({"x.n": number, "y": number})
        herz.wait_for(lambda snapshot: snapshot["x.n"] == 199, 10)
    assert [change.after for changes in heard for change in changes] == list(range(1, 200))
    assert [changes.revision for changes in heard] == sorted({changes.revision for changes in heard})
    assert {change.cause for changes in heard for change in changes} == {"memory"}


def test_a_removed_key_is_heard_as_absent(folder: Path) -> None:
    source = MappingSource({"a": 1, "b": None})
    heard: list[ChangeSet] = []
    herz = Herz(source, environment={})
    herz.on_change(heard.append)
    with herz:
        source.update({"a": ABSENT})
        herz.wait_for(lambda snapshot: "a" not in snapshot, 10)
        assert herz.snapshot["b"] is None
    assert [(c.key, c.before, c.after) for c in heard[0]] == [("a", 1, ABSENT)]


def test_a_listener_that_raises_or_hangs_holds_up_nobody(folder: Path) -> None:
    source = MappingSource({"a": 0})
    heard: list[int] = []
    release = threading.Event()
    herz = Herz(source, environment={})

    @herz.on_change
    def raises(changes: ChangeSet) -> None:
        raise RuntimeError("mine")

    @herz.on_change
    def hangs(changes: ChangeSet) -> None:
        release.wait(30)

    herz.on_change(lambda changes: heard.append(changes.changes[0].after))
    with herz:
        for number in (1, 2, 3):
            source.update({"a": number})
        herz.wait_for(lambda snapshot: snapshot["a"] == 3, 10)
        release.set()
    assert heard == [1, 2, 3]


def test_refreshing_from_inside_a_listener_works(folder: Path) -> None:
    source = MappingSource({"a": 0})
    answers: list[object] = []
    done = threading.Event()
    herz = Herz(source, environment={})

    @herz.on_change
    def refreshes(changes: ChangeSet) -> None:
        answers.append(herz.refresh())
        done.set()

    with herz:
        source.update({"a": 1})
        assert done.wait(10)
    assert answers == [[]]


def test_refreshing_from_inside_a_factory_is_refused_not_a_deadlock(folder: Path) -> None:
    herz = Herz({"a": 0}, environment={})

    @herz.refresh_scope
    class Loop:
        def __init__(self) -> None:
            herz.refresh()

    with herz, pytest.raises(HerzError, match="being built"):
        herz.get(Loop)


def test_a_first_load_that_fails_says_why(folder: Path) -> None:
    written(folder, "a: [1\n")
    with pytest.raises(ConfigLoadError, match=r"application\.yml"), Herz("application.yml", environment={}):
        pass
    with pytest.raises(ConfigLoadError, match=r"nowhere\.yml"), Herz("nowhere.yml", environment={}):
        pass


def test_an_optional_source_may_be_missing_and_come_later(folder: Path) -> None:
    written(folder, "a: 1\n")
    with Herz("application.yml", "optional:more.yml", environment={}) as herz:
        assert herz.health().status == "UP"
        written(folder, "a: 2\n", "more.yml")
        herz.wait_for(lambda snapshot: snapshot["a"] == 2, 10)
        (folder / "more.yml").unlink()
        herz.wait_for(lambda snapshot: snapshot["a"] == 1, 10)


def test_the_environment_and_arguments_win_and_say_so(folder: Path) -> None:
    written(folder, FIRST)
    herz = Herz(
        "application.yml", environment={"HERZ__SERVICE__RETRIES": "7"}, arguments=["--herz.service.timeout=9s", "serve"]
    )
    herz.properties("herz.service")(ServiceConfig)
    with herz:
        assert herz.get(ServiceConfig) == ServiceConfig(timeout=timedelta(seconds=9), retries=7)
        explanation = str(herz.snapshot.explain("herz.service.retries"))
        assert "env:HERZ__SERVICE__RETRIES" in explanation
        assert "application.yml:4" in explanation
        assert herz.snapshot.overridden_locally() == ("herz.service.retries", "herz.service.timeout")


def test_profiles_and_imports_are_loaded(folder: Path) -> None:
    written(
        folder, "herz:\n  profiles: {active: prod}\n  config: {import: [more.yml, 'optional:none.yml']}\na: 1\nb: 1\n"
    )
    written(folder, "a: 2\n", "application-prod.yml")
    written(folder, "b: 3\n", "more.yml")
    with Herz("application.yml", environment={}) as herz:
        assert (herz.snapshot["a"], herz.snapshot["b"]) == (2, 3)


def test_secrets_never_show(folder: Path) -> None:
    written(folder, "db:\n  password: hunter2\n  url: pg://u:${db.password}@h/\n")
    with Herz("application.yml", environment={}) as herz:
        assert isinstance(herz.snapshot["db.password"], Secret)
        shown = f"{herz.snapshot['db']} {herz.snapshot.explain('db.url')} {herz.health()}"
        assert "hunter2" not in shown
        assert herz.snapshot["db.password"].reveal() == "hunter2"


def test_frozen_stands_still_until_thawed(folder: Path) -> None:
    source = MappingSource({"a": 0})
    with Herz(source, environment={}) as herz:
        herz.freeze()
        assert herz.freshness == "FROZEN"
        source.update({"a": 1})
        with pytest.raises(TimeoutError):
            herz.wait_for(lambda snapshot: snapshot["a"] == 1, 0.1)
        with pytest.raises(UsageError, match="frozen"):
            herz.refresh()
        herz.thaw()
        herz.wait_for(lambda snapshot: snapshot["a"] == 1, 10)
        assert herz.freshness == "CURRENT"


def test_starting_twice_is_refused_and_starting_again_works(folder: Path) -> None:
    herz = Herz({"a": 1}, environment={})
    with herz, pytest.raises(UsageError, match="already"):
        herz.start()
    with herz:
        assert herz.snapshot["a"] == 1


def test_a_change_of_watch_only_files_needs_a_refresh(folder: Path) -> None:
    written(folder, "herz: {config: {watch: {paths: ['classpath:/config/']}}}\na: 1\n")
    (folder / "config").mkdir()
    written(folder, "b: 1\n", "config/app.yml")
    with Herz("application.yml", "config/", environment={}, base_folders=[folder]) as herz:
        notices = [f"{notice.what} {notice.remedy}" for notice in herz.health().warnings]
        assert any("application.yml is loaded but not watched" in notice for notice in notices)
        written(folder, "b: 2\n", "config/app.yml")
        herz.wait_for(lambda snapshot: snapshot["b"] == 2, 10)
        written(folder, "herz: {config: {watch: {paths: ['classpath:/config/']}}}\na: 2\n")
        assert herz.refresh() == ["a"]


async def test_asynchronous_factories_run_on_the_applications_loop(folder: Path) -> None:
    import asyncio

    written(folder, FIRST)
    herz = Herz("application.yml", environment={})
    herz.properties("herz.service")(ServiceConfig)

    class Async:
        loop: asyncio.AbstractEventLoop
        retries: int

        async def aclose(self) -> None:
            assert asyncio.get_running_loop() is self.loop

    @herz.refresh_scope
    async def make(config: ServiceConfig) -> Async:
        made = Async()
        made.loop, made.retries = asyncio.get_running_loop(), config.retries
        return made

    async with herz:
        with pytest.raises(UsageError, match="aget"):
            herz.get(Async)
        first = await herz.aget(Async)
        assert first.loop is asyncio.get_running_loop()
        written(folder, FIRST.replace("retries: 3", "retries: 4"))
        await herz.await_for(lambda snapshot: snapshot["herz.service.retries"] == 4, 10)
        assert herz.get(Async).retries == 4
        assert herz.get(Async).loop is first.loop


def test_the_last_good_copy_starts_the_process_while_a_source_is_broken(folder: Path) -> None:
    written(folder, "a: 1\ndb: {password: hunter2}\n")
    with Herz("application.yml", environment={}, last_good="copy/last-good.json") as herz:
        herz.wait_for(lambda _: (folder / "copy/last-good.json").exists(), 10)
    copy = folder / "copy/last-good.json"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in copy.read_text()
    written(folder, "a: [\n")
    with Herz("application.yml", environment={}, last_good="copy/last-good.json") as herz:
        assert herz.snapshot["a"] == 1
        assert herz.freshness in ("STALE", "REFUSED")
        written(folder, "a: 2\n")
        herz.wait_for(lambda snapshot: snapshot["a"] == 2, 10)
        herz.wait_for(lambda _: herz.freshness == "CURRENT", 10)
    copy.write_bytes(copy.read_bytes()[:-5])
    written(folder, "a: [\n")
    with pytest.raises(ConfigLoadError), Herz("application.yml", environment={}, last_good="copy/last-good.json"):
        pass


def test_what_is_remembered_of_past_revisions_keeps_no_digests(herz: Herz, folder: Path) -> None:
    def changed(number: int) -> str:
        written(folder, FIRST.replace("other: 1", f"other: {number}"))
        herz.wait_for(lambda snapshot: snapshot["other"] == number, 10)
        return herz.snapshot.fingerprint

    with herz:
        first, told = herz.snapshot, herz.snapshot.fingerprint
        past = {changed(number) for number in range(2, 12)}
        gc.collect()
        alive = {str(one) for one in gc.get_objects() if type(one) is Fingerprint}
        assert len(past) == 10
        assert len(past & alive) < 4
        assert {told, herz.snapshot.fingerprint} <= alive
        assert first.fingerprint == told
