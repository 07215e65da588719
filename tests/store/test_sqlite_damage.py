"""What the embedded store says and keeps when its file is damaged, foreign, missing or cannot grow."""

# These tests damage files and start programs on the event loop that waits for nothing else.
# ruff: noqa: ASYNC221, ASYNC240

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import herz
from herz.errors import RevisionExpired, SourceDenied, SourceError, SourceUnavailable, StoreCorrupt, StoreError
from herz.store.base import Changes, Put, Txn
from herz.store.sqlite import SqliteStore
from herz.testing.store_contract import eventually, next_changes, until_progress


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed store with a hundred keys."""
    path = tmp_path / "herz.db"
    store = SqliteStore(path)
    await store.txn(Txn(then=[Put(f"/config/pay/key{number:03}", b"value" * 100) for number in range(100)]))
    await store.close()
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, create=True, check_s=0.05, progress_s=0.05)
    yield store
    await store.close()


async def test_a_new_store_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "herz.db")
    await store.put("/a", b"1")
    for name in ("herz.db", "herz.db-wal", "herz.db-shm"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    await store.close()


async def test_who_is_cancelled_while_leaving_a_damaged_store_is_cancelled(path: Path) -> None:
    store = SqliteStore(path, check_s=0.05)
    followed, leaving = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async with store.watch("/config/pay/", 0) as items:
            followed.set()
            leave = store._lookout.leave  # type: ignore[union-attr]

            async def left(listener: asyncio.Event) -> None:
                leaving.set()
                await leave(listener)

            store._lookout.leave = left  # type: ignore[union-attr, method-assign]
            async for _ in items:
                pass

    task = asyncio.create_task(follow())
    await followed.wait()
    for suffix in ("", "-wal"):
        Path(f"{path}{suffix}").write_bytes(b"overwritten" * 1000)
    await leaving.wait()  # the damage has ended the watch, which now waits for the end of the looking
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.close()


@pytest.mark.parametrize("damage", ["header", "garbage", "middle", "truncated"])
async def test_a_damaged_file_is_named_and_left_as_it_is(path: Path, store: SqliteStore, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[:16] = b"not a database!!"
    elif damage == "garbage":
        data[:] = os.urandom(len(data))
    elif damage == "middle":
        data[4096 : len(data) - 4096] = b"\xa5" * (len(data) - 8192)
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt) as caught:
        await store.range("/")
    assert str(path) in str(caught.value)
    assert ".recover" in str(caught.value)
    with pytest.raises(StoreCorrupt):
        await store.txn(Txn(then=[Put(f"/config/pay/key{number:03}", b"new") for number in range(100)]))
    assert await store.verify() != ()
    await store.close()
    assert path.read_bytes() == data, "nothing was overwritten"


async def test_a_flipped_bit_inside_a_value_never_becomes_configuration(path: Path, store: SqliteStore) -> None:
    data = path.read_bytes()
    at = data.index(b"valuevalue")
    path.write_bytes(data[:at] + b"w" + data[at + 1 :])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",), "SQLite itself does not notice"
    with pytest.raises(StoreCorrupt, match="checksum") as caught:
        await store.range("/")
    assert caught.value.where is not None
    assert "/config/pay/key" in caught.value.where
    assert any("checksum" in line for line in await store.verify())


async def test_a_missing_table_is_damage(path: Path, store: SqliteStore) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE log")
    with pytest.raises(StoreCorrupt, match="table"):
        await store.range("/")


async def test_a_store_of_a_newer_version_is_refused(path: Path, store: SqliteStore) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"newer version of Herz.*schema 99.*upgrade"):
        await store.put("/a", b"1")


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (a)")
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="not a store of Herz"):
        await store.put("/a", b"1")
    await store.close()
    assert path.read_bytes() == before


async def test_a_missing_store_is_made_only_when_asked(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "typo.db", create=False)
    with pytest.raises(SourceUnavailable, match="no store"):
        await store.get("/a")
    await store.close()
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_file_is_no_store_unless_it_may_be_made(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    store = SqliteStore(tmp_path / "empty.db", create=False)
    with pytest.raises(SourceUnavailable, match="empty"):
        await store.get("/a")
    await store.close()
    store = SqliteStore(tmp_path / "empty.db")
    assert await store.put("/a", b"1") == 1
    await store.close()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "nowhere" / "herz.db")
    with pytest.raises(SourceUnavailable, match=r"folder.*does not exist.*mkdir"):
        await store.put("/a", b"1")
    await store.close()


async def test_a_folder_in_the_place_of_the_store_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(SourceUnavailable, match="a folder stands"):
        await store.get("/a")
    await store.close()


async def test_a_path_with_strange_letters_works(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%20é"
    folder.mkdir()
    store = SqliteStore(folder / "h?e#r%z.db")
    await store.put("/a", b"1")
    await store.close()
    assert [entry.name for entry in folder.iterdir()] == ["h?e#r%z.db"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(
    ("mode", "call", "expected"),
    [
        ("chmod 600 herz.db", "get", "SourceDenied"),
        ("chmod 644 herz.db; chmod 755 .", "get", "SourceDenied"),
        ("chmod 755 .; rm herz.db", "put", "SourceDenied"),
        ("chmod 777 .; chmod 644 herz.db", "get", "value"),
        ("chmod 777 .; chmod 644 herz.db", "put", "SourceDenied"),
    ],
)
async def test_missing_rights_are_denied_not_retried(path: Path, mode: str, call: str, expected: str) -> None:
    code = """
        import asyncio, os, sys, tempfile
        from herz.store.sqlite import SqliteStore

        async def call(path, name):
            store = SqliteStore(path)
            try:
                if name == "put":
                    await store.put("/a", b"1")
                else:
                    print((await store.get("/config/pay/key000")).value[:5].decode())
            except Exception as error:
                print(type(error).__name__, error)
            await store.close()

        # Everything is imported before the rights are given up: the interpreter may lie where others cannot read.
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(call(folder + "/warm.db", "put"))
            asyncio.run(call(folder, "get"))
        os.setgid(65534)
        os.setuid(65534)
        print("as nobody")
        asyncio.run(call("herz.db", sys.argv[1]))
    """
    folder = Path("/tmp") / f"herz-rights-{os.getpid()}"  # pytest's own folders are closed to others
    folder.mkdir()
    try:
        shutil.copy(path, folder / "herz.db")
        subprocess.run(["sh", "-c", mode], cwd=folder, check=True)
        source = Path(herz.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), call],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            timeout=20,
        )
        _, marker, answer = done.stdout.partition("as nobody\n")
        assert marker, done.stdout + done.stderr
        assert answer.startswith(expected), answer + done.stderr
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a small file system; needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_an_error_and_loses_nothing(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "herz.db")
    acknowledged: dict[str, int] = {}

    async def fill() -> None:
        for number in range(1000):
            await store.put(f"/{number}", b"x" * 5000)
            acknowledged[f"/{number}"] = number + 1

    with pytest.raises(StoreError, match=r"disk is full.*\(.*herz.db\); make room"):
        await fill()
    assert acknowledged
    found = await store.range("/")
    assert {entry.key: entry.mod_revision for entry in found.entries} == acknowledged
    assert found.revision == len(acknowledged)
    await store.close()
    store = SqliteStore(small_disk / "herz.db")
    assert len((await store.range("/")).entries) == len(acknowledged)
    subprocess.run(["mount", "-o", "remount,size=3m", small_disk], check=True)
    assert await store.put("/after", b"x" * 5000) == len(acknowledged) + 1, "it goes on when there is room again"
    assert await store.verify() == ()
    await store.close()


async def test_a_lease_that_ends_on_a_full_disk_takes_next_to_no_processor_time(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "herz.db", check_s=0.05, progress_s=0.05)
    lease = await store.grant(0.1)
    await store.put("/leased", b"1", lease=lease.id)

    async def fill() -> None:
        for number in range(1000):
            await store.put(f"/{number}", b"x" * 5000)

    with pytest.raises(StoreError, match="disk is full"):
        await fill()
    async with store.watch("/", revision := (await store.status()).revision) as items:
        await until_progress(items, revision)
        began, end = time.process_time(), time.monotonic() + 1
        while time.monotonic() < end:
            await asyncio.wait_for(anext(items), 1)
        assert time.process_time() - began < 0.3
        subprocess.run(["mount", "-o", "remount,size=3m", small_disk], check=True)
        changes = await next_changes(items)
        assert [event.entry.key for event in changes.events] == ["/leased"], "it ends once there is room"
    await store.close()


async def test_a_disk_too_full_to_make_a_store_is_an_error(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * 1024 * 1020)
    store = SqliteStore(small_disk / "herz.db")
    with pytest.raises(StoreError):
        await store.put("/a", b"1")
    (small_disk / "ballast").unlink()
    assert await store.put("/a", b"1") == 1
    await store.close()


async def test_a_file_removed_while_open_is_an_error_and_not_written_into_the_void(
    path: Path, store: SqliteStore
) -> None:
    revision = await store.put("/a", b"1")
    async with store.watch("/", revision) as items:
        await until_progress(items, revision)
        backup = path.with_name("backup.db")
        await store.status()
        path.rename(backup)
        with pytest.raises(SourceUnavailable, match="removed while it was open"):
            await store.put("/a", b"2")
        with pytest.raises(SourceError):
            await next_changes(items)
    assert not path.exists(), "it is not made anew behind the operator's back"


async def test_a_backup_copied_over_the_open_file_is_an_error_and_not_unseen(
    path: Path, store: SqliteStore, tmp_path: Path
) -> None:
    backup = shutil.copy(path, tmp_path / "backup.db")
    await store.put("/config/pay/key000", b"new")
    async with store.watch("/", revision := (await store.status()).revision) as changes:
        await until_progress(changes, revision)
        for suffix in ("-wal", "-shm"):
            os.unlink(f"{path}{suffix}")
        shutil.copyfile(backup, path)
        with pytest.raises(SourceUnavailable, match="restore the backup again"):
            await until_progress(changes, revision + 1)
    with pytest.raises(SourceUnavailable, match="log was removed"):
        await store.get("/config/pay/key000")


async def test_a_watch_notices_that_the_file_was_replaced(path: Path, store: SqliteStore, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "other.db")
    for number in range(50):
        await other.put(f"/{number}", b"")
    await other.close()
    revision = await store.put("/a", b"1")
    async with store.watch("/", revision) as items:
        await until_progress(items, revision)
        os.replace(tmp_path / "other.db", path)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        with pytest.raises(RevisionExpired, match="replaced"):
            await next_changes(items)
    assert await store.get("/a") is None
    assert (await store.status()).revision == 50


async def test_a_watch_of_a_restored_backup_is_refused_with_both_revisions(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "backup.db")
    store = SqliteStore(path)
    revision = await store.put("/a", b"1")
    await store.close()
    os.replace(tmp_path / "backup.db", path)
    store = SqliteStore(path)
    with pytest.raises(RevisionExpired, match=f"at revision {revision - 1}, before {revision}"):
        async with store.watch("/", revision):
            pass
    await store.close()


async def test_a_compaction_that_overtakes_a_watch_ends_it(store: SqliteStore) -> None:
    start = (await store.status()).revision
    async with store.watch("/a", start) as items:
        # 300 changes are more than one batch, so the rest is read after the compaction.
        for number in range(600):
            last = await store.put("/a", b"%d" % number)
        assert (await next_changes(items)).revision == start + 1
        await store.compact(last)
        seen = [start + 1]

        async def follow() -> None:
            while True:
                seen.append((await next_changes(items)).revision)

        with pytest.raises(RevisionExpired, match="compacted"):
            await follow()
    assert seen == list(range(start + 1, start + 1 + len(seen))), "what was handed over before had no gap"


async def test_old_revisions_are_compacted_by_themselves(path: Path) -> None:
    store = SqliteStore(path, retain_revisions=100)
    for number in range(400):
        last = await store.put("/a", b"%d" % number)
    status = await store.status()
    assert last - 130 <= status.compacted <= last - 100
    entry = await store.get("/a", revision=last - 100)
    assert entry is not None
    assert entry.value == b"299"
    assert len((await store.range("/config/")).entries) == 100, "the present is never compacted"
    await store.close()


async def test_compaction_leaves_one_row_for_each_living_key(path: Path, store: SqliteStore) -> None:
    for number in range(50):
        await store.put(f"/{number % 5}", b"")
    for number in range(3):
        last = await store.delete(f"/{number}")
    await store.compact(last - 1)
    await store.compact(last)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM log").fetchone() == (102,)


async def test_an_idle_watch_takes_next_to_no_processor_time(store: SqliteStore) -> None:
    revision = await store.put("/a", b"1")
    async with store.watch("/", revision) as items:
        await until_progress(items, revision)
        await store.put("/a", b"2")
        await next_changes(items)
        began, end = time.process_time(), time.monotonic() + 0.5
        while time.monotonic() < end:
            await asyncio.wait_for(anext(items), 1)  # every 50 ms, as the fixture asks
        assert time.process_time() - began < 0.1


async def test_an_open_watch_costs_no_thread_or_descriptor_after_it_ends(store: SqliteStore) -> None:
    revision = await store.put("/a", b"1")

    async def once() -> None:
        async with store.watch("/", revision - 1) as items:
            assert isinstance(await next_changes(items), Changes)

    await once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        await once()
    assert len(os.listdir("/proc/self/fd")) == before
    tasks = [task for task in asyncio.all_tasks() if "herz" in task.get_name()]
    assert tasks == []


async def test_twenty_watches_share_one_inotify_instance(store: SqliteStore) -> None:
    revision = await store.put("/a", b"1")
    await store.get("/a")  # opens the reading connection
    before = len(os.listdir("/proc/self/fd"))
    watches = [store.watch("/", revision) for _ in range(20)]
    iterators = [await watch.__aenter__() for watch in watches]
    opened = len(os.listdir("/proc/self/fd")) - before
    await store.put("/a", b"2")
    for items in iterators:
        assert (await next_changes(items)).revision == revision + 1
    for watch in watches:
        await watch.__aexit__(None, None, None)
    assert opened <= 2


async def test_a_cancelled_watch_can_be_opened_again(store: SqliteStore) -> None:
    revision = await store.put("/a", b"1")

    async def follow() -> None:
        async with store.watch("/", revision) as items:
            async for _ in items:
                started.set()

    for _ in range(5):
        started = asyncio.Event()
        task = asyncio.create_task(follow())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def readable() -> bool:
        return (await store.get("/a")) is not None

    await eventually(readable)


async def test_errors_never_show_a_value(store: SqliteStore) -> None:
    secret = "hunter2-" + "x" * 2_000_000
    with pytest.raises(StoreError) as caught:
        await store.put("/config/pay/password", secret.encode())
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Put("/a", b"hunter2"))
    assert isinstance(caught.value, StoreError)
    assert not isinstance(caught.value, SourceDenied)
