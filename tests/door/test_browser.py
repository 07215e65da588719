"""The door in a browser: the link of an invitation, one's own page and the page of users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page

from herz.testing.browser import AXE, Chromium, accessibility

from .conftest import PASSWORD
from .test_start import Server

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / AXE


@pytest.fixture
def closed(tmp_path):
    made = Server(tmp_path, "--require-tokens", "--listen", "http://127.0.0.1:0")
    yield made
    made.stop()


@pytest.fixture
async def chromium() -> AsyncIterator[Chromium]:
    if Chromium.program() is None:
        pytest.skip("no Chromium: tools/servers installs it")
    async with Chromium() as made:
        yield made


async def whole(page: Page) -> None:
    """Nothing serious is found by axe, and nothing is wider than the window."""
    assert await accessibility(page, SCRIPT.read_text(encoding="utf-8")) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def chosen(page: Page, name: str | None = None) -> None:
    """Come in by the link of an invitation that is open in `page`."""
    if name is not None:
        await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Come in").click()
    await page.wait_for_url("**/console/")


async def test_people_are_asked_in_come_in_and_are_shown_out(closed, chromium):
    desk = await chromium.visit(closed.url)
    admin = await desk.page()
    await admin.goto(closed.said["admin_link"])
    code = urlsplit(closed.said["admin_link"]).fragment
    assert await admin.get_by_label("Code").input_value() == code
    assert code not in admin.url
    await whole(admin)
    await chosen(admin, "ana")

    await admin.get_by_role("link", name="Users").click()
    form = admin.locator("form[action='/console/users'].door")
    await form.get_by_label("User name").fill("eva")
    await form.get_by_label("Application").fill("pay")
    await form.get_by_label("Role").select_option("editor")
    await form.get_by_role("button", name="Add").click()
    link = await admin.locator("#invitation").inner_text()
    await whole(admin)

    phone = await chromium.visit(closed.url)
    guest = await phone.page()
    await guest.set_viewport_size({"width": 360, "height": 740})
    await guest.goto(link)
    assert await guest.get_by_label("User name").input_value() == "eva"
    await whole(guest)
    await chosen(guest)
    assert await guest.get_by_role("link", name="Users").count() == 0
    await guest.get_by_role("link", name="eva").click()
    await guest.get_by_text("editor").wait_for()
    await whole(guest)
    await guest.get_by_role("link", name="Overview").click()
    await guest.wait_for_url("**/console/")

    await admin.get_by_role("row", name="eva").get_by_role("button", name="Disable").click()
    deed = admin.locator("#disable-eva")
    assert await deed.get_by_role("button", name="Disable").is_disabled()
    await deed.get_by_label("Type eva to confirm").fill("eva")
    await deed.get_by_role("button", name="Disable").click()
    await admin.locator("tr", has_text="eva").get_by_text("disabled").wait_for()
    await guest.locator("#banner", has_text="signed out").wait_for()
    for one in (desk, phone):
        await one.context.close()
        one.check()


async def test_a_password_is_changed_and_the_next_login_takes_the_new_one(closed, chromium):
    visit = await chromium.visit(closed.url)
    page = await visit.page()
    await page.goto(closed.said["admin_link"])
    await chosen(page, "ana")
    await page.get_by_role("link", name="ana").click()
    await page.get_by_label("Password so far").fill(PASSWORD)
    await page.get_by_label("New password").fill("another good pass")
    await page.get_by_label("The same again").fill("another good pass")
    await page.get_by_role("button", name="Change password").click()
    await page.get_by_role("status").filter(has_text="Your password is changed").wait_for()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/console/login")
    await page.get_by_label("User name").fill("ana")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()
    await whole(page)
    await page.get_by_label("Password").fill("another good pass")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/console/")
    await visit.context.close()
    visit.check()
