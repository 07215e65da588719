"""What can be told from two states of a tree, as laws against a model of ZooKeeper's own counting."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from herz.sources.zookeeper_tree import Cut, Family, Value, contradiction, parent, transactions

ROOT = "/c"
NAMES = ["/c/a", "/c/b", "/c/a/x", "/c/a/y", "/c/b/x"]


class Model:
    """Znodes with the counters that ZooKeeper keeps; `log` has each transaction and the paths whose data it changed."""

    def __init__(self) -> None:
        self.zxid = 1
        self.nodes: dict[str, dict] = {ROOT: self._born(b"")}
        self.log: list[tuple[int, set[str]]] = []

    def _born(self, data: bytes) -> dict:
        return {"data": data, "czxid": self.zxid, "mzxid": self.zxid, "version": 0, "pzxid": self.zxid, "cversion": 0}

    def commit(self, operations: list[tuple[str, str]]) -> None:
        """One transaction; what is not possible in it is left out."""
        self.zxid += 1
        touched = set()
        for what, path in operations:
            node = self.nodes.get(path)
            above = self.nodes.get(parent(path))
            if what == "set" and node is not None:
                node |= {"data": b"%d" % self.zxid, "mzxid": self.zxid, "version": node["version"] + 1}
            elif what == "create" and node is None and above is not None:
                self.nodes[path] = self._born(b"%d" % self.zxid)
                above |= {"pzxid": self.zxid, "cversion": above["cversion"] + 1}
            elif what == "delete" and node is not None and above is not None and not self._names(path):
                del self.nodes[path]
                above |= {"pzxid": self.zxid, "cversion": above["cversion"] + 1}
            else:
                continue
            touched.add(path)
        if touched:
            self.log.append((self.zxid, touched))

    def _names(self, path: str) -> frozenset[str]:
        return frozenset(other.rpartition("/")[2] for other in self.nodes if other != "/" and parent(other) == path)

    def cut(self) -> Cut:
        values = {path: Value(n["data"], n["czxid"], n["mzxid"], n["version"]) for path, n in self.nodes.items()}
        families = {
            path: Family(self._names(path), n["czxid"], n["pzxid"], n["cversion"]) for path, n in self.nodes.items()
        }
        return Cut(ROOT, self.zxid, Map(values), Map(families))


operations = st.tuples(st.sampled_from(["set", "create", "delete"]), st.sampled_from(NAMES))
histories = st.lists(st.lists(operations, min_size=1, max_size=3), max_size=8)


def run(model: Model, history: list[list[tuple[str, str]]]) -> Model:
    for transaction in history:
        model.commit(transaction)
    return model


@given(histories, histories)
def test_transactions_that_are_told_are_exactly_those_that_happened(before, after):
    model = run(Model(), before)
    held, known = model.cut(), len(model.log)
    now = run(model, after).cut()
    happened = model.log[known:]
    log = [path for _, paths in happened for path in paths]
    as_held = [path for path in NAMES if log.count(path) == 1 and not any(parent(other) == path for other in log)]
    deleted = {path: held.values[path].mzxid for path in as_held if path in held.values and path not in now.values}
    for known_deletions in ({}, deleted):
        told = transactions(held, now, held.differing(now), known_deletions)
        if told is not None:
            assert told == happened


@given(histories, st.sampled_from(NAMES))
def test_a_single_change_of_data_is_always_told(before, path):
    model = run(Model(), before)
    held = model.cut()
    model.commit([("set", path)])
    if path in model.nodes:
        now = model.cut()
        assert transactions(held, now, held.differing(now)) == [(model.zxid, {path})]


@given(histories, histories)
def test_what_follows_from_what_was_held_is_never_a_contradiction(before, after):
    model = run(Model(), before)
    held = model.cut()
    now = run(model, after).cut()
    assert contradiction(held, now, held.zxid) is None


@given(histories, histories, st.sampled_from([0, 1, 9]))
def test_an_older_copy_is_a_contradiction_also_when_its_numbers_have_overtaken_us(before, lost, ahead):
    model = run(Model(), before)
    restored = copy.deepcopy(model)
    held = run(model, lost).cut()
    restored.zxid = held.zxid + ahead
    now = restored.cut()
    assert (contradiction(held, now, held.zxid) is not None) == bool(held.differing(now))


def test_a_deleted_and_recreated_znode_is_no_transaction_that_can_be_told():
    model = run(Model(), [[("create", "/c/a")]])
    held = model.cut()
    now = run(model, [[("delete", "/c/a")], [("create", "/c/a")]]).cut()
    assert now.values["/c/a"].version == held.values["/c/a"].version == 0
    assert transactions(held, now, held.differing(now)) is None


def test_a_znode_that_was_born_before_the_one_we_hold_is_a_contradiction_whatever_its_parent_says():
    held = Cut(ROOT, 9, Map({ROOT: Value(b"", 1, 1, 0), "/c/a": Value(b"new", 8, 8, 0)}))
    now = Cut(ROOT, 20, Map({ROOT: Value(b"", 1, 1, 0), "/c/a": Value(b"old", 2, 3, 1)}))
    reason = contradiction(held, now, 9)
    assert reason is not None
    assert "/c/a" in reason


def test_data_never_print():
    assert "s3cret" not in repr(Value(b"s3cret", 1, 1, 0))
