"""What holds for every page as people see it: names, landmarks, contrast, width, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from herz.testing.console_scene import CLOSED, LOOKS, PAGES, scene
from herz.testing.control_plane import ControlPlaneServer

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown() -> AsyncIterator[ControlPlaneServer]:
    async with scene() as server:
        yield server


async def fault_of(page: Page, axe) -> list[str]:
    """What is wrong with the page as it is now."""
    found = await axe(page)
    facts = await page.evaluate(
        """() => ({
          title: document.title, lang: document.documentElement.lang,
          headings: [...document.querySelectorAll("h1")].map((one) => one.textContent.trim()),
          main: document.querySelectorAll("main").length, wide: document.documentElement.scrollWidth - innerWidth,
          levels: [...document.querySelectorAll("h1,h2,h3,h4")]
            .filter((one) => one.checkVisibility()).map((one) => Number(one.tagName[1])),
          ids: [...document.querySelectorAll("[id]")].map((one) => one.id),
          inline: document.querySelectorAll("script:not([src]):not([type='application/json'])").length,
        })"""
    )
    if not facts["title"].endswith(" · Herz") or facts["title"].startswith(" "):
        found.append(f"the title {facts['title']!r}")
    if len(facts["headings"]) != 1 or not facts["headings"][0]:
        found.append(f"the headings {facts['headings']}")
    if facts["main"] != 1 or facts["lang"] not in ("en", "zh-Hans"):
        found.append(f"{facts['main']} main, language {facts['lang']!r}")
    if facts["wide"] > 0:
        found.append(f"{facts['wide']} pixels too wide")
    if any(after - before > 1 for before, after in zip(facts["levels"], facts["levels"][1:], strict=False)):
        found.append(f"levels of headings {facts['levels']}")
    if len(set(facts["ids"])) < len(facts["ids"]):
        found.append(
            f"an id that is there twice: {sorted({one for one in facts['ids'] if facts['ids'].count(one) > 1})}"
        )
    if facts["inline"]:
        found.append("a script in the page itself")
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("look", LOOKS)
async def test_every_page_is_without_fault(visits, shown, axe, look):
    visit = await visits(shown.url, **LOOKS[look])
    page = await visit.page()
    faults: dict[str, list[str]] = {}
    titles: dict[str, list[str]] = {}
    for name, path in PAGES.items():
        await page.goto(path)
        if found := await fault_of(page, axe):
            faults[name] = found
        titles.setdefault(await page.title(), []).append(name)
    assert not faults
    assert not [names for names in titles.values() if len(names) > 1]
    await page.close()


@pytest.mark.parametrize("look", LOOKS)
async def test_the_pages_of_the_door_are_without_fault(visits, closed_server, axe, look):
    page = await (await visits(closed_server.url, **LOOKS[look])).page()
    for name, path in CLOSED.items():
        await page.goto(path)
        assert await fault_of(page, axe) == [], name


@pytest.mark.timeout(300)
async def test_every_page_is_walked_through_by_the_keyboard(visits, shown):
    page = await (await visits(shown.url)).page()
    for name, path in PAGES.items():
        await page.goto(path)
        lost = await page.evaluate(
            """() => [...document.querySelectorAll("a[href],button,input:not([type=hidden]),select,textarea,summary")]
              .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.disabled && one.tabIndex < 0)
              .filter((one) => !one.closest("[role=tablist]"))  // arrows go through tabs
              .map((one) => one.outerHTML.slice(0, 100))"""
        )
        assert lost == [], name
    await page.close()
