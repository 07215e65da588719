"""Who is in a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import UsageError
from herz.release.cohort import chosen, ordered, selected

NAMES = st.lists(st.text(min_size=1, max_size=8), max_size=30)


@given(NAMES, st.text(max_size=5), st.integers(0, 30), st.integers(0, 30))
def test_a_larger_share_only_adds(names, seed, one, other):
    fewer, more = sorted((one, other))
    assert chosen(names, seed, more)[:fewer] == chosen(names, seed, fewer)


@given(NAMES, st.text(max_size=5), st.randoms())
def test_the_order_is_that_of_hashes_not_of_arrival(names, seed, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert ordered(shuffled, seed) == ordered(names, seed)


@given(NAMES, st.text(min_size=1, max_size=8), st.text(max_size=5))
def test_who_joins_changes_nothing_among_the_others(names, joiner, seed):
    with_joiner = [name for name in ordered([*names, joiner], seed) if name != joiner]
    assert with_joiner == [name for name in ordered(names, seed) if name != joiner]


@given(NAMES, st.text(max_size=5))
def test_everybody_has_one_place(names, seed):
    assert sorted(ordered(names, seed)) == sorted(set(names))


def test_the_order_is_the_same_in_every_version():
    assert ordered(["a", "b", "c", "d"], "r1") == ("d", "c", "a", "b")


def test_another_rollout_begins_with_others():
    names = [f"pay-{number}" for number in range(100)]
    firsts = {chosen(names, f"r{number}", 1)[0] for number in range(50)}
    assert len(firsts) > 20


def test_a_third_of_the_order_is_spread_evenly():
    names = [f"10.0.{number // 256}.{number % 256}" for number in range(900)]
    third = chosen(names, "r1", 300)
    assert 60 < sum(name in set(names[:300]) for name in third) < 140


def test_a_negative_share_is_refused():
    with pytest.raises(UsageError, match="0 or more"):
        chosen(["a"], "r1", -1)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"zone": "eu"}, True),
        ({"zone": "us"}, False),
        ({"zone": "us|eu"}, True),
        ({"zone": "eu", "tenant": "berlin"}, True),
        ({"zone": "eu", "tenant": "paris"}, False),
        ({"version": "1"}, False),
        ({"zone": ""}, False),
    ],
)
def test_a_selector_takes_who_has_every_label(selector, expected):
    assert selected({"zone": "eu", "tenant": "berlin"}, selector) is expected
