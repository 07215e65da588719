"""Who took part in a rollout: told while it runs, kept when it ends, once, whoever ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from herz.release.channel import Channel, Mailbox, ReleaseRef
from herz.release.record import decode, encode
from herz.release.report import Answer, Asks, Rehearsed, Report, Status
from herz.release.rollout import Phase, Rollout
from herz.release.rollout_step import Step
from herz.release.roster import Roster, unpack
from herz.server.rollouts import rosters
from herz.store.base import Put, Store, Txn
from herz.store.plane import (
    ROSTERS,
    answer_key,
    asks_key,
    channel_key,
    mailboxes_prefix,
    report_key,
    roster_key,
)
from herz.testing.followers import WRONG, Follower, orders
from herz.testing.memory_store import MemoryStore


async def told(world, rollout: Rollout, **query) -> Roster:
    """What the API says."""
    found = await world.http.get(f"/apps/pay/namespaces/default/rollouts/{rollout.id}/roster", params=query)
    assert found.status_code == 200, found.text
    return msgspec.json.decode(found.content, type=Roster)


async def kept(store: Store) -> dict[str, Roster]:
    """Every record of the store, by its key."""
    found = (await store.range(ROSTERS)).entries
    return {entry.key: unpack(entry.value, entry.key) for entry in found}


def by_name(roster: Roster) -> dict[str, Any]:
    """The participants; what a test expects to be there is not None."""
    return {one.instance: one for one in roster.participants}


async def test_a_promoted_rollout_names_every_instance_with_its_times_and_its_proof(world, two, plan):
    await world.join("a", "b", "c", "d")
    rollout = await world.start(two[1])
    over = await world.until(rollout)
    assert over.phase is Phase.PROMOTED, over.reason
    assert await world.mailboxes() == {}
    roster = await told(world, rollout)
    assert (roster.recorded, roster.members, roster.left_out) == (True, 4, 0)
    assert [one.instance for one in roster.participants] == ["a", "b", "c", "d"]
    for one in by_name(roster).values():
        assert (one.step, one.error, one.config_version) == (Step.VERIFIED, None, two[1].number)
        assert one.fingerprint == two[1].fingerprint
        assert over.created < one.prepared <= one.committed <= one.verified < over.since
        assert one.took_ms > 0
        verdict = over.batches[one.batch - 1].verdict
        assert verdict is not None
        assert one.took_ms <= verdict.took_ms
    assert sorted(one.batch for one in roster.participants) == [1, 1, 2, 2]
    assert await kept(world.store) == {roster_key("pay", "default", "r1"): roster}


async def test_the_reason_of_one_that_failed_is_kept_and_that_all_are_back(world, two, plan):
    await world.join("a", "b", "bad")
    world.instances["bad"].faults.apply_fails = True
    for name in ("a", "b"):
        world.instances[name].faults.slow_s = 0.05
    rollout = await world.start(two[1], plan=plan(100.0))
    assert (await world.until(rollout)).phase is Phase.ROLLED_BACK
    found = by_name(await told(world, rollout))
    assert {name: one.step for name, one in found.items()} == dict.fromkeys(("a", "b", "bad"), Step.BACK)
    assert {name: one.error for name, one in found.items()} == {
        "a": None,
        "b": None,
        "bad": "it cannot be applied here",
    }
    assert all(one.prepared is not None and one.verified is None for one in found.values())
    assert all(one.config_version == two[0].number for one in found.values())
    assert by_name(await told(world, rollout, well=False)).keys() == {"bad"}


async def test_one_that_cannot_build_was_never_built_and_says_why(world, two, plan):
    await world.join("a", "bad")
    world.instances["bad"].faults.build_fails = True
    rollout = await world.start(two[1], plan=plan(100.0))
    await world.until(rollout)
    found = by_name(await told(world, rollout))
    assert (found["bad"].prepared, found["bad"].committed) == (None, None)
    assert found["bad"].error == "there is no such driver"
    assert found["a"].error is None


async def test_what_a_liar_answered_is_kept_beside_what_the_honest_proved(world, two, plan):
    await world.join("a", "liar", "mute")
    world.instances["liar"].faults.lies = True
    world.instances["mute"].faults.mute = True
    rollout = await world.start(two[1], plan=plan(100.0, verify_s=1.0))
    assert (await world.until(rollout)).phase is Phase.ROLLED_BACK
    found = by_name(await told(world, rollout))
    assert found["a"].verified is not None
    assert found["a"].fingerprint == two[1].fingerprint
    assert found["liar"].verified is None
    assert found["liar"].took_ms > 0
    assert found["liar"].fingerprint == WRONG
    assert found["liar"].error == f"runs fingerprint {WRONG}, released is {two[1].fingerprint}"
    assert (found["mute"].verified, found["mute"].took_ms, found["mute"].fingerprint) == (None, None, None)
    assert found["mute"].error == "did not answer in time"


async def test_an_aborted_rollout_keeps_what_was_proved_and_who_did_not_come_back(world, two, plan):
    await world.join("a", "b", "c", "d")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=60.0, commit_s=0.5))
    await world.until(rollout, Phase.BAKING)
    going = by_name(await told(world, rollout))
    assert len(going) == 2
    assert {one.step for one in going.values()} == {Step.VERIFIED}
    assert all(one.took_ms > 0 and one.verified is not None for one in going.values())
    silent, well = sorted(going)
    world.instances[silent].faults.silent = True
    await world.order(rollout, "abort", message="enough")
    over = await world.until(rollout)
    assert (over.phase, over.unconfirmed) == (Phase.ROLLED_BACK, (silent,))
    found = by_name(await told(world, rollout))
    assert found.keys() == going.keys(), "whoever was in no batch took no part"
    assert (found[silent].step, found[well].step) == (Step.RETURNING, Step.BACK)
    assert [found[name].verified for name in (silent, well)] == [going[name].verified for name in (silent, well)]
    assert found[silent].took_ms == going[silent].took_ms


async def test_who_is_away_at_the_end_is_in_the_record(world, two, plan):
    (gone, *_) = await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=60.0, commit_s=0.3))
    await world.until(rollout, Phase.BAKING)
    await world.store.revoke(gone._lease)
    gone.faults.silent = True
    await world.order(rollout, "abort", message="enough")
    await world.until(rollout)
    found = by_name(await told(world, rollout))
    assert (found["a"].step, found["b"].step) == (Step.AWAY, Step.BACK)
    assert found["a"].verified is not None


async def test_a_forced_rollout_tells_who_reports_the_release_from_who_proved_it(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=60.0))
    await world.until(rollout, Phase.BAKING)
    await world.order(rollout, "promote")
    await world.until(rollout, Phase.BAKING, batch=2)
    await world.order(rollout, "abort", message="no")
    await world.until(rollout)
    world.instances["b"].faults.slow_s = 30.0
    rollout = await world.start(two[1], plan=plan(100.0, prepare_s=60.0, commit_s=0.5))
    await world.until(rollout, Phase.PREPARING)
    await world.order(rollout, "force", message="the house burns")
    assert (await world.until(rollout)).phase is Phase.PROMOTED
    found = by_name(await told(world, rollout))
    assert found["a"].step is Step.REPORTS
    assert found["b"].step is Step.COMMITTED, "it builds still, and has not followed"
    assert (found["a"].verified, found["b"].verified) == (None, None)


async def test_while_it_runs_each_instance_is_told_as_it_stands(world, two, plan, eventually):
    await world.join("a", "b")
    world.instances["b"].faults.slow_s = 30.0
    rollout = await world.start(two[1], plan=plan(100.0, prepare_s=60.0))
    await world.until(rollout, Phase.PREPARING)
    await eventually(lambda: world.hub.namespace("pay", "default").reports["a"].value.rehearsed is not None)
    found = by_name(await told(world, rollout))
    assert found["a"].step is Step.BUILT
    assert found["a"].prepared is not None
    assert (found["b"].step, found["b"].prepared) == (Step.PREPARING, None)
    assert await kept(world.store) == {}, "nothing is written for one instance"


async def test_the_roster_is_asked_for_in_parts(world, two, plan):
    await world.join("a", "b", "c", "d")
    rollout = await world.start(two[1])
    await world.until(rollout)
    first = await told(world, rollout, limit=3)
    assert [one.instance for one in first.participants] == ["a", "b", "c"]
    assert first.members == 4
    assert [one.instance for one in (await told(world, rollout, after="c")).participants] == ["d"]
    batches = {number: by_name(await told(world, rollout, batch=number)).keys() for number in (1, 2, 3)}
    assert batches[1] | batches[2] == {"a", "b", "c", "d"}
    assert [len(names) for names in batches.values()] == [2, 2, 0]
    assert len((await told(world, rollout, step="verified")).participants) == 4
    assert (await told(world, rollout, step="failed")).participants == ()
    assert (await world.http.get("/apps/pay/namespaces/default/rollouts/r9/roster")).status_code == 404
    assert (
        await world.http.get("/apps/pay/namespaces/default/rollouts/r1/roster", params={"step": "x"})
    ).status_code == 400


async def test_a_rollout_that_ended_before_rosters_were_kept_says_so(world, two):
    await world.join("a")
    rollout = await world.start(two[1])
    await world.until(rollout)
    await world.store.delete(roster_key("pay", "default", rollout.id))
    roster = await told(world, rollout)
    assert (roster.recorded, roster.participants, roster.members) == (False, (), 0)


async def test_rosters_of_long_ago_go_when_a_rollout_ends(world, two, monkeypatch):
    monkeypatch.setattr(rosters, "KEPT", 2)
    await world.join("a")
    for number in range(4):
        await world.until(await world.start(two[(number + 1) % 2]))
    assert list(await kept(world.store)) == [roster_key("pay", "default", name) for name in ("r3", "r4")]


async def test_a_roster_that_cannot_be_read_stops_no_rollout(running, two, world, plan):
    await world.join("a", "b")
    await world.store.put(roster_key("pay", "default", "r1"), b"{broken")
    rollout = await world.start(two[1])
    assert (await world.until(rollout)).phase is Phase.PROMOTED
    assert len((await told(world, rollout)).participants) == 2


async def test_clocks_of_instances_without_a_zone_or_in_another_century_stop_nothing(world, two, plan):
    (wrong, _) = await world.join("a", "b")
    said = wrong.said
    wrong.said = lambda **facts: msgspec.structs.replace(said(**facts), time=datetime(1970, 1, 1))
    rollout = await world.start(two[1], plan=plan(100.0))
    over = await world.until(rollout)
    assert over.phase is Phase.PROMOTED, over.reason
    found = by_name(await told(world, rollout))
    assert over.created < found["a"].prepared <= found["a"].committed < over.since, "by the server's clock"


async def test_whoever_takes_over_at_the_end_leaves_one_whole_record(running, plan, eventually):
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        async with running(store) as first:
            await first.release("timeout: 1s\n", publish=True)
            release = await first.release("timeout: 3s\n")
            instances = [Follower(store, "pay", "default", name) for name in ("a", "b", "stuck")]
            for one in instances:
                await stack.enter_async_context(one.alive())
            await eventually(lambda: len(first.hub.namespace("pay", "default").reports) == 3)
            rollout = await first.start(release, plan=plan(100.0, bake_s=60.0, commit_s=3.0))
            await first.until(rollout, Phase.BAKING)
            before = by_name(await told(first, rollout))
            instances[2].faults.ignores_commit = True
            await first.order(rollout, "abort", message="enough")
            await eventually(lambda: len(first.hub.namespace("pay", "default").mailboxes) == 1)
            assert (await first.found(rollout)).phase is Phase.ROLLING_BACK
        async with running(store) as second:
            assert (await second.until(rollout)).phase is Phase.ROLLED_BACK
            found = await kept(store)
            assert list(found) == [roster_key("pay", "default", rollout.id)]
            (roster,) = found.values()
            ended = by_name(roster)
            steps = {"a": Step.BACK, "b": Step.BACK, "stuck": Step.RETURNING}
            assert {name: one.step for name, one in ended.items()} == steps
            for name, last in ended.items():
                known = before[name]
                assert (last.prepared, last.verified, last.took_ms) == (known.prepared, known.verified, known.took_ms)
                assert last.verified is not None
            assert await told(second, rollout) == roster
    await store.close()


class Crowd:
    """Thousands of instances in one task: they do what they are told at once, but `broken` ones, which fail to apply.

    `Follower` is one instance; each of a thousand would look at the mailboxes of all.
    """

    def __init__(self, store: Store, names: list[str], broken: frozenset[str]) -> None:
        self._store, self._names, self._broken = store, names, broken
        self._reported: dict[str, tuple] = {}
        self._answered: set[str] = set()

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()

    async def _follow(self) -> None:
        async with aclosing(orders(self._store, "pay", "default")) as heard:
            async for entries, events in heard:
                if not events or any("/all/" in event.entry.key for event in events):
                    await self._obey(entries)

    async def _obey(self, entries) -> None:
        def read(key, kind):
            return decode(entries[key].value, kind, key) if key in entries else kind()

        channel, asks = read(channel_key("pay", "default"), Channel), read(asks_key("pay", "default"), Asks)
        cohorts = {
            key.split("/")[-2]: decode(entry.value, Mailbox, key).cohort
            for key, entry in entries.items()
            if key.startswith(mailboxes_prefix("pay", "default"))
        }
        puts = []
        for name in self._names:
            pointer = channel.of(cohorts.get(name))
            fails = name in self._broken and pointer.release is not None and pointer.release.number > 1
            said = (pointer.release, pointer.prepare, pointer.rollout, fails)
            report = self._report(name, *said)
            if self._reported.get(name) != said:
                self._reported[name] = said
                puts.append(Put(report_key("pay", "default", name), encode(report)))
            for ask in asks.open:
                if ask.nonce not in self._answered and ask.concerns(name, cohorts.get(name, "stable")):
                    answer = Answer(nonce=ask.nonce, instance=name, report=report)
                    puts.append(Put(answer_key("pay", "default", ask.nonce, name), encode(answer)))
        self._answered |= {ask.nonce for ask in asks.open}
        for start in range(0, len(puts), 100):
            await self._store.txn(Txn(then=puts[start : start + 100]))

    def _report(
        self, name: str, runs: ReleaseRef | None, prepare: ReleaseRef | None, rollout: str | None, fails: bool
    ) -> Report:
        done = prepare or runs
        rehearsed = done and Rehearsed(
            number=done.number, digest=done.digest, fingerprint=done.fingerprint, rollout=rollout
        )
        return Report(
            instance=name,
            app="pay",
            namespace="default",
            status=Status.FAILED if fails else Status.APPLIED,
            error="no room for its pool" if fails else None,
            target=runs.number if fails and runs else None,
            time=datetime.now(UTC),
            config_version=None if runs is None else runs.number,
            digest=None if runs is None else runs.digest,
            fingerprint=None if runs is None else runs.fingerprint,
            rehearsed=rehearsed or None,
        )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("broken", [frozenset(), frozenset({"i-2077"})], ids=["promoted", "rolled back"])
async def test_thousands_are_kept_in_one_bounded_record_without_a_write_for_each(
    world, two, plan, monkeypatch, broken, eventually
):
    monkeypatch.setattr("herz.release.roster.PARTICIPANTS", 1_500)
    names = [f"i-{number:04d}" for number in range(2_100)]
    waits = {"prepare_s": 60.0, "commit_s": 60.0, "verify_s": 30.0}
    async with Crowd(world.store, names, broken).alive():
        await eventually(lambda: len(world.hub.namespace("pay", "default").reports) == len(names))
        rollout = await world.start(two[1], plan=plan(50.0, 100.0, **waits))
        over = await world.until(rollout, seconds=120)
    assert over.phase is (Phase.ROLLED_BACK if broken else Phase.PROMOTED), over.reason
    (entry,) = (await world.store.range(ROSTERS)).entries
    assert len(entry.value) < 64 * 1024
    batches = len(over.batches)
    assert entry.version <= 2 * batches + 2, "with the steps that are written anyway, not for each instance"
    roster = await told(world, rollout)
    everybody = sum(batch.size for batch in over.batches)
    named = min(everybody, 1_500)
    assert (roster.members, len(roster.participants), roster.left_out) == (everybody, named, everybody - named)
    failed = {one.instance: one.error for one in roster.participants if one.error}
    assert failed == dict.fromkeys(broken, "no room for its pool")
    if not broken:
        assert {one.step for one in roster.participants} == {Step.VERIFIED}
        assert all(one.took_ms > 0 for one in by_name(roster).values())
