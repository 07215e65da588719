"""Work that must happen once: one holder at a time, whatever is done to the processes that hold it."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from pathlib import Path

import pytest

from herz.errors import LeaseLost, UsageError
from herz.server.work import held_forever, holding
from herz.store.base import Get, Put, Txn

HOLDER = Path(__file__).with_name("holder.py")
LOG = "/test/log"


async def test_one_holds_and_the_next_waits(open_store, eventually):
    first, second = open_store(), open_store()
    held: list[str] = []

    async def wait():
        async with holding(second, "work"):
            held.append("second")

    async with holding(first, "work"):
        held.append("first")
        task = asyncio.create_task(wait())
        await asyncio.wait({task}, timeout=0.3)
        assert held == ["first"]
    await asyncio.wait_for(task, 10)
    assert held == ["first", "second"]


async def test_different_work_is_held_at_the_same_time(open_store):
    store = open_store()
    async with asyncio.timeout(10), holding(store, "a/b"), holding(store, "a/b2"), holding(store, "a"):
        pass


@pytest.mark.slow
async def test_a_lease_that_is_kept_outlasts_its_time(open_store):
    store = open_store()
    async with holding(store, "work", ttl_s=1.0) as held:
        await asyncio.sleep(2.5)
        assert not held.lost
        assert (await held.txn(Txn(then=(Put("/test/a", b"1"),)))).succeeded


async def test_losing_the_lease_cancels_the_work(open_store):
    store, other = open_store(), open_store()
    cancelled = False

    async def work():
        nonlocal cancelled
        async with holding(store, "work", ttl_s=1.0) as held:
            await other.revoke(held.lease.id)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled = True
                raise

    with pytest.raises(LeaseLost):
        await work()
    assert cancelled


async def test_what_the_work_raises_passes_through(open_store):
    store = open_store()
    with pytest.raises(TimeoutError, match="its own"):
        async with holding(store, "work"):
            raise TimeoutError("its own")
    async with asyncio.timeout(5), holding(store, "work"):  # it was handed back
        pass


async def test_cancelling_the_work_hands_it_back(open_store, eventually):
    store = open_store()
    holds = asyncio.Event()

    async def work():
        async with holding(store, "work"):
            holds.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await holds.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), holding(store, "work"):
        pass


async def test_a_write_under_a_lost_lease_does_nothing(open_store):
    store, other = open_store(), open_store()

    async def work():
        async with holding(store, "work", ttl_s=5.0) as held:
            await other.delete(held.key)  # as if it had expired without our knowing
            async with holding(other, "work", ttl_s=5.0):
                await held.txn(Txn(then=(Put("/test/late", b"1"),)))

    with pytest.raises(LeaseLost, match="somebody else"):
        await work()
    assert await store.get("/test/late") is None


async def test_a_compare_that_fails_is_told_from_a_lost_lease(open_store):
    from herz.store.base import Compare

    store = open_store()
    await store.put("/test/a", b"1")
    async with holding(store, "work") as held:
        done = await held.txn(Txn((Compare.absent("/test/a"),), (Put("/test/a", b"2"),), (Get("/test/a"),)))
        assert not done.succeeded
        assert done.results[0][0].value == b"1"
        with pytest.raises(UsageError):
            await held.txn(Txn((), (), (Put("/test/a", b"3"),)))


async def test_work_that_fails_is_done_again(open_store, eventually):
    from herz.errors import SourceError

    store = open_store()
    runs = 0

    async def work(held):
        nonlocal runs
        runs += 1
        if runs == 1:
            raise SourceError("for once")
        await asyncio.sleep(30)

    task = asyncio.create_task(held_forever(store, "work", work, chance=lambda: 0.0))
    await eventually(lambda: runs == 2)
    task.cancel()
    await asyncio.wait({task})


async def test_revisions_of_holders_grow(open_store):
    store = open_store()
    revisions = []
    for _ in range(5):
        async with holding(store, "work") as held:
            revisions.append(held.revision)
    assert revisions == sorted(set(revisions))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
async def test_processes_that_are_stopped_or_killed_never_work_beside_their_successor(
    open_store, store_kind, request, tmp_path, eventually, how
):
    store = open_store()
    at = f"etcd://{request.getfixturevalue('etcd').endpoint}" if store_kind == "etcd" else str(tmp_path / "herz.db")
    await store.delete(LOG)

    async def lines():
        entry = await store.get(LOG)
        return [] if entry is None else [line.split() for line in entry.value.decode().splitlines()]

    async def written(more, without=""):
        """The log, once it has so many lines more, the last one not of the holder at `without`."""
        wanted = len(await lines()) + more
        async with asyncio.timeout(25):
            async with store.watch(LOG, (await store.status()).revision) as changes:
                found = await lines()
                while len(found) < wanted or found[-1][1] == without:
                    await anext(changes)
                    found = await lines()
        return found

    async def start(name):
        return await asyncio.create_subprocess_exec(sys.executable, str(HOLDER), at, name)

    running = {name: await start(name) for name in ("a", "b", "c")}
    stopped = []
    try:
        for _ in range(3):
            name, revision = (await written(20))[-1]
            process = running.pop(name)
            stopped.append(process)
            process.send_signal(how)
            if how is signal.SIGSTOP:
                await asyncio.sleep(2.5)  # for longer than its lease; then it believes for a moment that it holds
                process.send_signal(signal.SIGCONT)
                running[name] = stopped.pop()
            else:
                running[f"n{len(stopped)}"] = await start(f"n{len(stopped)}")
            await written(20, without=revision)
    finally:
        for process in (*running.values(), *stopped):
            if process.returncode is None:
                process.kill()
            await process.wait()
    turns = [key for key, _ in itertools.groupby(await lines())]
    revisions = [int(revision) for _, revision in turns]
    assert revisions == sorted(set(revisions)), f"somebody wrote after its successor: {turns}"
    assert len(turns) >= 4
