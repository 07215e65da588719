"""What a registration survives, in virtual time: late answers, lost leases, silence, others of the same name."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from herz.discovery import Registered
from herz.discovery.standing import TRANSITIONS
from herz.errors import Conflict, NotRunning, SourceDenied, SourceUnavailable, StoreError, UsageError

KEY = "/herz/services/pay/p1"
PAIRS = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}


def legal(events) -> bool:
    steps = [event.state for event in events]
    return all(a is b or (a, b) in PAIRS for a, b in itertools.pairwise(steps))


def registered(world, **options):
    return world.registry.register(
        "pay", "p1", "10.0.0.7:80", **{"ttl_s": 5.0, "changed": world.events.append, **options}
    )


def test_an_instance_is_there_while_the_block_lasts_and_gone_after_it(told) -> None:
    async def story(world) -> None:
        async with registered(world, weight=2, metadata={"zone": "a"}) as registration:
            entry = world.place.state[KEY]
            assert json.loads(entry.value) == {
                "address": "10.0.0.7:80",
                "weight": 2,
                "metadata": {"zone": "a"},
                "owner": registration.owner,
            }
            assert entry.lease == registration.health().lease
            assert registration.state is Registered.REGISTERED
        assert KEY not in world.place.state
        assert world.place.leases == {}
        assert str(registration.state) == "DEREGISTERED"
        assert world.states() == ["REGISTERING", "REGISTERED", "DEREGISTERED"]

    told(story)


def test_it_stays_registered_for_an_hour_without_a_second_write(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            first = world.place.state[KEY]
            await asyncio.sleep(3600)
            assert world.place.state[KEY] == first
            assert registration.state is Registered.REGISTERED
            assert 3600 / 5 * 2.9 < world.store.calls.count("keep_alive") <= 3600 / 5 * 3 + 1
            assert set(world.states()[1:]) == {"REGISTERED", "RENEWING"}

    told(story)


def test_it_is_lost_locally_before_the_server_expires_it(told) -> None:
    async def story(world) -> None:
        world.store.arrives_after_s = 0.5
        async with registered(world) as registration:
            lease = registration.health().lease
            await world.until(lambda: registration.health().renewed_s < 1 < world.clock())
            world.store.hangs |= {"keep_alive", "grant"}
            await world.until(lambda: "LOST" in world.states())
            _, expires = world.place.leases[lease]
            lost = next(event for event in world.events if event.state == "LOST")
            assert expires - lost.at_s == pytest.approx(0.5)
            assert "was not renewed for 5 s" in lost.reason
            assert await world.other_store.get(KEY) is not None, "the server still holds it"
            assert registration.state is Registered.REGISTERING
            assert legal(world.events)
            world.store.hangs.clear()
            await world.until(lambda: str(registration.state) == "REGISTERED")

    told(story)


def test_the_deadline_is_counted_from_sending(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            world.store.answer_after_s = 1.5  # within the limit of one call
            await world.until(lambda: world.store.calls.count("keep_alive") == 1)
            sent = world.clock()
            await world.until(lambda: registration.health().renewed_s < 2 and registration.state.name == "REGISTERED")
            assert world.clock() - sent == pytest.approx(1.5, abs=0.05)
            assert registration.health().left_s == pytest.approx(3.5, abs=0.05)

    told(story)


@pytest.mark.parametrize("late_s", [0.6, 1.4])
def test_answers_that_come_late_but_in_time_lose_nothing(told, late_s: float) -> None:
    async def story(world) -> None:
        world.store.answer_after_s = late_s
        async with registered(world):
            await asyncio.sleep(100)
        assert "LOST" not in world.states()

    told(story)


def test_a_lease_revoked_from_outside_is_registered_again_at_once(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            before = registration.health().lease
            await world.other_store.revoke(before)
            assert KEY not in world.place.state
            took = await world.until(lambda: KEY in world.place.state)
            assert took <= 5 / 3 + 0.1
            await world.until(lambda: registration.state is Registered.REGISTERED)
            assert registration.health().lease != before
            assert world.states()[-4:] == ["RENEWING", "LOST", "REGISTERING", "REGISTERED"]

    told(story)


def test_an_answer_without_time_means_lost_at_once(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            before = registration.health().lease
            world.store.no_time = True
            await world.until(lambda: "LOST" in world.states(), 2)
            world.store.no_time = False
            await world.until(lambda: registration.state is Registered.REGISTERED)
            assert registration.health().lease != before
            assert any("granted 0 s" in (event.reason or "") for event in world.events)

    told(story)


def test_a_key_deleted_from_outside_is_registered_again_under_the_same_lease(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            before = registration.health().lease
            await world.other_store.delete(KEY)
            await world.until(lambda: KEY in world.place.state)
            assert world.place.state[KEY].lease == before
            assert "LOST" in world.states()

    told(story)


def test_a_pause_longer_than_the_lease_says_lost_before_anything_runs(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            world.jump_s = 60.0  # suspended for a minute: the clock went on, nothing ran
            health = registration.health()
            assert health.state is Registered.LOST
            assert health.age_s == pytest.approx(55, abs=0.1)
            await world.until(lambda: world.states()[-2:] == ["REGISTERING", "REGISTERED"] and len(world.events) > 2)
            assert world.states()[-3:] == ["LOST", "REGISTERING", "REGISTERED"]

    told(story)


def test_a_lease_that_is_lost_as_soon_as_it_is_granted_is_no_tight_loop(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:

            def revoke(event) -> None:
                if event.state is Registered.REGISTERED and event.reason is None:
                    world.place.leases.pop(registration.health().lease, None)

            registration._changed = revoke
            await asyncio.sleep(200)
            assert 5 <= world.store.calls.count("grant") <= 12

    told(story)


def test_retries_wait_longer_and_longer_and_end_when_the_store_is_back(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            world.place.down = True
            await world.until(lambda: "LOST" in world.states())
            world.store.calls.clear()
            tries = []
            end = world.clock() + 250
            while world.clock() < end:
                count = world.store.calls.count("get")
                await world.until(lambda count=count: world.store.calls.count("get") > count)
                tries.append(world.clock())
            waits = [round(b - a, 2) for a, b in itertools.pairwise(tries)]
            for number, wait in enumerate(waits[:7]):
                floor = 2 ** min(number + 1, 6)
                assert floor <= wait <= floor + 1.05
            assert registration.health().state is Registered.REGISTERING
            assert "down" in (registration.health().reason or "")
            world.place.down = False
            await world.until(lambda: registration.state is Registered.REGISTERED)
            assert KEY in world.place.state
            assert legal(world.events)

    told(story)


def test_a_watch_that_stands_again_ends_the_wait(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration, world.registry.watch("pay") as cache:
            world.place.down = True
            world.place.cut()
            await world.until(lambda: registration.health().reason is not None and "LOST" in world.states())
            await asyncio.sleep(100)
            world.place.down = False
            await world.until(lambda: cache.freshness.current)
            await world.until(lambda: registration.state is Registered.REGISTERED, 1.0)

    told(story)


def test_starting_without_a_store_waits_and_then_raises_what_it_said(told) -> None:
    async def story(world) -> None:
        world.place.down = True
        begin = world.clock()
        with pytest.raises(SourceUnavailable) as caught:
            await registered(world, wait_s=7).start()
        assert "down" in str(caught.value.__cause__)
        assert world.clock() - begin == pytest.approx(7, abs=0.1)
        world.place.down = False
        await asyncio.sleep(100)
        assert KEY not in world.place.state

    told(story)


def test_starting_in_the_background_registers_when_the_store_comes(told) -> None:
    async def story(world) -> None:
        world.place.down = True
        async with registered(world, wait_s=0) as registration:
            await asyncio.sleep(20)
            assert registration.state is Registered.REGISTERING
            world.place.down = False
            await world.until(lambda: KEY in world.place.state)

    told(story)


def test_what_no_waiting_mends_is_raised_at_once(told, monkeypatch) -> None:
    async def story(world) -> None:
        async def denied(ttl_s):
            raise SourceDenied("no right to write there")

        monkeypatch.setattr(world.store, "grant", denied)
        with pytest.raises(SourceDenied):
            await registered(world).start()
        assert world.clock() == 0
        with pytest.raises(StoreError, match="a value of"):
            await world.other.register("pay", "p1", "a:1", metadata={"x": "y" * 2_000_000}).start()
        assert world.place.leases == {}

    told(story)


def test_a_write_whose_answer_was_lost_is_known_as_our_own(told) -> None:
    async def story(world) -> None:
        txn = world.store.txn
        lost: list = []

        async def no_answer(request):
            done = await txn(request)
            if not lost:
                lost.append(done)
                raise SourceUnavailable("the connection was cut")
            return done

        world.store.txn = no_answer
        async with registered(world) as registration:
            assert registration.state is Registered.REGISTERED
            assert world.place.state[KEY].version == 1
        assert KEY not in world.place.state

    told(story)


def test_a_closed_store_ends_it_without_a_loop(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            await world.store.close()
            await world.until(lambda: not registration.started)
            assert registration.state is Registered.LOST
            count = len(world.store.calls)
            await asyncio.sleep(1000)
            assert len(world.store.calls) == count
            with pytest.raises(NotRunning):
                await registration.check()

    told(story)


def test_a_name_that_is_taken_is_refused(told) -> None:
    async def story(world) -> None:
        async with world.other.register("pay", "p1", "10.0.0.8:80", ttl_s=5):
            leases = dict(world.place.leases)
            with pytest.raises(Conflict, match=r"'p1' of service 'pay' is taken by another one at 10\.0\.0\.8:80"):
                await registered(world).start()
            assert list(world.place.leases) == list(leases), "no lease is left behind"
            await asyncio.sleep(60)
            assert b"10.0.0.8" in world.place.state[KEY].value

    told(story)


def test_who_waits_for_a_name_gets_it_when_the_other_dies(told) -> None:
    async def story(world) -> None:
        other = world.other.register("pay", "p1", "10.0.0.8:80", ttl_s=5)
        await other.start()
        waiting = asyncio.create_task(registered(world, taken="wait", wait_s=None).start())
        await asyncio.sleep(30)
        assert not waiting.done()
        other._task.cancel()  # as by SIGKILL: nothing is revoked
        took = await world.until(waiting.done)
        assert took <= 5 + 5.1
        assert b"10.0.0.7" in world.place.state[KEY].value

    told(story)


def test_who_is_replaced_ends_and_does_not_fight_back(told) -> None:
    async def story(world) -> None:
        async with (
            world.other.register("pay", "p1", "10.0.0.8:80", ttl_s=5) as first,
            registered(world, taken="replace") as second,
        ):
            await world.until(lambda: first.state is Registered.REPLACED)
            assert "10.0.0.7:80" in (first.health().reason or "")
            revision = world.place.revision
            await asyncio.sleep(100)
            assert world.place.revision == revision
            assert second.state is Registered.REGISTERED
            await first.deregister()
            assert KEY in world.place.state
            assert first.state is Registered.REPLACED

    told(story)


def test_two_that_replace_do_not_replace_each_other_for_ever(told) -> None:
    async def story(world) -> None:
        async with (
            world.other.register("pay", "p1", "b:1", ttl_s=5, taken="replace") as first,
            registered(world, taken="replace") as second,
        ):
            # Both lose their leases; whoever comes first has the name.
            for lease in list(world.place.leases):
                await world.other_store.revoke(lease)
            await asyncio.sleep(100)
            standing = sorted([first.state, second.state])
            assert standing in (["REGISTERED", "REGISTERING"], ["REGISTERED", "REPLACED"])

    told(story)


def test_somebody_else_who_took_the_name_while_we_were_away_keeps_it(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            await world.other_store.revoke(registration.health().lease)
            async with world.other.register("pay", "p1", "b:1", ttl_s=5):
                await asyncio.sleep(60)
                assert registration.state is Registered.REGISTERING
                assert "taken by another one at b:1" in (registration.health().reason or "")
                assert b"b:1" in world.place.state[KEY].value
            await world.until(lambda: str(registration.state) == "REGISTERED", 10)
            assert b"10.0.0.7" in world.place.state[KEY].value

    told(story)


def test_many_registrars_of_one_name_have_one_winner(told) -> None:
    async def story(world) -> None:
        async def attempt(number: int) -> bool:
            try:
                await world.make(world.store).register("pay", "p1", f"a:{number}", ttl_s=50).start()
            except Conflict:
                return False
            return True

        won = await asyncio.gather(*(attempt(number) for number in range(20)))
        assert sum(won) == 1
        assert world.place.state[KEY].version == 1

    told(story)


def test_an_update_is_one_write_under_the_same_lease(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            before, revision = world.place.state[KEY], world.place.revision
            await registration.update(weight=0, metadata={"draining": "yes"})
            after = world.place.state[KEY]
            assert json.loads(after.value)["weight"] == 0
            assert (after.lease, after.create_revision) == (before.lease, before.create_revision)
            assert world.place.revision == revision + 1
            with pytest.raises(UsageError, match="weight"):
                await registration.update(weight=-1)
            assert world.place.revision == revision + 1

    told(story)


def test_a_check_with_a_lost_lease_registers_anew_before_it_returns(told) -> None:
    async def story(world) -> None:
        async with registered(world) as registration:
            await world.other_store.revoke(registration.health().lease)
            begin = world.clock()
            await registration.check()
            assert world.clock() == begin
            assert KEY in world.place.state
            world.place.down = True
            with pytest.raises(SourceUnavailable):
                await registration.check()

    told(story)


def test_deregistering_gives_a_silent_store_only_so_much_time(told) -> None:
    async def story(world) -> None:
        registration = registered(world)
        await registration.start()
        world.store.hangs.add("revoke")
        begin = world.clock()
        await registration.deregister()
        assert world.clock() - begin == pytest.approx(3, abs=0.1)
        assert "ends by itself within 5 s" in (registration.health().reason or "")
        await asyncio.sleep(5)
        assert await world.other_store.get(KEY) is None

    told(story)


def test_a_listener_that_raises_does_not_end_it(told, caplog) -> None:
    async def story(world) -> None:
        def bad(event) -> None:
            raise ValueError("not my day")

        async with registered(world, changed=bad) as registration:
            await asyncio.sleep(20)
            assert registration.state is Registered.REGISTERED

    told(story)
    assert "not my day" in caplog.text


def test_it_can_be_registered_again_after_it_ended(told) -> None:
    async def story(world) -> None:
        registration = registered(world)
        for _ in range(2):
            async with registration:
                assert KEY in world.place.state
                with pytest.raises(UsageError, match="already"):
                    await registration.start()
            assert KEY not in world.place.state

    told(story)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ttl_s": 0}, "lease of 0"),
        ({"ttl_s": -1.0}, "lease"),
        ({"taken": "steal"}, "steal"),
        ({"weight": float("nan")}, "weight"),
        ({"metadata": {"a": 1}}, "metadata"),
    ],
)
def test_options_that_cannot_work_are_refused(told, options, says: str) -> None:
    async def story(world) -> None:
        with pytest.raises(UsageError, match=says):
            registered(world, **options)

    told(story)
