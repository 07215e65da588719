"""Drafts and releases by the client, against a real `herz serve`."""

from __future__ import annotations

import pytest

from herz.client import DraftConflict, NotThere
from herz.errors import BindingError, Conflict, UsageError
from herz.release.content import Content, LayerText

POOL = Content(layers=(LayerText(name="pay.yml", text="db:\n  pool: 5  # sessions\ntimeout: 3s\n"),))


async def test_a_draft_that_nobody_wrote_is_empty_at_revision_0(pay):
    draft = await pay.draft()
    assert (draft.revision, draft.content) == (0, Content())


async def test_what_was_written_is_read(pay):
    written = await pay.write_draft(POOL, expect=0, message="first")
    draft = await pay.draft()
    assert draft.content == POOL
    assert (draft.revision, draft.author, draft.message) == (written.revision, "ada", "first")


async def test_single_keys_are_set_and_other_lines_stay(pay):
    await pay.write_draft(POOL)
    await pay.set({"db.pool": 20, "timeout": None})
    assert (await pay.draft()).content.layers[0].text == "db:\n  pool: 20  # sessions\n"


async def test_whoever_is_slower_gets_both_sides_of_every_key(pay):
    first = await pay.write_draft(POOL, expect=0)
    await pay.set({"db.pool": 20, "timeout": "5s"}, message="more load")
    with pytest.raises(DraftConflict) as caught:
        await pay.set({"db.pool": 7}, expect=first.revision)
    conflict = caught.value
    assert isinstance(conflict, Conflict)
    assert (conflict.expected, conflict.theirs["author"]) == (first.revision, "ada")
    assert [(one["key"], one["base"], one["theirs"], one["yours"]) for one in conflict.difference] == [
        ("db.pool", 5, 20, 7)
    ]
    assert {one["key"] for one in conflict.changed} == {"db.pool", "timeout"}


async def test_a_reset_draft_is_gone_and_resetting_again_is_no_error(pay):
    await pay.write_draft(POOL)
    await pay.reset_draft()
    await pay.reset_draft()
    assert (await pay.draft()).revision == 0


async def test_a_release_is_numbered_and_live(pay, app):
    await pay.write_draft(POOL)
    release = await pay.release("first", patch_id="4f1c")
    assert (release.version, release.patch_id) == (f"{app}/default@1", "4f1c")
    assert (await pay.channel()).stable.release == release.ref
    assert await pay.content(1) == POOL
    assert await pay.find_release(release.version) == release


async def test_a_dormant_release_is_live_once_it_is_published(pay):
    await pay.write_draft(POOL)
    await pay.release("dormant", publish=False)
    assert (await pay.channel()).stable.release is None
    moved = await pay.publish(1, "now")
    assert moved.channel.stable.release == moved.release.ref


async def test_a_rollback_points_back_and_resets_the_draft(pay):
    await pay.write_draft(POOL)
    await pay.release("first")
    await pay.set({"db.pool": 20})
    await pay.release("second")
    assert (await pay.rollback(1, "slow")).release.number == 1
    assert (await pay.draft()).content == POOL
    assert [one.number for one in await pay.releases()] == [2, 1]
    assert [one.number for one in await pay.releases(before=2, limit=1)] == [1]


async def test_differences_name_key_values_and_places(pay):
    await pay.write_draft(POOL)
    await pay.release("first")
    await pay.set({"db.pool": 20})
    (one,) = await pay.difference()
    assert (one.key, one.before, one.after, one.after_at) == ("db.pool", 5, 20, "pay.yml:2")
    await pay.release("second")
    assert await pay.compare(1, "2") == (one,)


async def test_a_schema_says_what_is_wrong_with_a_draft_and_stops_its_release(pay):
    await pay.set_schema({"properties": {"db": {"properties": {"pool": {"maximum": 10}}}}})
    await pay.write_draft(POOL)
    assert (await pay.validate()).ok
    await pay.set({"db.pool": 20})
    validation = await pay.validate()
    assert not validation.ok
    assert validation.problems[0].key == "db.pool"
    with pytest.raises(BindingError, match=r"db\.pool: .*\(pay.yml:2\)"):
        await pay.release("too much")
    assert (await pay.schema() or {}).keys() == {"properties"}
    await pay.delete_schema()
    await pay.delete_schema()
    assert await pay.schema() is None


async def test_a_release_that_does_not_exist_is_not_there(pay):
    with pytest.raises(NotThere):
        await pay.find_release(1)


@pytest.mark.parametrize("version", ["x", "0", 0, True, "13@pay", "other/default@1", "1.5"])
async def test_what_is_no_version_of_this_namespace_is_refused_before_anything_is_asked(pay, version):
    with pytest.raises(UsageError):
        await pay.find_release(version)


async def test_every_act_is_in_the_audit_log_which_is_whole(plane, pay, app):
    await pay.write_draft(POOL)
    await pay.release("first")
    entries = await plane.audit(limit=500)
    assert {entry["actor"] for entry in entries if app in str(entry)} == {"ada"}
    state = await plane.verify_audit()
    assert (state.ok, state.broken_at) == (True, None)
    assert state.entries >= 2


async def test_the_control_plane_lists_its_applications(plane, pay, app):
    await pay.write_draft(POOL)
    assert {"app": app, "namespaces": ["default"]} in await plane.apps()
    assert (await pay.overview())["draft"]["author"] == "ada"
