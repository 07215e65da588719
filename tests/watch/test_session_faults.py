"""What a session survives, in virtual time, on a store that fails when told to."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from herz.errors import EmptiedSource, HistoryBroken, SourceUnavailable
from herz.model.document import Batch
from herz.store.base import DeletePrefix, Put, Txn
from herz.testing.memory_store import MemoryStore, Place
from herz.testing.virtual_time import run
from herz.watch.core import Says, State

PREFIX = "/config/pay/"
Story = Callable[[Place, MemoryStore, Any], Awaitable[None]]


@pytest.fixture
def told(follower: type[Any]) -> Callable[[Story], Any]:
    """Runs a story in virtual time: a writer, and a follower that has read `a=1` and watches."""

    def tell(story: Story) -> Any:
        async def main() -> Any:
            clock = asyncio.get_running_loop().time
            place = Place()
            writer = MemoryStore(place, clock=clock)
            await writer.put(PREFIX + "a", b"1")
            watching = follower(place, clock=clock, chance=random.Random(1).random)
            await watching.start()
            await watching.until(lambda: watching.session.state is State.ACTIVE)
            await story(place, writer, watching)
            await watching.stop()
            return watching

        return run(main())

    return tell


def test_what_was_written_while_the_stream_was_cut_arrives_once_and_in_order(told) -> None:
    async def story(place, writer, watching) -> None:
        for round_ in range(5):
            place.cut()
            for number in range(20):
                await writer.put(PREFIX + f"k{number}", str(round_).encode())
            await watching.until(lambda: watching.held == watching.there)

    watching = told(story)
    assert len(watching.revisions) == 100
    assert watching.missed == []
    assert watching.resets == []


def test_a_compaction_in_the_gap_is_a_reset_with_the_deletes(told) -> None:
    async def story(place, writer, watching) -> None:
        await writer.put(PREFIX + "gone", b"soon")
        await watching.until(lambda: watching.held == watching.there)
        place.down = True
        place.cut()
        await watching.until(lambda: watching.session.state is State.BACKOFF)
        place.down = False
        await writer.delete(PREFIX + "gone")
        await writer.put(PREFIX + "b", b"2")
        await writer.compact(place.revision)
        place.down = True
        await asyncio.sleep(5)
        place.down = False
        await watching.until(lambda: watching.held == watching.there)
        assert watching.held == {"a": "1", "b": "2"}

    watching = told(story)
    assert [reset.rewound for reset in watching.resets] == [False]
    assert "history" in watching.resets[0].reason


def test_a_store_that_went_back_is_rewound_before_it_is_active_again(told) -> None:
    said: list[tuple[State, Says]] = []

    async def story(place, writer, watching) -> None:
        backup = place.backup()
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.held == {"a": "2"})
        place.restore(backup)
        await watching.until(lambda: watching.resets)
        await watching.until(lambda: watching.session.state is State.ACTIVE)
        said.extend((step.state, step.says) for step in watching.session.history)
        assert watching.held == {"a": "1"}

    watching = told(story)
    assert [reset.rewound for reset in watching.resets] == [True]
    assert watching.session.rewinds == 1
    assert said.index((State.PENDING, Says.REWOUND)) < len(said) - 1
    assert said[-1] == (State.ACTIVE, Says.CURRENT)
    assert "went back in time" in watching.resets[0].reason


def test_a_restored_store_that_has_overtaken_us_is_rewound_too(told) -> None:
    async def story(place, writer, watching) -> None:
        backup = place.backup()
        await writer.put(PREFIX + "a", b"2")
        await writer.put(PREFIX + "lost", b"x")
        await watching.until(lambda: watching.held == watching.there)
        place.silent = True  # it does not see the restore happen
        place.restore(backup)
        for number in range(10):
            await writer.put(PREFIX + "a", b"after" + str(number).encode())
        place.silent = False
        await watching.until(lambda: watching.held == watching.there and watching.resets)

    watching = told(story)
    assert [reset.rewound for reset in watching.resets] == [True]


def test_a_restored_store_that_was_compacted_beyond_us_is_still_found_out(told) -> None:
    async def story(place, writer, watching) -> None:
        await writer.put(PREFIX + "b", b"1")
        backup = place.backup()
        await writer.put(PREFIX + "b", b"2")
        await writer.put(PREFIX + "c", b"2")
        await watching.until(lambda: watching.held == watching.there)
        place.restore(backup)
        await writer.put(PREFIX + "d", b"3")
        for number in range(10):
            await writer.put(PREFIX + "a", str(number).encode())
        await writer.compact(place.revision)
        await watching.until(lambda: watching.held == watching.there and watching.resets)

    assert [reset.rewound for reset in told(story).resets] == [True]


def test_a_change_of_other_keys_only_is_no_rewind(told) -> None:
    async def story(place, writer, watching) -> None:
        for _ in range(3):
            await writer.put("/config/other/x", b"1")
            place.cut()
            await watching.until(lambda: watching.handled == place.revision)

    watching = told(story)
    assert watching.resets == []
    assert watching.session.rewinds == 0


def test_a_silent_watch_says_stale_within_its_deadline_and_recovers(told) -> None:
    async def story(place, writer, watching) -> None:
        loop = asyncio.get_running_loop()
        place.silent = True
        began = loop.time()
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.session.says is Says.STALE)
        assert loop.time() - began <= watching.source.proof_s + 1.1
        place.silent = False
        await watching.until(lambda: watching.held == {"a": "2"})
        assert watching.session.says is Says.CURRENT

    assert told(story).missed == []


def test_a_replayed_change_is_refused_counted_and_verified(told) -> None:
    async def story(place, writer, watching) -> None:
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.held == {"a": "2"})
        place.say_again()
        await watching.until(lambda: watching.session.broken == 1)
        await writer.put(PREFIX + "a", b"3")
        await watching.until(lambda: watching.held == {"a": "3"})

    watching = told(story)
    assert [item.revision for item in watching.items if isinstance(item, Batch)] == watching.revisions
    assert watching.resets == []
    assert any("came again" in (step.reason or "") for step in watching.session.history)


def test_one_transaction_is_one_batch(told) -> None:
    async def story(place, writer, watching) -> None:
        await writer.txn(Txn(then=tuple(Put(PREFIX + f"k{n}", b"1") for n in range(50))))
        await watching.until(lambda: watching.held == watching.there)

    assert len(told(story).revisions) == 1


def test_a_prefix_deleted_whole_is_refused_until_keys_come_back(told) -> None:
    async def story(place, writer, watching) -> None:
        await writer.txn(Txn(then=(DeletePrefix(PREFIX),)))
        await watching.until(lambda: watching.failed)
        assert isinstance(watching.failed[0].error, EmptiedSource)
        assert watching.held == {"a": "1"}
        place.cut()
        await watching.until(lambda: watching.session.state is State.ACTIVE)
        assert watching.held == {"a": "1"}
        await writer.put(PREFIX + "b", b"2")
        await watching.until(lambda: watching.held == {"b": "2"})

    watching = told(story)
    assert watching.missed == [failed.revision for failed in watching.failed[:1]]


def test_a_value_that_cannot_be_read_does_not_hold_up_the_others_after_a_compaction(told) -> None:
    async def story(place, writer, watching) -> None:
        await writer.put(PREFIX + "a", b"\xff\xfe")
        await watching.until(lambda: watching.failed)
        place.down = True
        place.cut()
        await watching.until(lambda: watching.session.state is State.BACKOFF)
        place.down = False
        await writer.put(PREFIX + "b", b"2")
        await writer.compact(place.revision)
        await watching.until(lambda: watching.held == {"a": "1", "b": "2"})
        await writer.put(PREFIX + "a", b"3")
        await watching.until(lambda: watching.held == watching.there)

    watching = told(story)
    assert len(watching.resets) == 1
    assert len({str(failed.error) for failed in watching.failed}) == 1


def test_a_consumer_slower_than_the_compaction_gets_a_reset(told) -> None:
    async def story(place, writer, watching) -> None:
        slow = asyncio.Event()
        deliver = watching.session._deliver

        async def blocked(item: Any) -> None:
            await slow.wait()
            await deliver(item)

        watching.session._deliver = blocked
        for number in range(100):
            await writer.put(PREFIX + "a", str(number).encode())
        await asyncio.sleep(1)
        await writer.compact(place.revision)
        slow.set()
        await watching.until(lambda: watching.held == {"a": "99"})

    watching = told(story)
    assert [reset.rewound for reset in watching.resets] == [False]


def test_it_keeps_trying_for_ever_and_says_how_old_its_data_is(told) -> None:
    async def story(place, writer, watching) -> None:
        place.down = True
        place.cut()
        await asyncio.sleep(24 * 3600)
        assert watching.session.degraded
        assert watching.session.says is Says.STALE
        assert 24 * 3600 - 5 < watching.session.age_s < 24 * 3600 + 5
        assert watching.held == {"a": "1"}
        tries = watching.session.reconnects
        assert 24 * 3600 / 64 < tries < 3 * 24 * 3600 / 64
        place.down = False
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.held == {"a": "2"})

    assert told(story).missed == []


def test_a_hundred_sessions_do_not_come_back_at_once(follower) -> None:
    async def main() -> list[float]:
        clock = asyncio.get_running_loop().time
        place, chance = Place(), random.Random(7)
        await MemoryStore(place, clock=clock).put(PREFIX + "a", b"1")
        herd = [follower(place, clock=clock, chance=chance.random) for _ in range(100)]
        for one in herd:
            await one.start()
        await herd[-1].until(lambda: all(one.session.state is State.ACTIVE for one in herd))
        place.down = True
        place.cut()
        await asyncio.sleep(3600)
        attempts = [step.at_s for one in herd for step in one.session.history if step.state is State.RETRY]
        for one in herd:
            waited = [step for step in one.session.history if step.state in (State.BACKOFF, State.RETRY)]
            pauses = [b.at_s - a.at_s for a, b in itertools.pairwise(waited) if a.state is State.BACKOFF]
            assert max(pauses) < 65
            assert one.session.degraded
            await one.stop()
        return [at for at in attempts if at > 1800]

    late = run(main())
    for second in range(1800, 3600, 10):
        assert sum(second <= at < second + 10 for at in late) < 50  # of 100 sessions that try every 32 s on average


def test_a_change_outside_the_prefix_ends_the_watch(told) -> None:
    async def story(place, writer, watching) -> None:
        from herz.store.base import Changes, Entry, EventType, KeyEvent

        foreign = KeyEvent(EventType.PUT, Entry("/config/other/x", b"1", 99, 99, 1), None)
        with pytest.raises(HistoryBroken, match="is not under"):
            watching.source._check(Changes(99, (foreign,)))

    told(story)


def test_the_error_of_a_lost_place_is_told_while_it_lasts(told) -> None:
    async def story(place, writer, watching) -> None:
        place.down = True
        place.cut()
        await watching.until(lambda: watching.session.state is State.BACKOFF)
        assert isinstance(watching.session.error, SourceUnavailable)
        place.down = False
        watching.session.hurry()
        began = asyncio.get_running_loop().time()
        await watching.until(lambda: watching.session.state is State.ACTIVE)
        assert asyncio.get_running_loop().time() - began < 0.2
        assert watching.session.error is None

    told(story)


def test_a_reading_that_was_asked_for_is_handed_on_as_a_reset(told) -> None:
    async def story(place, writer, watching) -> None:
        await watching.session.read_again("an operator wants it")
        assert [reset.reason for reset in watching.resets] == ["an operator wants it"]
        assert watching.session.reconnects == 0
        await writer.put(PREFIX + "a", b"2")
        await watching.until(lambda: watching.held == {"a": "2"})
        place.down = True
        place.cut()
        await watching.until(lambda: watching.session.state is State.BACKOFF)
        place.down = False
        await watching.session.read_again("again")
        assert len(watching.resets) == 2

    told(story)


def test_emptiness_that_was_accepted_is_handed_on(told) -> None:
    async def story(place, writer, watching) -> None:
        assert watching.source.accept() == ()
        await writer.txn(Txn(then=(DeletePrefix(PREFIX),)))
        await watching.until(lambda: watching.failed)
        assert watching.source.accept() == (PREFIX,)
        await watching.session.read_again("its emptiness was accepted")
        assert watching.held == {}

    told(story)


def test_a_silent_watch_is_given_up_for_another_one(told) -> None:
    async def story(place, writer, watching) -> None:
        place.silent = True
        await watching.until(lambda: watching.session.reconnects > 0, 30)
        assert any("no sign of life" in (step.reason or "") for step in watching.session.history)
        place.silent = False
        await watching.until(lambda: watching.session.says is Says.CURRENT)

    assert told(story).resets == []
