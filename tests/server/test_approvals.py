"""Approval where a layer demands it: what changes that layer becomes live only when somebody else has agreed to it."""

from __future__ import annotations

import msgspec
import pytest

from herz.errors import UsageError
from herz.release.approval import GivenApprovals, Policy
from herz.release.content import Content, LayerText
from herz.release.record import encode
from herz.server.access import Caller
from herz.server.audit import By
from herz.server.drafts import StoredDraft
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.settings import ServerSettings
from herz.server.tokens import Grant, Scope
from herz.store.base import Put
from herz.store.plane import ALERTS, approvals_key, channel_key, draft_key
from herz.testing.memory_store import MemoryStore

from .conftest import BEN, content

AT = ("pay", "default")
ANN, CAT, DAN, EVE = By("ann"), By("cat"), By("dan"), By("eve")


async def refused(call, status, kind):
    with pytest.raises(Problem) as caught:
        await call
    assert (caught.value.status, caught.value.kind) == (status, kind)
    return caught.value


async def write(plane, text="a: 1\n", *, by=ANN, **layers):
    """A draft of the layer `application`, and of others above it."""
    return await plane.desk.drafts.write(*AT, content(text, **layers), by=by, expect=None)


async def create(plane, *, by=BEN, **further):
    return await plane.desk.create(*AT, by=by, message="go", **further)


async def approve(plane, by=CAT, release=None):
    state = await plane.desk.approvals.state(*AT, release)
    return await plane.desk.approvals.give(*AT, release, digest=state.digest, by=by)


async def live(plane):
    found = (await plane.desk.channel(*AT))[0].stable.release
    return None if found is None else found.number


async def told(plane):
    """The last entry of the audit log."""
    return (await plane.audit.entries(limit=500))[-1]


@pytest.fixture
async def guarded(light):
    """Release 1 is live: `application`, and above it `tenant`, whose changes need approval."""
    await write(light, "a: 1\n", tenant="t: 1\n")
    await create(light)
    await light.desk.policies.put(*AT, Policy(layers=("tenant",)), by=BEN)
    return light


# --- what needs approval


async def test_without_a_policy_nothing_needs_approval(light):
    await write(light)
    state = await light.desk.approvals.state(*AT)
    assert (state.needed, state.ok, state.layers) == (False, True, ())
    await create(light, by=ANN)


async def test_a_layer_that_the_policy_does_not_name_is_changed_without_approval(guarded):
    await write(guarded, "a: 2\n", tenant="t: 1\n")
    assert (await create(guarded, by=ANN)).number == await live(guarded)


async def test_a_change_of_a_layer_that_it_names_needs_approval(guarded):
    await write(guarded, tenant="t: 2\n")
    problem = await refused(create(guarded), 409, "approval-needed")
    assert problem.members == {
        "release": None,
        "digest": (await guarded.desk.drafts.get(*AT)).digest,
        "layers": ["tenant"],
        "have": 0,
        "need": 1,
        "authors": ["ann"],
    }
    assert problem.remedy is not None
    assert "herz approval give" in problem.remedy
    assert await live(guarded) == 1


@pytest.mark.parametrize(
    "layers",
    [
        (LayerText(name="application", text="a: 1\n"),),
        (LayerText(name="application", text="a: 1\n"), LayerText(name="tenants", text="t: 1\n")),
        (LayerText(name="application", text="a: 1\n"), LayerText(name="tenant", text="t: 1\n", dimension="policy")),
        (LayerText(name="application", text="a: 1\n"), LayerText(name="tenant", text="t: 1\n", format="properties")),
        (LayerText(name="tenant", text="t: 1\n"), LayerText(name="application", text="a: 1\n")),
        (
            LayerText(name="application", text="a: 1\n"),
            LayerText(name="tenant", text="t: 1\n"),
            LayerText(name="mine", text="t: 9\n"),
        ),
    ],
    ids=["gone", "renamed", "another dimension", "another format", "moved below", "another layer above"],
)
async def test_what_a_layer_says_is_protected_however_it_is_undone(guarded, layers):
    await guarded.desk.drafts.write(*AT, Content(layers=layers), by=ANN, expect=None)
    problem = await refused(create(guarded), 409, "approval-needed")
    assert problem.members["layers"] == ["tenant"]


async def test_a_layer_below_comes_without_approval(guarded):
    layers = (
        LayerText(name="base", text="b: 1\n"),
        LayerText(name="application", text="a: 1\n"),
        LayerText(name="tenant", text="t: 1\n"),
    )
    await guarded.desk.drafts.write(*AT, Content(layers=layers), by=ANN, expect=None)
    await create(guarded)
    assert await live(guarded) == 2


async def test_a_star_protects_every_layer(guarded):
    await guarded.desk.policies.put(*AT, Policy(layers=("*",)), by=BEN)
    await write(guarded, "a: 2\n", tenant="t: 1\n")
    assert (await refused(create(guarded), 409, "approval-needed")).members["layers"] == ["application"]


async def test_the_first_release_of_a_namespace_needs_approval_too(light):
    await light.desk.policies.put(*AT, Policy(layers=("application",)), by=BEN)
    await write(light)
    await refused(create(light), 409, "approval-needed")
    await approve(light)
    await create(light)
    assert await live(light) == 1


async def test_what_stays_dormant_needs_approval_only_when_it_is_published(guarded):
    await write(guarded, tenant="t: 2\n")
    release = await create(guarded, publish=False)
    await refused(guarded.desk.publish(*AT, release.number, by=BEN, message="now"), 409, "approval-needed")
    await refused(guarded.desk.rollback(*AT, release.number, by=BEN, message="now"), 409, "approval-needed")
    await approve(guarded, release=release.number)
    await guarded.desk.publish(*AT, release.number, by=BEN, message="now")
    assert await live(guarded) == release.number


@pytest.mark.parametrize("back", ["publish", "rollback"])
async def test_going_back_to_what_was_live_needs_no_approval(guarded, back):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await create(guarded)
    state = await guarded.desk.approvals.state(*AT, 1)
    assert (state.layers, state.was_stable, state.needed, state.ok) == (("tenant",), True, False, True)
    await getattr(guarded.desk, back)(*AT, 1, by=ANN, message="3 a.m.")
    assert await live(guarded) == 1
    assert (await told(guarded)).details["was_stable"] is True


async def test_a_release_that_was_never_live_is_not_gone_back_to(guarded):
    await write(guarded, tenant="t: 2\n")
    await create(guarded, publish=False)
    await write(guarded, "a: 3\n", tenant="t: 1\n")
    await create(guarded)
    await refused(guarded.desk.rollback(*AT, 2, by=ANN, message="back"), 409, "approval-needed")


# --- who may approve


async def test_with_approval_it_is_live_and_the_log_says_who_agreed(guarded):
    await write(guarded, tenant="t: 2\n")
    state = await approve(guarded)
    assert (state.ok, state.have, state.need, state.approved_by) == (True, 1, 1, ("cat",))
    await create(guarded, by=ANN)
    assert await live(guarded) == 2
    details = (await told(guarded)).details
    assert (details["approved_by"], details["authors"], details["layers"]) == (["cat"], ["ann"], ["tenant"])


async def test_nobody_approves_what_they_wrote(guarded):
    await write(guarded, tenant="t: 2\n")
    problem = await refused(approve(guarded, ANN), 403, "own-work")
    assert problem.members["authors"] == ["ann"]


@pytest.mark.parametrize("name", ["Ann", " ann ", "ＡＮＮ", "ann <ann@example.org>"])
async def test_a_name_that_is_spelled_otherwise_is_nobody_else(guarded, name):
    await write(guarded, tenant="t: 2\n")
    await refused(approve(guarded, By(name)), 403, "own-work")


async def test_another_token_of_the_same_name_is_nobody_else(guarded):
    await write(guarded, tenant="t: 2\n", by=By("ann", "0123456789abcdef"))
    await refused(approve(guarded, By("ann", "fedcba9876543210")), 403, "own-work")


async def test_everybody_who_wrote_the_draft_is_its_author(guarded):
    await write(guarded, tenant="t: 2\n")
    await guarded.desk.drafts.set(*AT, {"a": 5}, by=DAN)
    assert (await guarded.desk.drafts.get(*AT)).authors == ("ann", "dan")
    await refused(approve(guarded, ANN), 403, "own-work")
    await refused(approve(guarded, DAN), 403, "own-work")
    await approve(guarded, CAT)


async def test_whoever_replaces_a_draft_unseen_does_not_wash_its_author_away(guarded):
    await write(guarded, tenant="t: 2\n")
    await write(guarded, tenant="t: 3\n", by=DAN)
    await refused(approve(guarded, ANN), 403, "own-work")


async def test_a_dormant_release_in_between_does_not_wash_its_author_away(guarded):
    await write(guarded, tenant="t: 2\n")
    release = await create(guarded, publish=False)
    await guarded.desk.drafts.set(*AT, {"a": 5}, by=DAN)
    assert release.authors == ("ann",)
    assert (await guarded.desk.drafts.get(*AT)).authors == ("ann", "dan")
    later = await create(guarded, publish=False)
    await refused(approve(guarded, ANN, later.number), 403, "own-work")


@pytest.mark.parametrize("how", ["released", "rolled back to", "published"])
async def test_whose_work_it_was_matters_no_more_once_it_is_live(guarded, how):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    release = await create(guarded, publish=how == "released")
    if how == "rolled back to":
        await guarded.desk.rollback(*AT, release.number, by=BEN, message="to it")
    if how == "published":
        await guarded.desk.publish(*AT, release.number, by=BEN, message="now")
    await guarded.desk.drafts.set(*AT, {"t": 5}, by=DAN)
    assert (await guarded.desk.drafts.get(*AT)).authors == ("dan",)
    await approve(guarded, ANN)


async def test_a_rollback_leaves_a_draft_without_anybodys_work(guarded):
    await write(guarded, tenant="t: 2\n")
    await guarded.desk.rollback(*AT, 1, by=BEN, message="back")
    assert (await guarded.desk.drafts.get(*AT)).authors == ()


async def test_a_draft_of_an_older_version_is_its_last_authors_work(guarded, clock):
    draft = await write(guarded, tenant="t: 2\n")
    older = StoredDraft(digest=draft.digest, author="ann", time=clock.now())
    await guarded.store.put(draft_key(*AT), encode(older))
    await refused(approve(guarded, ANN), 403, "own-work")


async def test_whoever_approved_it_counts_no_more_once_they_write(guarded):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await write(guarded, tenant="t: 3\n", by=CAT)
    await write(guarded, tenant="t: 2\n", by=ANN)
    state = await guarded.desk.approvals.state(*AT)
    assert (state.have, [one.counts for one in state.given]) == (0, [False])
    await refused(create(guarded), 409, "approval-needed")


async def test_two_approvals_are_of_two_people(guarded):
    await guarded.desk.policies.put(*AT, Policy(layers=("tenant",), approvals=2), by=BEN)
    await write(guarded, tenant="t: 2\n")
    await approve(guarded, CAT)
    await approve(guarded, By("CAT", "another token"))
    assert (await refused(create(guarded), 409, "approval-needed")).members["have"] == 1
    await approve(guarded, DAN)
    await create(guarded)
    assert await live(guarded) == 2


async def test_why_somebody_cannot_approve_is_told_beforehand(guarded):
    await write(guarded, tenant="t: 2\n")
    approvals = guarded.desk.approvals
    state = await approvals.state(*AT)

    def may(name, scope):
        return approvals.may(state, Caller(name, (Grant(app="pay", scope=scope),)))

    assert may("cat", Scope.APPROVE) is None
    assert may("cat", Scope.ADMIN) is None
    assert may("cat", Scope.RELEASE) == "the scope approve is needed in pay"
    assert may("ann", Scope.APPROVE) == "ann wrote some of it: somebody else must approve it"
    await write(guarded, "a: 2\n", tenant="t: 1\n")
    state = await approvals.state(*AT)
    assert may("cat", Scope.APPROVE) == "it needs no approval"


async def test_whoever_approves_again_does_so_anew(guarded, clock):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded, CAT)
    clock.seconds += 60
    [one] = (await approve(guarded, By("Cat"))).given
    assert (one.approval.by, one.approval.time) == ("Cat", clock.now())


async def test_one_person_counts_once_whatever_is_stored(guarded, clock):
    await guarded.desk.policies.put(*AT, Policy(layers=("tenant",), approvals=2), by=BEN)
    draft = await write(guarded, tenant="t: 2\n")
    [one] = (await approve(guarded, CAT)).given
    twice = GivenApprovals(given=(one.approval, msgspec.structs.replace(one.approval, by="Cat")))
    await guarded.store.put(approvals_key(*AT, draft.digest), encode(twice))
    await refused(create(guarded), 409, "approval-needed")


# --- what an approval is of


async def test_an_approval_is_of_the_content_that_was_looked_at(guarded):
    looked_at = (await write(guarded, tenant="t: 2\n")).digest
    await write(guarded, tenant="t: 3\n")
    await refused(guarded.desk.approvals.give(*AT, None, digest=looked_at, by=CAT), 409, "conflict")


async def test_another_edit_needs_another_approval(guarded):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await write(guarded, "a: 9\n", tenant="t: 2\n")
    await refused(create(guarded), 409, "approval-needed")


async def test_what_needs_no_approval_is_not_approved(guarded):
    await write(guarded, "a: 2\n", tenant="t: 1\n")
    await refused(approve(guarded), 409, "approval-unneeded")


async def test_an_approval_counts_no_more_where_the_layer_that_is_live_is_another_one(guarded):
    await write(guarded, tenant="t: 2\n")
    approved = await create(guarded, publish=False)
    await approve(guarded, release=approved.number)
    await write(guarded, tenant="t: 3\n")
    await approve(guarded)
    await create(guarded)
    state = await guarded.desk.approvals.state(*AT, approved.number)
    assert [(one.counts, one.why_not) for one in state.given] == [(False, "what is live has changed in tenant since")]
    await refused(guarded.desk.publish(*AT, approved.number, by=BEN, message="now"), 409, "approval-needed")
    await approve(guarded, release=approved.number)
    await guarded.desk.publish(*AT, approved.number, by=BEN, message="now")


async def test_an_approval_counts_on_where_only_other_layers_have_changed(guarded):
    await write(guarded, tenant="t: 2\n")
    approved = await create(guarded, publish=False)
    await approve(guarded, release=approved.number)
    await write(guarded, "a: 7\n", tenant="t: 1\n")
    await create(guarded)
    await guarded.desk.publish(*AT, approved.number, by=BEN, message="now")
    assert await live(guarded) == approved.number


async def test_an_approval_is_of_the_layers_that_needed_it_then(guarded):
    await write(guarded, "a: 2\n", tenant="t: 2\n")
    await approve(guarded)
    await guarded.desk.policies.put(*AT, Policy(layers=("*",)), by=BEN)
    state = await guarded.desk.approvals.state(*AT)
    assert [one.why_not for one in state.given] == ["it was not about application"]
    await refused(create(guarded), 409, "approval-needed")
    await approve(guarded)
    await create(guarded)


async def test_an_approval_of_one_namespace_is_none_in_another(guarded):
    await guarded.desk.policies.put("pay", "eu", Policy(layers=("tenant",)), by=BEN)
    for namespace in ("default", "eu"):
        await guarded.desk.drafts.write("pay", namespace, content("", tenant="t: 2\n"), by=ANN, expect=None)
    await approve(guarded)
    await refused(guarded.desk.create("pay", "eu", by=BEN, message="go"), 409, "approval-needed")


async def test_an_approval_is_taken_back(guarded):
    draft = await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await guarded.desk.approvals.withdraw(*AT, draft.digest, by=CAT, message="on second thoughts")
    await refused(create(guarded), 409, "approval-needed")
    entry = await told(guarded)
    assert (entry.action, entry.actor, entry.message) == ("approval.withdrawn", "cat", "on second thoughts")
    await refused(guarded.desk.approvals.withdraw(*AT, draft.digest, by=CAT), 404, "not-found")


async def test_taking_one_approval_back_leaves_the_others(guarded):
    draft = await write(guarded, tenant="t: 2\n")
    await approve(guarded, CAT)
    await approve(guarded, DAN)
    await guarded.desk.approvals.withdraw(*AT, draft.digest, by=BEN, approver="Cat")
    assert (await guarded.desk.approvals.state(*AT)).approved_by == ("dan",)


async def test_what_was_approved_keeps_nothing_from_being_collected(guarded, clock):
    guarded = Plane.over(guarded.store, ServerSettings(collect_after_s=1.0), clock)
    draft = await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await guarded.desk.drafts.delete(*AT, by=ANN)
    await guarded.contents.collect()
    clock.seconds += 5
    assert (await guarded.contents.collect()).contents >= 1
    await refused(guarded.contents.read(draft.digest), 404, "not-found")


# --- by force


async def test_force_passes_it_loudly(guarded):
    await write(guarded, tenant="t: 2\n")
    await create(guarded, force=True)
    assert await live(guarded) == 2
    assert (await told(guarded)).forced
    [alert] = (await guarded.store.range(ALERTS)).entries
    assert "ben forced release 2 without the approval that tenant needs: go" in alert.value.decode()
    assert [one.forced for one in await guarded.desk.approvals.publications(*AT, 2)] == [True]


async def test_force_of_what_is_approved_is_not_loud(guarded):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await create(guarded, force=True)
    assert not (await told(guarded)).forced
    assert not (await guarded.store.range(ALERTS)).entries


async def test_force_publishes_a_dormant_release_loudly(guarded):
    await write(guarded, tenant="t: 2\n")
    await create(guarded, publish=False)
    await guarded.desk.publish(*AT, 2, by=BEN, message="now", force=True)
    assert (await told(guarded)).forced


# --- at the same moment


class Meanwhile(MemoryStore):
    """A store in which somebody else acts just before the channel, or a rollout, is first written."""

    def __init__(self, place, act):
        super().__init__(place)
        self._act = act

    async def txn(self, txn):
        if self._act is not None and any(isinstance(one, Put) and one.key == channel_key(*AT) for one in txn.then):
            act, self._act = self._act, None
            await act()
        return await super().txn(txn)


def beside(memory, clock, act):
    return Plane.over(Meanwhile(memory.place, act), ServerSettings(), clock).desk


async def of_act(guarded, memory, clock, act, meanwhile):
    """Publish what is approved by way of `act`, while somebody else acts."""
    release = await create(guarded, publish=False)
    await approve(guarded, release=release.number)
    desk = beside(memory, clock, meanwhile)
    if act == "create":
        return desk.create(*AT, by=BEN, message="go")
    return getattr(desk, act)(*AT, release.number, by=BEN, message="go")


ACTS = pytest.mark.parametrize("act", ["create", "publish", "rollback"])


@ACTS
async def test_an_approval_that_is_withdrawn_at_the_same_moment_does_not_count(guarded, memory, clock, act):
    draft = await write(guarded, tenant="t: 2\n")

    async def withdraw():
        await guarded.desk.approvals.withdraw(*AT, draft.digest, by=CAT)

    await refused(await of_act(guarded, memory, clock, act, withdraw), 409, "approval-needed")
    assert await live(guarded) == 1


@ACTS
async def test_a_policy_that_is_made_at_the_same_moment_counts(light, memory, clock, act):
    await write(light, tenant="t: 1\n")
    await create(light)
    await write(light, tenant="t: 2\n")
    release = await create(light, publish=False)

    async def ask():
        await light.desk.policies.put(*AT, Policy(layers=("tenant",)), by=BEN)

    desk = beside(memory, clock, ask)
    if act == "create":
        call = desk.create(*AT, by=BEN, message="go")
    else:
        call = getattr(desk, act)(*AT, release.number, by=BEN, message="go")
    await refused(call, 409, "approval-needed")
    assert await live(light) == 1


@ACTS
async def test_a_policy_that_asks_for_more_at_the_same_moment_counts(guarded, memory, clock, act):
    await write(guarded, tenant="t: 2\n")

    async def ask():
        await guarded.desk.policies.put(*AT, Policy(layers=("tenant",), approvals=2), by=BEN)

    await refused(await of_act(guarded, memory, clock, act, ask), 409, "approval-needed")


@ACTS
async def test_stable_that_moves_at_the_same_moment_makes_it_another_change(guarded, memory, clock, act):
    await write(guarded, tenant="t: 3\n")
    other = await create(guarded, publish=False)
    await write(guarded, tenant="t: 2\n")

    async def move():
        await guarded.desk.publish(*AT, other.number, by=BEN, message="quicker", force=True)

    await refused(await of_act(guarded, memory, clock, act, move), 409, "approval-needed")
    assert await live(guarded) == other.number


async def test_an_edit_at_the_same_moment_is_not_what_was_approved(guarded, memory, clock):
    await write(guarded, tenant="t: 2\n")

    async def edit():
        await write(guarded, tenant="t: 9\n")

    await refused(await of_act(guarded, memory, clock, "create", edit), 409, "approval-needed")


async def test_two_who_approve_at_the_same_moment_both_count(guarded, memory, clock):
    draft = await write(guarded, tenant="t: 2\n")

    class Slower(MemoryStore):
        quicker = True

        async def txn(self, txn):
            key = approvals_key(*AT, draft.digest)
            if self.quicker and any(isinstance(one, Put) and one.key == key for one in txn.then):
                self.quicker = False
                await approve(guarded, DAN)
            return await super().txn(txn)

    slower = Plane.over(Slower(memory.place), ServerSettings(), clock)
    state = await approve(slower, CAT)
    assert sorted(state.approved_by) == ["cat", "dan"]


# --- policies, and what is told


async def test_a_policy_that_makes_no_sense_is_refused(light):
    for policy in (
        Policy(layers=()),
        Policy(layers=("a b",)),
        Policy(layers=("a",), approvals=0),
        Policy(layers=("a",), approvals=21),
    ):
        with pytest.raises(UsageError):
            await light.desk.policies.put(*AT, policy, by=BEN)


async def test_who_made_and_who_ended_a_policy_is_in_the_log(light):
    await light.desk.policies.put(*AT, Policy(layers=("tenant",), approvals=2), by=BEN)
    entry = await told(light)
    assert (entry.action, entry.actor, entry.details) == (
        "policy.written",
        "ben",
        {"layers": ["tenant"], "approvals": 2},
    )
    await light.desk.policies.delete(*AT, by=BEN)
    assert (await told(light)).action == "policy.deleted"
    await refused(light.desk.policies.delete(*AT, by=BEN), 404, "not-found")


async def test_the_overview_tells_whether_the_draft_is_approved(guarded):
    await write(guarded, tenant="t: 2\n")
    overview = await guarded.desk.overview(*AT)
    assert overview.policy == Policy(layers=("tenant",))
    assert overview.approval == await guarded.desk.approvals.state(*AT)


async def test_a_namespace_with_nothing_but_a_policy_is_there(light):
    await light.desk.policies.put(*AT, Policy(layers=("tenant",)), by=BEN)
    overview = await light.desk.overview(*AT)
    assert (overview.policy, overview.approval) == (Policy(layers=("tenant",)), None)


async def test_each_time_that_a_release_became_live_is_kept(guarded, clock):
    clock.seconds += 60
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    await create(guarded)
    clock.seconds += 60
    await guarded.desk.rollback(*AT, 1, by=DAN, message="back")
    found = await guarded.desk.approvals.publications(*AT, 1)
    assert [(one.by, one.approved_by) for one in found] == [("ben", ()), ("dan", ())]
    [second] = await guarded.desk.approvals.publications(*AT, 2)
    assert (second.by, second.approved_by, second.forced) == ("ben", ("cat",), False)


async def test_a_state_is_told_with_everything_in_json(guarded):
    await write(guarded, tenant="t: 2\n")
    await approve(guarded)
    shown = msgspec.to_builtins(await guarded.desk.approvals.state(*AT))
    assert {name: shown[name] for name in ("needed", "ok", "have", "need", "was_stable", "release", "against")} == {
        "needed": True,
        "ok": True,
        "have": 1,
        "need": 1,
        "was_stable": False,
        "release": None,
        "against": 1,
    }


# --- over any store


async def test_it_holds_over_a_real_store(plane):
    await plane.desk.policies.put(*AT, Policy(layers=("*",)), by=BEN)
    await write(plane)
    await refused(create(plane), 409, "approval-needed")
    await approve(plane, EVE)
    await create(plane)
    await write(plane, "a: 2\n")
    await refused(create(plane), 409, "approval-needed")
    await plane.desk.rollback(*AT, 1, by=BEN, message="as it is")
    assert await live(plane) == 1
