"""The record of who took part in a rollout: it holds what it was given, and never more than it may."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import DocumentMalformed
from herz.release import roster as rosters
from herz.release.rollout_step import Step
from herz.release.roster import Participant, Roster, pack, unpack

BEGUN = datetime(2030, 1, 1, 12, tzinfo=UTC)
RELEASED = "sha256:" + "b" * 64

times = st.none() | st.integers(-(10**9), 10**12).map(lambda number: BEGUN + timedelta(milliseconds=number))
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
participants = st.builds(
    Participant,
    instance=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    batch=st.integers(1, 1000),
    step=st.sampled_from(Step),
    prepared=times,
    committed=times,
    verified=times,
    took_ms=st.none() | st.integers(0, 10**6).map(lambda number: number / 10),
    fingerprint=texts | st.just(RELEASED),
    config_version=st.none() | st.integers(0, 2**63),
    error=texts,
)


@given(st.lists(participants, max_size=20, unique_by=lambda one: one.instance), st.integers(0, 10**6))
def test_what_is_packed_is_unpacked_by_name(found, left_out):
    roster = Roster(rollout="r7", participants=tuple(found), members=len(found) + left_out, left_out=left_out)
    again = unpack(pack(roster, BEGUN, RELEASED), "here")
    assert again.participants == tuple(sorted(found, key=lambda one: one.instance))
    assert (again.rollout, again.members, again.left_out) == ("r7", len(found) + left_out, left_out)
    assert again.recorded


def fleet(count: int, name=lambda number: f"i-{number:05d}", **facts) -> Roster:
    """All verified but every hundredth one."""
    return Roster(
        rollout="r7",
        members=count,
        participants=tuple(
            Participant(
                instance=name(number),
                batch=1 + number // 1000,
                step=Step.VERIFIED if number % 100 else Step.AWAY,
                verified=BEGUN + timedelta(milliseconds=number),
                took_ms=number / 10,
                fingerprint=RELEASED,
                **facts,
            )
            for number in range(count)
        ),
    )


def test_thousands_fit_whole():
    packed = pack(fleet(4_000), BEGUN, RELEASED)
    assert len(packed) < 100_000
    assert len(unpack(packed, "here").participants) == 4_000


def test_of_too_many_those_are_kept_that_are_not_well_then_the_first():
    found = unpack(pack(fleet(20_000), BEGUN, RELEASED), "here")
    assert len(found.participants) == rosters.PARTICIPANTS == 5_000
    assert (found.members, found.left_out) == (20_000, 15_000)
    assert sum(not one.well for one in found.participants) == 200, "every one"
    well = [one.instance for one in found.participants if one.well]
    assert well == [f"i-{number:05d}" for number in range(len(well) * 100 // 99 + 1) if number % 100][: len(well)]


def test_names_and_errors_without_pattern_do_not_make_it_larger_than_it_may_be():
    chance = Random(7)

    def noise(length: int) -> str:
        return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))

    roster = fleet(3_000, name=lambda number: f"{number:05d}{noise(248)}", error=noise(10_000))
    packed = pack(roster, BEGUN, RELEASED)
    assert len(packed) <= rosters.PACKED_BYTES
    found = unpack(packed, "here")
    assert found.members == 3_000
    assert found.left_out == 3_000 - len(found.participants)
    assert len(found.participants) > 500
    errors = [one.error or "" for one in found.participants]
    assert all(len(error) == rosters.ERROR_CHARACTERS and error.endswith("…") for error in errors)


def test_left_out_before_stays_left_out():
    known = Roster(rollout="r1", participants=fleet(10).participants, members=12, left_out=2)
    assert unpack(pack(known, BEGUN, RELEASED), "here").left_out == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        pack(fleet(10), BEGUN, RELEASED)[:-9],
        zlib.compress(b"[]"),
        zlib.compress(b'[2,"r7","2030-01-01T00:00:00Z","f",0,0,[]]'),
        zlib.compress(b" " * 20_000_000),
    ],
    ids=["nothing", "plain", "cut", "no fields", "a later format", "too long"],
)
def test_what_is_no_record_says_where(data):
    with pytest.raises(DocumentMalformed, match="here"):
        unpack(data, "here")
