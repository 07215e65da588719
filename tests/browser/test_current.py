"""An open page stays current by itself, over changes and over a server that was away, and says so when it is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from herz.client import ControlPlane
from herz.release.content import Content, LayerText
from herz.testing.control_plane import ControlPlaneServer

pytestmark = pytest.mark.slow


def content(pool):
    return Content(layers=(LayerText(name="application.yml", text=f"db:\n  pool: {pool}\n"),))


@pytest_asyncio.fixture(loop_scope="session")
async def live(pay):
    """The test's application, with release 1."""
    await pay.write_draft(content(10))
    await pay.release("first")
    return pay


async def test_a_release_appears_without_loading_again(page, live, app):
    await page.goto(f"/console/?q={app}")
    row = page.get_by_role("row", name=app)
    await expect(row).to_contain_text("first")
    await page.evaluate("window.same = true")
    await live.set({"db.pool": 20})
    await live.release("second")
    await expect(row).to_contain_text("second")
    await expect(row).to_contain_text("@2")
    assert await page.evaluate("window.same")


async def test_an_instance_appears(page, live, app, instance):
    await page.goto(f"/console/?q={app}")
    row = page.get_by_role("row", name=app)
    await expect(row).to_contain_text("no instances")
    await asyncio.to_thread(instance, "one")
    await expect(row).to_contain_text("1 of 1 as they should be")


async def test_what_is_typed_and_focused_stays_while_the_page_changes(page, live, app):
    await page.goto("/console/")
    search = page.get_by_role("searchbox")
    await search.press_sequentially(app[:5])
    await expect(page.get_by_role("row", name=app)).to_be_visible()
    await live.set({"db.pool": 20})
    await live.release("second")
    await expect(page.get_by_role("row", name=app)).to_contain_text("second")
    await expect(search).to_be_focused()
    await expect(search).to_have_value(app[:5])


async def test_a_page_recovers_from_a_server_that_was_away_and_says_so_meanwhile(visits):
    with ControlPlaneServer() as server:
        visit = await visits(server.url)
        page = await visit.page()
        await page.goto("/console/")
        await expect(page.get_by_text("There is no application yet.")).to_be_visible()
        await page.evaluate("window.same = true")
        banner = page.locator("#banner")
        await expect(banner).to_be_hidden()
        with visit.outage():
            await asyncio.to_thread(server.stop)
            await expect(banner).to_contain_text("The connection to the server is lost")
            await asyncio.to_thread(server.start)
            await expect(banner).to_be_hidden(timeout=20_000)
        await page.get_by_label("Or begin here").wait_for()
        assert await page.evaluate("window.same")
        await page.close()


async def test_a_server_that_was_killed_and_changed_meanwhile_is_caught_up_with(visits):
    with ControlPlaneServer() as server:
        visit = await visits(server.url)
        page = await visit.page()
        await page.goto("/console/")
        with visit.outage():
            await asyncio.to_thread(server.kill)
            await expect(page.locator("#banner")).to_contain_text("lost")
            await asyncio.to_thread(server.start)
            async with ControlPlane(server.url, author="ada") as plane:
                await plane.namespace("new").write_draft(content(1))
            await expect(page.get_by_role("row", name="new")).to_be_visible(timeout=20_000)
            await expect(page.locator("#banner")).to_be_hidden()
        await page.close()


async def test_a_server_that_answers_no_more_is_noticed(visits):
    with ControlPlaneServer() as server:
        visit = await visits(server.url)
        page = await visit.page()
        await page.goto("/console/")
        with visit.outage():
            server.pause()
            await expect(page.locator("#banner")).to_contain_text("lost", timeout=30_000)
            server.resume()
            await expect(page.locator("#banner")).to_be_hidden(timeout=30_000)
        await page.close()


async def test_tabs_share_one_stream(visit, live, app):
    streams = []
    visit.context.on("request", lambda request: streams.append(request) if request.url.endswith("/live") else None)
    tabs = [await visit.page() for _ in range(8)]  # more than the six connections that a browser opens to a host
    for tab in tabs:
        await tab.goto(f"/console/?q={app}")
    await live.set({"db.pool": 20})
    await live.release("second")
    for tab in tabs:
        await expect(tab.get_by_role("row", name=app)).to_contain_text("second")
    assert len(streams) == 1


async def test_another_tab_takes_the_stream_over(visit, live, app):
    first, second = await visit.page(), await visit.page()
    await first.goto(f"/console/?q={app}")
    await second.goto(f"/console/?q={app}")
    await first.close()
    await live.set({"db.pool": 20})
    await live.release("second")
    await expect(second.get_by_role("row", name=app)).to_contain_text("second")


async def test_what_was_asked_for_before_a_filter_does_not_come_back_over_it(visit, live, app):
    page = await visit.page()
    held: list[Any] = []
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route):
        if "x-herz-live" in route.request.headers and not held:
            held.append(route)
            answer = await route.fetch()
            asked.set()
            await go_on.wait()
            await route.fulfill(response=answer)
        else:
            await route.continue_()

    await page.goto(f"/console/?q={app[:3]}")
    await page.route("**/console/?q=*", hold)
    await live.set({"db.pool": 20})  # the page asks for itself, without the filter below
    async with asyncio.timeout(10):
        await asked.wait()
    await page.get_by_role("searchbox").fill("nothing is called like that")
    await expect(page.get_by_text("No application is called like that.")).to_be_visible()
    await page.evaluate(
        """() => new MutationObserver(() => { if (document.querySelector("#rows table")) window.came = true; })
          .observe(document.getElementById("rows").parentElement, {childList: true, subtree: true})"""
    )
    async with page.expect_response(lambda response: "nothing" in response.url):  # it asks again, with the filter
        go_on.set()
    await expect(page.get_by_text("No application is called like that.")).to_be_visible()
    assert await page.evaluate("window.came") is None
