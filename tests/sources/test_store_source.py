"""A prefix of the embedded store as a source: whole revisions, in order, and one bad key holds up no other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from herz.errors import DocumentMalformed, DuplicateKey, HerzError, KeyConflict, RevisionExpired, UsageError
from herz.model.document import Batch, Progress
from herz.model.tree import ABSENT, thaw
from herz.sources.base import Failed, Item
from herz.sources.store import StoreSource
from herz.sources.urls import source_for
from herz.store.base import Delete, Put, Txn
from herz.store.journal import Journal
from herz.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path):
    store = SqliteStore(tmp_path / "herz.db")
    yield store
    await store.close()


@pytest.fixture
def source(store: SqliteStore) -> StoreSource:
    return StoreSource(store, "/config/pay/")


async def collected(items: Any, until: int) -> list[Item]:
    """What comes until all up to revision `until` has come, without progress: a failure that stands is that too."""
    found: list[Item] = []
    async with asyncio.timeout(10):
        async for item in items:
            stands = isinstance(item, Failed) and any(getattr(one, "error", None) is item.error for one in found)
            if not (isinstance(item, Progress) or stands):
                found.append(item)
            revision = item.revision if not hasattr(item, "reason") else item.document.revision
            if revision >= until and (isinstance(item, Progress) or stands or len(found) > 200):
                return found
    return found


async def test_keys_are_paths_and_documents_are_tables(store: SqliteStore, source: StoreSource) -> None:
    journal = Journal(store, "pay")
    revision = await journal.set({"db.pool": 5, "db.[a.b]": "x", "name": "pay"}, author="a")
    await store.put("/config/pay/limits.yml", b"rate: 3\nper: 1s\n")
    await store.put("/config/pay/application.json", b'{"top": true}')
    document = await source.read()
    assert thaw(document.tree) == {
        "db": {"pool": "5", "a.b": "x"},
        "name": "pay",
        "limits": {"rate": 3, "per": "1s"},
        "top": True,
    }
    assert document.locate("db.pool") == f"/config/pay/db/pool@{revision}"
    assert document.locate("limits.per") == f"/config/pay/limits.yml@{revision + 1}:2"


async def test_each_revision_is_one_batch_that_leads_to_a_fresh_read(store: SqliteStore, source: StoreSource) -> None:
    await store.put("/config/pay/a", b"1")
    document = await source.read()
    async with source.follow(document.revision) as items:
        await store.txn(Txn(then=(Put("/config/pay/b", b"2"), Put("/config/pay/c/d", b"3"), Delete("/config/pay/a"))))
        await store.put("/config/other/x", b"9")
        last = await store.put("/config/pay/c/d", b"4")
        found = await collected(items, last)
    assert all(isinstance(item, Batch) for item in found)
    assert [{(e.path, e.before, e.after) for e in item.events} for item in found if isinstance(item, Batch)] == [
        {(("a",), "1", ABSENT), (("b",), ABSENT, "2"), (("c", "d"), ABSENT, "3")},
        {(("c", "d"), "3", "4")},
    ]
    fresh = await StoreSource(store, "/config/pay/").read()
    assert isinstance(found[-1], Batch)
    assert thaw(found[-1].document.tree) == thaw(fresh.tree)


async def test_a_bad_key_is_reported_and_holds_up_no_other(store: SqliteStore, source: StoreSource) -> None:
    await store.put("/config/pay/a.yml", b"x: 1\n")
    document = await source.read()
    async with source.follow(document.revision) as items:
        await store.put("/config/pay/a.yml", b"x: [\n")
        await store.put("/config/pay/b", b"2")
        last = await store.put("/config/pay/a.yml", b"x: 2\n")
        found = await collected(items, last)
    kinds = [type(item) for item in found]
    assert kinds == [Failed, Batch, Batch]  # that it still stands is said again, as a sign of life
    assert isinstance(found[0], Failed)
    assert isinstance(found[0].error, DocumentMalformed)
    assert "a.yml@" in str(found[0].error)
    trees = [thaw(item.document.tree) for item in found if isinstance(item, Batch)]
    assert trees == [{"a": {"x": 1}, "b": "2"}, {"a": {"x": 2}, "b": "2"}]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("/config/pay/a/b", b"1", KeyConflict),
        ("/config/pay/A", b"1", DuplicateKey),
        ("/config/pay/c", b"\xff", DocumentMalformed),
        ("/config/pay/", b"1", DocumentMalformed),
    ],
)
async def test_what_cannot_be_a_key_or_value_is_refused(
    store: SqliteStore, source: StoreSource, key: str, value: bytes, error: type[HerzError]
) -> None:
    await store.put("/config/pay/a", b"1")
    document = await source.read()
    async with source.follow(document.revision) as items:
        last = await store.put(key, value)
        found = await collected(items, last)
    (failed,) = found
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, error)
    with pytest.raises(error):
        await StoreSource(store, "/config/pay/").read()


async def test_a_watch_from_another_revision_asks_for_a_new_read(store: SqliteStore, source: StoreSource) -> None:
    await store.put("/config/pay/a", b"1")
    await source.read()
    with pytest.raises(RevisionExpired):
        async with source.follow(999):
            pass


async def test_many_flat_keys_are_read_and_changed_without_going_through_all(
    store: SqliteStore, source: StoreSource
) -> None:
    for start in range(0, 5000, 100):
        await store.txn(Txn(then=tuple(Put(f"/config/pay/k{n:05d}", b"v") for n in range(start, start + 100))))
    document = await source.read()
    assert len(document.tree) == 5000
    async with source.follow(document.revision) as items:
        last = await store.put("/config/pay/k00042", b"w")
        found = await collected(items, last)
    (batch,) = found
    assert isinstance(batch, Batch)
    assert batch.document.tree["k00042"] == "w"
    assert document.tree["k00042"] == "v"


def test_a_url_names_file_and_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = source_for("optional:sqlite:///herz.db#pay")
    assert isinstance(source, StoreSource)
    assert source.prefix == "/config/pay/"
    assert source.optional
    assert source.origin.name == "sqlite:herz.db#pay"
    for wrong in ("sqlite:///herz.db", "sqlite://host/herz.db#pay", "sqlite:///#pay"):
        with pytest.raises(UsageError):
            source_for(wrong)
