"""The instances on a rollout's page: with their times while it runs, and from its record once it is over."""

from __future__ import annotations

import re
from datetime import timedelta

from herz.release.rollout import Phase
from herz.release.rollout_step import Step
from herz.release.roster import Participant, Roster, pack
from herz.store.plane import roster_key

from .rollout_scene import plan, scene, words

__all__ = ["scene"]

HOSTILE = '<script>alert("x")</script>\u202e'


def cells(page, instance: str) -> dict[str, str]:
    """One row of the table of instances, by its columns."""
    row = re.search(rf'<tr id="i-{re.escape(instance)}">(.*?)</tr>', page.text, re.DOTALL)
    assert row is not None, page.text
    found = re.findall(r'<td data-label="([^"]*)"[^>]*>(.*?)</td>', row[1], re.DOTALL)
    return {name: words(cell) for name, cell in found}


async def write(scene, *participants: Participant, members: int = 0, left_out: int = 0) -> None:
    """A record of who took part, in place of what the rollout has left."""
    found = await scene.found()
    roster = Roster(rollout="r1", participants=participants, members=members, left_out=left_out)
    packed = pack(roster, found.created, found.release.fingerprint)
    await scene.plane.store.put(roster_key("pay", "default", "r1"), packed)


async def test_while_a_batch_bakes_each_instance_has_its_times_and_how_fast_it_answered(scene):
    await scene.join("a", "b", labels={"zone": "eu"})
    await scene.start(plan=plan(100.0, bake_s=600.0))
    found = await scene.reach(Phase.BAKING)
    row = cells(await scene.page(), "a")
    assert row["Phase"] == "verified"
    assert re.fullmatch(r"\d+ ms", row["Answered in"])
    assert row["Labels"] == "zone = eu"
    times = [row[name] for name in ("Built at", "Committed at", "Verified at")]
    assert times == sorted(times)
    assert found.created.isoformat()[:10] == times[0][:10]


async def test_a_promoted_rollout_lists_who_took_part_with_what_each_proved(scene):
    await scene.join("a", "b")
    await scene.start()
    found = await scene.reach()
    page = await scene.page()
    assert "2 instances: 2 verified" in words(page)
    row = cells(page, "b")
    assert (row["Phase"], row["Ran last"]) == ("verified", "@2")
    assert row["Fingerprint"] == found.release.fingerprint.removeprefix("sha256:")[:12]
    assert re.fullmatch(r"\d+ ms", row["Answered in"])
    assert "Labels" not in row
    batch = cells(await scene.page("/r1?q=b"), "b")["Batch"]
    assert re.findall(r'<tr id="i-(\w+)"', (await scene.page(f"/r1?batch={batch}")).text) == ["b"]


async def test_why_an_instance_failed_stays_on_the_page_once_it_is_back(scene):
    await scene.join("good", "bad")
    scene.instances["bad"].faults.apply_fails = True
    await scene.start(plan=plan(100.0))
    await scene.reach()
    page = await scene.page()
    assert cells(page, "bad")["Phase"] == "failed is back it cannot be applied here"
    assert cells(page, "good")["Phase"] == "is back"
    assert "Instances that failed bad failed is back it cannot be applied here" in words(page)
    assert re.findall(r'<tr id="i-(\w+)"', page.text) == ["bad", "good"], "first who is to be looked at"
    assert re.findall(r'<tr id="i-(\w+)"', (await scene.page("/r1?step=failed")).text) == ["bad"]


async def test_a_rollout_without_a_record_says_so_instead_of_listing_nobody(scene):
    await scene.join("a")
    await scene.start(plan=plan(100.0))
    await scene.reach()
    await scene.plane.store.delete(roster_key("pay", "default", "r1"))
    page = await scene.page()
    assert "Which instances took part is not recorded" in words(page)
    assert '<tr id="i-' not in page.text
    assert "未记录有哪些实例参与" in words(await scene.page(**{"accept-language": "zh"}))


async def test_a_rollout_in_which_nobody_took_part_says_that(scene):
    await scene.start(allow_empty=True, plan=plan(prepare_s=0.001))
    await scene.reach()
    assert "No instance took part." in words(await scene.page())


async def test_how_many_the_record_leaves_out_is_said(scene):
    await scene.join("a")
    await scene.start(plan=plan(100.0))
    await scene.reach()
    await write(scene, Participant(instance="a", batch=1, step=Step.VERIFIED), members=7_000, left_out=6_999)
    said = words(await scene.page())
    assert "6999 of 7000 instances are not named here" in said
    assert "7000 个实例中有 6999 个未在此列出" in words(await scene.page(**{"accept-language": "zh"}))


async def test_hostile_names_and_errors_of_a_record_are_shown_as_text(scene):
    await scene.join("a")
    await scene.start(plan=plan(100.0))
    found = await scene.reach()
    part = Participant(
        instance=HOSTILE,
        batch=1,
        step=Step.BACK,
        prepared=found.created + timedelta(seconds=1),
        fingerprint=HOSTILE,
        error=HOSTILE,
    )
    await write(scene, part, members=1)
    for language in ("en", "zh"):
        page = await scene.page(**{"accept-language": language})
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert words(page).count(HOSTILE) >= 2


async def test_the_page_of_what_is_over_is_in_chinese(scene):
    await scene.join("a")
    await scene.start(plan=plan(100.0))
    await scene.reach()
    row = cells(await scene.page(**{"accept-language": "zh"}), "a")
    assert row["阶段"] == "已验证"
    assert re.fullmatch(r"\d+ 毫秒|\d+ ms", row["应答用时"])
    assert {"构建于", "提交于", "验证于", "最后运行", "指纹"} <= row.keys()
