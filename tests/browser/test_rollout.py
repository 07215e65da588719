"""Rollouts in a browser: begun from the form, watched as they go on, steered, aborted; and what fails is seen."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from herz.release.content import Content, LayerText
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Check

pytestmark = pytest.mark.slow

SEEN_S = 0.5
"""Within how long a change is to be seen in an open page."""


@pytest_asyncio.fixture(loop_scope="session")
async def live(pay):
    """The test's application: release 1 is stable, release 2 is to be rolled out."""
    await pay.write_draft(Content(layers=(LayerText(name="application.yml", text="db:\n  pool: 10\n"),)))
    await pay.release("first")
    await pay.set({"db.pool": 20})
    await pay.release("more sessions", publish=False)
    return pay


@pytest_asyncio.fixture(loop_scope="session")
async def four(live, instance):
    """Four instances of it, two in each zone, which the server knows."""
    started = [await asyncio.to_thread(instance, f"i-{n}", zone="eu" if n % 2 else "us") for n in range(4)]
    async with asyncio.timeout(20):
        while True:
            if len(await live.instances()) == 4:
                return started
            await asyncio.sleep(0.02)


@pytest.fixture
def base(app):
    return f"/console/apps/{app}/default/rollouts"


@pytest_asyncio.fixture(loop_scope="session")
async def prometheus() -> AsyncIterator[str]:
    """Answers every query with a wave; that of the canary is a little higher."""

    async def answer(request: web.Request) -> web.Response:
        asked = parse_qs(await request.text())
        begin, end, step = (float(asked[name][0]) for name in ("start", "end", "step"))
        mean = 102 if "canary" in asked["query"][0] else 100
        moments = [begin + number * step for number in range(int((end - begin) / step) + 1)]
        values = [[moment, str(mean + 5 * math.sin(moment))] for moment in moments]
        return web.json_response(
            {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}}
        )

    app = web.Application()
    app.router.add_post("/api/v1/query_range", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def plan(*percent, **facts):
    return Plan(kind=PlanKind.EXPLICIT, percent=percent or (50.0, 100.0), **{"bake_s": 600.0, **facts})


async def test_a_gray_rollout_is_begun_from_the_form_and_watched_to_its_end(page, live, four, base):
    await page.goto(base)
    await page.get_by_role("link", name="New rollout").first.click()
    preview = page.locator("#preview")
    await expect(preview).to_contain_text("4 of 4 instances match.")
    await page.get_by_label("as listed").check()
    await page.get_by_label("Percent, together").fill("25, 50, 100")
    await expect(preview).to_contain_text("batch 2: 2 of 4")
    await expect(preview).to_contain_text("batch 3: 4 of 4")
    await page.get_by_label("Each bakes").fill("1")
    await page.get_by_label("Message").fill("for the sale")
    await page.get_by_role("button", name="Begin the rollout").click()
    await expect(page).to_have_url(re.compile(r"/rollouts/r1$"))
    await page.evaluate("window.same = true")
    await expect(page.locator("#phase")).to_contain_text("baking")
    await expect(page.locator("#batches tbody tr").nth(0)).to_contain_text("verified")
    await expect(page.locator("#batches tbody tr").nth(0)).to_contain_text(re.compile(r"\d+ ms"))
    await expect(page.locator("#phase")).to_contain_text("promoted", timeout=30_000)
    await expect(page.locator("#state")).to_contain_text("Everybody runs release 2.")
    for number in range(3):
        await expect(page.locator("#batches tbody tr").nth(number)).to_contain_text("verified")
    await expect(page.locator("#timeline")).to_contain_text("for the sale")
    assert await page.evaluate("window.same"), "the page was not loaded again"
    assert all(one.snapshot["db.pool"] == 20 for one in four)


async def test_a_selection_by_label_is_counted_as_one_chooses(page, live, four, base):
    await page.goto(f"{base}/new")
    preview = page.locator("#preview")
    await page.get_by_role("group", name="zone").get_by_label("eu").check()
    await expect(preview).to_contain_text("2 of 4 instances match.")
    await page.get_by_role("group", name="zone").get_by_label("us").check()
    await expect(preview).to_contain_text("4 of 4 instances match.")
    await page.get_by_label("equal").check()
    await page.locator("[name=step]").fill("0")
    await expect(preview).to_contain_text("a plan whose step is 0")


async def test_it_is_paused_resumed_promoted_and_goes_on(page, live, four, base):
    await live.start_rollout(2, plan())
    await page.goto(f"{base}/r1")
    phase = page.locator("#phase")
    await expect(phase).to_contain_text("baking")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#paused")).to_contain_text("Paused by")
    await expect(phase).to_contain_text("paused")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#paused")).to_have_count(0)
    await expect(phase).to_contain_text("baking")
    await page.get_by_role("button", name="Promote the batch").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Batch 1 bakes no longer.")
    await page.get_by_role("dialog").get_by_label("Why").fill("looks good")
    await page.get_by_role("dialog").get_by_role("button", name="Promote the batch").click()
    await expect(page.locator("#batches tbody tr").nth(1)).to_contain_text("baking")
    await page.get_by_role("button", name="Promote all").click()
    await page.get_by_role("dialog").get_by_role("button", name="Promote all").click()
    await expect(phase).to_contain_text("promoted")


@pytest.mark.parametrize("options", [{}, {"dark": True}, {"phone": True}, {"language": "zh-CN"}], ids=str)
async def test_what_is_over_lists_who_took_part_with_times_to_compare(visits, axe, live, four, base, options):
    begun = await live.start_rollout(2, plan(50.0, 100.0, bake_s=0.0))
    async for found in live.rollout_events(begun.id):
        if found.over:
            break
    page = await (await visits(**options)).page()
    await page.goto(f"{base}/{begun.id}")
    rows = page.locator("#members tbody tr")
    await expect(rows).to_have_count(4)
    clocks = rows.first.locator("time[data-time=clock]")
    await expect(clocks).to_have_count(3)
    for shown in await clocks.all_inner_texts():
        assert re.search(r"\d{1,2}:\d{2}:\d{2}", shown), shown
    assert await axe(page) == []
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    await page.locator("select[name=batch]").select_option("1")
    await expect(rows).to_have_count(2)


async def test_it_is_aborted_by_its_name_and_goes_back(page, live, four, base):
    await live.start_rollout(2, plan())
    await page.goto(f"{base}/r1")
    await expect(page.locator("#phase")).to_contain_text("baking")
    await page.get_by_role("button", name="Abort").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("2 instances return to what is stable.")
    sure = dialog.get_by_role("button", name="Abort")
    await dialog.get_by_label("Why").fill("too many sessions")
    await expect(sure).to_be_disabled()
    await dialog.get_by_label("Type r1 to confirm").fill("r2")
    await expect(sure).to_be_disabled()
    await dialog.get_by_label("Type r1 to confirm").fill("r1")
    await sure.click()
    await expect(page.locator("#phase")).to_contain_text("rolled back")
    await expect(page.locator("#state")).to_contain_text("aborted it: too many sessions")
    assert all(one.snapshot["db.pool"] == 10 for one in four)
    await page.goto(base)
    await expect(page.locator("#list")).to_contain_text("aborted it: too many sessions")


async def test_a_dialog_stays_as_it_is_while_the_rollout_goes_on(page, live, four, base):
    await live.start_rollout(2, plan(25.0, 50.0, 100.0))
    await page.goto(f"{base}/r1")
    await expect(page.locator("#phase")).to_contain_text("baking")
    await page.get_by_role("button", name="Abort").click()
    why = page.get_by_role("dialog").get_by_label("Why")
    await why.fill("half typ")
    await live.promote("r1")
    await expect(page.locator("#batches tbody tr").nth(1)).to_contain_text("baking")
    await expect(why).to_be_visible()
    await expect(why).to_have_value("half typ")
    await expect(why).to_be_focused()


async def test_an_instance_that_fails_shows_its_error(page, live, four, base):
    await live.set({"db.pool": 1000})
    await live.release("far too many", publish=False)
    await page.goto(base)
    await live.start_rollout(3, plan(100.0))
    await expect(page.locator("#list")).to_contain_text("100 sessions at most")
    await page.goto(f"{base}/r1")
    await expect(page.locator("#phase")).to_contain_text("rolled back")
    await expect(page.locator("#state")).to_contain_text(
        re.compile(r"i-\d cannot build the release: .*100 sessions at most")
    )
    await expect(page.locator("#state")).to_contain_text("Mend the release")


async def test_canary_and_baseline_are_drawn_and_go_on_without_being_made_anew(page, live, four, base, prometheus):
    options = {
        "server": prometheus,
        "canary": "ms{canary}",
        "baseline": "ms{base}",
        "step_s": 0.1,
        "most": 120,
        "shift_min": 0.5,
    }
    checks = (Check(name="latency", kind="prometheus", options=options),)
    await live.start_rollout(2, plan(check_s=0.3), checks=checks)
    await page.goto(f"{base}/r1")
    canvas = page.locator("#chart-1 canvas")
    await expect(canvas).to_have_count(1)
    inked = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let at = 3; at < data.length; at += 4) count += data[at] > 0;
      return count;
    }"""
    assert await canvas.evaluate(inked) > 500, "something is drawn"
    await canvas.evaluate("canvas => { canvas.same = true; }")
    before = json.loads(await page.locator("#chart-data-1").text_content() or "{}")
    await page.wait_for_function(
        "last => JSON.parse(document.getElementById('chart-data-1').textContent).x.at(-1) > last", arg=before["x"][-1]
    )
    assert await canvas.evaluate("canvas => canvas.same === true && canvas.isConnected")
    assert await canvas.evaluate(inked) > 500
    await expect(page.get_by_role("table", name="What it said last of each batch")).to_contain_text("1")
    await page.locator("#theme").click()
    assert await canvas.evaluate(inked) > 500, "in the other theme as well"


async def test_the_instances_are_filtered_by_a_link_that_can_be_sent(page, live, four, base):
    await live.start_rollout(2, plan())
    await page.goto(f"{base}/r1")
    rows = page.locator("#members tbody tr")
    await expect(rows).to_have_count(2)
    name = await rows.nth(0).locator("th").text_content() or ""
    await page.get_by_role("searchbox").press_sequentially(name.strip())
    await expect(rows).to_have_count(1)
    await expect(page).to_have_url(re.compile(rf"q={name.strip()}"))
    await page.reload()
    await expect(rows).to_have_count(1)
    await page.locator("#which [name=step]").select_option("failed")
    await expect(page.locator("#members")).to_contain_text("No instance of the batches is like that.")


async def test_what_runs_is_verified_on_demand(page, live, four, base):
    await page.goto(base)
    await page.get_by_role("link", name="Verify what runs").click()
    await page.get_by_role("button", name="Verify now").click()
    await expect(page.locator("#verdict")).to_contain_text("All 4 instances run release 1, whole.")
    await page.get_by_label("Release").fill("2")
    await page.get_by_role("button", name="Verify now").click()
    verdict = page.locator("#verdict")
    await expect(verdict).to_contain_text("4 of 4 instances do not run release 2.")
    await expect(verdict.get_by_role("row", name="i-0").filter(has_text="db.pool")).to_contain_text(
        "application.yml@1:2"
    )


async def test_a_change_of_phase_is_seen_within_half_a_second(page, live, four, base):
    await live.start_rollout(2, plan())
    await page.goto(f"{base}/r1")
    await expect(page.locator("#phase")).to_contain_text("baking")
    took = []
    for order, seen in [(live.pause, "paused"), (live.resume, "baking")] * 3:
        await asyncio.sleep(0.4)  # what was read a moment ago is read again only after a pause
        begin = time.monotonic()
        await order("r1")
        await page.wait_for_function("text => document.getElementById('phase').textContent.includes(text)", arg=seen)
        took.append(time.monotonic() - begin)
    assert sorted(took)[len(took) // 2] <= SEEN_S, took


async def test_the_page_is_used_by_keyboard_alone(page, live, four, base):
    await live.start_rollout(2, plan())
    await page.goto(f"{base}/r1")
    await expect(page.locator("#phase")).to_contain_text("baking")
    await page.locator("#pause button").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#paused")).to_be_visible()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    abort = page.get_by_role("button", name="Abort")
    await abort.focus()
    await page.keyboard.press("Enter")
    await page.keyboard.type("enough")
    await page.keyboard.press("Tab")
    await page.keyboard.type("r1")
    await page.keyboard.press("Enter")
    await expect(page.locator("#phase")).to_contain_text("rolled back")


@pytest.mark.parametrize("options", [{}, {"dark": True}, {"phone": True}, {"language": "zh-CN"}], ids=str)
async def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(
    visits, axe, live, four, base, prometheus, options
):
    checks = (
        Check(
            name="latency",
            kind="prometheus",
            options={"server": prometheus, "canary": "ms{canary}", "most": 500, "step_s": 0.1},
        ),
    )
    await live.start_rollout(2, plan(check_s=0.3), checks=checks)
    page = await (await visits(**options)).page()
    for path in ("", "/r1", "/new", "/verify"):
        await page.goto(base + path)
        if path == "/r1":
            await expect(page.locator("#chart-1 canvas")).to_have_count(1)
            await page.locator("[data-dialog=force]").click()
            assert await axe(page) == [], "with a dialog"
            await page.keyboard.press("Escape")
        assert await axe(page) == []
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path
