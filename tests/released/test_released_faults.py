"""Following a channel in a store that fails in every way: nothing is lost, nothing made up, and it says what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herz.model.document import Batch, Document, Progress, Reset, Revision, replay
from herz.model.tree import thaw
from herz.release.channel import ReleaseRef
from herz.sources.base import Failed, Item, Prepare
from herz.sources.released import ReleasedSource
from herz.sources.released_store import StoreLink
from herz.sources.released_url import Address
from herz.testing.memory_store import MemoryStore, Place
from herz.testing.virtual_time import run
from herz.watch.session import Session

from ..conftest import examples

TEXTS = ("a: 1\nb: x\n", "a: 2\nb: x\n", "a: 2\nb: y\nc: {d: 1}\n")


class Follower:
    """Takes items as the updater does, and holds each against the one before."""

    def __init__(self, place: Place) -> None:
        clock = asyncio.get_running_loop().time
        address = Address.parse("herz+sqlite:///x.db?instance=one#pay", {})
        link = StoreLink(MemoryStore(place, clock=clock), "pay", "default", lambda: "one")
        self.source = ReleasedSource(address, link)
        self.session = Session(self.source, self._deliver, self._applied, clock=clock, chance=lambda: 0.5)
        self.document = Document(self.source.origin, -1)
        self.handled: Revision = -1
        self.items: list[Item] = []
        self.prepared: Document | None = None

    async def _applied(self) -> Revision:
        return self.handled

    async def _deliver(self, item: Item) -> None:
        self.items.append(item)
        if isinstance(item, Batch):
            assert item.revision >= self.handled
            before, after = self.document.parts[item.part], item.document.parts[item.part]
            assert thaw(replay(before.tree, item.events)) == thaw(after.tree)
            self.document = item.document
        elif isinstance(item, Reset):
            assert item.rewound or item.document.revision >= self.handled
            self.document = item.document
        elif isinstance(item, Prepare):
            if item.document is not None and item.events is not None:
                before, after = self.document.parts[item.part], item.document.parts[item.part]
                assert thaw(replay(before.tree, item.events)) == thaw(after.tree)
            self.prepared = item.document
        self.handled = item.document.revision if isinstance(item, Reset) else item.revision

    async def start(self) -> None:
        self.document = await self.source.read()
        self.handled = self.document.revision
        self.task = asyncio.create_task(self.session.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def held(self) -> tuple[Any, ...]:
        return tuple(thaw(part.tree) for part in self.document.parts)

    async def until(self, condition: Callable[[], object], seconds: float = 1000.0) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < end, f"never: {self.session.state} {self.session.error}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def following(place: Place) -> Any:
    follower = Follower(place)
    await follower.start()
    try:
        yield follower
    finally:
        await follower.stop()


@pytest.fixture
def told(plane_at: Callable[[Any], Any]) -> Callable[[Callable[[Any, Any, Any], Awaitable[None]]], None]:
    """Runs a story of (place, plane, follower) in virtual time; the first release is in force."""

    def run_story(story: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        async def main() -> None:
            place = Place()
            plane = plane_at(MemoryStore(place))
            await plane.publish(TEXTS[0])
            async with following(place) as follower:
                await story(place, plane, follower)

        run(main())

    return run_story


def test_a_backup_that_is_restored_is_a_new_epoch(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        backup = place.backup()
        await plane.publish(TEXTS[1])
        await follower.until(lambda: follower.held == ({"a": 2, "b": "x"},))
        place.restore(backup)
        await follower.until(lambda: follower.held == ({"a": 1, "b": "x"},))
        assert [item.rewound for item in follower.items if isinstance(item, Reset)] == [True]

    told(story)


def test_what_was_prepared_before_a_backup_was_restored_is_withdrawn(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        backup = place.backup()
        await plane.point(plane.channel.stable.release, prepare=await plane.release(TEXTS[1]))
        await follower.until(lambda: follower.prepared is not None)
        place.restore(backup)
        await follower.until(lambda: follower.session.rewinds == 1 and follower.prepared is None)

    told(story)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_restored_backup_that_has_overtaken_us_is_found_out(told: Any, compacted: bool) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        backup = place.backup()
        await plane.publish(TEXTS[1])
        await follower.until(lambda: follower.held == ({"a": 2, "b": "x"},))
        place.silent = True  # it does not see the restore happen
        place.restore(backup)
        for number in range(20):
            await plane.store.put("/elsewhere", str(number).encode())
        if compacted:
            await plane.store.compact(place.revision)
        place.silent = False
        await follower.until(lambda: follower.held == ({"a": 1, "b": "x"},))
        assert follower.session.rewinds == 1

    told(story)


def test_history_that_is_gone_is_no_reason_to_read_everything_as_another_story(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        place.down = True
        place.cut()
        await follower.until(lambda: follower.session.error is not None)
        place.down = False
        await plane.publish(TEXTS[1])
        await plane.store.compact(place.revision)
        place.down = True
        await asyncio.sleep(5)
        place.down = False
        await follower.until(lambda: follower.held == ({"a": 2, "b": "x"},))
        assert follower.session.rewinds == 0
        assert not any(isinstance(item, Reset) for item in follower.items)

    told(story)


def test_a_change_that_is_told_again_is_not_applied_again(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        await plane.publish(TEXTS[1])
        await follower.until(lambda: follower.held == ({"a": 2, "b": "x"},))
        place.say_again()
        await follower.until(lambda: follower.session.broken == 1)
        await plane.publish(TEXTS[2])
        await follower.until(lambda: follower.held == ({"a": 2, "b": "y", "c": {"d": 1}},))
        assert follower.session.rewinds == 0

    told(story)


def test_it_counts_as_current_only_while_both_prefixes_are_proved(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        await follower.until(lambda: any(isinstance(item, Progress) and item.current for item in follower.items))
        place.silent = True
        await follower.until(lambda: follower.session.says == "STALE")
        place.silent = False
        await follower.until(lambda: follower.session.says == "CURRENT")

    told(story)


def test_a_channel_that_is_no_channel_is_refused_and_followed_again_when_it_is_mended(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        await plane.store.put("/herz/live/pay/default/all/channel", b"{")
        await follower.until(lambda: follower.session.error is not None)
        assert "not a channel" in str(follower.session.error)
        await plane.publish(TEXTS[1])
        await follower.until(lambda: follower.held == ({"a": 2, "b": "x"},))

    told(story)


def test_a_release_that_cannot_be_read_stands_refused_until_the_channel_moves(told: Any) -> None:
    async def story(place: Any, plane: Any, follower: Any) -> None:
        bad = await plane.release("a: [")
        await plane.point(bad)
        await follower.until(lambda: any(isinstance(item, Failed) for item in follower.items))
        at = len(follower.items)
        await asyncio.sleep(10)  # signs of life say that it stands
        assert len(follower.items) > at
        assert {type(item) for item in follower.items[at:]} == {Failed}
        await plane.publish(TEXTS[1])
        await follower.until(lambda: follower.held == ({"a": 2, "b": "x"},))

    told(story)


STEPS = st.sampled_from(
    [
        *("publish 0", "publish 1", "publish 2", "prepare 1", "prepare 2"),
        *("assign b1", "assign b2", "assign stable", "cohort b1 0", "cohort b1 2", "cohort b2 1"),
        *("ask", "cut", "down", "up", "silent", "heard", "pass"),
    ]
)


@pytest.fixture(scope="module")
def plane_type(plane_at: Callable[[Any], Any]) -> Iterator[None]:
    PLANE[:] = [plane_at]
    yield
    PLANE.clear()


PLANE: list[Callable[[Any], Any]] = []


@pytest.mark.usefixtures("plane_type")
@settings(max_examples=examples(200))
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_what_runs_in_the_end_is_what_the_channel_says(steps: list[str]) -> None:
    async def main() -> None:
        place = Place()
        plane = PLANE[0](MemoryStore(place))
        refs: list[ReleaseRef] = [await plane.release(text) for text in TEXTS]
        await plane.point(refs[0])
        async with following(place) as follower:
            for step in steps:
                act, _, rest = step.partition(" ")
                down, place.down = place.down, False  # the writer reaches it, the follower may not
                if act == "publish":
                    await plane.point(refs[int(rest)])
                elif act == "prepare":
                    await plane.point(plane.channel.stable.release, prepare=refs[int(rest)])
                elif act == "assign":
                    await plane.assign("one", rest)
                elif act == "cohort":
                    cohort, number = rest.split()
                    await plane.point(refs[int(number)], cohort=cohort)
                elif act == "ask":
                    await plane.store.put("/herz/live/pay/default/all/asks", b'{"open":[{"nonce":"n"}]}')
                place.down = act == "down" or (down and act != "up")
                place.silent = act == "silent" or (place.silent and act != "heard")
                if act in ("cut", "down"):
                    place.cut()
                await asyncio.sleep(1.5 if act == "pass" else 0.01)
            place.down = place.silent = False
            mailbox = place.state.get("/herz/live/pay/default/to/one/mailbox")
            cohort = "stable" if mailbox is None else mailbox.value.decode().partition(':"')[2].rstrip('"}') or "stable"
            pointer = plane.channel.of(cohort)
            wanted = thaw_of(refs.index(pointer.release))
            await follower.until(lambda: follower.held == (wanted,) and follower.session.says == "CURRENT")
            if pointer.prepare is None:
                await follower.until(lambda: follower.prepared is None)
            else:
                ahead = thaw_of(refs.index(pointer.prepare))
                await follower.until(
                    lambda: follower.prepared is not None and thaw(follower.prepared.parts[0].tree) == ahead
                )
            assert follower.session.rewinds == 0

    run(main())


def thaw_of(number: int) -> Any:
    return ({"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y", "c": {"d": 1}})[number]
