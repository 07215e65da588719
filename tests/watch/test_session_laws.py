"""The laws of a watch session, as a state machine: random writes and faults, in virtual time.

Whatever happened, once the place answers again: what is held is what is there, every revision since the last
reading came exactly once and in order, and a store that went back was noticed.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from herz.model.document import Batch
from herz.store.base import Delete, Put, Txn
from herz.testing.memory_store import Backup, MemoryStore, Place
from herz.testing.virtual_time import VirtualTimeLoop
from herz.watch.core import Says, State

from ..conftest import examples

PREFIX = "/config/pay/"
FOLLOWER: list[type[Any]] = []


@pytest.fixture(autouse=True)
def _follower(follower: type[Any]) -> None:
    FOLLOWER[:] = [follower]


keys = st.sampled_from(["a", "b", "c", "d/e"])
values = st.sampled_from([b"1", b"2", b"3"])


class SessionMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.loop = VirtualTimeLoop()
        self.place = Place()
        self.backups: list[Backup] = []
        self.histories: list[dict[int, Any]] = []
        self.run(self._begin(seed))

    async def _begin(self, seed: int) -> None:
        self.writer = MemoryStore(self.place, clock=self.loop.time)
        await self.writer.put(PREFIX + "kept", b"0")
        chance = random.Random(seed).random
        self.watching = FOLLOWER[0](self.place, clock=self.loop.time, chance=chance)
        await self.watching.start()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        if hasattr(self, "watching"):
            try:
                self.settle()
            finally:
                self.run(self.watching.stop())
                self.run(self.loop.shutdown_asyncgens())
                self.loop.close()

    async def _write(self, txn: Txn) -> None:
        down, self.place.down = self.place.down, False  # the writer reaches it, the follower may not
        await self.writer.txn(txn)
        self.place.down = down

    @rule(puts=st.dictionaries(keys, values, min_size=1))
    def put(self, puts: dict[str, bytes]) -> None:
        self.run(self._write(Txn(then=tuple(Put(PREFIX + key, value) for key, value in puts.items()))))

    @rule(gone=st.sets(keys, min_size=1))
    def delete(self, gone: set[str]) -> None:
        self.run(self._write(Txn(then=tuple(Delete(PREFIX + key) for key in gone))))

    @rule(value=values)
    def put_elsewhere(self, value: bytes) -> None:
        self.run(self._write(Txn(then=(Put("/config/other/x", value),))))

    @rule()
    def compact(self) -> None:
        down, self.place.down = self.place.down, False
        self.run(self.writer.compact(self.place.revision))
        self.place.down = down

    @rule()
    def cut(self) -> None:
        self.place.cut()

    @rule()
    def repeat(self) -> None:
        self.place.say_again()

    @rule(silent=st.booleans())
    def silence(self, silent: bool) -> None:
        self.place.silent = silent

    @rule(down=st.booleans())
    def go_down(self, down: bool) -> None:
        self.place.down = down
        self.place.wake()

    @rule(seconds=st.sampled_from([0.01, 0.5, 4.0, 30.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule()
    def save(self) -> None:
        self.backups.append(self.place.backup())

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        self.place.restore(data.draw(st.sampled_from(self.backups)))

    @rule()
    def settle(self) -> None:
        self.place.down = self.place.silent = False
        held = self.watching

        def settled() -> bool:
            active = held.session.state is State.ACTIVE and held.session.says is Says.CURRENT
            return active and held.handled == self.place.revision and held.held == held.there

        self.run(held.until(settled, 1000.0))
        assert held.missed == []
        assert held.revisions == sorted(set(held.revisions))

    @invariant()
    def what_is_in_force_is_never_said_to_be_current_when_it_is_rewound(self) -> None:
        if hasattr(self, "watching") and self.watching.session.says is Says.CURRENT:
            assert not self.watching.session._core.rewound

    @invariant()
    def nothing_was_applied_twice(self) -> None:
        if hasattr(self, "watching"):
            epoch: list[int] = []
            for item in self.watching.items:
                if isinstance(item, Batch):
                    assert not epoch or item.revision > epoch[-1]
                    epoch.append(item.revision)
                elif getattr(item, "rewound", False):
                    epoch = []


TestSession = SessionMachine.TestCase
TestSession.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
