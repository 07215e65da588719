"""From an edit to everybody and back, by three people in their browsers: one writes, one approves, one rolls out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from herz import Herz
from herz.client import ControlPlane
from herz.release.content import Content, LayerText
from herz.testing.control_plane import ControlPlaneServer

from .conftest import DatabaseConfig, Pool
from .test_editor import rewrite, saved

pytestmark = pytest.mark.slow

PASSWORD = "a long way round the lake"
PEOPLE = {"ada": "*:editor", "cid": "*:approver", "ben": "*:releaser", "eve": "*:viewer"}


@pytest.fixture(scope="module")
def people(closed_server: ControlPlaneServer) -> dict[str, str]:
    """Users of the closed server, made by the command."""
    for name, role in PEOPLE.items():
        command = ["user", "add", name, "--role", role, "--password-stdin", "--store", closed_server.store]
        subprocess.run(
            [sys.executable, "-m", "herz.cli.main", *command],
            input=PASSWORD,
            text=True,
            check=True,
            capture_output=True,
        )
    return PEOPLE


@pytest_asyncio.fixture(loop_scope="session")
async def story(closed_server, people, app):
    """An application whose only layer needs approval, with release 1."""
    async with ControlPlane(closed_server.url, token=closed_server.token) as plane:
        pay = plane.namespace(app)
        await pay.write_draft(Content(layers=(LayerText(name="application.yml", text="db:\n  pool: 10\n"),)))
        await pay.release("first")
        await pay.set_policy(["application.yml"])
        yield pay


@pytest.fixture
def fleet(closed_server, story, app, monkeypatch) -> Iterator[list[Herz]]:
    """Four real instances of it."""
    monkeypatch.setenv("HERZ_TOKEN", closed_server.token)
    running = []
    for number in range(4):
        herz = Herz(f"{closed_server.source}/{app}?instance={app}-{number}")
        herz.properties("db")(DatabaseConfig)
        herz.refresh_scope(eager=True)(Pool)
        herz.start()
        running.append(herz)
    yield running
    for herz in running:
        herz.stop()


@pytest.fixture
def entered(visits, closed_server):
    """Somebody's tab, logged in, at a page that they wanted to see before."""

    async def enter(name: str, path: str = "/console/") -> Page:
        page = await (await visits(closed_server.url)).page()
        await page.goto(path)
        await page.get_by_label("User name").fill(name)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".who")).to_have_text(name)
        return page

    return enter


async def test_an_edit_is_approved_rolled_out_and_taken_back(entered, story, app, fleet):
    sizes = lambda: [herz.get(Pool).size for herz in fleet]  # noqa: E731
    base = f"/console/apps/{app}/default"

    ada = await entered("ada", f"{base}/draft")
    await ada.locator("body[data-editor=ready]").wait_for()
    await rewrite(ada, "10", "20")
    await saved(ada)
    await expect(ada.locator("#saved").get_by_role("row", name="db.pool")).to_contain_text("20")
    await expect(ada.get_by_role("button", name="Release…")).to_have_count(0)  # an editor does not release

    cid = await entered("cid", f"{base}/draft")
    await expect(cid.locator(".approval").first).to_contain_text("0 of 1 approvals")
    await cid.get_by_role("button", name="Approve…").first.click()
    await cid.get_by_role("dialog").get_by_label("What you looked at").fill("the bank agrees")
    await cid.get_by_role("dialog").get_by_role("button", name="Approve", exact=True).click()
    await expect(cid.locator(".approval").first).to_contain_text("1 of 1 approvals")

    ben = await entered("ben", f"{base}/draft")
    await ben.get_by_role("button", name="Release…").click()
    dialog = ben.get_by_role("dialog", name="Release this draft")
    await dialog.get_by_label("Why").fill("twice as many")
    await dialog.get_by_label("Roll it out, batch by batch").check()
    await dialog.get_by_role("button", name="Release", exact=True).click()

    await expect(ben.get_by_role("heading", level=1)).to_have_text("New rollout")
    await expect(ben.locator("#preview")).to_contain_text("4 of 4 instances match")
    await ben.get_by_label("as listed").check()
    await ben.get_by_label("Percent, together").fill("25, 100")
    await ben.get_by_label("Each bakes").fill("60")
    await expect(ben.locator("#preview")).to_contain_text("batch 1: 1 of 4")
    await ben.get_by_role("button", name="Begin the rollout").click()

    await ben.evaluate("window.same = true")
    await expect(ben.locator("#main")).to_contain_text("baking")
    assert sorted(sizes()) == [10, 10, 10, 20]
    await ben.get_by_role("button", name="Promote all").click()
    await ben.get_by_role("dialog").get_by_role("button", name="Promote all").click()
    await expect(ben.locator("#main")).to_contain_text("promoted", timeout=30_000)
    assert sizes() == [20, 20, 20, 20]

    await ben.goto(f"{base}/releases")
    await ben.get_by_role("button", name="Roll back @1").click()
    dialog = ben.get_by_role("dialog", name="Roll back @1")
    await dialog.get_by_label(f"Type {app}").fill(app)
    await dialog.get_by_role("button", name="Roll back").click()
    await expect(ben.get_by_role("row", name="@1")).to_contain_text("live")
    async with asyncio.timeout(10):
        while sizes() != [10, 10, 10, 10]:  # noqa: ASYNC110  instances say it
            await asyncio.sleep(0.02)


async def test_a_viewer_sees_and_cannot_act(entered, story, app):
    page = await entered("eve", f"/console/apps/{app}/default/releases")
    await expect(page.get_by_role("row", name="@1").first).to_be_visible()
    for name in ("Roll back", "Publish", "Release…"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
    for place in ("Users", "Tokens"):
        await expect(page.get_by_role("navigation", name="Main").get_by_role("link", name=place)).to_have_count(0)
    await page.goto("/console/users")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("403")


async def test_whoever_was_sent_to_log_in_comes_back_to_the_page(entered, story, app):
    page = await entered("ada", f"/console/apps/{app}/default/fleet?q=x")
    await expect(page).to_have_url(f"{page.url.split('/console')[0]}/console/apps/{app}/default/fleet?q=x")


async def test_a_session_that_ended_is_told_on_the_open_page(entered, story, visits):
    page = await entered("ada")
    other = await page.context.new_page()
    await other.goto("/console/")
    await other.get_by_role("button", name="Sign out").click()
    await expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")
    await expect(page.locator("#banner")).to_contain_text("You are signed out", timeout=15_000)
    await page.get_by_role("button", name="Sign in again").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_what_one_typed_when_the_session_ended_is_not_lost(entered, story, app):
    page = await entered("ada", f"/console/apps/{app}/default/draft")
    await page.locator("body[data-editor=ready]").wait_for()
    await rewrite(page, "10", "33")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Save draft").click()
    await page.goto(f"/console/apps/{app}/default/draft")
    await page.get_by_label("User name").fill("ada")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.locator("body[data-editor=ready]").wait_for()
    await expect(page.locator("#editor .cm-content")).to_contain_text("pool: 33")
