"""Herz on the embedded store: what one process sets, another runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from herz import ChangeSet, Herz, HerzError
from herz.store.journal import Journal
from herz.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys, time
from herz.store.journal import Journal
from herz.store.sqlite import SqliteStore
async def main():
    journal = Journal(SqliteStore("herz.db"), "pay")
    for number in range(int(sys.argv[1])):
        await journal.set({"service.n": number, "service.m": number}, author="writer")
asyncio.run(main())
"""


@dataclass
class Service:
    n: int = -1
    m: int = -1


def journal(app: str = "pay") -> Journal:
    return Journal(SqliteStore("herz.db"), app)


async def test_a_revision_set_is_a_revision_to_wait_for(folder: Path) -> None:
    pay = journal()
    await pay.set({"service.n": 1}, author="a")
    herz = Herz("sqlite:///herz.db#pay", environment={})
    herz.properties("service")(Service)
    async with herz:
        revision = await pay.set({"service.n": 2}, author="a")
        await herz.await_for(revision, 10)
        assert herz.get(Service).n == 2
        assert f"@{revision}" in str(herz.snapshot.explain("service.n"))
        await pay.rollback(revision - 1, author="a", message="back")
        await herz.await_for(lambda snapshot: snapshot["service.n"] == "1", 10)


async def test_a_refused_key_does_not_freeze_later_fixes(folder: Path) -> None:
    pay = journal()
    await pay.set({"service.n": 1}, author="a")
    herz = Herz("sqlite:///herz.db#pay", environment={})
    herz.properties("service")(Service)
    async with herz:
        await pay.set({"service.n": "abc"}, author="a")
        await herz.await_for(lambda _: herz.health().status == "DOWN", 10)
        await pay.set({"service.m": 5}, author="a")
        await herz.await_for(lambda snapshot: snapshot.get("service.m") == "5", 10)
        assert herz.get(Service) == Service(1, 5)
        assert herz.health().status == "DOWN"
        await pay.set({"service.n": 7}, author="a")
        await herz.await_for(lambda snapshot: snapshot["service.n"] == "7", 10)
        assert herz.get(Service) == Service(7, 5)
        assert herz.health().status == "UP"


def test_every_revision_of_another_process_is_heard_once_and_whole(folder: Path) -> None:
    asyncio.run(journal().set({"service.n": -1, "service.m": -1}, author="a"))
    heard: list[ChangeSet] = []
    torn: list[object] = []
    herz = Herz("sqlite:///herz.db#pay", environment={})
    herz.properties("service")(Service)
    herz.on_change("service")(heard.append)
    with herz:
        with subprocess.Popen([sys.executable, "-c", WRITER, "300"]) as writer:
            while not writer.poll() and (writer.returncode is None or herz.get(Service).n < 299):
                now = herz.get(Service)
                if now.n != now.m:
                    torn.append(now)
                time.sleep(0.001)  # a reader that never pauses takes the interpreter from everybody
        assert writer.returncode == 0
    assert not torn
    assert [{c.key: c.after for c in changes} for changes in heard] == [
        {"service.n": str(n), "service.m": str(n)} for n in range(300)
    ]
    assert not any(changes.reset for changes in heard)


def test_a_forked_child_follows_for_itself(folder: Path) -> None:
    asyncio.run(journal().set({"service.n": 1}, author="a"))
    (folder / "application.yml").write_text("x: 1\n")
    herz = Herz("application.yml", "sqlite:///herz.db#pay", environment={})
    herz.properties("service")(Service)

    class Client:
        def __init__(self, service: Service) -> None:
            self.pid, self.n, self.closed = os.getpid(), service.n, False

        def close(self) -> None:
            self.closed = True

    herz.refresh_scope(Client)
    with herz:
        parents = herz.get(Client)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                own = herz.get(Client)
                assert own is not parents
                assert own.pid == os.getpid()
                assert not parents.closed
                os.write(write, b"x")
                herz.wait_for(lambda snapshot: snapshot["service.n"] == "2" and snapshot["x"] == 2, 15)
                assert herz.get(Client).n == 2
                herz.stop()
                status = 0
            finally:
                os._exit(status)
        assert os.read(read, 1) == b"x"
        asyncio.run(journal().set({"service.n": 2}, author="a"))
        (folder / "application.yml").write_text("x: 2\n")
        herz.wait_for(lambda snapshot: snapshot["service.n"] == "2" and snapshot["x"] == 2, 15)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert herz.get(Client).pid == os.getpid()
        os.close(read)
        os.close(write)


def test_a_damaged_store_is_named_and_left_alone(folder: Path) -> None:
    (folder / "herz.db").write_bytes(b"not a database at all" * 100)
    before = (folder / "herz.db").read_bytes()
    with pytest.raises(HerzError, match=r"herz\.db"), Herz("sqlite:///herz.db#pay", environment={}):
        pass
    assert (folder / "herz.db").read_bytes() == before
