"""Canary against baseline: exact, sequential, and never sure of nothing."""

from __future__ import annotations

import random
from functools import partial
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, permutation_test, rankdata

from herz.errors import UsageError
from herz.release import statistics
from herz.release.statistics import Outcome, Worse, compare, rank_test, spent

from ..conftest import examples

SAMPLE = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=6)


def by_permutation(baseline, canary):
    return permutation_test(
        (canary, baseline),
        lambda first, second: rankdata([*first, *second])[: len(first)].sum(),
        alternative="greater",
        n_resamples=100_000,
    ).pvalue


@settings(max_examples=examples(25))
@given(SAMPLE, SAMPLE)
def test_with_ties_p_is_that_of_every_permutation(baseline, canary):
    p, exact = rank_test(baseline, canary)
    assert exact
    assert p == pytest.approx(by_permutation(baseline, canary))


@settings(max_examples=examples(30))
@given(st.integers(1, 25), st.integers(1, 25), st.randoms(use_true_random=False))
def test_without_ties_p_is_that_of_mann_and_whitney(few, many, random):
    values = random.sample(range(1000), few + many)
    baseline, canary = values[:few], values[few:]
    expected = mannwhitneyu(canary, baseline, alternative="greater", method="exact").pvalue
    p, exact = rank_test(baseline, canary)
    assert exact
    assert p == pytest.approx(expected)


def test_beyond_counting_p_is_that_of_the_normal_approximation():
    chance = random.Random(7)
    baseline = [float(chance.randrange(50)) for _ in range(400)]
    canary = [float(chance.randrange(2, 52)) for _ in range(300)]
    expected = mannwhitneyu(canary, baseline, alternative="greater", method="asymptotic").pvalue
    p, exact = rank_test(baseline, canary)
    assert not exact
    assert p == pytest.approx(expected)


def test_where_counting_ends_the_approximation_is_close(monkeypatch):
    chance = random.Random(3)
    baseline = [chance.gauss(100, 5) for _ in range(30)]
    canary = [chance.gauss(102, 5) for _ in range(30)]
    counted, _ = rank_test(baseline, canary)
    monkeypatch.setattr(statistics, "EXACT_WORK", 0)
    approximated, exact = rank_test(baseline, canary)
    assert not exact
    assert approximated == pytest.approx(counted, rel=0.05)


@given(SAMPLE, SAMPLE)
def test_both_directions_share_what_is_equal(baseline, canary):
    higher, _ = rank_test(baseline, canary)
    lower, _ = rank_test([-value for value in baseline], [-value for value in canary])
    assert higher + lower >= 1 - 1e-12


def test_kayentas_blind_spot_fails():
    comparison = compare([1.0] * 10, [100.0] * 7 + [1.0] * 3)
    assert comparison.outcome is Outcome.FAIL
    assert comparison.p == pytest.approx(comb(13, 3) / comb(20, 10))
    assert comparison.effect == pytest.approx(0.85)


def test_a_canary_like_its_baseline_passes():
    assert compare([float(value) for value in range(20)], [float(value) for value in range(20)]).outcome is Outcome.PASS


def test_equal_values_everywhere_pass():
    assert compare([1.0] * 10, [1.0] * 10).outcome is Outcome.PASS


def test_below_the_minimum_sample_it_is_inconclusive():
    comparison = compare([1.0] * 10, [100.0] * 7)
    assert comparison.outcome is Outcome.INCONCLUSIVE
    assert "7 values of the canary" in comparison.reason
    assert comparison.p is None


def test_a_sample_that_could_never_be_significant_is_inconclusive():
    comparison = compare([1.0] * 3, [100.0] * 3, sample_min=3, alpha=0.05)
    assert comparison.outcome is Outcome.INCONCLUSIVE
    assert "too few values" in comparison.reason


def test_a_significant_but_negligible_difference_passes():
    baseline = [100.0 + value / 100 for value in range(50)]
    comparison = compare(baseline, [value + 1 for value in baseline])
    assert comparison.outcome is Outcome.PASS
    assert comparison.p is not None
    assert comparison.p < 0.001
    assert "too little to matter" in comparison.reason


def test_a_significant_difference_that_most_values_do_not_share_passes():
    baseline = [float(value) for value in range(200)]
    comparison = compare(baseline, [value + 18 for value in baseline])
    assert comparison.p is not None
    assert comparison.p < 0.03
    assert comparison.effect is not None
    assert comparison.effect < 0.6
    assert comparison.outcome is Outcome.PASS


def test_a_typical_value_that_is_worse_fails_though_outliers_hide_it_in_the_mean():
    comparison = compare([1.0] * 9 + [1000.0], [5.0] * 10)
    assert comparison.outcome is Outcome.FAIL


def test_errors_where_there_were_none_fail():
    comparison = compare([0.0] * 12, [0.0] * 4 + [0.02] * 8)
    assert comparison.outcome is Outcome.FAIL
    assert comparison.shift is None


def test_a_difference_below_the_least_that_matters_passes():
    assert compare([0.0] * 12, [0.0] * 4 + [0.02] * 8, difference_min=0.05).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("worse", "better_canary", "worse_canary"),
    [(Worse.HIGHER, 50.0, 200.0), (Worse.LOWER, 200.0, 50.0)],
)
def test_only_the_bad_direction_fails(worse, better_canary, worse_canary):
    baseline = [100.0 + value for value in range(10)]
    assert compare(baseline, [better_canary] * 10, worse=worse).outcome is Outcome.PASS
    assert compare(baseline, [worse_canary] * 10, worse=worse).outcome is Outcome.FAIL


@pytest.mark.parametrize("moved", [50.0, 200.0])
def test_either_direction_fails_where_any_move_is_bad(moved):
    assert compare([100.0 + value for value in range(10)], [moved] * 10, worse=Worse.EITHER).outcome is Outcome.FAIL


def test_a_later_look_needs_more():
    baseline, canary = [1.0] * 10, [100.0] * 7 + [1.0] * 3
    assert [compare(baseline, canary, look=look).outcome for look in (1, 4, 5)] == ["FAIL", "FAIL", "PASS"]


def test_all_looks_together_spend_alpha():
    assert sum(spent(0.05, look) for look in range(1, 200_000)) == pytest.approx(0.05, rel=1e-4)


def test_repeated_looks_at_a_good_canary_fail_no_more_often_than_alpha():
    chance = random.Random(20260101)
    failed = naive = 0
    for _ in range(200):
        baseline: list[float] = []
        canary: list[float] = []
        looks = []
        for look in range(1, 6):
            baseline += [chance.expovariate(1) for _ in range(5)]
            canary += [chance.expovariate(1) for _ in range(5)]
            look_at = partial(compare, effect_min=0.0, shift_min=-1e9, difference_min=-1e9)  # nothing is negligible
            looks.append(look_at(baseline, canary, look=look, alpha=0.2, sample_min=5))
        failed += any(look.outcome is Outcome.FAIL for look in looks)
        naive += any(look.p is not None and look.p <= 0.2 for look in looks)
    # Binomial: of 200 runs at 0.2, 54 or more are a chance of 1 %.
    assert 0 < failed < 54 < naive


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_an_error(value):
    with pytest.raises(UsageError, match="not finite"):
        compare([1.0] * 10, [value] * 10)


@pytest.mark.parametrize(("alpha", "look"), [(0.0, 1), (1.0, 1), (0.05, 0)])
def test_a_look_that_makes_no_sense_is_an_error(alpha, look):
    with pytest.raises(UsageError, match="count looks from 1"):
        compare([1.0] * 10, [1.0] * 10, alpha=alpha, look=look)
