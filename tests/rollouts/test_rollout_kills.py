"""The server that drives is killed at random points: nothing is lost, stuck, or promoted without proof."""

from __future__ import annotations

import pytest

from herz.testing.rollout_kills import kill_rollouts


@pytest.mark.slow
@pytest.mark.timeout(400)  # twenty starts of a server
async def test_rollouts_survive_kills_of_the_server_at_random_points():
    told = await kill_rollouts(20, seed=7)
    assert told.kills == 20
    assert told.ok, told.notes
    assert told.promoted
    assert told.rolled_back
    assert len(told.phases) >= 3, told.phases
