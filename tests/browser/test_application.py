"""The configuration, a value explained, and the impact of a draft, in a browser."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from herz.release.content import Content, LayerText

pytestmark = pytest.mark.slow

BASE = "db:\n  pool: 10\n  host: db.internal\n"
REGION = "db:\n  host: db.eu.internal\n"


def content(*texts):
    return Content(layers=tuple(LayerText(name=f"layer-{n}.yml", text=text) for n, text in enumerate(texts)))


@pytest_asyncio.fixture(loop_scope="session")
async def live(pay):
    """The test's application, with release 1 of two layers."""
    await pay.write_draft(content(BASE, REGION))
    await pay.release("first")
    return pay


@pytest.fixture
def base(app):
    return f"/console/apps/{app}/default"


async def test_keys_are_filtered_as_one_types(page, live, base):
    await page.goto(base)
    rows = page.locator("#keys tbody tr")
    await expect(rows).to_have_count(2)
    await page.get_by_role("searchbox").press_sequentially("eu.int")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("layer-1.yml:2")
    await expect(page).to_have_url(re.compile(r"\?q=eu\.int$"))
    await page.get_by_label("View").select_option("layers")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("in force")


async def test_what_was_overridden_is_unfolded_and_stays_so(page, live, base):
    await page.goto(base)
    row = page.get_by_role("row", name="db.host")
    await row.get_by_text("1 layer").click()
    await expect(row.get_by_text("layer-0.yml:3")).to_be_visible()
    await live.set({"db.pool": 11})
    await live.release("second")
    await expect(page.get_by_role("row", name="db.pool")).to_contain_text("11")
    await expect(row.get_by_text("layer-0.yml:3")).to_be_visible()


async def test_a_key_is_explained_with_who_decides_and_who_does_not(page, live, base, instance):
    await asyncio.to_thread(instance, "one")
    await page.goto(f"{base}/explain")
    field = page.get_by_role("combobox", name="Key")
    await field.press_sequentially("db.h")
    await expect(page.locator('#known-keys option[value="db.host"]')).to_have_count(1)
    await field.fill("db.host")
    await field.press("Enter")
    layers = page.locator("#winner tbody tr")
    await expect(layers.nth(0)).to_contain_text("db.eu.internal")
    await expect(layers.nth(0)).to_contain_text("decides")
    await expect(layers.nth(1)).to_contain_text("db.internal")
    await expect(layers.nth(1)).to_contain_text("overridden")
    await page.get_by_role("button", name="Ask 1").click()
    await expect(page.locator("#answers")).to_contain_text("1 of 1 answered.")
    await expect(page.locator("#answers")).to_contain_text("db.eu.internal")


async def test_a_key_that_is_misspelt_leads_to_the_right_one(page, live, base):
    await page.goto(f"{base}/explain?key=db.pol")
    await page.locator("#unknown").get_by_role("link", name="db.pool").click()
    await expect(page.locator("#winner")).to_contain_text("10")


async def test_the_impact_of_a_draft_is_drawn_and_built(page, live, base, instance):
    await asyncio.to_thread(instance, "one")
    await live.set({"db.pool": 20})
    await page.goto(f"{base}/impact")
    await expect(page.locator("#graph")).to_have_attribute("data-drawn", "4")
    assert await page.locator("#graph canvas").count() > 0
    await page.get_by_label("Instance", exact=True).fill("one")
    await page.get_by_role("button", name="Build it there").click()
    await expect(page.locator("#built")).to_contain_text("one has built it; nothing of that is in use.")


async def test_the_picture_follows_the_draft(page, live, base, instance):
    await asyncio.to_thread(instance, "one")
    await live.set({"db.pool": 20})
    await page.goto(f"{base}/impact")
    await expect(page.locator("#graph")).to_have_attribute("data-drawn", "4")
    await live.set({"db.host": "elsewhere"})
    await expect(page.locator("#graph")).to_have_attribute("data-drawn", "5")


async def test_a_build_that_fails_says_why(page, live, base, instance):
    await asyncio.to_thread(instance, "one")
    await live.set({"db.pool": 1000})
    await page.goto(f"{base}/impact")
    await page.get_by_label("Instance", exact=True).fill("one")
    await page.get_by_role("button", name="Build it there").click()
    await expect(page.locator("#built")).to_contain_text("100 sessions at most")


HOSTILE = {
    "<script>alert(1)</script>": "<img src=x onerror=alert(2)>",
    "\u202eexe.txt": "a\u202eb",
    "'\"><b>": "${{7*7}}",
    "long": "x" * 10_000,
    "a.b[c]": "dots and brackets",
}


async def test_hostile_keys_and_values_are_shown_and_explained_as_text(page, pay, base):
    await pay.write_draft(Content(layers=(LayerText(name="hostile.json", text=json.dumps(HOSTILE), format="json"),)))
    await pay.release("<u>hostile</u>")
    await page.goto(base)
    keys = page.locator("#keys a.key")
    await expect(keys).to_have_count(len(HOSTILE))
    for number in range(len(HOSTILE)):
        await keys.nth(number).click()
        await expect(page.locator("#winner")).to_contain_text("hostile.json")
        await expect(page.locator("#explained")).to_contain_text("<u>hostile</u>")
        await page.go_back()
    await page.get_by_text("10000 characters").click()
    await expect(page.get_by_text("x" * 10_000)).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
