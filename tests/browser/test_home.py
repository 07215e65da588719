"""The overview and what is around every page: theme, language, keyboard, times, and nothing that axe finds serious."""

from __future__ import annotations

import pytest
import pytest_asyncio
from playwright.async_api import expect

from herz.release.content import Content, LayerText

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnihton\u202c " + "x" * 3000


@pytest_asyncio.fixture(loop_scope="session")
async def live(pay):
    await pay.write_draft(Content(layers=(LayerText(name="application.yml", text="db:\n  pool: 10\n"),)))
    await pay.release("first")
    return pay


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("phone", [False, True])
async def test_the_overview_has_nothing_that_axe_finds_serious(visits, live, axe, dark, phone):
    page = await (await visits(dark=dark, phone=phone)).page()
    await page.goto("/console/")
    assert await axe(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_theme_that_was_chosen_stays(page, visit):
    await page.goto("/console/")
    root = page.locator("html")
    await expect(root).to_have_attribute("data-theme", "light")
    await page.get_by_role("button", name="Light or dark").click()
    await expect(root).to_have_attribute("data-theme", "dark")
    other = await visit.page()
    await other.goto("/console/")
    await expect(other.locator("html")).to_have_attribute("data-theme", "dark")


async def test_the_language_can_be_changed(page):
    await page.goto("/console/")
    await page.get_by_role("button", name="中文").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("概览")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    await page.get_by_role("button", name="English").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_times_are_in_the_viewers_zone_and_exact_on_hover(visits, live):
    page = await (await visits(timezone="Asia/Shanghai", language="en-GB")).page()
    await page.goto("/console/")
    time = page.locator("time").first
    await expect(time).to_contain_text("ago")
    title = await time.get_attribute("title")
    assert "CST" in title or "GMT+8" in title


async def test_the_keyboard_reaches_everything(page, live, app):
    await page.goto("/console/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type(app)
    row = page.get_by_role("row", name=app)
    await expect(page.locator("#rows tbody tr")).to_have_count(1)
    await page.keyboard.press("Tab")
    await expect(row.get_by_role("link", name=app)).to_be_focused()


async def test_the_filter_is_in_the_address(page, live, app):
    await page.goto("/console/")
    await page.get_by_role("searchbox").fill(app)
    await expect(page).to_have_url(f"{page.url.split('?')[0]}?q={app}")
    await page.reload()
    await expect(page.get_by_role("searchbox")).to_have_value(app)
    await expect(page.locator("#rows tbody tr")).to_have_count(1)


async def test_a_hostile_message_is_shown_as_text(page, live, app):
    await live.set({"db.pool": 20})
    await live.release(HOSTILE)
    await page.goto(f"/console/?q={app}")
    row = page.get_by_role("row", name=app)
    await expect(row).to_contain_text("<script>alert(1)</script>")
    assert await page.locator("main img, main script").count() == 0
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_page_that_is_not_there_says_so_and_leads_back(visit):
    page = await visit.page()
    await page.goto("/console/apps/nowhere")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("404")
    await page.get_by_role("link", name="Back to the overview").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
