"""The audit log, sources and watch sessions, services and tokens, as people use them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from herz import Herz
from herz.client import ControlPlane, Namespace
from herz.discovery import ServiceRegistry
from herz.release.content import Content, LayerText
from herz.store.sqlite import SqliteStore
from herz.testing.control_plane import ControlPlaneServer
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
from herz.testing.fault_proxy import FaultProxy

from .conftest import Axe, Instances, Visits

pytestmark = pytest.mark.slow

PAGES = ("audit", "sources", "services", "tokens")


async def released(pay: Namespace, message: str = "go", pool: int = 3) -> None:
    await pay.write_draft(Content(layers=(LayerText(name="pay.yml", text=f"db:\n  pool: {pool}\n"),)))
    await pay.release(message)


async def connected(pay: Namespace, name: str) -> None:
    """Wait until the server has heard of an instance."""
    deadline = time.monotonic() + 20
    while True:
        if name in [one.instance for one in await pay.instances()]:
            return
        assert time.monotonic() < deadline, f"{name} never reported"
        await asyncio.sleep(0.02)


@pytest.fixture
def store(server: ControlPlaneServer) -> SqliteStore:
    """The server's store, as another process sees it."""
    return SqliteStore(server.store.removeprefix("sqlite:///"))


# --- audit ------------------------------------------------------------------------------------------


async def test_the_log_is_filtered_while_one_types_and_the_address_keeps_it(page: Page, pay: Namespace, app: str):
    await released(pay, "for the sale")
    await page.goto("/console/audit")
    await page.keyboard.press("/")
    await expect(page.get_by_label("Who")).to_be_focused()
    await page.get_by_label("Target").fill(app)
    await expect(page.locator("#log tbody tr")).to_have_count(2)
    await page.get_by_label("Action", exact=True).fill("release.")
    await expect(page.locator("#log tbody tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile(rf"target={app}.*|action=release"))
    await page.reload()
    await expect(page.get_by_label("Target")).to_have_value(app)
    await expect(page.locator("#log tbody tr")).to_have_count(1)
    await page.get_by_role("link", name=f"{app}/default@1").click()
    await expect(page).to_have_url(re.compile(rf"/console/apps/{app}/default/releases/1$"))


async def test_a_deed_appears_by_itself_and_what_was_opened_stays_open(page: Page, pay: Namespace, app: str):
    await released(pay, "for the sale")
    await page.goto(f"/console/audit?target={app}")
    await page.get_by_text("for the sale").click()
    opened = page.locator("details", has_text="for the sale")
    await expect(opened.get_by_text("Hash before it")).to_be_visible()
    await pay.set({"db.pool": 7})
    await expect(page.locator("#log tbody tr")).to_have_count(3)
    await expect(opened.get_by_text("Hash before it")).to_be_visible()


async def test_the_chain_is_verified_on_demand_and_its_head_can_be_kept(visits: Visits, plane: ControlPlane, app: str):
    await released(plane.namespace(app))
    visit = await visits(permissions=["clipboard-read", "clipboard-write"])
    page = await visit.page()
    await page.goto("/console/audit")
    await page.get_by_role("button", name="Verify the chain").click()
    chain = page.locator("#chain")
    await expect(chain).to_contain_text(re.compile(r"whole.*each continues the one before"))
    await chain.get_by_role("button", name="Copy").click()
    anchor = await page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"\d+:[0-9a-f]{64}", anchor)
    await page.get_by_label("Anchor").fill(anchor)
    await page.get_by_role("button", name="Verify the chain").click()
    await expect(chain).to_contain_text("the log of the anchor")
    await page.get_by_label("Anchor").fill(f"1:{'0' * 64}")
    await page.get_by_role("button", name="Verify the chain").click()
    await expect(chain).to_contain_text("broken at entry 1")
    await page.get_by_role("link", name="Look at entry 1").click()
    await expect(page.locator("#entry-1")).to_be_in_viewport()


async def test_the_log_is_taken_along(page: Page, pay: Namespace, app: str):
    await released(pay)
    await page.goto(f"/console/audit?target={app}")
    async with page.expect_download() as waiting:
        await page.get_by_role("link", name="Export as NDJSON").click()
    download = await waiting.value
    assert download.suggested_filename == "herz-audit.ndjson"
    lines = (await download.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert all(app in line for line in lines)


# --- sources ----------------------------------------------------------------------------------------


async def test_ages_of_the_servers_sessions_move_without_a_reload(page: Page):
    await page.goto("/console/sources")
    session = page.locator("#own-1")
    await expect(session.get_by_role("img", name="State machine: ACTIVE")).to_be_visible()
    await session.get_by_text("History:").click()
    before = await session.locator("dd").first.inner_text()
    await expect(session.locator("dd").first).not_to_have_text(before)
    await expect(session.locator(".transitions li").first).to_be_visible()  # it stays open
    await expect(page.locator("#duties")).to_contain_text("this server")


async def test_instances_are_asked_when_the_page_is_opened(page: Page, pay: Namespace, app: str, instance: Instances):
    await released(pay)
    await asyncio.to_thread(instance, "one")
    await connected(pay, "one")
    await page.goto("/console/sources")
    await page.get_by_role("link", name=app).click()
    told = page.locator("#of-one")
    await expect(told).to_contain_text("current")
    await told.locator("summary").first.click()
    await expect(told.get_by_role("img", name="State machine: ACTIVE").first).to_be_visible()
    await expect(told).to_contain_text("herz://")


@pytest.fixture
def etcd() -> Iterator[EtcdServer]:
    if not EtcdPrograms.available():
        pytest.skip("no etcd: tools/servers installs it")
    with EtcdServer() as server:
        yield server


async def test_a_cut_wire_of_an_instance_is_seen_and_that_it_heals(
    page: Page, pay: Namespace, app: str, server: ControlPlaneServer, etcd: EtcdServer
):
    await released(pay)
    await etcd.put("/config/x", "1")
    with FaultProxy(etcd.endpoint) as wire:
        config = etcd.url("/config/", [wire.address], proof="300ms", dial="1s")
        herz = Herz(f"{server.source}/{app}?instance=cut-1", config, environment={})
        await asyncio.to_thread(herz.start)
        try:
            await connected(pay, "cut-1")
            wire.refuse()
            wire.cut()
            await page.goto(f"/console/apps/{app}/default/sources")
            told = page.locator("#of-cut-1")
            source = told.locator("article", has_text="etcd://")
            stale = source.filter(has_text="stale")  # once the last proof is older than it may be
            await _asked_until(page, stale.get_by_role("img", name="State machine: BACKOFF"))
            await expect(told).to_have_attribute("open", "")  # the worst are open
            await expect(source.locator(".transitions")).to_contain_text("FAILED")
            await expect(told.locator("article", has_text="herz://").get_by_role("img")).to_have_accessible_name(
                re.compile("ACTIVE")
            )
            wire.heal()
            await _asked_until(page, told.locator("summary", has_text="current").first)
        finally:
            await asyncio.to_thread(herz.stop)


async def _asked_until(page: Page, wanted) -> None:
    """Ask again until it is there."""
    async with asyncio.timeout(30):
        while not await wanted.count():
            async with page.expect_response(re.compile(r"ask=1")):
                await page.get_by_role("link", name="Ask again").click()


# --- services ---------------------------------------------------------------------------------------


async def test_who_registers_and_leaves_is_seen_without_a_reload(page: Page, store: SqliteStore, app: str):
    registry = ServiceRegistry(store)
    await page.goto(f"/console/services?q={app}")
    await expect(page.get_by_text("Nothing is registered like that.")).to_be_visible()
    async with registry.register(app, "s-1", "10.0.0.1:80", metadata={"zone": "<b>a</b>"}) as registration:
        await expect(page.get_by_role("heading", name=app)).to_be_visible()
        await expect(page.get_by_text("<b>a</b>")).to_be_visible()
        await registration.update(weight=0)
        await expect(page.locator("tr.drained")).to_contain_text("s-1")
        await expect(page.get_by_text("nobody takes traffic")).to_be_visible()
    await expect(page.get_by_text("Nothing is registered like that.")).to_be_visible()
    await store.close()


# --- tokens -----------------------------------------------------------------------------------------


async def test_a_token_is_made_copied_and_revoked(
    visits: Visits, plane: ControlPlane, app: str, server: ControlPlaneServer
):
    await released(plane.namespace(app))
    name = f'<script>of "{app}"'
    page = await (await visits(permissions=["clipboard-read", "clipboard-write"])).page()
    await page.goto("/console/tokens")
    await page.get_by_label("Whose it is").fill(name)
    await page.get_by_label(f"{app}:read", exact=True).check()
    await page.get_by_role("button", name="Make the token").click()
    created = page.locator("#created")
    await expect(created).to_contain_text("shown this once")
    await created.get_by_role("button", name="Copy").click()
    text = await page.evaluate("navigator.clipboard.readText()")
    assert text == await page.locator("#secret").inner_text()
    assert text not in page.url
    async with ControlPlane(server.url, token=text) as bearer:
        assert await bearer.namespace(app).overview()
    await page.goto("/console/tokens")
    await expect(page.get_by_text(text)).to_have_count(0)
    row = page.get_by_role("row", name=app)
    await row.get_by_role("button", name="Revoke").first.click()
    confirm = page.locator("dialog[open]")
    await expect(confirm.get_by_role("button", name="Revoke")).to_be_disabled()
    await page.keyboard.type(name)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("row", name=app).filter(has=page.locator("code.grant"))).to_have_count(0)


async def test_a_token_that_another_makes_appears_in_an_open_list(page: Page, plane: ControlPlane, app: str):
    await page.goto("/console/tokens")
    await page.get_by_label("Whose it is").fill("half typed")
    await plane.create_token(app, [f"{app}:report"])
    await expect(page.locator("#tokens")).to_contain_text(f"{app}:report")
    await expect(page.get_by_label("Whose it is")).to_have_value("half typed")


# --- every page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"dark": True}, {"phone": True}, {"language": "zh-CN"}], ids=str)
async def test_the_pages_are_accessible_and_fit(
    visits: Visits, plane: ControlPlane, app: str, instance: Instances, axe: Axe, options: dict
):
    await released(plane.namespace(app), "x" * 300)
    await plane.create_token("y" * 120, [f"{app}:report"])
    await asyncio.to_thread(instance, "one")
    await connected(plane.namespace(app), "one")
    page = await (await visits(**options)).page()
    for path in (*PAGES, f"apps/{app}/default/sources"):
        await page.goto(f"/console/{path}")
        if path.startswith("apps"):
            await page.locator("#of-one summary").first.click()
            await expect(page.locator("#of-one svg.machine").first).to_be_visible()
        assert await axe(page) == [], path
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} is {wide} px too wide"
