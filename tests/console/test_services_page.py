"""The service registry's page: who offers what where, what is drained, and what cannot be understood."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from herz.discovery import ServiceRegistry
from herz.errors import SourceUnavailable
from herz.server.console.changes import Changes
from herz.server.console.services_page import Registry
from herz.server.tokens import Grant


@pytest.fixture
def registry(plane):
    return ServiceRegistry(plane.store)


async def shown(browser, query="", **headers):
    answer = await browser.get(f"/console/services{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def row(page, name):
    start = page.index(f'<span class="given">{name}</span></th>')
    return page[page.rindex("<tr", 0, start) : page.index("</tr>", start)]


async def test_where_nothing_is_registered_it_says_how_to(browser):
    page = await shown(browser)
    assert "No service is registered." in page
    assert "registry.register(" in page


async def test_an_instance_is_shown_with_what_it_registered(browser, plane, registry):
    metadata = {"zone": "a", "build": "7"}
    async with registry.register("payments", "pay-1", "10.0.0.7:8080", weight=2.5, metadata=metadata) as registration:
        (entry,) = (await plane.store.range("/herz/services/")).entries
        line = row(await shown(browser), "pay-1")
        assert "10.0.0.7:8080" in line
        assert ">2.5<" in line
        assert line.index("build") < line.index("zone")
        assert f"at revision {entry.create_revision}" in line
        assert f"<code>{registration.health().lease}</code>" in line
        assert "changed at" not in line
        await registration.update(weight=0)
        page = await shown(browser)
        assert '<tr class="drained">' in row(page, "pay-1")
        assert "changed at" in row(page, "pay-1")
        assert "1 drained" in page
        assert "nobody takes traffic" in page


async def test_who_hangs_on_no_lease_is_marked(browser, plane):
    await plane.store.put("/herz/services/search/s-1", b'{"address": "10.0.0.1:1"}')
    assert "It hangs on no lease" in row(await shown(browser), "s-1")


@pytest.mark.parametrize(
    ("q", "found"),
    [("pay", {"pay-1"}), ("ZONE=B", {"s-1"}), ("10.0.0.1", {"pay-1"}), ("zone", {"pay-1", "s-1"}), ("nothing", set())],
)
async def test_the_filter_looks_at_names_addresses_and_metadata(browser, registry, q, found):
    async with (
        registry.register("payments", "pay-1", "10.0.0.1:80", metadata={"zone": "a"}),
        registry.register("search", "s-1", "10.0.0.2:80", metadata={"zone": "b"}),
    ):
        page = await shown(browser, f"?q={q}")
        assert {name for name in ("pay-1", "s-1") if f">{name}</span></th>" in page} == found
        assert ("Nothing is registered like that." in page) is (not found)


async def test_what_cannot_be_understood_is_listed_with_why(browser, plane):
    await plane.store.put("/herz/services/search/s-1", b"nonsense")
    await plane.store.put("/herz/services/<script>/x", b"{}")
    page = await shown(browser)
    assert "/herz/services/search/s-1" in page
    assert "not JSON" in page
    assert "<script>/x" not in page


async def test_hostile_metadata_is_text(browser, plane):
    metadata = b'{"<script>1</script>": "<img src=x onerror=1>"}'
    await plane.store.put("/herz/services/a/b", b'{"address": "x:1", "owner": "<b>", "metadata": %s}' % metadata)
    page = await shown(browser, "?" + str(httpx.QueryParams({"q": "<img"})))
    assert "<script>1" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


async def test_an_open_page_is_told_when_somebody_joins_and_leaves(browser, plane, registry):
    assert "here-1" not in await shown(browser, **{"x-herz-live": "1"})
    told = asyncio.Event()
    plane.of(Changes).listen(lambda topic: told.set() if topic == "services" else None)
    async with registry.register("payments", "here-1", "10.0.0.7:8080"):
        await told.wait()
        assert "here-1" in await shown(browser, **{"x-herz-live": "1"})
        told.clear()
    await told.wait()
    assert "here-1" not in await shown(browser, **{"x-herz-live": "1"})


async def test_while_the_store_is_silent_the_last_services_stay_and_it_says_so(browser, plane, registry, monkeypatch):
    async with registry.register("payments", "pay-1", "10.0.0.7:8080"):
        await shown(browser)

    async def silent(*_, **__):
        raise SourceUnavailable("the store does not answer", remedy="see whether it runs")

    monkeypatch.setattr(plane.store, "range", silent)
    page = await shown(browser)
    assert "pay-1" in page
    assert "the store does not answer" in page
    assert "registered when the store answered last" in page
    plane.of(Registry).last = None
    assert (await browser.get("/console/services")).status_code == 503


async def test_many_registrations_are_shown_in_part(browser, plane):
    for number in range(210):
        await plane.store.put(f"/herz/services/many/i-{number:03}", b'{"address": "x:1"}')
    page = await shown(browser)
    assert page.count('class="given">i-') == 200
    assert "10 more: filter by name." in page
    assert "i-209" in await shown(browser, "?q=i-209")


async def test_everybody_who_is_signed_in_may_look_services_up(browser, monkeypatch):
    monkeypatch.setattr("herz.server.door.entering.EVERYTHING", (Grant.parse("pay:report"),))
    await shown(browser)
