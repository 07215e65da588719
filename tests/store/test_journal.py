"""An application's configuration in a store: written whole, recorded, and taken back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herz.errors import Conflict, KeyConflict, RevisionExpired, StoreError, UsageError
from herz.model.key import join
from herz.model.secret import MASK, Secret
from herz.store.base import Limits
from herz.store.journal import Journal
from herz.store.names import config_key, config_name
from herz.store.sqlite import SqliteStore
from herz.store.text import Value
from herz.testing.store_contract import next_changes

from ..conftest import examples


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "herz.db")
    yield store
    await store.close()


@pytest.fixture
def journal(store: SqliteStore) -> Journal:
    return Journal(store, "pay", wall=lambda: 1_700_000_000.0)


async def values(journal: Journal) -> dict[str, str]:
    """The configuration with its secrets shown."""
    found = await journal.settings()
    return {
        key: setting.value.reveal() if isinstance(setting.value, Secret) else setting.value
        for key, setting in found.items()
    }


async def test_a_key_lies_under_its_application_with_slashes(store: SqliteStore, journal: Journal) -> None:
    revision = await journal.set({"db.pool": "10"}, author="ann", message="more connections")
    entry = await store.get("/config/pay/db/pool")
    assert entry is not None
    assert (entry.value, entry.mod_revision) == (b"10", revision)
    setting = await journal.get("db.pool")
    assert setting is not None
    assert (setting.key, setting.value, setting.revision) == ("db.pool", "10", revision)


async def test_text_is_stored_as_it_is_and_the_rest_as_json(store: SqliteStore, journal: Journal) -> None:
    given: dict[str, Value] = {"a": "3s", "b": 5, "c": 1.5, "d": True, "e": ["x", 1, None], "f": "ü", "g": ""}  # type: ignore[list-item]
    await journal.set(given, author="ann")
    assert await values(journal) == {
        "a": "3s",
        "b": "5",
        "c": "1.5",
        "d": "true",
        "e": '["x", 1, null]',
        "f": "ü",
        "g": "",
    }


@pytest.mark.parametrize("value", [float("nan"), b"bytes", {1, 2}, object(), "\ud800"])
async def test_what_has_no_text_is_refused(journal: Journal, value: object) -> None:
    with pytest.raises(UsageError, match=r"a\.b"):
        await journal.set({"a.b": value}, author="ann")  # type: ignore[dict-item]
    assert await journal.history() == ()


async def test_a_change_of_several_keys_is_one_revision_with_its_record(store: SqliteStore, journal: Journal) -> None:
    async with store.watch("/config/pay/", 0) as items:
        revision = await journal.set({"a": "1", "b.c": "2"}, author="ann", message="start")
        changes = await next_changes(items)
    assert changes.revision == revision
    assert {event.entry.key for event in changes.events} == {"/config/pay/a", "/config/pay/b/c"}
    (record,) = await journal.history()
    assert (record.revision, record.author, record.message) == (revision, "ann", "start")
    assert record.time.isoformat() == "2023-11-14T22:13:20+00:00"
    assert [(change.key, change.before, change.after) for change in record.changes] == [
        ("a", None, "1"),
        ("b.c", None, "2"),
    ]


async def test_none_deletes_and_the_record_knows_what_was_there(journal: Journal) -> None:
    await journal.set({"a": "1"}, author="ann")
    await journal.set({"a": None}, author="bob")
    assert await values(journal) == {}
    record = (await journal.history())[0]
    assert [(change.before, change.after) for change in record.changes] == [("1", None)]


async def test_what_is_so_already_makes_no_revision(store: SqliteStore, journal: Journal) -> None:
    revision = await journal.set({"a": "1", "b": 2}, author="ann")
    assert await journal.set({"a": "1", "b": "2", "absent": None}, author="bob") == revision
    assert len(await journal.history()) == 1
    assert (await store.status()).revision == revision


async def test_a_change_expected_on_an_older_revision_is_a_conflict(journal: Journal) -> None:
    first = await journal.set({"a": "1"}, author="ann")
    second = await journal.set({"a": "2"}, author="bob")
    with pytest.raises(Conflict, match=f"revision {second}, after revision {first}") as caught:
        await journal.set({"a": "3"}, author="ann", expect=first)
    assert (caught.value.expected, caught.value.actual) == (first, second)
    assert await values(journal) == {"a": "2"}
    assert await journal.set({"a": "3"}, author="ann", expect=second) > second


async def test_another_application_is_no_conflict(store: SqliteStore, journal: Journal) -> None:
    first = await journal.set({"a": "1"}, author="ann")
    other = Journal(store, "payments")
    await other.set({"a": "9"}, author="bob")
    await journal.set({"a": "2"}, author="ann", expect=first)
    assert await values(other) == {"a": "9"}
    assert len(await other.history()) == 1


async def test_concurrent_changes_are_all_recorded_in_one_order(store: SqliteStore, journal: Journal) -> None:
    journals = [Journal(store, "pay") for _ in range(8)]
    await asyncio.gather(
        *(each.set({"shared": f"{i}", f"own{i}": "x"}, author=f"a{i}") for i, each in enumerate(journals))
    )
    records = await journal.history()
    assert [record.number for record in records] == list(range(8, 0, -1))
    shared = [change for record in reversed(records) for change in record.changes if change.key == "shared"]
    assert [change.before for change in shared] == [None, *(change.after for change in shared[:-1])]
    assert len(await values(journal)) == 9


async def test_concurrent_changes_of_different_keys_do_not_overwrite_each_others_record(
    store: SqliteStore, journal: Journal
) -> None:
    journals = [Journal(store, "pay") for _ in range(8)]
    await asyncio.gather(*(each.set({f"k{i}": "x"}, author=f"a{i}") for i, each in enumerate(journals)))
    records = await journal.history()
    assert sorted(record.author for record in records) == [f"a{i}" for i in range(8)]
    assert len({record.revision for record in records}) == 8


async def test_history_lists_the_newest_first_and_by_key(journal: Journal) -> None:
    for number in range(450):
        await journal.set({"a.b" if number % 2 else "a.c": str(number)}, author="ann")
    assert [record.number for record in await journal.history(limit=3)] == [450, 449, 448]
    assert [record.number for record in await journal.history("a.c", limit=2)] == [449, 447]
    assert len(await journal.history("a")) == 450
    assert len(await journal.history("a.b")) == 225
    assert await journal.history("a.bc") == ()


async def test_a_rollback_brings_values_back_as_a_new_revision(journal: Journal) -> None:
    first = await journal.set({"a": "1", "b": "1"}, author="ann")
    await journal.set({"a": "2", "c": "2"}, author="ann")
    third = await journal.set({"a": "3", "b": None}, author="ann")
    fourth = await journal.rollback(first, author="bob", message="was better")
    assert fourth > third
    assert await values(journal) == {"a": "1", "b": "1"}
    record = (await journal.history())[0]
    assert (record.author, record.message, record.rollback_to) == ("bob", "was better", first)
    assert {(change.key, change.before, change.after) for change in record.changes} == {
        ("a", "3", "1"),
        ("b", None, "1"),
        ("c", "2", None),
    }
    await journal.rollback(third, author="ann")
    assert await values(journal) == {"a": "3", "c": "2"}, "a rollback can be rolled back"
    assert len(await journal.history()) == 5


async def test_a_rollback_to_the_present_changes_nothing(journal: Journal) -> None:
    last = await journal.set({"a": "1"}, author="ann")
    assert await journal.rollback(last, author="bob") == last


async def test_a_rollback_survives_the_compaction_of_the_store(store: SqliteStore, journal: Journal) -> None:
    first = await journal.set({"a": "1"}, author="ann")
    last = await journal.set({"a": "2"}, author="ann")
    await store.compact(last)
    await journal.rollback(first, author="bob")
    assert await values(journal) == {"a": "1"}


async def test_a_rollback_to_where_nothing_was_is_refused(store: SqliteStore, journal: Journal) -> None:
    await store.put("/elsewhere", b"")
    first = await journal.set({"a": "1"}, author="ann")
    with pytest.raises(UsageError, match=f"first change is revision {first}"):
        await journal.rollback(first - 1, author="bob")
    with pytest.raises(UsageError, match="has not happened"):
        await journal.rollback(first + 100, author="bob")
    assert await values(journal) == {"a": "1"}


async def test_a_rollback_expected_on_an_older_revision_is_a_conflict(journal: Journal) -> None:
    first = await journal.set({"a": "1"}, author="ann")
    second = await journal.set({"a": "2"}, author="ann")
    await journal.set({"a": "3"}, author="eve")
    with pytest.raises(Conflict):
        await journal.rollback(first, author="bob", expect=second)
    assert await values(journal) == {"a": "3"}


async def test_history_can_be_pruned_and_says_so(store: SqliteStore, journal: Journal) -> None:
    first = await journal.set({"a": "0", "db.password": "0"}, author="ann")
    for number in range(1, 300):
        last = await journal.set({"a": str(number), "db.password": str(number)}, author="ann")
    assert await journal.prune(10) == 290
    assert [record.number for record in await journal.history()] == list(range(300, 290, -1))
    assert len((await store.range("/history/pay/sealed/")).entries) == 10
    with pytest.raises(RevisionExpired, match="pruned"):
        await journal.rollback(first, author="bob")
    await journal.rollback(last - 9, author="bob")
    assert await values(journal) == {"a": "290", "db.password": "290"}


async def test_a_secret_never_stands_in_a_record_and_can_be_rolled_back(store: SqliteStore, journal: Journal) -> None:
    first = await journal.set({"db.password": "hunter2", "db.user": "pay"}, author="ann")
    await journal.set({"db.password": Secret("correct horse")}, author="ann")
    await journal.set({"db.password": None}, author="ann")
    records = await journal.history()
    assert [(record.changes[0].before, record.changes[0].after) for record in records] == [
        (MASK, None),
        (MASK, MASK),
        (None, MASK),
    ]
    written = b"".join(entry.value for entry in (await store.range("/history/pay/record/")).entries)
    for secret in ("hunter2", "correct horse"):
        assert secret not in repr(records)
        assert secret.encode() not in written
    await journal.rollback(first, author="bob")
    setting = await journal.get("db.password")
    assert setting is not None
    assert setting.value == Secret("hunter2")
    assert "hunter2" not in repr(setting)
    assert "hunter2" not in repr(await journal.history())


async def test_a_secret_under_a_name_that_does_not_tell_is_refused(journal: Journal) -> None:
    with pytest.raises(UsageError, match="name does not tell") as caught:
        await journal.set({"db.greeting": Secret("hunter2")}, author="ann")
    assert "hunter2" not in str(caught.value)


async def test_what_becomes_known_as_secret_later_is_masked_in_old_records(store: SqliteStore) -> None:
    unaware = Journal(store, "pay", secret=lambda key: False)
    first = await unaware.set({"salt": "abc"}, author="ann")
    await unaware.set({"salt": "def"}, author="ann")
    aware = Journal(store, "pay", secret=lambda key: key == "salt")
    assert {change.after for record in await aware.history() for change in record.changes} == {MASK}
    await aware.rollback(first, author="bob")
    setting = await aware.get("salt")
    assert setting is not None
    assert setting.value == Secret("abc")
    assert (await unaware.history(limit=1))[0].changes[0].after == MASK


async def test_a_key_cannot_be_a_value_and_a_table(journal: Journal) -> None:
    await journal.set({"db.pool.size": "1"}, author="ann")
    for changes in ({"db": "x"}, {"db.pool": "x"}, {"db.pool.size.max": "x"}, {"new": "x", "new.sub": "x"}):
        with pytest.raises(KeyConflict):
            await journal.set(changes, author="ann")
    await journal.set({"db.pool.size": None, "db": "x"}, author="ann")
    await journal.set({"db": None, "db.pool": "x", "dba": "y"}, author="ann")
    assert await values(journal) == {"db.pool": "x", "dba": "y"}


async def test_one_key_written_twice_in_a_change_is_refused(journal: Journal) -> None:
    with pytest.raises(UsageError, match="two ways"):
        await journal.set({"a.b": "1", "a[b]": "2"}, author="ann")


async def test_a_change_needs_an_author(journal: Journal) -> None:
    with pytest.raises(UsageError, match="author"):
        await journal.set({"a": "1"}, author="")


@pytest.mark.parametrize("app", ["", "a/b", ".hidden", "a b", "é"])
def test_an_application_needs_a_plain_name(store: SqliteStore, app: str) -> None:
    with pytest.raises(UsageError, match="name of an application"):
        Journal(store, app)


async def test_a_change_too_large_for_one_transaction_writes_nothing(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(StoreError, match="at most 128"):
        await journal.set({f"k{number}": "x" for number in range(200)}, author="ann")
    assert await values(journal) == {}
    large = SqliteStore(tmp_path / "large.db", limits=Limits(operations=1000))
    await Journal(large, "pay").set({f"k{number}": "x" for number in range(200)}, author="ann")
    await large.close()


async def test_settings_are_read_at_one_revision_in_pages(store: SqliteStore) -> None:
    store.limits = Limits(operations=3000, request_bytes=10_000_000)
    journal = Journal(store, "pay")
    first = await journal.set({f"k{number:04}": "old" for number in range(2500)}, author="ann")
    await journal.set({f"k{number:04}": "new" for number in range(2500)}, author="ann")
    old = await journal.settings(revision=first)
    assert len(old) == 2500
    assert {setting.value for setting in old.values()} == {"old"}


segments = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=4)


@given(segments)
def test_a_key_and_its_name_in_the_store_are_inverse(path: list[str]) -> None:
    key = join(path)
    assert config_key("pay", config_name("pay", key)) == key


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b.c", "d.password"]), st.sampled_from(["1", "2", None]), min_size=1),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_a_rollback_restores_exactly_what_was_there(changes: list[dict[str, Value]], data: st.DataObject) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "herz.db")
            journal = Journal(store, "pay")
            states = {}
            for change in changes:
                revision = await journal.set(change, author="ann")
                states[revision] = await values(journal)
            states.pop(0, None)
            if states:
                to = data.draw(st.sampled_from(sorted(states)))
                await journal.rollback(to, author="bob")
                assert await values(journal) == states[to]
            await store.close()

    asyncio.run(run())
