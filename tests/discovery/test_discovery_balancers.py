"""Who is handed out, how often, and how little moves when instances come and go."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.discovery import ConsistentHash, LeastPending, LoadBalancer, RoundRobin, ServiceCache, WeightedRoundRobin
from herz.discovery.instance import Instance, encoded
from herz.errors import SourceUnavailable, UsageError
from herz.model.document import Batch, Document, Event, Reset
from herz.model.origin import Origin
from herz.model.tree import ABSENT
from herz.store.base import Entry

ORIGIN = Origin("/herz/services/pay/", "services")
BALANCERS = [RoundRobin, WeightedRoundRobin, LeastPending, ConsistentHash]
NAMES = st.sets(st.text("abcdefgh0123", min_size=1, max_size=6), min_size=1, max_size=12)


class Service:
    """A cache that is fed by hand, one revision after the other."""

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        self.cache = ServiceCache("pay")
        self.revision = 0
        self.entries: dict[str, Entry] = {}
        self.cache.take(Reset(Document(ORIGIN, 0, {})))
        for name, weight in (weights or {}).items():
            self.join(name, weight)

    def join(self, name: str, weight: float = 1.0) -> None:
        key, value = f"/herz/services/pay/{name}", encoded(Instance("pay", name, f"{name}:1", weight))
        self.revision += 1
        before = self.entries.get(key)
        created = self.revision if before is None else before.create_revision
        self.entries[key] = entry = Entry(key, value, created, self.revision, 1)
        self._take(Event((key,), ABSENT if before is None else before, entry))

    def leave(self, name: str) -> None:
        self.revision += 1
        self._take(Event((f"/herz/services/pay/{name}",), self.entries.pop(f"/herz/services/pay/{name}"), ABSENT))

    def _take(self, event: Event) -> None:
        self.cache.take(Batch(self.revision, (event,), Document(ORIGIN, self.revision)))


def chosen(balancer: LoadBalancer, calls: int) -> Counter[str]:
    return Counter(balancer.choose(str(number)).name for number in range(calls))


def homes(balancer: LoadBalancer, keys: int = 2_000) -> dict[int, str]:
    return {key: balancer.choose(f"user-{key}").name for key in range(keys)}


# --- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("balancer", BALANCERS)
def test_an_empty_service_is_a_passing_condition_that_says_where_it_stands(balancer) -> None:
    with pytest.raises(SourceUnavailable, match=r"service 'pay' has no instance \(the cache is LOADING"):
        balancer(Service().cache).choose("key")
    with pytest.raises(SourceUnavailable, match="2 instances, all of them with weight 0"):
        balancer(Service({"a": 0, "b": 0}).cache).choose("key")
    with pytest.raises(SourceUnavailable), balancer(Service().cache).pick("key"):
        pytest.fail("nobody to hand out")


@pytest.mark.parametrize("balancer", BALANCERS)
def test_weight_0_takes_an_instance_out_of_the_traffic(balancer) -> None:
    assert set(chosen(balancer(Service({"a": 1, "b": 0, "c": 1}).cache), 50)) == {"a", "c"}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_an_instance_that_left_is_never_handed_out_and_one_that_joined_is(balancer) -> None:
    service = Service({"a": 1, "b": 1})
    picks = balancer(service.cache)
    chosen(picks, 10)
    service.leave("a")
    assert set(chosen(picks, 50)) == {"b"}
    service.join("c")
    assert set(chosen(picks, 50)) == {"b", "c"}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_an_instance_that_leaves_while_it_is_being_chosen_is_not_handed_out(balancer, monkeypatch) -> None:
    service = Service({"a": 1, "b": 1, "c": 1})
    picks = balancer(service.cache)
    select = picks._select

    def slow(table, key):
        instance = select(table, key)
        if len(service.entries) > 1:
            service.leave(instance.name)
        return instance

    monkeypatch.setattr(picks, "_select", slow)
    assert picks.choose("key").name in {key.rpartition("/")[2] for key in service.entries}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_pick_between_publishing_and_notifying_sees_what_was_published(balancer, monkeypatch) -> None:
    service = Service({"a": 1, "b": 1})
    picks = balancer(service.cache)
    monkeypatch.setattr(picks, "notify", lambda snapshot: None)
    service.leave("a")
    service.join("c")
    assert set(chosen(picks, 50)) == {"b", "c"}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_changed_instance_is_handed_out_as_it_is_now(balancer) -> None:
    service = Service({"a": 1})
    picks = balancer(service.cache)
    assert picks.choose("k").weight == 1
    service.join("a", 2)
    assert picks.choose("k").weight == 2


@pytest.mark.parametrize("balancer", BALANCERS)
def test_pending_counts_the_blocks_that_are_open(balancer) -> None:
    service = Service({"a": 1})
    picks = balancer(service.cache)
    with picks.pick("k") as one:
        with picks.pick("k") as other:
            assert one is other
            assert picks.pending(one) == 2
        assert picks.pending(one) == 1
        service.leave("a")
    assert picks.pending(one) == 0
    with pytest.raises(ValueError, match="their own"), balancer(Service({"a": 1}).cache).pick("k"):
        raise ValueError("their own")


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_pick_that_is_not_entered_counts_nothing(balancer) -> None:
    picks = balancer(Service({"a": 1}).cache)
    picks.pick("k")
    assert picks._pending == {}


def test_the_pending_calls_of_an_earlier_stay_are_not_those_of_the_next() -> None:
    service = Service({"a": 1, "b": 1})
    picks = RoundRobin(service.cache)
    with picks.pick() as instance:
        service.leave(instance.name)
        service.join(instance.name)
        assert picks.pending(next(i for i in service.cache.instances() if i.name == instance.name)) == 0
        assert picks.pending(instance) == 1


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_balancer_is_not_kept_alive_by_its_cache(balancer) -> None:
    service = Service({"a": 1})
    gone = weakref.ref(balancer(service.cache))
    gc.collect()
    assert gone() is None
    service.join("b")


def test_the_service_must_be_one_that_the_cache_follows() -> None:
    with pytest.raises(UsageError, match="every service"):
        RoundRobin(ServiceCache())
    with pytest.raises(UsageError, match="follows 'pay', not 'users'"):
        RoundRobin(Service().cache, "users")
    assert RoundRobin(ServiceCache(), "users").service == "users"


@pytest.mark.parametrize("balancer", BALANCERS)
def test_threads_that_pick_leave_nothing_pending(balancer) -> None:
    service = Service({f"i{number}": 1 for number in range(5)})
    picks = balancer(service.cache)

    def work() -> None:
        for number in range(500):
            with picks.pick(str(number)):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert picks._pending == {}


# --- each ----------------------------------------------------------------------------------------------


def test_round_robin_gives_each_the_same_number_in_turn() -> None:
    picks = RoundRobin(Service({"a": 1, "b": 9, "c": 1}).cache, chance=lambda: 0.0)
    assert [picks.choose().name for _ in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]
    starts = {RoundRobin(Service({"a": 1, "b": 1, "c": 1}).cache).choose().name for _ in range(60)}
    assert starts == {"a", "b", "c"}


def test_weighted_round_robin_is_smooth() -> None:
    picks = WeightedRoundRobin(Service({"a": 5, "b": 1, "c": 1}).cache)
    assert [picks.choose().name for _ in range(14)] == list("aabacaa" * 2)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=1))
def test_weighted_round_robin_is_exact_over_each_total_and_never_far_off(weights) -> None:
    picks, total, seen = WeightedRoundRobin(Service(weights).cache), sum(weights.values()), Counter[str]()
    for number in range(1, 2 * total + 1):
        seen[picks.choose().name] += 1
        for name, weight in weights.items():
            assert abs(seen[name] - number * weight / total) < len(weights)
    assert seen == {name: 2 * weight for name, weight in weights.items()}


def test_weighted_round_robin_forgets_who_left() -> None:
    service = Service({"a": 5, "b": 1})
    picks = WeightedRoundRobin(service.cache)
    chosen(picks, 5)
    service.leave("a")
    picks.choose()
    assert set(picks._credit) == {"b"}


def test_least_pending_avoids_the_busy_one() -> None:
    service = Service({"a": 1, "b": 1})
    picks = LeastPending(service.cache, chance=random.Random(3).random)
    with picks.pick() as first:
        for _ in range(20):
            assert picks.choose() is not first


def test_two_choices_keep_the_longest_queue_short() -> None:
    """Balls into bins: with one choice the fullest of n has about ln n / ln ln n, with two about ln ln n."""
    names = {f"i{number}": 1.0 for number in range(200)}

    def longest(balancer: LoadBalancer) -> int:
        open_picks = [balancer.pick() for _ in range(200)]
        for pick in open_picks:
            pick.__enter__()
        worst = max(map(balancer.pending, balancer._cache.instances()))
        for pick in open_picks:
            pick.__exit__(None, None, None)
        return worst

    class OneChoice(LeastPending):
        def _select(self, table, key):
            return table.instances[int(self._chance() * len(table.instances))]

    seeds = range(20)
    two = [longest(LeastPending(Service(names).cache, chance=random.Random(seed).random)) for seed in seeds]
    one = [longest(OneChoice(Service(names).cache, chance=random.Random(seed).random)) for seed in seeds]
    assert max(two) <= 3
    assert sum(one) > 1.4 * sum(two)


def test_least_pending_follows_the_weights() -> None:
    service = Service({"a": 3, "b": 1})
    picks = LeastPending(service.cache, chance=random.Random(5).random)
    held = [picks.pick() for _ in range(400)]
    for pick in held:
        pick.__enter__()
    counts = {instance.name: picks.pending(instance) for instance in service.cache.instances()}
    assert counts == {"a": 300, "b": 100}


# --- consistent hashing -----------------------------------------------------------------------------


def test_a_key_has_the_same_home_for_all_who_see_the_same_instances() -> None:
    names = [f"i{number}" for number in range(9)]
    one, other = Service(dict.fromkeys(names, 1.0)), Service(dict.fromkeys(reversed(names), 1.0))
    assert homes(ConsistentHash(one.cache)) == homes(ConsistentHash(other.cache))


def test_homes_are_the_same_in_every_version_and_on_every_machine() -> None:
    picks = ConsistentHash(Service({"a": 1, "b": 1, "c": 2}).cache)
    assert "".join(picks.choose(f"user-{number}").name for number in range(24)) == "cbbabbcbccbcbccccaccbcaa"
    assert picks.choose(b"user-1") is picks.choose("user-1")


@given(NAMES, st.text("xyz789", min_size=1, max_size=6))
def test_who_joins_takes_keys_and_nothing_else_moves(names, joins) -> None:
    service = Service(dict.fromkeys(sorted(names), 1.0))
    picks = ConsistentHash(service.cache)
    before = homes(picks, 60)
    service.join(joins)
    after = homes(picks, 60)
    assert all(after[key] in (before[key], joins) for key in before)
    service.leave(joins)
    assert homes(picks, 60) == before


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=4), st.floats(0.1, 50), min_size=2, max_size=8), st.data())
def test_a_change_of_weight_moves_keys_only_to_or_from_that_instance(weights, data) -> None:
    service = Service(weights)
    picks = ConsistentHash(service.cache)
    name = data.draw(st.sampled_from(sorted(weights)))
    heavier = data.draw(st.booleans())
    before = homes(picks, 60)
    service.join(name, weights[name] * (3 if heavier else 0.3))
    after = homes(picks, 60)
    if heavier:
        assert all(after[key] in (before[key], name) for key in before)
    else:
        assert all(after[key] == before[key] or before[key] == name for key in before)


@pytest.mark.parametrize("size", [2, 5, 20, 100])
def test_about_one_key_in_n_moves(size: int) -> None:
    service = Service({f"i{number}": 1.0 for number in range(size)})
    picks = ConsistentHash(service.cache)
    before = homes(picks)
    service.join("new")
    moved = sum(before[key] != home for key, home in homes(picks).items()) / len(before)
    assert 0.6 / (size + 1) < moved < 1.5 / (size + 1)


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1, "d": 1}, {"a": 1, "b": 2, "c": 3, "d": 4}])
def test_keys_are_spread_by_weight(weights) -> None:
    counts = Counter(homes(ConsistentHash(Service(weights).cache), 8_000).values())
    total = sum(weights.values())
    for name, weight in weights.items():
        share = weight / total
        assert abs(counts[name] / 8_000 - share) < 5 * (share * (1 - share) / 8_000) ** 0.5


def test_bounded_loads_send_a_hot_key_to_the_next_and_hold_the_bound() -> None:
    service = Service({f"i{number}": 1.0 for number in range(10)})
    picks = ConsistentHash(service.cache, bound=1.25)
    home = picks.choose("hot")
    held = [picks.pick("hot") for _ in range(400)]
    for calls, pick in enumerate(held, 1):
        pick.__enter__()
        worst = max(map(picks.pending, service.cache.instances()))
        assert worst <= -(-125 * calls // 1000)
    assert picks.pending(home) == 50
    for pick in held:
        pick.__exit__(None, None, None)
    assert picks.choose("hot") is home
    free = ConsistentHash(service.cache)
    assert {key: picks.choose(key).name for key in map(str, range(100))} == {
        key: free.choose(key).name for key in map(str, range(100))
    }


def test_hashing_asks_for_a_key_and_a_bound_that_holds_all() -> None:
    with pytest.raises(UsageError, match="needs a key"):
        ConsistentHash(Service({"a": 1}).cache).choose()
    for bound in (0.9, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="bound"):
            ConsistentHash(Service({"a": 1}).cache, bound=bound)
