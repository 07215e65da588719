"""The desk: drafts become releases, the channel is pointed at them, and everything of it is one write."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from herz.app.herz import Herz
from herz.errors import StoreCorrupt, UsageError
from herz.release.channel import Channel, Pointer, ReleaseRef
from herz.release.plan import Plan
from herz.release.record import decode, encode
from herz.release.rollout import Phase, Rollout
from herz.server.opening import open_store
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.rollouts.book import Counter
from herz.server.settings import ServerSettings
from herz.store.base import Put
from herz.store.plane import ALERTS, channel_key, counter_key, release_key, rollout_counter_key, rollout_key
from herz.testing.memory_store import MemoryStore

from .conftest import BEN, content

AT = ("pay", "default")


async def refused(call, status, kind=None):
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.status == status
    assert kind in (None, caught.value.kind)
    return caught.value


async def released(plane, text, **further):
    await plane.desk.drafts.write(*AT, content(text), by=BEN, expect=None)
    return await plane.desk.create(*AT, by=BEN, message=f"release {text[:20].strip()}", **further)


async def live(plane):
    found = (await plane.desk.channel(*AT))[0].stable.release
    return None if found is None else found.number


async def test_a_release_is_what_everybody_runs(plane):
    release = await released(plane, "a: 1\n", patch_id="p1", git_commit="abc")
    assert (release.number, release.author, release.patch_id, release.git_commit) == (1, "ben", "p1", "abc")
    assert (await plane.desk.channel(*AT))[0] == Channel(stable=Pointer(release=release.ref))
    assert await plane.desk.content(*AT, 1) == content("a: 1\n")


async def test_releases_are_numbered_from_one(plane):
    assert [(await released(plane, f"a: {n}\n")).number for n in range(3)] == [1, 2, 3]


async def test_a_dormant_release_is_run_by_nobody(plane):
    await released(plane, "a: 1\n")
    await released(plane, "a: 2\n", publish=False)
    assert await live(plane) == 1


async def test_a_dormant_release_can_be_published(plane):
    await released(plane, "a: 1\n", publish=False)
    moved = await plane.desk.publish(*AT, 1, by=BEN, message="now")
    assert await live(plane) == 1
    assert moved.revision == (await plane.desk.channel(*AT))[1]


async def test_the_fingerprint_is_what_an_instance_computes(light, tmp_path):
    text = "db:\n  pool: 3\n  password: x\nlist: [1, 2.0]\n"
    release = await released(light, text)
    (tmp_path / "application.yml").write_text(text)
    with Herz(str(tmp_path / "application.yml"), environment={}) as herz:
        assert herz.snapshot.release_fingerprint == release.fingerprint


async def test_the_draft_is_based_on_its_release(plane):
    await released(plane, "a: 1\n")
    draft = await plane.desk.drafts.get(*AT)
    assert draft.base == 1
    assert (await released(plane, "a: 2\n")).parent == 1


async def test_a_release_needs_a_message(light):
    await light.desk.drafts.write(*AT, content("a: 1\n"), by=BEN, expect=0)
    with pytest.raises(UsageError, match="message"):
        await light.desk.create(*AT, by=BEN, message=" ")


async def test_a_release_needs_a_draft(light):
    await refused(light.desk.create(*AT, by=BEN, message="go"), 404)


async def test_a_release_of_another_draft_than_was_seen_is_a_conflict(plane):
    seen = await plane.desk.drafts.write(*AT, content("a: 1\n"), by=BEN, expect=0)
    await plane.desk.drafts.write(*AT, content("a: 2\n"), by=BEN, expect=seen.revision)
    problem = await refused(plane.desk.create(*AT, by=BEN, message="go", expect=seen.revision), 409)
    assert problem.members["expected"] == seen.revision
    assert await plane.desk.releases(*AT) == ()


async def test_what_does_not_decode_is_not_released(light):
    await light.desk.drafts.write(*AT, content("a: [\n"), by=BEN, expect=0)
    problem = await refused(light.desk.create(*AT, by=BEN, message="go"), 422)
    assert str(problem.where).startswith("application:")
    assert await light.desk.releases(*AT) == ()


async def test_what_breaks_the_schema_is_not_released_even_by_force(light):
    await light.desk.schemas.put(*AT, {"properties": {"a": {"type": "integer"}}}, by=BEN)
    await light.desk.drafts.write(*AT, content("a: x\n"), by=BEN, expect=0)
    problem = await refused(light.desk.create(*AT, by=BEN, message="go", force=True), 422)
    [fault] = problem.members["problems"]
    assert (fault.key, fault.where) == ("a", "application:1")


async def test_rollback_points_the_channel_back_and_resets_the_draft_in_one_write(plane):
    await released(plane, "a: 1\n")
    await released(plane, "a: 2\n")
    moved = await plane.desk.rollback(*AT, 1, by=BEN, message="broken")
    draft = await plane.desk.drafts.get(*AT)
    assert await live(plane) == 1
    assert (draft.content, draft.base) == (content("a: 1\n"), 1)
    assert draft.revision == moved.revision == (await plane.desk.channel(*AT))[1]


async def test_the_draft_that_a_rollback_resets_stays_readable(plane):
    await released(plane, "a: 1\n")
    edited = await plane.desk.drafts.write(*AT, content("a: 3\n"), by=BEN, expect=None)
    await plane.desk.rollback(*AT, 1, by=BEN, message="broken")
    draft = await plane.desk.drafts.get(*AT)
    assert draft.kept == edited.digest
    assert await plane.contents.read(draft.kept) == content("a: 3\n")


async def test_rollback_refuses_when_the_draft_is_not_the_one_that_was_seen(plane):
    await released(plane, "a: 1\n")
    seen = await plane.desk.drafts.get(*AT)
    await plane.desk.drafts.write(*AT, content("a: 3\n"), by=BEN, expect=seen.revision)
    await refused(plane.desk.rollback(*AT, 1, by=BEN, message="broken", expect=seen.revision), 409)
    assert (await plane.desk.drafts.get(*AT)).content == content("a: 3\n")


async def test_rollback_to_what_is_not_there_is_not_found(light):
    await released(light, "a: 1\n")
    await refused(light.desk.rollback(*AT, 7, by=BEN, message="broken"), 404)


async def rollout(plane, phase=Phase.BAKING):
    now = plane.clock.now()
    ref = ReleaseRef(number=2, fingerprint="f2", digest="sha256:d2")
    under_way = Rollout(
        id="r1", app=AT[0], namespace=AT[1], release=ref, stable=None, plan=Plan(), author="ada", created=now, since=now
    )
    under_way = msgspec.structs.replace(under_way, phase=phase)
    await plane.store.put(rollout_key(*AT, "r1"), encode(under_way))
    await plane.store.put(rollout_counter_key(*AT), encode(Counter(newest=1)))


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.BAKING])
@pytest.mark.parametrize("act", ["release", "publish", "rollback"])
async def test_nothing_is_moved_while_a_rollout_is_under_way(light, act, phase):
    await released(light, "a: 1\n")
    await released(light, "a: 2\n", publish=False)
    await rollout(light, phase)
    call = {
        "release": lambda: light.desk.create(*AT, by=BEN, message="go"),
        "publish": lambda: light.desk.publish(*AT, 2, by=BEN, message="go"),
        "rollback": lambda: light.desk.rollback(*AT, 1, by=BEN, message="go"),
    }[act]
    problem = await refused(call(), 409, "rollout-in-flight")
    assert problem.members["rollout"] == "r1"
    assert await live(light) == 1
    assert len(await light.desk.releases(*AT)) == 2


async def test_a_rollout_that_is_over_holds_nothing_up(light):
    await rollout(light, Phase.ROLLED_BACK)
    assert (await released(light, "a: 1\n")).number == 1


async def test_a_dormant_release_may_be_made_while_a_rollout_is_under_way(light):
    await rollout(light)
    assert (await released(light, "a: 1\n", publish=False)).number == 1


async def test_cohorts_in_the_channel_count_as_a_rollout(light):
    release = await released(light, "a: 1\n")
    moving = Channel(stable=Pointer(release=release.ref), cohorts={"r2-b1": Pointer(rollout="r2")})
    await light.store.put(channel_key(*AT), encode(moving))
    await refused(light.desk.publish(*AT, 1, by=BEN, message="go"), 409, "rollout-in-flight")


class Meanwhile(MemoryStore):
    """A store in which somebody else acts just before the channel is first written."""

    def __init__(self, place, act):
        super().__init__(place)
        self._act = act

    async def txn(self, txn):
        if self._act is not None and any(isinstance(one, Put) and one.key == channel_key(*AT) for one in txn.then):
            act, self._act = self._act, None
            await act()
        return await super().txn(txn)


@pytest.mark.parametrize("act", ["release", "rollback"])
async def test_a_draft_that_is_edited_at_the_same_moment_is_not_lost(light, memory, clock, act):
    await released(light, "a: 1\n")

    async def edit():
        await light.desk.drafts.write(*AT, content("a: 2\n"), by=BEN, expect=None)

    desk = Plane.over(Meanwhile(memory.place, edit), ServerSettings(), clock).desk
    if act == "release":
        release = await desk.create(*AT, by=BEN, message="go")
        assert await light.desk.content(*AT, release.number) == content("a: 2\n")
    else:
        await desk.rollback(*AT, 1, by=BEN, message="back")
        kept = (await light.desk.drafts.get(*AT)).kept
        assert kept is not None
        assert await light.contents.read(kept) == content("a: 2\n")


async def test_the_audit_log_tells_what_was_live_though_somebody_was_quicker(light, memory, clock):
    await released(light, "a: 1\n")
    await released(light, "a: 2\n")
    await released(light, "a: 3\n", publish=False)

    async def quicker():
        await light.desk.publish(*AT, 3, by=BEN, message="quicker")

    desk = Plane.over(Meanwhile(memory.place, quicker), ServerSettings(), clock).desk
    await desk.publish(*AT, 1, by=BEN, message="slower")
    last = (await light.audit.entries(limit=500))[-1]
    assert (last.message, last.details["before"]) == ("slower", 3)


@pytest.mark.parametrize("act", ["release", "publish", "rollback"])
async def test_a_rollout_that_begins_at_the_same_moment_is_not_overrun(light, memory, clock, act):
    await released(light, "a: 1\n")
    await released(light, "a: 2\n", publish=False)

    async def begin():
        await rollout(light, Phase.PENDING)

    desk = Plane.over(Meanwhile(memory.place, begin), ServerSettings(), clock).desk
    call = {
        "release": lambda: desk.create(*AT, by=BEN, message="go"),
        "publish": lambda: desk.publish(*AT, 2, by=BEN, message="go"),
        "rollback": lambda: desk.rollback(*AT, 1, by=BEN, message="go"),
    }[act]
    await refused(call(), 409, "rollout-in-flight")
    assert await live(light) == 1


async def test_force_leaves_nobody_in_a_cohort_and_is_loud_in_the_audit_log(light):
    release = await released(light, "a: 1\n")
    moving = Channel(stable=Pointer(release=release.ref), cohorts={"r1-b1": Pointer(rollout="r1")})
    await light.store.put(channel_key(*AT), encode(moving))
    await rollout(light)
    forced = await released(light, "a: 2\n", force=True)
    assert (await light.desk.channel(*AT))[0] == Channel(stable=Pointer(release=forced.ref))
    last = (await light.audit.entries(limit=500))[-1]
    assert (last.action, last.forced, last.target) == ("release.published", True, "pay/default@2")


@pytest.mark.parametrize("act", ["release", "publish"])
async def test_force_has_people_told(light, act):
    await released(light, "a: 1\n")
    await rollout(light)
    if act == "release":
        await released(light, "a: 2\n", force=True)
    else:
        await light.desk.publish(*AT, 1, by=BEN, message="now", force=True)
    [alert] = (await light.store.range(ALERTS)).entries
    assert b"ben forced release" in alert.value


async def test_force_without_a_rollout_is_not_loud(light):
    await released(light, "a: 1\n", force=True)
    assert not (await light.audit.entries(limit=500))[-1].forced


async def test_two_servers_that_release_at_once_give_each_release_a_number(store_url, store, clock):
    other_store = open_store(store_url)
    try:
        planes = [Plane.over(one, ServerSettings(), clock) for one in (store, other_store)]
        await planes[0].desk.drafts.write(*AT, content("a: 1\n"), by=BEN, expect=0)
        made = await asyncio.gather(*(planes[n % 2].desk.create(*AT, by=BEN, message=f"release {n}") for n in range(8)))
        assert sorted(release.number for release in made) == list(range(1, 9))
        assert {release.message for release in await planes[0].desk.releases(*AT)} == {f"release {n}" for n in range(8)}
        assert (await planes[1].audit.verify()).ok
    finally:
        await other_store.close()


async def test_a_long_history_is_read_page_by_page(plane):
    for n in range(7):
        await released(plane, f"a: {n}\n")
    first = await plane.desk.releases(*AT, limit=3)
    second = await plane.desk.releases(*AT, before=first[-1].number, limit=3)
    last = await plane.desk.releases(*AT, before=second[-1].number, limit=3)
    assert [[one.number for one in page] for page in (first, second, last)] == [[7, 6, 5], [4, 3, 2], [1]]


@pytest.mark.parametrize(("before", "limit"), [(1, 5), (10**10, 5), (100, 500)])
async def test_pages_beyond_the_history_are_short(light, before, limit):
    await released(light, "a: 1\n")
    assert len(await light.desk.releases(*AT, before=before, limit=limit)) == (0 if before in (1, 10**10) else 1)


async def test_the_difference_of_two_releases_has_places(light):
    await released(light, "a: 1\n")
    await released(light, "b: 1\na: 2\n")
    found = {one.key: one for one in await light.desk.difference(*AT, 1, 2)}
    assert (found["a"].before, found["a"].after, found["a"].after_at) == (1, 2, "application:2")


async def test_applications_are_listed_with_their_namespaces(plane):
    for app, namespace in (("pay", "default"), ("pay", "eu"), ("pay-2", "default"), ("pay", "eu-1"), ("a", "b")):
        await plane.desk.drafts.write(app, namespace, content("a: 1\n"), by=BEN, expect=0)
        await plane.desk.create(app, namespace, by=BEN, message="go")
    found = {one.app: one.namespaces for one in await plane.desk.apps()}
    assert found == {"a": ("b",), "pay": ("default", "eu", "eu-1"), "pay-2": ("default",)}


async def test_the_overview_tells_how_a_namespace_stands(light):
    release = await released(light, "a: 1\n")
    await rollout(light)
    found = await light.desk.overview(*AT)
    assert (found.newest, found.rollout, found.instances) == (release, "r1", 0)
    assert found.draft is not None
    assert found.draft.content is None


async def test_the_overview_of_nothing_is_not_found(light):
    await refused(light.desk.overview(*AT), 404)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "<script>", "a b", "ü", "-a", "x" * 129])
async def test_a_name_that_leads_elsewhere_is_refused(light, name):
    for app, namespace in ((name, "default"), ("pay", name)):
        with pytest.raises(UsageError):
            await light.desk.drafts.write(app, namespace, content("a: 1\n"), by=BEN, expect=0)
        with pytest.raises(UsageError):
            await light.desk.channel(app, namespace)


async def test_a_damaged_release_is_told_and_the_others_are_read(light):
    for n in range(2):
        await released(light, f"a: {n}\n")
    await light.store.put(release_key(*AT, 2), b"\x00 no release")
    with pytest.raises(StoreCorrupt) as caught:
        await light.desk.release(*AT, 2)
    assert "/releases/0000000002@" in str(caught.value.where)
    assert (await light.desk.release(*AT, 1)).number == 1
    assert await live(light) == 2


async def test_a_damaged_counter_makes_no_release(light):
    await released(light, "a: 1\n")
    await light.store.put(counter_key(*AT), b"many")
    with pytest.raises(StoreCorrupt):
        await light.desk.create(*AT, by=BEN, message="go")
    entry = await light.store.get(channel_key(*AT))
    assert decode(entry.value, Channel, "").stable.release == (await light.desk.release(*AT, 1)).ref


@pytest.mark.slow
async def test_ten_megabytes_are_released_on_either_store(plane):
    lines = "".join(f"key{n}: {n * 7919:0100d}x\n" for n in range(95_000))
    assert len(lines) > 10_000_000
    release = await released(plane, lines)
    assert (await plane.desk.content(*AT, release.number)).layers[0].text == lines
    assert await live(plane) == 1


@pytest.mark.slow
async def test_a_hundred_thousand_keys_are_fine(plane):
    release = await released(plane, "".join(f"key{n}: {n}\n" for n in range(100_000)))
    assert release.number == 1


@pytest.mark.slow
async def test_more_keys_than_are_taken_are_refused(light):
    await light.desk.drafts.write(*AT, content("".join(f"key{n}: {n}\n" for n in range(200_001))), by=BEN, expect=0)
    problem = await refused(light.desk.create(*AT, by=BEN, message="go"), 422)
    assert "200,001 keys" in problem.members["problems"][0].what
