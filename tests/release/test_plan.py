"""How large batches are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import UsageError
from herz.release.plan import Plan, PlanKind
from herz.release.record import decode, encode

LINEAR = st.floats(1, 100).map(lambda step: Plan(kind=PlanKind.LINEAR, step=step))
EXPONENTIAL = st.builds(
    lambda first, factor: Plan(kind=PlanKind.EXPONENTIAL, first=first, factor=factor),
    st.floats(0.01, 100),
    st.floats(1.2, 10),
)
EXPLICIT = st.lists(st.floats(0.001, 100), unique=True, max_size=20).map(
    lambda shares: Plan(kind=PlanKind.EXPLICIT, percent=tuple(sorted(shares)))
)
PLANS = st.one_of(LINEAR, EXPONENTIAL, EXPLICIT)


@given(PLANS, st.integers(0, 100_000))
def test_sizes_rise_and_end_with_everybody(plan, total):
    sizes = plan.sizes(total)
    assert all(earlier < later for earlier, later in pairwise((0, *sizes)))
    assert sizes[-1:] == ((total,) if total else ())


@given(PLANS, st.integers(1, 100_000))
def test_a_batch_is_its_share_or_one_instance(plan, total):
    sizes = plan.sizes(total)
    for share, before, size in zip(plan.shares(), (0, *sizes), sizes, strict=False):
        assert size == before + 1 or size <= total * share / 100 + 1


@given(PLANS)
def test_shares_rise_to_a_hundred(plan):
    shares = plan.shares()
    assert all(earlier < later for earlier, later in pairwise((0.0, *shares)))
    assert shares[-1] == 100.0


@given(PLANS, st.integers(1, 1000), st.integers(0, 1000))
def test_a_larger_fleet_has_no_smaller_batches(plan, total, more):
    for fewer, larger in zip(plan.sizes(total), plan.sizes(total + more), strict=False):
        assert fewer <= larger


@given(PLANS)
def test_a_plan_is_read_as_it_was_written(plan):
    assert decode(encode(plan), Plan, "test") == plan


@pytest.mark.parametrize(
    ("plan", "total", "sizes"),
    [
        (Plan(kind=PlanKind.LINEAR, step=20), 10, (2, 4, 6, 8, 10)),
        (Plan(kind=PlanKind.LINEAR, step=30), 10, (3, 6, 9, 10)),
        (Plan(kind=PlanKind.LINEAR, step=7), 100, (*range(7, 100, 7), 100)),
        (Plan(kind=PlanKind.LINEAR, step=100), 7, (7,)),
        (Plan(kind=PlanKind.EXPONENTIAL, first=5, factor=2), 20, (1, 2, 4, 8, 16, 20)),
        (Plan(kind=PlanKind.EXPONENTIAL, first=10, factor=10), 1000, (100, 1000)),
        (Plan(kind=PlanKind.EXPONENTIAL), 3, (1, 2, 3)),
        (Plan(kind=PlanKind.EXPLICIT, percent=(1, 10, 50, 100)), 1000, (10, 100, 500, 1000)),
        (Plan(kind=PlanKind.EXPLICIT, percent=(1, 10)), 1000, (10, 100, 1000)),
        (Plan(kind=PlanKind.EXPLICIT), 4, (4,)),
        (Plan(), 1, (1,)),
        (Plan(), 0, ()),
    ],
)
def test_sizes(plan, total, sizes):
    assert plan.sizes(total) == sizes


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(kind=PlanKind.LINEAR, step=0), "step is 0"),
        (Plan(kind=PlanKind.LINEAR, step=float("nan")), "step is nan"),
        (Plan(kind=PlanKind.LINEAR, step=1e-300), "at most 100"),
        (Plan(kind=PlanKind.EXPONENTIAL, factor=1), "factor is 1"),
        (Plan(kind=PlanKind.EXPONENTIAL, factor=1.0000001), "at most 100"),
        (Plan(kind=PlanKind.EXPONENTIAL, first=101), "first is 101"),
        (Plan(kind=PlanKind.EXPLICIT, percent=(50, 10)), "percent is 50, 10; let each be more"),
        (Plan(kind=PlanKind.EXPLICIT, percent=(-1,)), "percent is -1"),
        (Plan(kind=PlanKind.EXPLICIT, percent=tuple(range(1, 200))), "at most 100"),
        (Plan(bake_s=-1), "bake_s is -1"),
        (Plan(prepare_s=0), "prepare_s is 0"),
        (Plan(commit_s=float("inf")), "commit_s is inf"),
        (Plan(verify_s=float("nan")), "verify_s is nan"),
        (Plan(bake_s=60, bake_max_s=30), "at least bake_s"),
    ],
)
def test_a_plan_that_makes_no_sense_says_why(plan, says):
    with pytest.raises(UsageError, match=says):
        plan.checked()


def test_a_plan_that_makes_sense_is_itself():
    assert Plan(bake_s=0).checked() == Plan(bake_s=0)
