"""The fleet in a browser: what is typed filters at once, and a report appears in the page that is open."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from playwright.async_api import expect

from herz.release.content import Content, LayerText
from herz.release.record import encode
from herz.release.report import Report, Status
from herz.server.registered import registered
from herz.store.base import Put, Txn
from herz.store.plane import report_key
from herz.store.sqlite import SqliteStore

pytestmark = pytest.mark.slow

MANY = 5_000


def content(pool):
    return Content(layers=(LayerText(name="application.yml", text=f"db:\n  pool: {pool}\n"),))


@pytest_asyncio.fixture(loop_scope="session")
async def live(pay):
    """The test's application, with release 1."""
    await pay.write_draft(content(10))
    await pay.release("first")
    return pay


@pytest_asyncio.fixture(loop_scope="session")
async def thousands(server, live, app):
    """Five thousand instances of it, in three zones; every hundredth has failed."""
    store = SqliteStore(server.store.removeprefix("sqlite:///"))
    lease = await store.grant(600)
    now = datetime.now(UTC)
    for start in range(0, MANY, 100):
        reports = [
            Report(
                instance=f"{app}-{number:04}",
                app=app,
                namespace="default",
                status=Status.APPLIED if number % 100 else Status.FAILED,
                error=None if number % 100 else "100 sessions at most",
                time=now,
                config_version=1,
                labels={"zone": ("eu", "us", "ap")[number % 3]},
            )
            for number in range(start, start + 100)
        ]
        puts = [
            Put(report_key(app, "default", one.instance), encode(registered(one, now, "elsewhere")), lease.id)
            for one in reports
        ]
        await store.txn(Txn(then=puts))
    yield f"/console/apps/{app}/default/fleet"
    await store.revoke(lease.id)
    await store.close()


async def test_five_thousand_instances_are_filtered_within_a_second(page, thousands, app):
    await page.goto(thousands)
    status = page.get_by_role("status").filter(has_text="instance")
    await expect(status).to_contain_text("1 to 100 of 5,000 instances")
    rows = page.locator("#fleet tbody tr")
    await expect(rows).to_have_count(100)
    search = page.get_by_role("searchbox")
    begin = time.monotonic()
    await search.press_sequentially(f"{app}-4711")
    await expect(rows).to_have_count(1)
    assert time.monotonic() - begin < 1.0 + 0.05 * len(f"{app}-4711")
    await expect(page).to_have_url(re.compile(rf"fleet\?q={app}-4711$"))
    await expect(search).to_be_focused()


async def test_states_and_labels_filter_together_and_the_address_keeps_them(page, visit, thousands):
    await page.goto(thousands)
    await page.get_by_label("Label").fill("zone=eu")
    await expect(page).to_have_url(re.compile(r"fleet\?label=zone%3Deu$"))
    status = page.get_by_role("status").filter(has_text="instances")
    await expect(status).to_contain_text("of 1,667 instances")
    await page.get_by_role("navigation", name="By state").get_by_role("link", name=re.compile("failed")).click()
    await expect(status).to_contain_text("17 instances")
    await page.get_by_role("searchbox").press_sequentially("sessions")
    await expect(page).to_have_url(re.compile("state=failed"))
    await expect(page).to_have_url(re.compile("q=sessions"))
    await expect(status).to_contain_text("17 instances")
    other = await visit.page()
    await other.goto(page.url)
    await expect(other.locator("#fleet tbody tr")).to_have_count(17)
    await expect(other.get_by_label("Label")).to_have_value("zone=eu")


async def test_an_export_is_of_what_is_shown(page, thousands):
    await page.goto(f"{thousands}?state=failed")
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="CSV").click()
    download = await downloading.value
    text = await asyncio.to_thread((await download.path()).read_text)
    assert download.suggested_filename.endswith(".csv")
    assert len(text.splitlines()) == 51


async def test_a_report_appears_in_the_open_page(page, live, app, instance):
    await asyncio.to_thread(instance, "one", zone="eu")
    await page.goto(f"/console/apps/{app}/default/fleet")
    row = page.get_by_role("row", name="one")
    await expect(row).to_contain_text("@1")
    await expect(row).to_contain_text("as it should be")
    await page.evaluate("window.same = true")
    await live.set({"db.pool": 20})
    await live.release("second")
    await expect(row).to_contain_text("@2")
    await expect(row).to_contain_text("as it should be")
    await live.set({"db.pool": 1000})
    await live.release("too many")
    await expect(row).to_contain_text("failed")
    await expect(row).to_contain_text("100 sessions at most")
    assert await page.evaluate("window.same")


async def test_an_instance_has_its_objects_drawn_and_explains_a_key(page, live, app, instance):
    await asyncio.to_thread(instance, "one", zone="eu")
    await page.goto(f"/console/apps/{app}/default/fleet/one")
    await expect(page.locator("#graph")).to_have_attribute("data-drawn", "2")
    await expect(page.locator("#objects")).to_contain_text("Pool")
    await page.get_by_role("combobox", name="Key").fill("db.pool")
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.locator("#answers")).to_contain_text("1 of 1 answered.")
    await expect(page.locator("#answers")).to_contain_text("10")


async def test_the_page_of_an_instance_waits_for_it(page, live, app, instance):
    await page.goto(f"/console/apps/{app}/default/fleet/one")
    await expect(page.get_by_text("When it connects, this page shows it.")).to_be_visible()
    await asyncio.to_thread(instance, "one")
    await expect(page.locator("#instance")).to_contain_text("as it should be")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("where", ["fleet", "fleet/one", "explain?key=db.pool", "explain?key=db.pol", "impact", ""])
async def test_axe_finds_nothing(visits, live, app, instance, axe, where, dark):
    await asyncio.to_thread(instance, "one", zone="eu")
    await live.set({"db.pool": 20})
    page = await (await visits(dark=dark)).page()
    await page.goto(f"/console/apps/{app}/default/{where}".rstrip("/"))
    await expect(page.locator("h1")).to_be_visible()
    assert await axe(page) == []


@pytest.mark.parametrize("where", ["fleet", "fleet/one", "explain?key=db.pool", "impact", ""])
async def test_a_phone_shows_it_without_scrolling_sideways(visits, live, app, instance, where):
    await asyncio.to_thread(instance, "one", zone="eu")
    await live.set({"db.pool": 20})
    phone = await (await visits(phone=True)).page()
    await phone.goto(f"/console/apps/{app}/default/{where}".rstrip("/"))
    assert await phone.evaluate("document.documentElement.scrollWidth") <= 360
