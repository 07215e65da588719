"""The configuration manager: load first, then watch, each change told once."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from herz import (
    ConfigChangeEvent,
    ConfigLoadedEvent,
    ConfigLoadError,
    ConfigManager,
    MappingSource,
    Phase,
    UsageError,
)
from herz.testing.fault_proxy import FaultProxy
from herz.testing.zookeeper import ZookeeperEnsemble


@pytest.fixture(scope="module")
def ensemble() -> Iterator[ZookeeperEnsemble]:
    with ZookeeperEnsemble(3) as found:
        yield found


@pytest.fixture(scope="module")
def zk(ensemble: ZookeeperEnsemble) -> Iterator[KazooClient]:
    patience = KazooRetry(max_tries=-1, max_delay=0.3)
    client = KazooClient(ensemble.hosts, timeout=10.0, connection_retry=patience)
    client.start(40)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def path(zk: KazooClient, request: pytest.FixtureRequest) -> str:
    found = f"/config/{request.node.name}"
    zk.create(f"{found}/limit", b"0", makepath=True)
    return found


def until(holds: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        threading.Event().wait(0.005)


def reaches(manager: ConfigManager, limit: str, timeout_s: float) -> None:
    manager.herz.wait_for(lambda snapshot: snapshot["limit"] == limit, timeout=timeout_s)


def states(manager: ConfigManager) -> list[Phase]:
    found: list[Phase] = []
    manager.herz.events.register("state", found.append)
    return found


def test_init_loads_first_and_watches_then(ensemble, path):
    manager = ConfigManager(f"zookeeper://{ensemble.hosts}{path}", environment={})
    passed = states(manager)
    seen: list[Any] = []

    @manager.on(ConfigLoadedEvent)
    def loaded(event: ConfigLoadedEvent) -> None:
        seen.append(event.snapshot["limit"])

    manager.init()
    assert manager.get("limit") == "0"
    until(lambda: manager.state is Phase.WATCHING)
    assert passed == [Phase.LOADING, Phase.LOADED, Phase.WATCHING]
    until(lambda: bool(seen))
    manager.close()
    assert seen == ["0"]
    assert manager.state is Phase.STOPPED


def test_a_first_load_that_fails_raises_and_leaves_nothing_behind(ensemble, path, zk):
    manager = ConfigManager(f"zookeeper://{ensemble.hosts}{path}/missing", environment={})
    passed = states(manager)
    with pytest.raises(ConfigLoadError, match="there is no znode"):
        manager.init()
    assert passed == [Phase.LOADING, Phase.STOPPED]
    zk.create(f"{path}/missing/limit", b"1", makepath=True)
    with manager:
        assert manager.get("limit") == "1"


def test_an_optional_source_need_not_be_there(ensemble, path, zk):
    with ConfigManager(f"optional:zookeeper://{ensemble.hosts}{path}/later", environment={}) as manager:
        assert manager.get("limit") is None
        zk.create(f"{path}/later/limit", b"1", makepath=True)
        manager.herz.wait_for(lambda snapshot: snapshot.get("limit") == "1", timeout=20)


def test_a_last_good_copy_serves_while_the_ensemble_is_down(path, ensemble, tmp_path):
    copy = tmp_path / "last-good"
    with FaultProxy(ensemble.servers[0].address) as proxy:
        url = f"zookeeper://{proxy.address}{path}?dial=0.5&proof=1"
        with ConfigManager(url, environment={}, last_good=copy) as manager:
            until(copy.exists)
        proxy.refuse()
        with ConfigManager(url, environment={}, last_good=copy) as manager:
            assert manager.get("limit") == "0"
            assert manager.herz.freshness == "STALE"
            proxy.heal()
            until(lambda: manager.herz.freshness == "CURRENT")


def test_each_change_is_one_event_after_the_loaded_one(ensemble, path, zk):
    manager = ConfigManager(f"zookeeper://{ensemble.hosts}{path}", environment={})
    heard: list[Any] = []
    manager.add_listener(heard.append)
    with manager:
        until(lambda: manager.state is Phase.WATCHING)
        for number in range(1, 20):
            zk.set(f"{path}/limit", str(number).encode())
            reaches(manager, str(number), 20)
    assert isinstance(heard[0], ConfigLoadedEvent)
    changes = heard[1:]
    assert all(isinstance(event, ConfigChangeEvent) and event.keys == ("limit",) for event in changes)
    assert [event.changes.changes[0].after for event in changes] == [str(number) for number in range(1, 20)]
    assert [event.revision for event in changes] == sorted(event.revision for event in changes)


def test_a_change_event_says_when_values_in_between_may_have_been_missed(ensemble, path, zk):
    heard: list[ConfigChangeEvent] = []
    with FaultProxy(ensemble.servers[0].address) as proxy:
        manager = ConfigManager(f"zookeeper://{proxy.address}{path}", environment={})
        manager.add_listener(heard.append, ConfigChangeEvent)
        with manager:
            until(lambda: manager.state is Phase.WATCHING)
            zk.set(f"{path}/limit", b"1")
            manager.herz.wait_for(lambda snapshot: snapshot["limit"] == "1", timeout=20)
            proxy.refuse()
            proxy.cut()
            zk.set(f"{path}/limit", b"2")
            zk.set(f"{path}/limit", b"3")
            proxy.heal()
            manager.herz.wait_for(lambda snapshot: snapshot["limit"] == "3", timeout=20)
    assert [(event.reset, event.changes.changes[0].after) for event in heard] == [(False, "1"), (True, "3")]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_session_that_is_cut_and_a_leader_that_is_killed_repeat_no_event(ensemble, path, zk):
    heard: list[ConfigChangeEvent] = []
    manager = ConfigManager(f"zookeeper://{ensemble.hosts}{path}?session=3&dial=1", environment={})
    manager.add_listener(heard.append, ConfigChangeEvent)
    with manager:
        until(lambda: manager.state is Phase.WATCHING)
        for number in range(1, 4):
            leader = ensemble.leader()
            leader.kill()
            zk.retry(zk.set, f"{path}/limit", str(number).encode())
            reaches(manager, str(number), 40)
            assert manager.state is Phase.WATCHING
            leader.start()
            leader.wait_ready()
    assert [event.changes.changes[0].after for event in heard] == ["1", "2", "3"]


async def test_async_listeners_run_on_the_application_s_loop(ensemble, path, zk):
    loops: list[asyncio.AbstractEventLoop] = []
    arrived = asyncio.Event()
    manager = ConfigManager(f"zookeeper://{ensemble.hosts}{path}", environment={})

    @manager.on(ConfigLoadedEvent, ConfigChangeEvent)
    async def heard(event: object) -> None:
        loops.append(asyncio.get_running_loop())
        arrived.set()

    async with manager, asyncio.timeout(20):
        await arrived.wait()
    assert loops == [asyncio.get_running_loop()]


def test_it_is_the_same_for_every_other_source(tmp_path: Path):
    file = tmp_path / "application.yml"
    file.write_text("limit: 1\n")
    mapping = MappingSource({"beta": False})
    heard: list[Any] = []
    manager = ConfigManager(file, mapping, environment={})
    manager.add_listener(heard.append)
    with manager:
        until(lambda: manager.state is Phase.WATCHING)
        file.write_text("limit: 2\n")
        manager.herz.wait_for(lambda snapshot: snapshot["limit"] == 2, timeout=20)
        mapping.update({"beta": True})
        manager.herz.wait_for(lambda snapshot: snapshot["beta"] is True, timeout=20)
    assert [type(event).__name__ for event in heard] == ["ConfigLoadedEvent", "ConfigChangeEvent", "ConfigChangeEvent"]
    assert [event.keys for event in heard[1:]] == [("limit",), ("beta",)]


def test_a_listener_that_was_removed_hears_nothing_more():
    mapping = MappingSource({"limit": 1})
    manager = ConfigManager(mapping, environment={})
    stays: list[Any] = []
    goes: list[Any] = []
    manager.add_listener(stays.append, ConfigChangeEvent)
    gone = manager.add_listener(goes.append, ConfigChangeEvent)
    with manager:
        mapping.update({"limit": 2})
        until(lambda: bool(stays and goes))
        manager.remove_listener(gone)
        mapping.update({"limit": 3})
        until(lambda: len(stays) == 2)
    assert len(goes) == 1


def test_a_listener_that_raises_harms_no_other():
    mapping = MappingSource({"limit": 1})
    manager = ConfigManager(mapping, environment={})
    heard: list[Any] = []

    @manager.on(ConfigChangeEvent)
    def bad(event: ConfigChangeEvent) -> None:
        raise ValueError(event.source)

    manager.add_listener(heard.append, ConfigChangeEvent)
    with manager:
        mapping.update({"limit": 2})
        until(lambda: bool(heard))
        assert manager.get("limit") == 2


def test_it_runs_once_at_a_time_and_may_run_again():
    manager = ConfigManager(MappingSource({"limit": 1}), environment={})
    for _ in range(2):
        with manager, pytest.raises(UsageError):
            manager.init()
        assert manager.state is Phase.STOPPED


def test_an_event_prints_no_values():
    mapping = MappingSource({"limit": "plain"})
    manager = ConfigManager(mapping, environment={})
    heard: list[Any] = []
    manager.add_listener(heard.append)
    with manager:
        mapping.update({"password": "s3cret"})
        until(lambda: len(heard) == 2)
    assert "s3cret" not in repr(heard)


def test_a_forked_child_follows_with_a_session_of_its_own(ensemble, path, zk):
    manager = ConfigManager(f"zookeeper://{ensemble.hosts}{path}", environment={})
    with manager:
        until(lambda: manager.state is Phase.WATCHING)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                reaches(manager, "1", 20)
                status = 0
            finally:
                os._exit(status)
        zk.set(f"{path}/limit", b"1")
        assert os.waitpid(child, 0)[1] == 0
        reaches(manager, "1", 20)
        zk.set(f"{path}/limit", b"2")
        reaches(manager, "2", 20)  # the parent's session is still its own
