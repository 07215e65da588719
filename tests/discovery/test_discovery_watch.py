"""What the cache tells, in virtual time: joins and leaves in order, cuts, compaction, silence, refused watches."""

from __future__ import annotations

import asyncio
import random

import pytest

from herz.discovery import Happened, Registered, RoundRobin, Says
from herz.discovery.instance import Instance, encoded
from herz.discovery.source import ServiceSource
from herz.errors import HistoryBroken, SourceDenied, SourceUnavailable, StoreError
from herz.model.document import Batch
from herz.store.base import Delete, Put, Txn

ROOT = "/herz/services/"


def value(address: str = "a:1", **fields) -> bytes:
    return encoded(Instance("s", "i", address, **fields))


def names(cache, service: str = "pay") -> list[str]:
    return [instance.name for instance in cache.instances(service)]


async def exhausted(items) -> None:
    async for _ in items:
        pass


class Log:
    """Replays events, and checks each against what was there before."""

    def __init__(self, cache) -> None:
        self.cache = cache
        self.held = {
            (instance.service, instance.name): instance
            for service in cache.services
            for instance in cache.instances(service)
        }
        self.events: list = []
        self.revision = cache.snapshot.revision
        cache.subscribe(self)

    def __call__(self, event) -> None:
        key = (event.instance.service, event.instance.name)
        assert event.revision >= self.revision
        self.revision = event.revision
        assert self.cache.snapshot.revision >= event.revision, "published before it is told"
        if event.what is Happened.JOINED:
            assert key not in self.held
            self.held[key] = event.instance
        elif event.what is Happened.CHANGED:
            assert self.held[key] is event.previous
            self.held[key] = event.instance
        else:
            assert self.held.pop(key).joined == event.instance.joined
        self.events.append(event)

    def said(self) -> list[str]:
        return [f"{event.what} {event.instance.name}" for event in self.events]

    def matches(self) -> bool:
        now = {(i.service, i.name): i for service in self.cache.services for i in self.cache.instances(service)}
        return now.keys() == self.held.keys() and all(now[key].same_as(self.held[key]) for key in now)


def test_joins_changes_and_leaves_are_told_once_and_in_order(told) -> None:
    async def story(world) -> None:
        async with world.registry.watch("pay") as cache:
            log = Log(cache)
            async with (
                world.other.register("pay", "a", "a:1") as one,
                world.other.register("pay", "b", "b:1"),
            ):
                await one.update(weight=3)
                await world.until(lambda: len(log.events) == 3)
                assert cache.instances()[0].weight == 3
            await world.until(lambda: not cache.instances())
            assert log.said() == ["JOINED a", "JOINED b", "CHANGED a", "LEFT b", "LEFT a"]
            assert not any(event.synthetic for event in log.events)
            assert log.matches()

    told(story)


def test_what_was_there_before_the_watch_is_there_when_it_is_entered(told) -> None:
    async def story(world) -> None:
        await world.other_store.txn(Txn(then=[Put(f"{ROOT}pay/i{n}", value(f"a:{n}")) for n in range(100)]))
        await world.other_store.put(f"{ROOT}users/u", value())
        async with world.registry.watch("pay") as one, world.registry.watch() as every:
            assert len(one.instances()) == len(every.instances("pay")) == 100
            assert one.services == ("pay",)
            assert every.services == ("pay", "users")
            assert one.freshness.current

    told(story)


def test_registering_again_with_the_same_content_is_no_event(told) -> None:
    async def story(world) -> None:
        world.other = world.make(world.store)
        async with (
            world.other.register("pay", "a", "a:1", ttl_s=5) as registration,
            world.registry.watch("pay") as cache,
        ):
            log = Log(cache)
            world.store.no_time = True
            await asyncio.sleep(2)
            world.store.no_time = False
            await asyncio.sleep(20)
            assert registration.state is Registered.REGISTERED
            assert world.place.state[f"{ROOT}pay/a"].version > 1
            assert log.events == []
            assert cache.instances()[0].revision == world.place.state[f"{ROOT}pay/a"].mod_revision

    told(story)


@pytest.mark.parametrize("compacted", [False, True])
def test_whatever_happens_during_a_cut_is_caught_up_with(told, compacted: bool) -> None:
    async def story(world) -> None:
        chance = random.Random(11)
        async with world.registry.watch() as cache:
            log = Log(cache)
            for round_ in range(12):
                world.place.cut()
                for _ in range(30):
                    key = f"{ROOT}s{chance.randrange(3)}/i{chance.randrange(8)}"
                    await world.other_store.txn(
                        Txn(then=[Delete(key) if chance.random() < 0.4 else Put(key, value(f"a:{chance.random()}"))])
                    )
                if compacted:
                    await world.other_store.compact(world.place.revision)
                await world.until(lambda: cache.snapshot.revision == world.place.revision)
                assert {f"{ROOT}{i.service}/{i.name}" for s in cache.services for i in cache.instances(s)} == set(
                    world.place.state
                )
                assert log.matches(), f"after round {round_}"
            assert any(event.synthetic for event in log.events) is compacted

    told(story)


def test_an_instance_that_left_and_came_back_unseen_is_told_as_left_and_joined(told) -> None:
    async def story(world) -> None:
        key = f"{ROOT}pay/a"
        await world.other_store.put(key, value())
        async with world.registry.watch("pay") as cache:
            log = Log(cache)
            world.place.cut()
            await world.other_store.delete(key)
            await world.other_store.put(key, value())
            await world.other_store.compact(world.place.revision)
            await world.until(lambda: len(log.events) == 2)
            assert log.said() == ["LEFT a", "JOINED a"]
            assert all(event.synthetic for event in log.events)

    told(story)


def test_a_silent_store_is_stale_within_the_deadline_and_the_last_set_is_served(told) -> None:
    async def story(world) -> None:
        await world.other_store.put(f"{ROOT}pay/a", value())
        async with world.registry.watch("pay", proof_s=3) as cache:
            balancer = RoundRobin(cache)
            world.place.silent = True
            await world.until(lambda: cache.freshness.says is Says.STALE, 3.1)
            assert cache.freshness.age_s >= 3
            assert cache.freshness.reason
            assert balancer.choose().name == "a"
            await world.other_store.put(f"{ROOT}pay/b", value())
            await asyncio.sleep(60)
            assert names(cache) == ["a"]
            world.place.silent = False
            await world.until(lambda: cache.freshness.current)
            await world.until(lambda: names(cache) == ["a", "b"])

    told(story)


def test_a_store_that_is_down_is_stale_with_the_reason_and_an_age_that_grows(told) -> None:
    async def story(world) -> None:
        await world.other_store.put(f"{ROOT}pay/a", value())
        async with world.registry.watch("pay") as cache:
            world.place.down = True
            world.place.cut()
            await asyncio.sleep(500)
            freshness = cache.freshness
            assert freshness.says is Says.STALE
            assert 495 < freshness.age_s < 505
            assert "down" in freshness.reason
            assert names(cache) == ["a"]
        assert cache.freshness.says is Says.STALE
        assert names(cache) == ["a"]

    told(story)


def test_a_refused_watch_is_never_opened_again_before_the_lease_is_granted_anew_and_registered(told) -> None:
    """Keep-alive answered 600 ms late on a 5 s lease, the stream reset, the re-watch refused: lease not found."""

    async def story(world) -> None:
        world.store.answer_after_s = 0.6
        async with (
            world.registry.register("pay", "p1", "a:1", ttl_s=5, changed=world.events.append) as registration,
            world.registry.watch("pay") as cache,
        ):
            log = Log(cache)
            await world.until(lambda: registration.health().renewed_s < 1 and world.clock() > 12)
            await world.other_store.revoke(registration.health().lease)
            await world.until(lambda: log.said() == ["LEFT p1"])
            world.store.refuse_watch = StoreError("failed precondition: lease not found")

            def granted(event) -> None:
                if event.state is Registered.REGISTERED:
                    world.store.refuse_watch = None

            registration._changed = granted
            world.store.calls.clear()
            world.place.cut()
            await world.until(lambda: log.said() == ["LEFT p1", "JOINED p1"])
            calls = [call for call in world.store.calls if call != "get"]
            assert [call for call in calls if call != "range"] == ["watch", "keep_alive", "grant", "txn", "watch"]
            assert calls[calls.index("txn") :] == ["txn", "range", "watch"]
            assert cache.freshness.current
            await world.until(lambda: cache.freshness.current and registration.state is Registered.REGISTERED)

    told(story)


def test_a_watch_that_is_refused_again_and_again_backs_off_and_is_stale(told) -> None:
    async def story(world) -> None:
        async with world.registry.register("pay", "p1", "a:1", ttl_s=5), world.registry.watch("pay") as cache:
            world.store.refuse_watch = StoreError("failed precondition")
            world.store.calls.clear()
            world.place.cut()
            await asyncio.sleep(200)
            assert world.store.calls.count("watch") <= 10
            assert "watch watch" not in " ".join(call for call in world.store.calls if call in ("watch", "range"))
            assert cache.freshness.says is not Says.CURRENT
            assert "failed precondition" in (cache.freshness.reason or "")
            world.store.refuse_watch = None
            await world.until(lambda: cache.freshness.current)

    told(story)


def test_a_store_restored_from_a_backup_begins_a_new_epoch(told) -> None:
    async def story(world) -> None:
        await world.other_store.put(f"{ROOT}pay/a", value())
        backup = world.place.backup()
        async with world.registry.watch("pay") as cache:
            log = Log(cache)
            log.revision = 0
            await world.other_store.put(f"{ROOT}pay/b", value())
            await world.until(lambda: names(cache) == ["a", "b"])
            log.revision = 0
            world.place.restore(backup)
            await world.until(lambda: names(cache) == ["a"])
            assert cache.snapshot.epoch == 1
            assert log.said() == ["JOINED b", "LEFT b"]
            assert log.events[-1].synthetic

    told(story)


def test_a_restore_that_has_overtaken_us_is_noticed(told) -> None:
    async def story(world) -> None:
        await world.other_store.put(f"{ROOT}pay/a", value())
        backup = world.place.backup()
        async with world.registry.watch("pay") as cache:
            await world.other_store.put(f"{ROOT}pay/b", value())
            await world.until(lambda: names(cache) == ["a", "b"])
            world.place.restore(backup)
            for number in range(5):
                await world.other_store.put(f"{ROOT}pay/c", value(f"c:{number}"))
            await world.until(lambda: names(cache) == ["a", "c"])
            assert cache.snapshot.epoch == 1

    told(story)


def test_another_store_with_the_same_content_is_a_new_epoch(told) -> None:
    async def story(world) -> None:
        await world.other_store.put(f"{ROOT}pay/a", value())
        async with world.registry.watch("pay") as cache:
            log = Log(cache)
            world.place.identity = "another"
            world.place.cut()
            await world.until(lambda: cache.snapshot.epoch == 1)
            assert names(cache) == ["a"]
            assert log.events == []

    told(story)


def test_a_value_that_is_no_instance_ends_an_earlier_stay(told) -> None:
    async def story(world) -> None:
        key = f"{ROOT}pay/a"
        await world.other_store.put(key, value())
        async with world.registry.watch("pay") as cache:
            log = Log(cache)
            world.place.cut()
            await world.other_store.delete(key)
            await world.other_store.put(key, b"junk")
            await world.other_store.compact(world.place.revision)
            await world.until(lambda: log.said() == ["LEFT a"])
            assert list(cache.snapshot.refused) == [key]

    told(story)


def test_a_source_that_is_handed_a_revision_again_says_that_history_is_broken(told) -> None:
    async def story(world) -> None:
        source = ServiceSource(world.store, f"{ROOT}pay/", proof_s=5)
        after = (await source.read()).revision
        async with source.follow(after) as items:
            await world.other_store.put(f"{ROOT}pay/a", value())
            while not isinstance(await anext(items), Batch):
                pass
            world.place.say_again()
            with pytest.raises(HistoryBroken, match="was handed on before"):
                await exhausted(items)

    told(story)


def test_a_change_that_was_lost_on_the_way_shows_at_the_next_one_of_its_instance(told) -> None:
    async def story(world) -> None:
        source = ServiceSource(world.store, f"{ROOT}pay/", proof_s=5)
        await world.other_store.put(f"{ROOT}pay/a", value())
        after = (await source.read()).revision
        async with source.follow(after) as items:
            del world.place.changes[await world.other_store.put(f"{ROOT}pay/a", value())]
            await world.other_store.put(f"{ROOT}pay/a", value())
            with pytest.raises(HistoryBroken, match="version 3 does not follow version 1"):
                async with asyncio.timeout(30):
                    await exhausted(items)

    told(story)


def test_a_change_sent_twice_is_not_told_twice(told) -> None:
    async def story(world) -> None:
        async with world.registry.watch("pay") as cache:
            log = Log(cache)
            await world.other_store.put(f"{ROOT}pay/a", value())
            await world.until(lambda: names(cache) == ["a"])
            world.place.say_again()
            await asyncio.sleep(30)
            await world.other_store.put(f"{ROOT}pay/b", value())
            await world.until(lambda: names(cache) == ["a", "b"])
            assert log.said() == ["JOINED a", "JOINED b"]

    told(story)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"address": ""}',
        b'{"address": "a b"}',
        b'{"address": "a:1", "weight": NaN}',
        b'{"address": "a:1", "weight": 1e999}',
        b'{"address": "a:1", "weight": true}',
        b'{"address": "a:1", "weight": -1}',
        b'{"address": "a:1", "metadata": {"k": 1}}',
        b'{"address": "a:1", "owner": 1}',
        b"[" * 100_000,
        b'{"address": "a:1", "weight": ' + b"1" * 5000 + b"}",
    ],
    ids=range(14),
)
def test_values_that_are_no_instances_harm_nobody(told, junk: bytes) -> None:
    async def story(world) -> None:
        await world.other_store.put(f"{ROOT}pay/good", value())
        await world.other_store.put(f"{ROOT}pay/before", junk)
        async with world.registry.watch() as cache:
            assert names(cache) == ["good"]
            await world.other_store.put(f"{ROOT}pay/after", junk)
            await world.other_store.put(f"{ROOT}pay/good", junk)
            await world.other_store.put(f"{ROOT}pay/x/y", value())
            await world.other_store.put(f"{ROOT}loose", value())
            await world.until(lambda: len(cache.snapshot.refused) == 5)
            assert names(cache) == ["good"], "as it was understood last"
            await world.other_store.put(f"{ROOT}pay/after", value())
            await world.until(lambda: names(cache) == ["after", "good"])
            await world.other_store.delete(f"{ROOT}pay/good")
            await world.other_store.delete(f"{ROOT}loose")
            await world.until(lambda: names(cache) == ["after"])
            assert sorted(cache.snapshot.refused) == [f"{ROOT}pay/before", f"{ROOT}pay/x/y"]

    told(story)


def test_a_listener_that_raises_harms_no_other(told, caplog) -> None:
    async def story(world) -> None:
        async with world.registry.watch("pay") as cache:
            cache.subscribe(lambda event: 1 / 0)
            log = Log(cache)
            await world.other_store.put(f"{ROOT}pay/a", value())
            await world.until(lambda: log.said() == ["JOINED a"])

    told(story)
    assert "ZeroDivisionError" in caplog.text


def test_who_unsubscribed_hears_nothing_more(told) -> None:
    async def story(world) -> None:
        async with world.registry.watch("pay") as cache:
            heard: list = []
            unsubscribe = cache.subscribe(heard.append)
            await world.other_store.put(f"{ROOT}pay/a", value())
            await world.until(lambda: len(heard) == 1)
            unsubscribe()
            await world.other_store.put(f"{ROOT}pay/b", value())
            await world.until(lambda: len(cache.instances()) == 2)
            assert len(heard) == 1

    told(story)


def test_entering_without_a_store_raises_what_it_said(told) -> None:
    async def story(world) -> None:
        world.place.down = True
        begin = world.clock()
        with pytest.raises(SourceUnavailable, match="down"):
            async with world.registry.watch("pay", wait_s=5):
                pass
        assert world.clock() - begin == pytest.approx(5, abs=0.1)

    told(story)


def test_entering_without_waiting_loads_when_the_store_comes(told) -> None:
    async def story(world) -> None:
        world.place.down = True
        async with world.registry.watch("pay", wait_s=0) as cache:
            assert cache.freshness.says is Says.LOADING
            with pytest.raises(SourceUnavailable, match="no instance"):
                RoundRobin(cache).choose()
            await asyncio.sleep(10)
            world.place.down = False
            await world.other_store.put(f"{ROOT}pay/a", value())
            await world.until(lambda: names(cache) == ["a"])

    told(story)


def test_a_denied_watch_is_raised_at_once(told) -> None:
    async def story(world) -> None:
        async def denied(*_, **__):
            raise SourceDenied("no right to read there")

        world.store.range = denied
        with pytest.raises(SourceDenied):
            async with world.registry.watch("pay", wait_s=5):
                pass
        assert world.clock() < 0.1

    told(story)


def test_nothing_runs_after_the_watch_was_left(told) -> None:
    async def story(world) -> None:
        for _ in range(3):
            async with world.registry.watch("pay"):
                await asyncio.sleep(5)
        assert world.place.watching == set()
        assert [task.get_name() for task in asyncio.all_tasks() if "herz" in task.get_name()] == []

    told(story)
