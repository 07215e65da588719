"""The embedded store is shared by real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

import herz
from herz.store.base import Changes, Progress
from herz.store.sqlite import SqliteStore
from herz.testing.store_contract import eventually, next_changes, until_progress

PRELUDE = """
import asyncio, json, os, sys, time
from herz.store.base import *
from herz.store.sqlite import SqliteStore
path = sys.argv[1]
"""


class Start(Protocol):
    """Runs `code` on the store at `path` in a process of its own, which ends with the test."""

    def __call__(self, code: str, path: Path, *arguments: object) -> subprocess.Popen[str]: ...


@pytest.fixture
def start() -> Iterator[Start]:
    processes = []

    def start(code: str, path: Path, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(path), *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(Path(herz.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:  # closes its pipes and waits
            process.kill()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "herz.db")
    yield store
    await store.close()


WRITER = """
async def main():
    store = SqliteStore(path)
    await store.status()
    for number in range(int(sys.argv[2])):
        await asyncio.sleep(0.005)
        await store.put("/t", b"%d" % number)
    await store.close()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "noticing",
    [
        pytest.param({"file_events": True, "poll_s": 3600.0}, id="inotify"),
        pytest.param({"file_events": False, "poll_s": 0.005}, id="polling"),
    ],
)
async def test_every_write_of_another_process_is_seen_without_the_look_that_heals(
    tmp_path: Path, noticing: dict[str, Any], start: Start
) -> None:
    # How soon is measured by the benchmark of the store; here nothing but the way under test can bring it in time.
    store = SqliteStore(tmp_path / "herz.db", check_s=3600.0, progress_s=3600.0, **noticing)
    count = 200
    async with store.watch("/t", (await store.status()).revision) as items:
        process = start(WRITER, store.path, count)
        seen = [(await next_changes(items)).events[0].entry.value for _ in range(count)]
    assert seen == [b"%d" % number for number in range(count)]
    assert process.wait(10) == 0
    await store.close()


async def test_a_writer_that_is_not_ours_is_seen_as_well(store: SqliteStore, start: Start) -> None:
    # It does not touch the file after its commit, so the event comes before the change is visible.
    revision = await store.put("/a", b"1")
    async with store.watch("/a", revision) as items:
        await until_progress(items, revision)
        code = """
            import sqlite3, zlib
            db = sqlite3.connect(path, isolation_level=None)
            db.execute("BEGIN IMMEDIATE")
            (revision,) = db.execute("UPDATE state SET revision = revision + 1 RETURNING revision").fetchone()
            crc = zlib.crc32(b"2", zlib.crc32(b"/a"))
            db.execute("INSERT INTO log (revision, key, value, checksum, create_revision, version) "
                       "VALUES (?, ?, ?, ?, 1, 2)", (revision, b"/a", b"2", crc))
            db.execute("UPDATE current SET id = last_insert_rowid() WHERE key = ?", (b"/a",))
            db.execute("COMMIT")
        """
        process = start(code, store.path)
        changes = await next_changes(items)
        assert process.wait(10) == 0
    assert changes.events[0].entry.value == b"2"


async def test_kill_9_loses_nothing_that_was_acknowledged(store: SqliteStore, start: Start) -> None:
    code = """
        async def main():
            store, number = SqliteStore(path), 0
            while True:
                number += 1
                puts = [Put(f"/k/{number}/{part}", b"x" * 500) for part in range(5)]
                result = await store.txn(Txn(then=puts))
                print(number, result.revision, flush=True)
        asyncio.run(main())
    """
    last = 0
    for round_ in range(3):
        process = start(code, store.path)
        assert process.stdout is not None
        acknowledged = []
        for line in process.stdout:
            acknowledged.append(tuple(map(int, line.split())))
            if len(acknowledged) == 40 + round_ * 7:
                process.send_signal(signal.SIGKILL)
        process.wait(10)
        number, revision = acknowledged[-1]
        found = await store.range("/k/")
        by_number: dict[int, set[int]] = {}
        for entry in found.entries:
            by_number.setdefault(int(entry.key.split("/")[2]), set()).add(entry.mod_revision)
        for each, its_revision in acknowledged:
            entries = [entry for entry in found.entries if entry.key.startswith(f"/k/{each}/")]
            assert len(entries) == 5, "every acknowledged transaction is there, whole"
            assert {entry.mod_revision for entry in entries} == {its_revision}
        for each, revisions in by_number.items():
            assert len(revisions) == 1, f"transaction {each} is torn"
        assert found.revision >= revision > last
        assert await store.verify() == ()
        last = await store.delete_prefix("/k/")
        assert number >= 40


async def test_eight_processes_that_compare_and_set_lose_no_increment(store: SqliteStore, start: Start) -> None:
    code = """
        async def main():
            store, done, tries = SqliteStore(path), 0, 0
            while done < 25:
                entry = await store.get("/n")
                value, revision = (0, 0) if entry is None else (int(entry.value), entry.mod_revision)
                txn = Txn((Compare.unchanged("/n", revision),), (Put("/n", b"%d" % (value + 1)),))
                done += (await store.txn(txn)).succeeded
                tries += 1
            await store.close()
            print(tries)
        asyncio.run(main())
    """
    processes = [start(code, store.path) for _ in range(8)]
    assert [process.wait(40) for process in processes] == [0] * 8
    entry = await store.get("/n")
    assert entry is not None
    assert (entry.value, entry.version) == (b"200", 200)


async def test_a_lease_of_a_process_that_died_is_swept_by_another(tmp_path: Path, start: Start) -> None:
    store = SqliteStore(tmp_path / "herz.db", check_s=3600.0)  # the lease's own end is what makes it look
    code = """
        async def main():
            store = SqliteStore(path)
            lease = await store.grant(0.5)
            print(await store.put("/services/pay/1", b"here", lease=lease.id), flush=True)
            sys.stdin.read()
        asyncio.run(main())
    """
    process = start(code, store.path)
    assert process.stdout is not None
    revision = int(process.stdout.readline())
    process.kill()
    process.wait(10)
    async with store.watch("/services/", revision) as items:
        changes = await next_changes(items)
    assert changes.events[0].type.value == "delete"
    await store.close()


async def test_a_lease_is_swept_by_the_writes_of_a_process_that_does_not_watch(
    store: SqliteStore, start: Start
) -> None:
    lease = await store.grant(0.2)
    await store.put("/services/pay/1", b"here", lease=lease.id)
    end = time.monotonic() + 0.25
    while time.monotonic() < end:
        assert await store.get("/services/pay/1") is not None, "a read alone never writes"
        await asyncio.sleep(0.05)
    code = """
        async def main():
            store = SqliteStore(path)
            await store.put("/other", b"")
            await store.close()
        asyncio.run(main())
    """
    assert await asyncio.to_thread(start(code, store.path).wait, 10) == 0
    assert await store.get("/services/pay/1") is None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_after_a_fork_parent_and_child_use_connections_of_their_own(store: SqliteStore) -> None:
    await store.put("/before", b"1")
    async with store.watch("/", 0) as items:
        await until_progress(items, 1)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # The loop and the watch are the parent's; the store works on a loop of our own.
                asyncio.events._set_running_loop(None)
                answer = asyncio.new_event_loop().run_until_complete(in_child(store))
                os.write(writing, json.dumps(answer).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        seen: dict[str, bytes] = {}
        async with asyncio.timeout(10):
            async for item in items:
                if isinstance(item, Changes):
                    seen |= {event.entry.key: event.entry.value for event in item.events}
                if isinstance(item, Progress) and "/child/9" in seen:
                    break
            await store.put("/parent", b"1")
        with os.fdopen(reading) as pipe:
            text = await asyncio.to_thread(pipe.read)
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    assert json.loads(text) == {"before": "1", "own": [f"/child/{number}" for number in range(10)], "parent": "1"}
    assert await store.verify() == ()


async def in_child(store: SqliteStore) -> dict[str, object]:
    """What the child reads, writes and watches."""
    before = await store.get("/before")
    assert before is not None
    own: list[str] = []
    async with store.watch("/", before.mod_revision) as items:
        for number in range(10):
            await store.put(f"/child/{number}", b"x")
        while len(own) < 10:
            own += [event.entry.key for event in (await next_changes(items)).events]
        parent = await next_changes(items)
    await store.close()
    return {"before": before.value.decode(), "own": own, "parent": parent.events[0].entry.value.decode()}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_what_a_forked_child_writes_survives_the_end_of_its_parent(store: SqliteStore) -> None:
    # SQLite's books in the process say which locks it has. A child that inherits the books, but not the locks, does
    # not lock the file; the parent then believes to be the last one out, and deletes the log that the child writes.
    await store.put("/parent", b"1")
    await store.get("/parent")
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.events._set_running_loop(None)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(store.put("/child/early", b"1"))
            loop.run_until_complete(store.get("/child/early"))
            os.write(to_parent, b"x")
            os.read(from_parent, 1)
            loop.run_until_complete(store.put("/child/late", b"1"))
            status = 0
        finally:
            os._exit(status)
    await asyncio.to_thread(os.read, from_child, 1)
    await store.put("/parent", b"2")
    await store.close()
    os.write(to_child, b"x")
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    for descriptor in (from_child, to_parent, from_parent, to_child):
        os.close(descriptor)
    after = SqliteStore(store.path)
    assert [entry.key for entry in (await after.range("/")).entries] == ["/child/early", "/child/late", "/parent"]
    assert await after.verify() == ()
    await after.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_child_forked_amid_traffic_does_not_lose_the_writes_of_either(store: SqliteStore) -> None:
    # The parent's connections have locks at the moment of the fork; a child that believed in them would
    # read pages that a checkpoint is overwriting, or write into a log that was deleted.
    await store.put("/n", b"0")
    children: list[int] = []

    async def traffic() -> None:
        while len(children) < 5:
            await store.put("/parent", b"x" * 3000)
            await store.range("/")

    writers = [asyncio.create_task(traffic()) for _ in range(3)]
    for number in range(5):
        await asyncio.sleep(0.02)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.events._set_running_loop(None)
                asyncio.new_event_loop().run_until_complete(fill(store, number))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    await asyncio.gather(*writers)
    for child in children:
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    found = await store.range("/child/")
    assert len(found.entries) == 5 * 50
    assert await store.verify() == ()


async def fill(store: SqliteStore, number: int) -> None:
    for each in range(50):
        await store.put(f"/child/{number}/{each}", b"x" * 1000)
    # Not closed: the child ends as a worker that is killed does.


async def test_the_event_loop_is_not_blocked_by_a_writer_who_waits_for_the_lock(
    store: SqliteStore, start: Start
) -> None:
    revision = await store.put("/a", b"1")
    code = """
        import sqlite3
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.readline()
        db.execute("COMMIT")
    """
    process = start(code, store.path)
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    async with store.watch("/", revision) as items:
        write = asyncio.create_task(store.put("/a", b"2"))
        assert await until_progress(items, revision) == [], "reading goes on"
        assert (await store.range("/")).revision == revision
        assert not write.done()
        process.stdin.write("\n")
        process.stdin.flush()
        assert (await next_changes(items)).events[0].entry.value == b"2"
    assert await write == revision + 1
    assert process.wait(10) == 0


async def test_a_lock_held_too_long_is_an_error_that_names_the_remedy(store: SqliteStore, start: Start) -> None:
    await store.put("/a", b"1")
    impatient = SqliteStore(store.path, busy_s=0.1)
    code = """
        import sqlite3
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.readline()
    """
    process = start(code, store.path)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(herz.errors.SourceUnavailable, match="locked by another process"):
        await impatient.put("/a", b"2")
    process.kill()
    process.wait(10)
    assert await impatient.put("/a", b"2") == 2
    await impatient.close()


async def test_two_processes_that_make_the_store_at_once_get_the_same_one(tmp_path: Path, start: Start) -> None:
    code = """
        async def main():
            store = SqliteStore(path)
            sys.stdin.readline()
            print((await store.status()).identity)
            await store.put(f"/{os.getpid()}", b"")
            await store.close()
        asyncio.run(main())
    """
    processes = [start(code, tmp_path / "new.db") for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=20)[0] for process in processes}
    assert len(answers) == 1
    store = SqliteStore(tmp_path / "new.db")

    async def all_there() -> bool:
        return len((await store.range("/")).entries) == 4

    await eventually(all_there)
    await store.close()
