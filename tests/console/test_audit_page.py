"""The audit page: what was done, found again by whom, what, where and when; and whether the chain of it holds."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest

from herz.errors import SourceUnavailable
from herz.release.record import encode
from herz.server.access import Caller
from herz.server.audit import HEAD, AuditEntry, AuditHead, By, hash_of, key_of
from herz.server.audit_search import Wanted, search
from herz.server.console.audit_chain import TOPIC, chain_of
from herz.server.console.audit_page import page_of
from herz.server.console.changes import Changes
from herz.server.console.live import visible
from herz.server.settings import ServerSettings
from herz.server.tokens import Grant
from herz.store.base import Delete, Put, Txn

from .conftest import ADA, BEN, released, written


async def deeds(plane, *actions, by=ADA, target="pay/default", **more):
    for action in actions:
        await plane.audit.commit(Txn(), by, action, target, **more)


def numbers(text):
    return [int(number) for number in re.findall(r'<tr id="entry-(\d+)"', text)]


async def log(browser, query=""):
    answer = await browser.get(f"/console/audit{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


async def verified(browser, plane, anchor=""):
    """Have the chain verified, wait for the end, and show the page."""
    answer = await browser.post("/console/audit", data={"anchor": anchor})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/audit")
    await chain_of(plane).done()
    return await log(browser)


# --- the log ----------------------------------------------------------------------------------------


async def test_an_empty_log_says_what_will_stand_there(browser):
    assert "Nothing was done yet." in await log(browser)


async def test_the_newest_deed_comes_first_with_who_what_and_where(browser, plane):
    await released(plane, "a: 1\n", message="for the sale")
    page = await log(browser)
    assert numbers(page) == [2, 1]
    first = page[page.index('id="entry-2"') : page.index('id="entry-1"')]
    assert "release.published" in first
    assert '<strong class="given">ada</strong>' in first
    assert 'href="/console/apps/pay/default/releases/1">pay/default@1</a>' in first
    assert "for the sale" in first
    assert f"{(await plane.audit.entries())[1].hash}" in first


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=ADA", {1, 2}),
        ("actor=nobody", set()),
        ("action=release.", {2, 3}),
        ("target=search", {3, 4}),
        ("text=sale", {2}),
        ("text=reason", {4}),
        ("forced=1", {4}),
        ("actor=ben&action=release.", {3}),
        ("since=2000-01-01", {1, 2, 3, 4}),
        ("until=2000-01-01", set()),
        ("until=2999-01-01T10:00&forced=1", {4}),
        ("since=2999-01-01T10:00%2B02:00", set()),
    ],
)
async def test_a_filter_finds(browser, plane, query, found):
    await deeds(plane, "draft.written")
    await deeds(plane, "release.published", message="for the sale")
    await deeds(plane, "release.published", by=BEN, target="search/default@1")
    await deeds(plane, "rollout.abort", by=BEN, target="search/default r1", forced=True, details={"why": "reason"})
    assert set(numbers(await log(browser, f"?{query}"))) == found


async def test_a_filter_that_finds_nothing_leads_back_to_everything(browser, plane):
    await deeds(plane, "draft.written")
    page = await log(browser, "?actor=nobody")
    assert "Nothing like that was found." in page
    assert '<a href="/console/audit">Show all</a>' in page


@pytest.mark.parametrize("name", ["since", "until"])
async def test_a_time_that_is_none_is_a_problem_and_stays_in_its_field(browser, name):
    answer = await browser.get(f"/console/audit?{name}=yesterday")
    assert answer.status_code == 400
    assert "is no time" in answer.text
    assert 'value="yesterday"' in answer.text


async def test_the_log_is_paged_by_number(browser, plane):
    await deeds(plane, *["draft.written"] * 120)
    first = await log(browser)
    assert numbers(first) == list(range(120, 70, -1))
    assert 'href="/console/audit?before=71"' in first
    second = await log(browser, "?before=71")
    assert numbers(second) == list(range(70, 20, -1))
    last = await log(browser, "?before=21")
    assert numbers(last) == list(range(20, 0, -1))
    assert 'rel="next"' not in last


@pytest.mark.parametrize("before", ["0", "-1", "x", "1e9", "99999999999999999999999", "²"])
async def test_a_number_that_is_none_shows_no_nonsense(browser, plane, before):
    await deeds(plane, "draft.written")
    assert numbers(await log(browser, f"?before={before}")) in ([], [1])


async def test_a_search_ends_after_so_many_entries_and_goes_on_from_there(plane):
    await deeds(plane, "seldom")
    await deeds(plane, *["often"] * 30)
    found = await search(plane.store, Wanted(action="seldom"), 32, scan=20, page=7)
    assert (found.lines, found.back_to, found.more) == ((), 12, True)
    found = await search(plane.store, Wanted(action="seldom"), found.back_to, scan=20, page=7)
    assert ([line.number for line in found.lines], found.back_to, found.more) == ([1], 1, False)


async def test_a_bounded_search_says_how_far_it_looked(browser, plane, monkeypatch):
    monkeypatch.setattr("herz.server.console.audit_page.search", _short)
    await deeds(plane, "seldom", *["often"] * 30)
    page = await log(browser, "?action=seldom")
    assert "Searched back to entry 22." in page
    assert 'href="/console/audit?action=seldom&amp;before=22">Search further back</a>' in page


async def _short(store, wanted, before):
    return await search(store, wanted, before, scan=10, page=5)


async def test_a_search_looks_no_further_than_a_day_before_its_first_moment(plane):
    old = datetime.now(UTC) - timedelta(days=9)
    entry = AuditEntry(number=1, time=old, actor="ada", action="x", target="y", previous="0" * 64)
    await plane.store.put(key_of(1), encode(entry))
    found = await search(plane.store, Wanted(since=datetime.now(UTC)), 2)
    assert not found.more


async def test_a_deed_appears_in_an_open_page(browser, plane):
    await deeds(plane, "draft.written")
    live = {"x-herz-live": "1"}
    assert numbers((await browser.get("/console/audit", headers=live)).text) == [1]
    told = asyncio.Event()
    plane.of(Changes).listen(lambda topic: told.set() if topic == "audit" else None)
    await deeds(plane, "draft.deleted")
    await told.wait()
    assert numbers((await browser.get("/console/audit", headers=live)).text) == [2, 1]


HOSTILE = "<script>alert(1)</script>\"'&\u202e\u0000x" + "y" * 3_000


async def test_hostile_names_and_values_are_text(browser, plane):
    await deeds(plane, HOSTILE, by=By(HOSTILE, HOSTILE), target=HOSTILE, message=HOSTILE, details={HOSTILE: HOSTILE})
    page = await log(browser)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 6
    page = await log(browser, "?" + str(httpx.QueryParams({"text": HOSTILE[:400], "actor": '"><b>'})))
    assert "<script>alert" not in page
    assert '"><b>' not in page


async def test_secrets_of_details_are_masked(browser, plane):
    await deeds(plane, "draft.written", details={"db": {"password": "hunter2"}})
    page = await log(browser)
    assert "••••" in page
    assert "hunter2" not in page


@pytest.mark.parametrize(
    ("target", "action", "url"),
    [
        ("pay/default", "draft.written", "/console/apps/pay/default/draft"),
        ("pay/default", "policy.written", "/console/apps/pay/default"),
        ("pay/default@7", "release.published", "/console/apps/pay/default/releases/7"),
        ("pay/default pay-r1", "rollout.abort", "/console/apps/pay/default/rollouts/pay-r1"),
        ("user ada+x@example.org", "user.created", "/console/users?q=ada%2Bx%40example.org"),
        ("token 3f9c", "token.created", "/console/tokens"),
        ("login", "login.throttled", None),
        ("../..", "x", None),
        ("pay/default/../..", "x", None),
        ("javascript:alert(1)", "x", None),
        ("//evil.example/x", "x", None),
        ("user ../x", "x", None),
    ],
)
def test_a_target_leads_to_its_page(target, action, url):
    assert page_of(target, action) == url


# --- the chain --------------------------------------------------------------------------------------


async def test_at_first_nothing_is_said_of_the_chain(browser, plane):
    await deeds(plane, "draft.written")
    assert "has not verified the log" in await log(browser)


async def test_a_whole_chain_is_told_with_its_head_to_keep(browser, plane):
    await deeds(plane, *["draft.written"] * 3)
    page = await verified(browser, plane)
    head = await plane.audit.head()
    assert "3 entries, each continues the one before." in page
    assert f'data-copy="3:{head.hash}"' in page
    await deeds(plane, "draft.written")
    assert "1 entry was added since" in await log(browser)  # what was found last stays, with its time


async def test_a_changed_entry_is_told_where_and_why_and_marked(browser, plane):
    await deeds(plane, *["draft.written"] * 5)
    entry = (await plane.audit.entries())[2]
    await plane.store.put(key_of(3), encode(msgspec.structs.replace(entry, actor="mallory")))
    page = await verified(browser, plane)
    assert "The log is broken at entry 3: entry 3 was changed." in page
    assert 'href="/console/audit?before=6#entry-3"' in page
    assert '<tr id="entry-3" class="broken">' in page
    assert page.count('class="broken"') == 1


async def test_a_removed_entry_is_told_and_its_place_is_shown(browser, plane):
    await deeds(plane, *["draft.written"] * 5)
    await plane.store.txn(Txn(then=(Delete(key_of(2)),)))
    page = await verified(browser, plane)
    assert "broken at entry 2: entry 2 is missing" in page
    assert numbers(page) == [5, 4, 3, 2, 1]
    assert '<tr id="entry-2" class="broken">' in page


async def test_an_entry_that_cannot_be_read_hides_none_of_the_others(browser, plane):
    await deeds(plane, *["draft.written"] * 3)
    await plane.store.put(key_of(2), b"{nonsense <script>")
    page = await log(browser, "?actor=ada")
    assert numbers(page) == [3, 2, 1]
    assert "entry 2 cannot be read" in page


async def test_a_chain_that_was_written_anew_is_told_by_an_anchor(browser, plane):
    await deeds(plane, *["draft.written"] * 3)
    anchor = await plane.audit.head()
    text = f"{anchor.number}:{anchor.hash}"
    assert "It is the log of the anchor at entry 3." in await verified(browser, plane, text)
    await plane.store.txn(Txn(then=(Delete(HEAD), *(Delete(key_of(number)) for number in (1, 2, 3)))))
    await deeds(plane, *["draft.written"] * 4, by=BEN)
    assert "3 entries" not in await verified(browser, plane)
    assert "another hash than the anchor" in await verified(browser, plane, text)


async def test_an_anchor_that_is_none_is_a_problem_and_stays_in_its_field(browser, plane):
    answer = await browser.post("/console/audit", data={"anchor": "12:abc<"})
    assert answer.status_code == 400
    assert "is no anchor" in answer.text
    assert 'value="12:abc&lt;"' in answer.text
    assert not chain_of(plane).running


async def test_a_long_chain_tells_how_far_it_is(browser, plane):
    await deeds(plane, "first")
    head = await plane.audit.head()
    operations = []
    for number in range(2, 1_201):
        entry = AuditEntry(
            number=number, time=datetime.now(UTC), actor="ada", action="x", target="y", previous=head.hash
        )
        entry = msgspec.structs.replace(entry, hash=hash_of(entry))
        operations.append(Put(key_of(number), encode(entry)))
        head = AuditHead(number=number, hash=entry.hash)
    for low in range(0, len(operations), 100):
        await plane.store.txn(Txn(then=tuple(operations[low : low + 100])))
    await plane.store.put(HEAD, encode(head))
    seen: list[tuple[int, int]] = []
    chain = chain_of(plane)
    plane.of(Changes).listen(lambda topic: seen.append((chain.reached, chain.total)) if topic == TOPIC else None)
    reached: list[int] = []
    assert (await plane.audit.verify(reached=reached.append)).ok
    assert reached == [500, 1000]
    assert "1200 entries" in await verified(browser, plane)
    assert seen[0] == (0, 1200)


async def test_one_verification_runs_at_a_time(plane):
    await deeds(plane, *["draft.written"] * 3)
    chain = chain_of(plane)
    assert await chain.start("ada", None)
    assert chain.running
    assert not await chain.start("ben", None)
    await chain.done()
    assert chain.last is not None
    assert chain.last.by == "ada"


# --- export -----------------------------------------------------------------------------------------


async def lines(browser, query=""):
    answer = await browser.get(f"/console/audit/export{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert "attachment" in answer.headers["content-disposition"]
    return [msgspec.json.decode(line) for line in answer.text.splitlines()]


async def test_the_log_is_exported_so_that_its_chain_can_be_computed_elsewhere(browser, plane):
    await deeds(plane, *["draft.written"] * 3)
    entries = [msgspec.convert(line, AuditEntry) for line in await lines(browser)]
    assert tuple(entries) == await plane.audit.entries()
    assert [entry.hash for entry in entries] == [hash_of(entry) for entry in entries]


async def test_what_a_filter_finds_is_exported(browser, plane):
    await deeds(plane, "draft.written", "release.published")
    assert [line["number"] for line in await lines(browser, "?action=release.")] == [2]


async def test_what_is_missing_is_a_line_of_the_export_and_a_head_that_lies_ends_it(browser, plane):
    await deeds(plane, *["draft.written"] * 3)
    await plane.store.txn(Txn(then=(Delete(key_of(2)),)))
    assert (await lines(browser))[1] == {"number": 2, "fault": "entry 2 is missing"}
    await plane.store.put(HEAD, encode(AuditHead(number=10**12, hash="0" * 64)))
    found = await lines(browser)
    assert found[-1]["fault"] == "the log ends before entry 501"


# --- rights -----------------------------------------------------------------------------------------


class TestOnAClosedServer:
    @pytest.fixture
    def settings(self):
        return ServerSettings(name="test", open=False)

    @pytest.mark.parametrize("path", ["/console/audit", "/console/audit/export"])
    async def test_nobody_looks_without_signing_in(self, browser, path):
        answer = await browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/login")


@pytest.mark.parametrize(("grant", "status"), [("*:read", 200), ("*:report", 200), ("pay:admin", 403)])
@pytest.mark.parametrize("path", ["/console/audit", "/console/audit/export"])
async def test_who_may_read_every_application_may_look(browser, monkeypatch, grant, status, path):
    monkeypatch.setattr("herz.server.door.entering.EVERYTHING", (Grant.parse(grant),))
    assert (await browser.get(path)).status_code == status


async def test_another_site_may_not_have_it_verified(browser, plane):
    answer = await browser.post("/console/audit", data={}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert not chain_of(plane).running


def test_the_topic_of_the_chain_is_for_everybody():
    assert visible(Caller("ada", (Grant.parse("pay:read"),)), TOPIC)


async def test_a_draft_is_listed_when_it_is_written(browser, plane):
    await written(plane, "a: 1\n")
    assert "draft.written" in await log(browser)


async def test_while_the_chain_is_computed_the_page_tells_how_far_it_is(browser, plane, monkeypatch):
    await deeds(plane, *["draft.written"] * 4)
    go_on = asyncio.Event()

    async def slow(anchor, *, reached):
        reached(3)
        await go_on.wait()
        raise SourceUnavailable("the store does not answer", remedy="see whether it runs")

    monkeypatch.setattr(plane.audit, "verify", slow)
    await browser.post("/console/audit", data={})
    await asyncio.sleep(0)
    page = await log(browser)
    assert '<progress max="4" value="3"' in page
    assert "3 of 4 entries hold so far" in page
    go_on.set()
    await chain_of(plane).done()
    page = await log(browser)
    assert "The log could not be verified." in page
    assert "the store does not answer" in page
    assert "<progress" not in page


async def test_the_end_of_a_computation_is_told_to_open_pages(plane):
    await deeds(plane, "draft.written")
    chain, ended = chain_of(plane), asyncio.Event()

    def listener(topic):
        if topic == TOPIC and not chain.running:
            ended.set()

    plane.of(Changes).listen(listener)
    await chain.start("ada", None)
    async with asyncio.timeout(5):
        await ended.wait()
    assert chain.last is not None
