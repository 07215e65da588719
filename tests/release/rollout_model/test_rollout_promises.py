"""Every run of a small rollout is walked through: what is promised holds everywhere, and every fair run ends."""

from __future__ import annotations

import pytest

from herz.release.rollout import Phase, decide

SMALL = [
    pytest.param({}, id="a joiner"),
    pytest.param({"deployer": True, "joins": False}, id="a deployer"),
    pytest.param({"luck": 1, "joins": False}, id="a misfortune", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind", SMALL)
def test_no_run_breaks_a_promise_and_every_fair_run_ends(explored, kind):
    everything = explored(decide, **kind)
    assert {everything.record(world).phase for world in everything.edges} >= set(Phase) - {Phase.DEPLOYING}


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("deployer", [False, True], ids=["", "a deployer"])
def test_no_run_with_a_joiner_and_a_misfortune_breaks_a_promise(explored, deployer):
    everything = explored(decide, luck=1, deployer=deployer)
    assert len(everything.edges) > 50_000
