"""Few points of many samples."""

from __future__ import annotations

from math import inf, nan

from herz.release.record import decode, encode
from herz.release.trend import POINTS, Point, Sample, points


def series(*values: float, start: float = 100.0) -> list[Sample]:
    return [Sample(start + 10 * number, value) for number, value in enumerate(values)]


def test_few_samples_are_points_themselves():
    assert points(series(1, 2), series(3, 4)) == (
        Point(time=100, canary=1, baseline=3),
        Point(time=110, canary=2, baseline=4),
    )


def test_several_series_at_one_time_are_one_point_at_their_mean():
    assert points([*series(1), *series(2)], series(4)) == (Point(time=100, canary=1.5, baseline=4),)


def test_many_samples_become_few_points_that_cover_all_of_the_time():
    found = points(series(*range(1000)), series(*[5.0] * 1000))
    assert len(found) == POINTS
    assert [one.time for one in found] == sorted(one.time for one in found)
    assert (found[0].canary, found[-1].canary) == (24.5, 974.5)
    assert {one.baseline for one in found} == {5.0}


def test_where_only_one_side_has_samples_the_other_has_a_gap():
    assert points(series(1, 2), series(7, start=110.0)) == (
        Point(time=100, canary=1),
        Point(time=110, canary=2, baseline=7),
    )
    assert points([]) == ()


def test_what_cannot_be_drawn_is_left_out():
    assert points(series(inf, nan, 3.0)) == (Point(time=120, canary=3),)


def test_huge_values_do_not_overflow():
    assert points([Sample(1, 1.7e308), Sample(1, 1.7e308)]) == (Point(time=1, canary=1.7e308),)


def test_a_point_is_small_in_a_record():
    point = Point(time=1764327785.123, canary=0.333333)
    assert len(encode(point)) < 40
    assert decode(encode(point), Point, "here") == point
