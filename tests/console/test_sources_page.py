"""The pages of sources: how this server follows its store, who holds which duty, and what instances say of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import re
import socket
from datetime import UTC, datetime

import pytest

from herz.errors import Conflict, SourceUnavailable
from herz.release.record import encode
from herz.release.report import Answer, Report, SourceState, SourceStep, Status
from herz.server.asks import Asking
from herz.server.console.source_asks import SourceAsks, Told, asks_of
from herz.server.hub import Hub
from herz.server.tokens import Grant
from herz.store.plane import DUTIES, answers_prefix
from herz.testing.followers import Follower

from .conftest import released


async def shown(browser, path="/console/sources", **headers):
    answer = await browser.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def sessions(page):
    """What each session's heading names, with the state that its drawing marks."""
    found = {}
    for part in page.split('<article class="session"')[1:]:
        name = html.unescape(re.findall(r'<code class="key">(.*?)</code>', part, re.DOTALL)[0])
        (now,) = re.findall(r'class="state now \w+">.*?● (\w+)</text>', part)
        found[name] = now
    return found


# --- the server's own -------------------------------------------------------------------------------


async def test_every_session_of_the_server_is_drawn_in_its_state(browser, plane):
    async with asyncio.timeout(5):
        await plane.of(Hub).loaded.wait()
    page = await shown(browser)
    found = sessions(page)
    assert {"/herz/live/", "/herz/fleet/", "/herz/answers/", "/herz/audit/", "/herz/services/"} <= set(found)
    assert [found[f"/herz/{name}/"] for name in ("live", "fleet", "answers")] == ["ACTIVE"] * 3
    first = page.partition('<article class="session"')[2]
    assert first.count('<g class="state') >= 6
    assert first.index("ACTIVE") < first.index("PENDING</span>")  # the history, newest first
    assert 'role="img" aria-label="State machine: ACTIVE, follows"' in first


async def test_a_session_that_broke_says_what_happened_without_credentials(browser, plane):
    session = plane.of(Hub).sessions[0]
    before = len(session.history)

    def broken(*_, **__):
        raise SourceUnavailable("nobody listens at etcd://root:hunter2@10.0.0.1", remedy="start it")

    plane.store.watch, watch = broken, plane.store.watch
    with contextlib.suppress(SourceUnavailable):
        await session.read_again("tried")
    page = await shown(browser)
    assert len(session.history) > before
    assert sessions(page)["/herz/live/"] in ("FAILED", "BACKOFF", "RETRY", "PENDING")
    assert "nobody listens at etcd://••••@10.0.0.1" in page
    assert "hunter2" not in page
    assert "etcd://••••@10.0.0.1" in (plane.of(Hub).delivery.reason or "")  # which other pages show as well
    plane.store.watch = watch
    session.hurry()


async def test_ages_are_as_of_each_reading(browser):
    """No reading is kept for the next: that a session was proved tells no topic."""
    live = {"x-herz-live": "1"}
    first, second = [re.sub(r"nonce=\S+", "", await shown(browser, **live)) for _ in range(2)]
    assert "ago</dd>" in first
    assert first != second


async def test_whoever_holds_a_duty_is_named(browser, plane):
    entry = await plane.store.get(DUTIES + "rollouts")
    if entry is None:  # it is not held yet
        async with asyncio.timeout(10), plane.store.watch(DUTIES, 0) as items:
            async for _ in items:
                if (entry := await plane.store.get(DUTIES + "rollouts")) is not None:
                    break
    page = await shown(browser)
    row = page[page.index('<th scope="row">rollouts</th>') :].partition("</tr>")[0]
    assert socket.gethostname() in row
    assert f"process {os.getpid()}" in row
    assert "this server" in row
    assert f"<code>{entry.lease}</code>" in row


async def test_a_duty_of_another_server_and_one_that_nobody_holds(browser, plane):
    await plane.store.put(DUTIES + "foreign", b'{"host": "<b>node-2</b>", "pid": 7, "id": "x"}')
    await plane.store.put(DUTIES + "odd", b"nonsense")
    plane.duties["never"] = None
    page = await shown(browser)
    foreign = page[page.index('<th scope="row">foreign</th>') :].partition("</tr>")[0]
    assert "&lt;b&gt;node-2&lt;/b&gt;" in foreign
    assert "this server" not in foreign
    assert "unknown" in page[page.index('<th scope="row">odd</th>') :].partition("</tr>")[0]
    assert "nobody" in page[page.index('<th scope="row">never</th>') :].partition("</tr>")[0]


async def test_while_the_store_is_silent_the_sessions_are_shown_all_the_same(browser, plane, monkeypatch):
    async def silent(*_, **__):
        raise SourceUnavailable("the store does not answer", remedy="see whether it runs")

    monkeypatch.setattr(plane.store, "range", silent)
    page = await shown(browser)
    assert "It cannot be told who holds them." in page
    assert "/herz/live/" in sessions(page)


async def test_who_may_see_one_application_sees_its_instances_alone(browser, plane, monkeypatch):
    await released(plane, "a: 1\n")
    await released(plane, "a: 1\n", app="search")
    page = await shown(browser)
    assert "/console/apps/pay/default/sources" in page
    assert "/console/apps/search/default/sources" in page
    monkeypatch.setattr("herz.server.door.entering.EVERYTHING", (Grant.parse("pay:read"),))
    page = await shown(browser)
    assert "/console/apps/pay/default/sources" in page
    assert "/console/apps/search" not in page
    assert sessions(page) == {}
    assert (await browser.get("/console/apps/search/default/sources?ask=1")).status_code == 403


async def test_namespaces_are_found_by_their_names(browser, plane):
    await released(plane, "a: 1\n")
    assert "/console/apps/pay/default/sources" in await shown(browser, "/console/sources?q=PA")
    assert "No application is called like that." in await shown(browser, "/console/sources?q=%3Cb%3E")


# --- instances --------------------------------------------------------------------------------------


def state(name="herz://here/pay", state="ACTIVE", says="CURRENT", **more):
    return SourceState(name=name, kind="herz", state=state, says=says, age_s=more.pop("age_s", 0.2), **more)


class Telling(Follower):
    """A follower that tells sources, where it was asked for them; `sources` None makes it an older one."""

    sources: tuple[SourceState, ...] | None = (state(),)
    asked = 0

    async def _answer(self, ask):
        self.asked += 1
        if self.faults.mute or self._lease is None:
            return
        told = self.sources if ask.sources and self.sources is not None else ()
        answer = Answer(nonce=ask.nonce, instance=self.instance, report=self.said(), sources=told)
        await self._store.put(
            answers_prefix(self.app, self.namespace, ask.nonce) + self.instance, encode(answer), lease=self._lease
        )


@pytest.fixture
async def fleet(plane):
    """Starts instances in miniature; they are gone at the end."""
    await released(plane, "a: 1\n")
    async with contextlib.AsyncExitStack() as stack:

        async def start(*names):
            missing, all_there = set(names), asyncio.Event()

            def happened(what):
                missing.difference_update(what.reports)
                if not missing:
                    all_there.set()

            plane.of(Hub).on_change(happened)
            made = [Telling(plane.store, "pay", "default", name) for name in names]
            for one in made:
                await stack.enter_async_context(one.alive())
            async with asyncio.timeout(10):
                await all_there.wait()
            return made

        yield start


PAGE = "/console/apps/pay/default/sources"


def order(page):
    return re.findall(r'<details class="told" id="of-([^"]+)"', page)


async def test_where_no_instance_is_connected_it_says_how_to(browser, plane):
    await released(plane, "a: 1\n")
    page = await shown(browser, PAGE)
    assert "No instance is connected." in page
    assert "Herz(&#34;herz://127.0.0.1:4379/pay" in page or 'Herz("herz://127.0.0.1:4379/pay' in page


async def test_nobody_is_asked_before_the_page_is_open(browser, fleet):
    (one,) = await fleet("one")
    page = await shown(browser, PAGE)
    assert f'hx-get="{PAGE}?ask=1"' in page
    assert one.asked == 0


async def test_every_instance_tells_its_sources_the_worst_first(browser, fleet):
    _, cut, silent, old, halted = await fleet("a-well", "b-cut", "c-silent", "d-old", "e-halted")
    steps = (
        SourceStep(state="BACKOFF", says="STALE", age_s=3.0, retries=2, reason="etcd://10.0.0.1: connection refused"),
        SourceStep(state="FAILED", says="STALE", age_s=4.0, reason="etcd://10.0.0.1: connection refused"),
    )
    cut.sources = (
        state(),
        state("etcd://10.0.0.1/", "BACKOFF", "STALE", age_s=7.5, retries=2, error="connection refused", steps=steps),
    )
    halted.sources = (state("zk://x", "BACKOFF", "HALTED", error="denied"),)
    silent.faults.mute, old.sources = True, None
    page = await shown(browser, f"{PAGE}?ask=1")
    assert order(page) == ["e-halted", "b-cut", "c-silent", "d-old", "a-well"]
    told = page[page.index('id="of-b-cut"') : page.index('id="of-c-silent"')]
    assert sessions(told) == {"herz://here/pay": "ACTIVE", "etcd://10.0.0.1/": "BACKOFF"}
    assert "7.5 s ago" in told
    assert "History: 2 steps" in told
    assert told.count("etcd://10.0.0.1: connection refused") == 2
    assert "did not answer in time" in page[page.index('id="of-c-silent"') : page.index('id="of-d-old"')]
    assert "does not know this question" in page[page.index('id="of-d-old"') : page.index('id="of-a-well"')]
    assert " open" in page[page.index('id="of-b-cut"') :].partition(">")[0]
    assert " open" not in page[page.index('id="of-a-well"') :].partition(">")[0]


async def test_instances_are_found_by_their_names(browser, fleet):
    one, two = await fleet("eu-1", "us-1")
    page = await shown(browser, f"{PAGE}?ask=1&q=EU")
    assert order(page) == ["eu-1"]
    assert (one.asked, two.asked) == (1, 0)
    assert "No instance is called like that." in await shown(browser, f"{PAGE}?ask=1&q=nowhere")


async def test_so_many_are_asked_at_once_and_others_further_on(browser, fleet, monkeypatch):
    monkeypatch.setattr("herz.server.console.sources_page.MOST", 2)
    await fleet("a", "b", "c")
    first = await shown(browser, f"{PAGE}?ask=1")
    assert order(first) == ["a", "b"]
    assert f'rel="next" href="{PAGE}?ask=1&skip=2"' in first
    last = await shown(browser, f"{PAGE}?ask=1&skip=2")
    assert order(last) == ["c"]
    assert 'rel="next"' not in last
    for skip in ("-5", "99999999"):
        await shown(browser, f"{PAGE}?ask=1&skip={skip}")


async def test_many_who_look_at_once_ask_once(browser, plane, fleet):
    (one,) = await fleet("one")
    await asyncio.gather(*(shown(browser, f"{PAGE}?ask=1") for _ in range(5)))
    assert one.asked == 1
    assert await asks_of(plane).ask("pay", "default", ("one",))
    assert plane.find(SourceAsks) is asks_of(plane)


async def test_why_nobody_could_be_asked_is_told_in_the_page_and_the_next_one_asks_anew(
    browser, plane, fleet, monkeypatch
):
    await fleet("one")

    async def refused(*_, **__):
        raise Conflict("64 questions stand already", remedy="wait until they are answered")

    with monkeypatch.context() as patch:
        patch.setattr(plane.of(Asking), "ask", refused)
        page = await shown(browser, f"{PAGE}?ask=1")
        assert "64 questions stand already" in page
        assert "hx-trigger" not in page[page.index('id="asked"') :]  # it does not ask again and again
    assert order(await shown(browser, f"{PAGE}?ask=1")) == ["one"]


HOSTILE = "<script>alert(1)</script>\u202e\"'>"


async def test_what_a_hostile_instance_says_is_text(browser, fleet):
    (one,) = await fleet("one")
    step = SourceStep(state=HOSTILE, says=HOSTILE, age_s=-1e300, retries=-1, reason=HOSTILE)
    one.sources = (
        state(HOSTILE, HOSTILE, HOSTILE, age_s=1e300, error=HOSTILE + "x" * 10_000, steps=(step,)),
        state("tiny", age_s=1e18, revision=-(2**60)),
    )
    page = await shown(browser, f"{PAGE}?ask=1")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_worst_source_of_an_instance_counts():
    report = Report(instance="i", app="a", namespace="n", status=Status.APPLIED, time=datetime.now(UTC))

    def rank(*sources):
        return Told("i", Answer(nonce="n", instance="i", report=report, sources=sources)).rank

    assert rank(state()) == 9
    assert rank(state(), state(degraded=True)) == 4
    assert rank(state(), state(state="IDLE")) == 9
    assert rank(state(says="HALTED"), state(says="STALE")) < rank(state(says="STALE")) < rank(state(says="REFUSED"))
    assert rank(state(says="REFUSED")) < rank(state(state="RETRY"))
    assert not Told("i", None).well
