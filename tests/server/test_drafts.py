"""Drafts: several people at once, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from herz.errors import DocumentMalformed, UsageError
from herz.server.audit import By
from herz.server.opening import open_store
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.settings import ServerSettings

from .conftest import BEN, content

AT = ("pay", "default")
EVA = By("eva", "0123456789abcdef")


async def refused(call, status):
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.status == status
    return caught.value


async def write(plane, text, expect=None, **further):
    return await plane.desk.drafts.write(*AT, content(text), by=BEN, expect=expect, **further)


async def text_of(plane):
    return (await plane.desk.drafts.get(*AT)).content.layers[0].text


async def test_a_draft_is_read_as_it_was_written(plane):
    written = await write(plane, "a: 1\n", expect=0, message="begin")
    found = await plane.desk.drafts.get(*AT)
    assert found == written
    assert (found.author, found.message, found.content) == ("ben", "begin", content("a: 1\n"))


async def test_the_revision_that_was_answered_is_the_one_to_expect(plane):
    first = await write(plane, "a: 1\n", expect=0)
    second = await write(plane, "a: 2\n", expect=first.revision)
    assert second.revision > first.revision


async def test_no_draft_is_not_found(light):
    await refused(light.desk.drafts.get(*AT), 404)


async def test_whoever_is_slower_gets_a_conflict_and_writes_nothing(plane):
    first = await write(plane, "a: 1\n", expect=0)
    await write(plane, "a: 2\n", expect=first.revision)
    await refused(write(plane, "a: 3\n", expect=first.revision), 409)
    assert await text_of(plane) == "a: 2\n"


async def test_a_conflict_tells_who_was_quicker(plane):
    first = await write(plane, "a: 1\n", expect=0)
    second = await plane.desk.drafts.write(
        *AT, content("a: 2\n"), by=EVA, expect=first.revision, message="two is better"
    )
    problem = await refused(write(plane, "a: 3\n", expect=first.revision), 409)
    theirs = problem.members["theirs"]
    assert (theirs["author"], theirs["message"], theirs["revision"]) == ("eva", "two is better", second.revision)
    assert (problem.members["expected"], problem.members["actual"]) == (first.revision, second.revision)


async def test_a_conflict_tells_base_theirs_and_yours_of_each_key_with_places(plane):
    first = await write(plane, "a: 1\nb: 1\n", expect=0)
    await write(plane, "a: 2\nb: 1\n", expect=first.revision)
    problem = await refused(write(plane, "a: 3\nb: 1\n", expect=first.revision), 409)
    [one] = problem.members["difference"]
    assert (one.key, one.base, one.theirs, one.yours) == ("a", 1, 2, 3)
    assert (one.theirs_at, one.yours_at) == ("application:1", "application:1")


async def test_a_conflict_in_different_keys_tells_what_to_take_over(plane):
    first = await write(plane, "a: 1\nb: 1\n", expect=0)
    await write(plane, "a: 2\nb: 1\n", expect=first.revision)
    problem = await refused(write(plane, "a: 1\nb: 2\n", expect=first.revision), 409)
    assert problem.members["difference"] == []
    assert [(one.key, one.after) for one in problem.members["changed"]] == [("a", 2)]


async def test_a_conflict_shows_no_secret(plane):
    first = await write(plane, "db:\n  password: one\n", expect=0)
    await write(plane, "db:\n  password: two\n", expect=first.revision)
    problem = await refused(write(plane, "db:\n  password: three\n", expect=first.revision), 409)
    [one] = problem.members["difference"]
    assert one.secret
    assert not {"one", "two", "three"} & {one.base, one.theirs, one.yours}


async def test_a_conflict_of_texts_that_do_not_decode_is_told_as_well(light):
    first = await write(light, "a: 1\n", expect=0)
    await write(light, "a: [\n", expect=first.revision)
    problem = await refused(write(light, "a: 3\n", expect=first.revision), 409)
    assert "application:" in problem.members["difference_failed"]


async def test_expecting_none_where_there_is_one_is_a_conflict(plane):
    await write(plane, "a: 1\n", expect=0)
    await refused(write(plane, "a: 2\n", expect=0), 409)


async def test_expecting_one_that_was_deleted_is_a_conflict(plane):
    first = await write(plane, "a: 1\n", expect=0)
    await plane.desk.drafts.delete(*AT, by=BEN)
    problem = await refused(write(plane, "a: 2\n", expect=first.revision), 409)
    assert problem.members["actual"] == 0


async def test_what_is_replaced_without_looking_stays_readable(plane):
    first = await write(plane, "a: 1\n", expect=0)
    second = await write(plane, "a: 2\n")
    assert second.kept == first.digest
    assert await plane.contents.read(second.kept) == content("a: 1\n")


async def test_a_base_must_exist(light):
    with pytest.raises(UsageError, match="no release 7"):
        await write(light, "a: 1\n", base=7)


async def test_a_deleted_draft_is_gone(plane):
    await write(plane, "a: 1\n")
    await plane.desk.drafts.delete(*AT, by=BEN)
    assert await plane.desk.drafts.facts(*AT) is None


async def test_deleting_another_revision_is_a_conflict(light):
    first = await write(light, "a: 1\n")
    await write(light, "a: 2\n")
    await refused(light.desk.drafts.delete(*AT, by=BEN, expect=first.revision), 409)


async def test_setting_a_key_keeps_the_rest_of_the_text(plane):
    await write(plane, "# why\na: 1  # one\nb: 2\n")
    await plane.desk.drafts.set(*AT, {"b": 3, "c.d": "x"}, by=BEN)
    assert await text_of(plane) == "# why\na: 1  # one\nb: 3\nc:\n  d: x\n"


async def test_setting_a_key_of_nothing_begins_a_draft(plane):
    await plane.desk.drafts.set(*AT, {"db.pool": 3}, by=BEN)
    assert await text_of(plane) == "db:\n  pool: 3\n"


async def test_setting_a_key_without_a_draft_begins_from_what_is_live(plane):
    await write(plane, "a: 1\nb: 1\n")
    await plane.desk.create(*AT, by=BEN, message="first")
    await plane.desk.drafts.delete(*AT, by=BEN)
    draft = await plane.desk.drafts.set(*AT, {"b": 2}, by=BEN)
    assert draft.base == 1
    assert await text_of(plane) == "a: 1\nb: 2\n"


async def test_setting_with_an_old_revision_is_a_conflict(light):
    first = await write(light, "a: 1\n")
    await write(light, "a: 2\n")
    problem = await refused(light.desk.drafts.set(*AT, {"a": 3}, by=BEN, expect=first.revision), 409)
    assert problem.members["actual"] != first.revision


async def test_two_servers_that_set_keys_at_once_lose_none(store_url, store, clock):
    other_store = open_store(store_url)
    try:
        planes = [Plane.over(one, ServerSettings(), clock) for one in (store, other_store)]
        await write(planes[0], "begin: true\n", expect=0)

        async def edit(number):
            plane = planes[number % 2]
            await plane.desk.drafts.set(*AT, {f"key{number}": number}, by=BEN)

        await asyncio.gather(*map(edit, range(12)))
        assert await planes[1].desk.drafts.get(*AT) == await planes[0].desk.drafts.get(*AT)
        text = await text_of(planes[0])
        assert all(f"key{number}: {number}\n" in text for number in range(12))
        assert (await planes[0].audit.verify()).ok
    finally:
        await other_store.close()


async def test_the_difference_is_against_what_is_live(plane):
    await write(plane, "a: 1\nb: 1\n")
    await plane.desk.create(*AT, by=BEN, message="first")
    await write(plane, "# moved\na: 2\nc: 1\n")
    found = {one.key: one for one in await plane.desk.drafts.difference(*AT)}
    assert found.keys() == {"a", "b", "c"}
    assert (found["a"].before_at, found["a"].after_at) == ("application:1", "application:2")
    assert found["b"].removed
    assert found["c"].added


async def test_the_difference_of_a_malformed_draft_says_where(light):
    await write(light, "a: 1\nb: [\n")
    with pytest.raises(DocumentMalformed) as caught:
        await light.desk.drafts.difference(*AT)
    assert str(caught.value.where).startswith("application:")
