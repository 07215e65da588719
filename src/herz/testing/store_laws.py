"""The laws of a store, as a state machine for hypothesis: random operations against a model of revisions.

    class Machine(StoreMachine):
        async def open(self):
            return MyStore(...)

    TestLaws = Machine.TestCase

The model is a dictionary for each revision. After every step the store must agree with it about the present,
about any old revision that is not compacted, and about what a watch from any of them hands over.
"""

# A law is asserted.
# ruff: noqa: S101

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from herz.errors import LeaseLost, RevisionExpired
from herz.store.base import (
    Changes,
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Get,
    Operation,
    Put,
    Store,
    Target,
    Txn,
)

T = TypeVar("T")
State = dict[str, Entry]
Event = tuple[str, str, bytes, int, Entry | None]

_keys = st.sampled_from(["a", "a/b", "a/c", "ab", "b", "é", "z/z"])
_prefixes = st.sampled_from(["", "a", "a/", "b", "é", "nothing"])
_values = st.sampled_from([b"", b"1", b"2", b"\x00\xff"])
_TARGETS: list[Target] = ["mod_revision", "create_revision", "version", "value"]
_operations = st.lists(
    st.one_of(
        st.builds(Put, _keys, _values),
        st.builds(Delete, _keys),
        st.builds(DeletePrefix, _prefixes),
        st.builds(Get, _keys),
    ),
    max_size=4,
)


class StoreMachine(RuleBasedStateMachine):
    """Random operations on a store that nobody else writes, which may hold older keys outside `root`."""

    root = "/laws/"

    async def open(self) -> Store:
        """The store to be tested; called once for each run."""
        raise NotImplementedError

    async def close(self, store: Store) -> None:
        """Let go of the store."""
        await store.close()

    @initialize()
    def begin(self) -> None:
        """Open the store and begin the model at its revision."""
        self.loop = asyncio.new_event_loop()
        self.store = self.run(self.open())
        self.run(self.store.delete_prefix(self.root))
        self.base = self.compacted = self.head = self.run(self.store.status()).revision
        self.states: dict[int, State] = {self.head: {}}
        self.events: dict[int, list[Event]] = {}
        self.leases: set[int] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 10))

    def teardown(self) -> None:
        """Close what was opened."""
        if hasattr(self, "store"):
            self.run(self.close(self.store))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    # --- the model

    def modelled(self, operations: list[Operation]) -> list[list[Entry]]:
        """Do in the model what the store should do, and return the results that it should give."""
        state, revision = dict(self.states[self.head]), self.head + 1
        events: list[Event] = []
        results: list[list[Entry]] = []
        for operation in operations:
            match operation:
                case Get(key):
                    results.append([state[key]] if key in state else [])
                case Put(key, value, lease):
                    old = state.get(key)
                    created, version = (revision, 1) if old is None else (old.create_revision, old.version + 1)
                    state[key] = Entry(key, value, created, revision, version, lease)
                    events.append(("put", key, value, version, old))
                    results.append([] if old is None else [old])
                case Delete() | DeletePrefix():
                    gone = sorted(
                        (key for key in state if _deletes(operation, key)),
                        key=str.encode,
                    )
                    results.append([state[key] for key in gone])
                    events += [("delete", key, b"", 0, state.pop(key)) for key in gone]
        if events:
            self.head = revision
            self.states[revision], self.events[revision] = state, events
        return results

    def rooted(self, operations: list[Operation]) -> list[Operation]:
        """The operations below the root, without those that contradict an earlier one."""
        done: list[Operation] = []
        for operation in operations:
            match operation:
                case Put(key, value, lease):
                    candidate: Operation = Put(self.root + key, value, lease)
                case DeletePrefix(prefix):
                    candidate = DeletePrefix(self.root + prefix)
                case Delete(key):
                    candidate = Delete(self.root + key)
                case Get(key):
                    candidate = Get(self.root + key)
            if not any(_contradict(candidate, other) or _contradict(other, candidate) for other in done):
                done.append(candidate)
        return done

    # --- the rules

    @rule(operations=_operations)
    def transact(self, operations: list[Operation]) -> None:
        """A transaction without a condition."""
        rooted = self.rooted(operations)
        result = self.run(self.store.txn(Txn(then=rooted)))
        assert [list(entries) for entries in result.results] == self.modelled(rooted)
        assert result.revision == self.head

    @rule(key=_keys, other=_keys, value=_values, relation=st.sampled_from(["=", "!=", "<", ">"]), data=st.data())
    def compare_and_set(self, key: str, other: str, value: bytes, relation: Any, data: st.DataObject) -> None:
        """A transaction with a condition on one key."""
        key, other = self.root + key, self.root + other
        entry = self.states[self.head].get(key)
        target = data.draw(st.sampled_from(_TARGETS))
        operand: Any = value if target == "value" else data.draw(st.integers(0, self.head + 1))
        actual = None if target == "value" and entry is None else (getattr(entry, target) if entry else 0)
        holds = (
            actual is not None
            and {
                "=": actual == operand,
                "!=": actual != operand,
                "<": actual < operand,
                ">": actual > operand,
            }[relation]
        )
        then, otherwise = [Put(other, value)], [Delete(other)]
        result = self.run(self.store.txn(Txn((Compare(key, target, relation, operand),), then, otherwise)))
        assert result.succeeded is holds
        assert [list(entries) for entries in result.results] == self.modelled([*(then if holds else otherwise)])
        assert result.revision == self.head

    @rule(keys=st.sets(_keys, max_size=3))
    def grant_and_attach(self, keys: set[str]) -> None:
        """A lease with keys."""
        lease = self.run(self.store.grant(3600)).id
        assert lease not in self.leases
        self.leases.add(lease)
        puts: list[Operation] = [Put(self.root + key, b"leased", lease) for key in sorted(keys)]
        self.run(self.store.txn(Txn(then=puts)))
        self.modelled(puts)

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        """The end of a lease, with its keys."""
        if not self.leases:
            return
        lease = data.draw(st.sampled_from(sorted(self.leases)))
        self.leases.remove(lease)
        self.run(self.store.revoke(lease))
        keys = sorted((key for key, entry in self.states[self.head].items() if entry.lease == lease), key=str.encode)
        self.modelled([Delete(key) for key in keys])
        with pytest.raises(LeaseLost):
            self.run(self.store.keep_alive(lease))

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        """Forget the past before a revision."""
        revision = data.draw(st.integers(self.base, self.head))
        self.run(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)

    @rule(data=st.data(), prefix=_prefixes, limit=st.integers(1, 3))
    def read_the_past(self, data: st.DataObject, prefix: str, limit: int) -> None:
        """A range as of any revision, in pages."""
        revision = data.draw(st.integers(self.base, self.head))
        if revision < self.compacted:
            with pytest.raises(RevisionExpired):
                self.run(self.store.range(self.root + prefix, revision=revision))
            return
        found: list[Entry] = []
        page = self.run(self.store.range(self.root + prefix, revision=revision, limit=limit))
        while True:
            assert page.revision == revision
            assert len(page.entries) <= limit
            found += page.entries
            if not page.more:
                break
            page = self.run(self.store.range(self.root + prefix, revision=revision, limit=limit, after=found[-1].key))
        assert found == self.expected(revision, prefix)
        for key, entry in self.states[revision].items():
            assert self.run(self.store.get(key, revision=revision)) == entry

    @rule(data=st.data(), prefix=_prefixes)
    def watch_from_the_past(self, data: st.DataObject, prefix: str) -> None:
        """A watch from any revision hands over the rest of the history, once."""
        after = data.draw(st.integers(self.base, self.head))
        if after < self.compacted:
            with pytest.raises(RevisionExpired):
                self.run(self.followed(prefix, after))
            return
        expected = {
            revision: [event for event in events if event[1].startswith(self.root + prefix)]
            for revision, events in self.events.items()
            if revision > after
        }
        found = self.run(self.followed(prefix, after))
        assert [changes.revision for changes in found] == [revision for revision, events in expected.items() if events]
        for changes in found:
            events = [
                (event.type.value, event.entry.key, event.entry.value, event.entry.version, event.previous)
                for event in changes.events
            ]
            # Within a revision a store may order its events as it likes: etcd does not promise the order.
            assert sorted(events, key=lambda event: event[1]) == sorted(
                expected[changes.revision], key=lambda event: event[1]
            )

    async def followed(self, prefix: str, after: int) -> list[Changes]:
        """What a watch hands over until it has caught up."""
        found: list[Changes] = []
        async with self.store.watch(self.root + prefix, after) as items:
            async for item in items:
                if isinstance(item, Changes):
                    found.append(item)
                elif item.revision >= self.head:
                    break
        return found

    def expected(self, revision: int, prefix: str) -> list[Entry]:
        """The entries under a prefix in the model."""
        state = self.states[revision]
        return [state[key] for key in sorted(state, key=str.encode) if key.startswith(self.root + prefix)]

    @invariant()
    def agree_about_the_present(self) -> None:
        """Store and model hold the same entries at the same revision."""
        if hasattr(self, "store"):
            found = self.run(self.store.range(self.root))
            assert list(found.entries) == self.expected(self.head, "")
            assert found.revision == self.head


def _deletes(operation: Operation, key: str) -> bool:
    match operation:
        case Delete(deleted):
            return key == deleted
        case DeletePrefix(prefix):
            return key.startswith(prefix)
        case _:
            return False


def _contradict(one: Operation, other: Operation) -> bool:
    return isinstance(one, Put) and (_deletes(other, one.key) or (isinstance(other, Put) and other.key == one.key))
