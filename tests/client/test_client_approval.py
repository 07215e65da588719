"""Approval by the client, against a real `herz serve`: who acts is who the client says it is."""

from __future__ import annotations

import pytest

from herz.client import ApprovalNeeded, Content, ControlPlane, LayerText, Plan, Policy
from herz.errors import Conflict, SourceDenied

POOL = Content(layers=(LayerText(name="pay", text="db:\n  pool: 5\n"),))


@pytest.fixture
async def cat(server, app):
    """The same namespace, for somebody else."""
    async with ControlPlane(server.url, author="cat") as plane:
        yield plane.namespace(app)


@pytest.fixture
async def guarded(pay):
    """A draft by ada, in a namespace where every layer needs approval."""
    await pay.set_policy(["*"])
    await pay.write_draft(POOL)
    return pay


async def test_a_policy_is_set_read_and_ended(pay):
    assert await pay.policy() is None
    await pay.set_policy(["pay"], approvals=2)
    assert await pay.policy() == Policy(layers=("pay",), approvals=2)
    await pay.delete_policy()
    await pay.delete_policy()
    assert await pay.policy() is None


async def test_what_is_missing_is_in_the_error(guarded):
    with pytest.raises(ApprovalNeeded) as caught:
        await guarded.release("go")
    error = caught.value
    assert (error.layers, error.have, error.need, error.authors) == (("pay",), 0, 1, ("ada",))
    assert error.digest == (await guarded.draft()).digest
    assert isinstance(error, Conflict)
    assert error.remedy


async def test_what_somebody_else_approved_is_released(guarded, cat):
    state = await cat.approvals()
    assert (state.ok, state.authors, state.layers) == (False, ("ada",), ("pay",))
    state = await cat.approve(state.digest, "looks right")
    assert (state.ok, state.approved_by) == (True, ("cat",))
    release = await guarded.release("go")
    [live] = await guarded.publications(release.number)
    assert (release.authors, live.by, live.approved_by) == (("ada",), "ada", ("cat",))


async def test_ones_own_work_is_not_approved(guarded):
    with pytest.raises(SourceDenied, match="ada wrote some of it"):
        await guarded.approve((await guarded.draft()).digest)


async def test_a_dormant_release_is_approved_by_its_number(guarded, cat, app):
    release = await guarded.release("go", publish=False)
    with pytest.raises(ApprovalNeeded):
        await guarded.publish(release.number, "now")
    with pytest.raises(ApprovalNeeded):
        await guarded.start_rollout(release.number, Plan())
    await cat.approve(release.digest, version=f"{app}/default@1")
    await guarded.publish(release.number, "now")


async def test_an_approval_is_taken_back(guarded, cat):
    digest = (await guarded.draft()).digest
    await cat.approve(digest)
    await cat.withdraw_approval(digest, "not yet")
    assert (await guarded.approvals()).have == 0


async def test_a_content_that_is_another_one_by_now_is_not_approved(guarded, cat):
    digest = (await guarded.draft()).digest
    await guarded.set({"db.pool": 6})
    with pytest.raises(Conflict):
        await cat.approve(digest)


async def test_force_goes_past_it(guarded):
    release = await guarded.release("now", force=True)
    assert [one.forced for one in await guarded.publications(release.number)] == [True]


async def test_everybody_who_wrote_it_is_told(guarded, cat):
    await cat.set({"db.pool": 6})
    assert (await guarded.draft()).authors == ("ada", "cat")
