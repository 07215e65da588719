"""What people order a rollout to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from herz.errors import UsageError
from herz.release import rollout as rollouts
from herz.release.channel import ReleaseRef
from herz.release.plan import Plan
from herz.release.rollout import Order, Phase, Rollout, abort, force, pause, promote, resume

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LATER = T0 + timedelta(minutes=5)
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")
BAKING = Rollout(
    id="r1",
    app="pay",
    namespace="default",
    release=NEW,
    stable=None,
    plan=Plan(),
    author="ann",
    created=T0,
    since=T0,
    phase=Phase.BAKING,
    batch=2,
    step=7,
)


def test_an_order_says_who_when_and_why():
    order = Order(by="bob", at=LATER, message="lunch")
    assert pause(BAKING, "bob", LATER, "lunch").paused == order
    assert abort(BAKING, "bob", LATER, "lunch").aborted == order
    assert force(BAKING, "bob", LATER, "lunch").forced == order


def test_resuming_begins_the_phase_anew():
    resumed = resume(pause(BAKING, "bob", T0), "bob", LATER)
    assert (resumed.paused, resumed.since, resumed.step) == (None, LATER, 8)


@pytest.mark.parametrize("phase", [Phase.COMMITTING, Phase.VERIFYING])
def test_resuming_what_went_on_all_the_time_gives_it_no_more_time(phase):
    going = replace(BAKING, phase=phase)
    assert resume(pause(going, "bob", T0), "bob", LATER) == going


def test_what_is_not_paused_is_not_resumed():
    with pytest.raises(UsageError, match="r1 is not paused"):
        resume(BAKING, "bob", T0)


def test_promoting_skips_the_baking_of_this_batch_or_of_all():
    assert promote(BAKING, "bob", T0).hurried == 2
    assert promote(BAKING, "bob", T0, all_batches=True).hurried > 100
    assert promote(pause(BAKING, "bob", T0), "bob", LATER).paused is None


def test_promoting_one_batch_does_not_take_back_that_all_were():
    everything = promote(BAKING, "bob", T0, all_batches=True)
    assert promote(everything, "bob", T0) == everything


def test_force_asks_for_a_reason():
    with pytest.raises(UsageError, match="give a message"):
        force(BAKING, "bob", T0, " ")


@pytest.mark.parametrize("name", ["pause", "resume", "promote", "abort", "force"])
@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.forward])
def test_nothing_can_be_ordered_once_it_ends(name, phase):
    with pytest.raises(UsageError, match=f"r1 is {phase} and cannot be"):
        getattr(rollouts, name)(replace(BAKING, phase=phase), "bob", T0, "because")
