"""The list of rollouts, and one of them: what is shown as it goes on, ends, or fails."""

from __future__ import annotations

import json
import re

from herz.release.channel import Mailbox
from herz.release.record import encode
from herz.release.report import Report, Status
from herz.release.rollout import Check, Phase
from herz.release.trend import Sample
from herz.server.audit import By
from herz.server.rollouts.book import Wish
from herz.store.base import Put, Txn
from herz.store.plane import mailbox_key, report_key

from .rollout_scene import BASE, plan, scene, words

__all__ = ["scene"]

HOSTILE = '<script>alert("x")</script>\u202e'


async def test_without_a_rollout_the_list_says_what_to_do(scene):
    page = await scene.page("")
    assert page.status_code == 200
    assert "Nothing was rolled out here yet." in words(page)
    assert f'href="{BASE}/new"' in page.text


async def test_the_list_has_the_newest_first_and_what_is_in_flight_on_top(scene):
    await scene.join("a", "b")
    await scene.start(message="first try")
    await scene.reach()
    await scene.start(release=1, plan=plan(bake_s=600.0), message="back again")
    await scene.reach(Phase.BAKING, rollout="r2")
    page = await scene.page("")
    said = words(page)
    assert said.index("In flight r2 baking") < said.index("History")
    rows = re.findall(r'<th scope="row"><a href="[^"]*/rollouts/(r\d+)"', page.text)
    assert rows == ["r2", "r1"]
    assert "first try" in said
    assert "2 of 2" in said
    assert "1 of 2, batch 1" in said
    assert 'data-topics="rollouts:pay/default"' in page.text


async def test_the_list_goes_on_page_by_page(scene, monkeypatch):
    monkeypatch.setattr("herz.server.console.rollouts.LISTED", 2)
    for number in (1, 2, 3):
        await scene.start(release=1 if number % 2 == 0 else 2, allow_empty=True, plan=plan(prepare_s=0.001))
        await scene.reach(rollout=f"r{number}")
    page = await scene.page("")
    assert re.findall(r'<th scope="row"><a href="[^"]*/(r\d+)"', page.text) == ["r3", "r2"]
    assert f'href="{BASE}?before=2"' in page.text
    page = await scene.page("?before=2")
    assert re.findall(r'<th scope="row"><a href="[^"]*/(r\d+)"', page.text) == ["r1"]
    assert "There are no older rollouts." in words(await scene.page("?before=1"))


async def test_a_rollout_that_does_not_exist_is_not_found(scene):
    page = await scene.page("/r9")
    assert page.status_code == 404
    assert "pay/default has no rollout r9" in words(page)


async def test_a_batch_that_bakes_shows_what_is_proved_and_what_is_planned(scene):
    await scene.join("a", "b", "c", "d")
    await scene.start(plan=plan(25.0, 50.0, 100.0, bake_s=600.0), message="carefully")
    await scene.reach(Phase.BAKING)
    page = await scene.page()
    said = words(page)
    for text in ("baking release @2 in place of @1", "Batch 1 is verified, and watched for a while.", "carefully"):
        assert text in said
    assert "1 1 then 1 of 4 baking 1 verified" in said, "the batch in work"
    assert "2 about 1 then 2 of 4 planned" in said
    assert "3 about 2 then 4 of 4 planned" in said
    assert re.search(r"1 of 1, within \d+ ms", said)
    assert "25, 50, 100 %; each batch bakes 10 min" in said
    assert 'data-topics="rollouts:pay/default fleet:pay/default channel:pay/default"' in page.text


async def test_the_timeline_tells_every_phase_with_its_time(scene):
    await scene.join("a", "b")
    await scene.start()
    await scene.reach()
    await scene.start(release=1)
    await scene.reach(rollout="r2")
    happened = words((await scene.page()).text.split('id="timeline"')[1])
    steps = ["promoted it batch 2", "makes it stable batch 2", "lets it bake batch 2", "verifies batch 2"]
    steps += ["commits batch 2", "has it built batch 2", "chooses the next batch batch 2", "lets it bake batch 1"]
    steps += ["verifies batch 1", "commits batch 1", "has it built batch 1", "begins it"]
    places = [happened.index(step) for step in steps]
    assert places == sorted(places)
    assert happened.count("begins it") == 1, "nothing of the other rollout"


async def test_who_builds_the_release_is_waited_for_and_who_has_built_it_while_paused_is_shown(scene):
    (first,) = await scene.join("a")
    first.faults.slow_s = 1.0
    await scene.start(plan=plan(100.0))
    said = await scene.shows("It waits for a is building")
    assert "At the latest" in said
    await scene.post(order="pause")
    said = await scene.shows("a 1 built 20")
    assert "Paused by ada" in said
    assert "Resume when you are content; abort to go back." in said


async def test_who_has_not_followed_the_commit_is_waited_for(scene):
    (first,) = await scene.join("a")
    first.faults.ignores_commit = True
    await scene.start(plan=plan(100.0))
    await scene.reach(Phase.COMMITTING)
    await scene.shows("It waits for a committed")


async def test_an_instance_that_fails_shows_its_error_while_it_goes_back_and_at_the_end(scene):
    await scene.join("good", "bad")
    scene.instances["bad"].faults.apply_fails = True
    scene.instances["good"].faults.ignores_commit = False
    await scene.start(plan=plan(100.0))
    over = await scene.reach()
    assert over.phase is Phase.ROLLED_BACK
    said = words(await scene.page())
    assert "Rolled back: bad failed: it cannot be applied here" in said
    assert "Mend the release, make a new one, and roll that out." in said
    assert "taken back" in said
    listed = words(await scene.page(""))
    assert "rolled back bad failed: it cannot be applied here" in listed


async def test_a_release_that_cannot_be_built_says_where_and_why(scene):
    await scene.join("a", "b")
    scene.instances["a"].faults.build_fails = scene.instances["b"].faults.build_fails = True
    await scene.start(plan=plan(100.0))
    await scene.reach()
    assert re.search("[ab] cannot build the release: there is no such driver", words(await scene.page()))


async def test_a_verdict_that_fails_names_what_differs(scene):
    await scene.join("a", "liar")
    scene.instances["liar"].faults.lies = True
    await scene.start(plan=plan(100.0))
    await scene.reach()
    said = words(await scene.page())
    assert "not verified 1 of 2 instances do not run release 2." in said
    assert "liar another fingerprint" in said
    assert "sha256:" + "0" * 64 in said


async def test_who_has_not_confirmed_the_end_is_named(scene):
    await scene.join("a", "gone")
    await scene.start(plan=plan(100.0, bake_s=600.0, commit_s=0.5))
    await scene.reach(Phase.BAKING)
    scene.instances["gone"].faults.silent = True
    await scene.post(order="abort", confirm="r1", message="enough")
    await scene.reach()
    said = words(await scene.page())
    assert "1 instance has not confirmed the end : gone" in said
    assert "ada aborted it: enough" in said


async def test_a_rollout_that_waits_for_a_person_says_why_and_what_to_do(scene):
    await scene.start(plan=plan(prepare_s=0.05), selector={"zone": "mars"})
    said = await scene.shows("It paused by itself and waits for a person")
    assert "no instance matches zone=mars" in said
    assert "Start an instance that matches and resume, promote to go on to everybody, or abort." in said


async def test_a_check_that_is_inconclusive_asks_a_person_who_is_told_what_to_look_at(scene):
    await scene.join("a")
    options = {"server": "http://127.0.0.1:9", "canary": "up", "least": 1}
    checks = (Check(name="up", kind="prometheus", options=options),)
    await scene.start(plan=plan(100.0, bake_max_s=0.1), checks=checks)
    said = await scene.shows("Look at the checks below. Resume to watch it further")
    assert "up prometheus inconclusive" in said
    assert "Cannot connect" in said


async def test_what_a_check_compares_is_a_chart_with_a_table(scene, monkeypatch):
    async def answer(outbound, server, query, start, end, step_s):
        mean = 104.0 if "canary" in query else 100.0
        return tuple(Sample(start.timestamp() + number / 200, mean + number % 2) for number in range(20))

    monkeypatch.setattr("herz.server.rollouts.checks.samples", answer)
    await scene.join("a", "b")
    options = {"server": "http://127.0.0.1:9", "canary": "x{canary}", "baseline": "x{base}", "most": 300}
    checks = (Check(name="latency", kind="prometheus", options=options),)
    await scene.start(plan=plan(50.0, 100.0, bake_s=0.2, bake_max_s=600.0), checks=checks)
    await scene.reach()
    page = await scene.page()
    data = json.loads(re.findall(r'id="chart-data-1">(.*?)</script>', page.text)[0])
    assert [number for _, number in data["begins"]] == [1, 2]
    assert len(data["x"]) == len(data["canary"]) == len(data["baseline"])
    assert data["x"] == sorted(data["x"])
    assert data["canary"].count(None) == 1, "a gap between the batches"
    assert (data["most"], data["least"]) == (300, None)
    said = words(page)
    assert "latency prometheus passes canary baseline at most 300" in said
    assert "1 passes 104.5 100.5" in said
    assert 'data-keep data-chart="chart-data-1"' in page.text


async def test_the_record_of_a_batch_that_bakes_has_what_checks_say_now(scene, monkeypatch):
    await scene.join("a")
    options = {"server": "http://127.0.0.1:9", "canary": "up", "least": 1}
    checks = (Check(name="up", kind="prometheus", options=options),)
    await scene.start(plan=plan(100.0, bake_s=600.0), checks=checks)
    await scene.shows("up prometheus inconclusive")
    assert (await scene.found()).phase is Phase.BAKING


async def many(scene, count, **facts):
    """Reports of instances that do nothing more."""
    for start in range(0, count, 50):
        puts = []
        for number in range(start, min(start + 50, count)):
            name = f"i-{number:04d}"
            report = Report(
                instance=name,
                app="pay",
                namespace="default",
                status=Status.APPLIED,
                time=scene.plane.clock.now(),
                **{"labels": {"zone": "eu" if number % 2 else "us"}, **facts},
            )
            puts.append(Put(report_key("pay", "default", name), encode(report)))
        await scene.plane.store.txn(Txn(then=puts))


async def test_a_large_batch_is_collapsed_counted_and_filtered(scene):
    await many(scene, 250)
    await scene.start(plan=plan(100.0, prepare_s=600.0))
    await scene.reach(Phase.PREPARING)
    page = await scene.page()
    assert page.text.count('<tr id="i-') == 200
    assert "<details><summary>250 instances" in page.text
    assert "50 more: use the filter." in words(page)
    assert "250 is building" in words(page)
    page = await scene.page("/r1?q=zone%3Deu+i-000")
    assert re.findall(r'<tr id="i-(i-\d+)"', page.text) == [f"i-000{n}" for n in (1, 3, 5, 7, 9)]
    assert "<details open>" in page.text
    assert "No instance of the batches is like that." in words(await scene.page("/r1?step=failed"))
    assert (await scene.page("/r1?step=preparing&batch=1")).text.count('<tr id="i-') == 200
    assert (await scene.page("/r1?step=preparing&batch=2")).text.count('<tr id="i-') == 0


async def test_hostile_names_and_texts_are_shown_as_text(scene):
    await many(scene, 2, labels={HOSTILE: HOSTILE}, patch_id=HOSTILE)
    await scene.book.start(
        "pay",
        "default",
        Wish(
            release=2,
            plan=plan(100.0, prepare_s=600.0),
            message=HOSTILE,
            checks=(Check(name=HOSTILE, kind="health", options={"url": "https://a"}),),
            allow_overrides=(HOSTILE,),
        ),
        By(HOSTILE),
    )
    await scene.reach(Phase.PREPARING)
    for path in ("/r1", "", "/new", "/r1?q=%3Cscript%3E", "/new?message=%3Cscript%3E&label.%3Cscript%3E=x"):
        page = await scene.page(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<script>" not in page.text.replace('<script type="application/json"', "").split("<body>")[1]
    assert HOSTILE in words(await scene.page())


async def test_an_open_page_is_told_of_every_step(scene):
    await scene.join("a")
    await scene.start(plan=plan(100.0, bake_s=600.0))
    await scene.reach(Phase.BAKING)
    first = await scene.page(**{"x-herz-live": "1"})
    assert "baking" in words(first)
    assert 'id="pause"' in first.text
    await scene.post(order="pause")
    await scene.shows("Paused by ada", **{"x-herz-live": "1"})


async def test_a_mailbox_of_another_rollout_is_not_listed(scene):
    await scene.join("a", "b")
    await scene.start(plan=plan(50.0, 100.0, bake_s=600.0))
    await scene.reach(Phase.BAKING)
    await many(scene, 1)
    await scene.plane.store.put(mailbox_key("pay", "default", "i-0000"), encode(Mailbox(cohort="r1-b1", rollout="r0")))
    assert "i-0000" not in (await scene.page()).text
