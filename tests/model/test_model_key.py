from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import UsageError
from herz.model.key import covers, join, relaxed, split

segments = st.text(st.one_of(st.sampled_from("ab.[]-_"), st.characters()), max_size=6)
paths = st.lists(segments, min_size=1, max_size=5).map(tuple)


@given(paths)
def test_splitting_a_joined_path_gives_the_path(path: tuple[str, ...]) -> None:
    assert split(join(path)) == path


@given(paths, paths)
def test_different_paths_have_different_keys(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (join(one) == join(other)) is (one == other)


@given(paths, st.lists(segments, max_size=3).map(tuple))
def test_a_key_covers_itself_and_everything_under_it(path: tuple[str, ...], rest: tuple[str, ...]) -> None:
    assert covers(join(path), join(path + rest))
    assert covers("", join(path))


@given(paths, paths)
def test_a_key_covers_only_what_starts_with_its_path(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert covers(join(one), join(other)) is (other[: len(one)] == one)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("herz.service.max-retries", ("herz", "service", "max-retries")),
        ("routes[api.example.org].timeout", ("routes", "api.example.org", "timeout")),
        ("routes.[api.example.org]", ("routes", "api.example.org")),
        ("a[x]]y]", ("a", "x]y")),
        ("a[0]", ("a", "0")),
        ("[]", ("",)),
    ],
)
def test_a_key_is_split_into_its_segments(key: str, path: tuple[str, ...]) -> None:
    assert split(key) == path


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "a[b", "a[b].", "a[b]..c", "a.b[", "a[b]]"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        split(key)


@pytest.mark.parametrize("segment", ["max-retries", "max_retries", "maxRetries", "MAXRETRIES", "MAX_RETRIES"])
def test_every_spelling_of_a_name_has_one_relaxed_form(segment: str) -> None:
    assert relaxed(segment) == "maxretries"


@given(segments)
def test_relaxing_twice_changes_nothing_more(segment: str) -> None:
    assert relaxed(relaxed(segment)) == relaxed(segment)
