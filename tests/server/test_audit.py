"""The audit log: written with the deed, and whatever is done to it afterwards is found."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from herz.errors import SourceUnavailable, UsageError
from herz.release.record import encode
from herz.server.audit import ENTRIES, HEAD, Audit, AuditEntry, AuditHead, By, hash_of, parse_anchor
from herz.server.opening import open_store
from herz.store.base import Compare, Delete, Get, Put, Txn
from herz.testing.memory_store import MemoryStore

from .conftest import BEN


@pytest.fixture
def audit(store, clock):
    return Audit(store, clock)


@pytest.fixture
def light_audit(memory, clock):
    return Audit(memory, clock)


async def act(audit, key="/x", **further):
    return await audit.commit(Txn(then=(Put(key, b"1"),)), BEN, "x.done", key, **further)


def entry_key(number):
    return f"{ENTRIES}{number:016d}"


async def logged(audit, count):
    for n in range(count):
        await act(audit, f"/x{n}", message=f"deed {n}")


async def test_a_deed_and_its_entry_share_one_revision(audit, store):
    result = await act(audit)
    for key in ("/x", entry_key(1), HEAD):
        assert (await store.get(key)).mod_revision == result.revision


async def test_an_entry_tells_who_did_what_when_and_why(audit, clock):
    await audit.commit(
        Txn(then=(Put("/x", b"1"),)),
        By("ci", "0123"),
        "release.published",
        "pay/default@1",
        message="go",
        details={"a": 1},
        forced=True,
    )
    [entry] = await audit.entries()
    assert (entry.number, entry.actor, entry.token, entry.action) == (1, "ci", "0123", "release.published")
    assert (entry.target, entry.message, entry.details, entry.forced) == ("pay/default@1", "go", {"a": 1}, True)
    assert entry.time == clock.now()


async def test_a_deed_that_does_not_happen_leaves_no_entry(audit, store):
    result = await audit.commit(
        Txn((Compare.absent("/x"), Compare("/y", "version", "=", 7)), (Put("/x", b"1"),), (Get("/z"),)), BEN, "a", "b"
    )
    assert not result.succeeded
    assert result.results == ((),)
    assert await audit.entries() == ()
    assert await store.get("/x") is None


async def test_results_are_those_of_the_deed_alone(audit, store):
    await store.put("/x", b"0")
    result = await audit.commit(Txn(then=(Put("/x", b"1"), Get("/x"))), BEN, "a", "b")
    assert [entries[0].value for entries in result.results] == [b"0", b"1"]


async def test_an_untouched_log_verifies(audit):
    await logged(audit, 5)
    verified = await audit.verify()
    assert (verified.ok, verified.entries, verified.broken_at) == (True, 5, None)


async def test_an_empty_log_verifies(light_audit):
    assert (await light_audit.verify()).ok


async def test_a_log_of_many_pages_verifies(light_audit):
    await logged(light_audit, 1203)
    verified = await light_audit.verify()
    assert (verified.ok, verified.entries) == (True, 1203)


async def change(store, number, **members):
    entry = await store.get(entry_key(number))
    changed = msgspec.structs.replace(msgspec.json.decode(entry.value, type=AuditEntry), **members)
    await store.put(entry_key(number), encode(changed))


async def test_a_changed_entry_is_found(audit, store):
    await logged(audit, 5)
    await change(store, 3, actor="somebody else")
    assert (await audit.verify()).broken_at == 3


async def test_a_changed_entry_with_its_own_hash_mended_is_found_at_the_next(audit, store):
    await logged(audit, 5)
    entry = (await audit.entries())[2]
    changed = msgspec.structs.replace(entry, actor="somebody else")
    await store.put(entry_key(3), encode(msgspec.structs.replace(changed, hash=hash_of(changed))))
    assert (await audit.verify()).broken_at == 4


async def test_a_removed_entry_is_found(audit, store):
    await logged(audit, 5)
    await store.delete(entry_key(3))
    assert (await audit.verify()).broken_at == 3


async def test_reordered_entries_are_found(audit, store):
    await logged(audit, 5)
    second, third = await store.get(entry_key(2)), await store.get(entry_key(3))
    await store.txn(Txn(then=(Put(entry_key(2), third.value), Put(entry_key(3), second.value))))
    assert (await audit.verify()).broken_at == 2


async def test_an_entry_put_in_between_is_found(light_audit, memory):
    await logged(light_audit, 3)
    await memory.put(f"{entry_key(2)}x", (await memory.get(entry_key(2))).value)
    assert (await light_audit.verify()).broken_at == 3


async def test_a_removed_end_is_found(light_audit, memory):
    await logged(light_audit, 5)
    await memory.delete(entry_key(5))
    assert (await light_audit.verify()).broken_at == 5


async def test_a_removed_beginning_is_found(light_audit, memory):
    await logged(light_audit, 5)
    await memory.delete(entry_key(1))
    assert (await light_audit.verify()).broken_at == 1


async def test_a_head_set_back_is_found(light_audit, memory):
    await logged(light_audit, 5)
    entry = (await light_audit.entries())[3]
    await memory.put(HEAD, encode(AuditHead(number=4, hash=entry.hash)))
    assert (await light_audit.verify()).broken_at == 5


async def test_bytes_that_are_no_entry_are_found(light_audit, memory):
    await logged(light_audit, 3)
    await memory.put(entry_key(2), b"\xff")
    assert (await light_audit.verify()).broken_at == 2


async def test_members_that_a_record_does_not_know_are_found(light_audit, memory):
    await logged(light_audit, 3)
    entry = await memory.get(entry_key(2))
    await memory.put(entry_key(2), entry.value.replace(b"{", b'{"note":"it was me",', 1))
    assert (await light_audit.verify()).broken_at == 2


async def test_a_log_without_its_end_and_with_its_head_mended_is_found_by_an_anchor(light_audit, memory):
    await logged(light_audit, 5)
    anchor = await light_audit.head()
    await memory.delete(entry_key(5))
    last = (await light_audit.entries())[3]
    await memory.put(HEAD, encode(AuditHead(number=4, hash=last.hash)))
    assert (await light_audit.verify()).ok
    assert (await light_audit.verify(anchor)).broken_at == 5


async def test_a_log_that_was_written_anew_is_found_by_an_anchor(light_audit, memory, clock):
    await logged(light_audit, 5)
    anchor = await light_audit.head()
    await memory.delete_prefix("/herz/audit/")
    clock.seconds += 1
    await logged(light_audit, 5)
    assert (await light_audit.verify()).ok
    assert (await light_audit.verify(anchor)).broken_at == 5


async def test_a_log_that_went_on_still_holds_its_anchor(light_audit):
    await logged(light_audit, 3)
    anchor = await light_audit.head()
    await logged(light_audit, 3)
    assert (await light_audit.verify(anchor)).ok


@pytest.mark.parametrize("text", ["", "3", "x:y", "3:abc", ":" + "0" * 64])
def test_what_is_no_anchor_is_refused(text):
    with pytest.raises(UsageError):
        parse_anchor(text)


async def test_secrets_never_enter_an_entry(light_audit, memory):
    await act(light_audit, details={"db": {"password": "hunter2", "hosts": ["a"]}, "api-key": "hunter2"})
    assert b"hunter2" not in (await memory.get(entry_key(1))).value


async def test_two_servers_that_act_at_once_leave_one_whole_chain(store_url, store, clock):
    other = open_store(store_url)
    try:
        audits = [Audit(one, clock) for one in (store, other)]
        await asyncio.gather(*(act(audits[n % 2], f"/x{n}") for n in range(20)))
        verified = await audits[0].verify()
        assert (verified.ok, verified.entries) == (True, 20)
        assert {entry.target for entry in await audits[1].entries()} == {f"/x{n}" for n in range(20)}
    finally:
        await other.close()


async def test_entries_are_paged(light_audit):
    await logged(light_audit, 5)
    assert [entry.number for entry in await light_audit.entries(after=2, limit=2)] == [3, 4]


async def test_a_deed_may_delete(audit, store):
    await act(audit)
    await audit.commit(Txn(then=(Delete("/x"),)), BEN, "x.deleted", "/x")
    assert await store.get("/x") is None


async def test_those_who_wait_behind_a_store_that_is_gone_do_not_wait_one_after_the_other(memory, clock):
    asked = 0

    class Slow(MemoryStore):
        async def get(self, key, *, revision=None):
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            raise SourceUnavailable("gone")

    audit = Audit(Slow(memory.place), clock)
    answers = await asyncio.gather(*(act(audit, f"/x{n}") for n in range(10)), return_exceptions=True)
    assert all(isinstance(answer, SourceUnavailable) for answer in answers)
    assert asked == 1


async def test_a_store_that_came_back_is_asked_again(memory, clock):
    audit = Audit(memory, clock)
    memory.place.down = True
    with pytest.raises(SourceUnavailable):
        await act(audit)
    memory.place.down = False
    assert (await act(audit)).succeeded
