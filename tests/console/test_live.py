"""Staying up to date: what changes is told by topic, and a page that many have open is made once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from herz.server.access import Caller
from herz.server.console import home
from herz.server.console.changes import EVERYTHING, Changes, topics_of
from herz.server.console.live import OpenPages, visible
from herz.server.tokens import Grant, Scope

from .conftest import released, written

LIVE = {"x-herz-live": "1"}


@pytest.mark.parametrize(
    ("key", "topics"),
    [
        ("/herz/apps/pay/default/draft", ("draft:pay/default", "apps")),
        ("/herz/apps/pay/default/policy", ("draft:pay/default", "releases:pay/default", "apps")),
        ("/herz/apps/pay/default/approvals/0f", ("draft:pay/default", "releases:pay/default", "apps")),
        ("/herz/apps/pay/default/published/1/9", ("releases:pay/default", "apps")),
        ("/herz/apps/pay/default/schema", ("draft:pay/default", "apps")),
        ("/herz/apps/pay/default/newest", ("releases:pay/default", "apps")),
        ("/herz/apps/pay/default/releases/0000000001", ("releases:pay/default", "apps")),
        ("/herz/apps/pay/default/rollouts", ("rollouts:pay/default", "apps")),
        ("/herz/rollouts/pay/default/r1", ("rollouts:pay/default",)),
        ("/herz/audit/head", ("audit",)),
        ("/herz/tokens/abc", ("tokens",)),
        ("/herz/services/db/one", ("services",)),
    ],
)
def test_a_key_belongs_to_topics(key, topics):
    assert topics_of(key) == topics


async def told(plane, count, act):
    """The topics that `act` changes: waits for so many different ones."""
    found: dict[str, None] = {}
    enough = asyncio.Event()

    def listener(topic):
        found[topic] = None
        if len(found) >= count:
            enough.set()

    stop = plane.of(Changes).listen(listener)
    await act()
    async with asyncio.timeout(10):
        await enough.wait()
    stop()
    return set(found)


async def followed(plane):
    """Wait until every session follows: what is written before is not told."""
    async with asyncio.timeout(10):
        while not all(one.source.followed for one in plane.of(Changes).sessions):  # noqa: ASYNC110  many say it
            await asyncio.sleep(0.01)


async def test_a_draft_and_a_release_are_told(server, plane):
    await followed(plane)
    wanted = {"draft:pay/default", "releases:pay/default", "channel:pay/default", "audit", "apps"}
    assert await told(plane, len(wanted), lambda: released(plane, "a: 1\n")) == wanted


def test_topics_of_an_application_are_told_to_those_who_may_read_it():
    reader = Caller("ada", (Grant(app="pay", scope=Scope.READ),))
    assert visible(reader, "fleet:pay/default")
    assert not visible(reader, "fleet:search/default")
    assert not visible(reader, "tokens")
    assert visible(Caller("root", (Grant(app="*", scope=Scope.ADMIN),)), "tokens")


async def stream(browser, server):
    """The live stream, event by event; plain ASGI, for the client would wait for its end."""
    events: asyncio.Queue = asyncio.Queue()
    gone = asyncio.Event()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body" and message.get("body"):
            for text in message["body"].decode().strip().split("\n\n"):
                name, data = text.split("\n")
                await events.put((name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/console/live",
        "raw_path": b"/console/live",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:4379")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 4379),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    task = asyncio.create_task(server(scope, receive, send))
    return events, gone, task


async def test_the_stream_says_hello_and_then_what_changes(browser, server, plane):
    await followed(plane)
    events, gone, task = await stream(browser, server)
    async with asyncio.timeout(10):
        name, hello = await events.get()
        assert (name, hello["server"]) == ("hello", "test")
        await written(plane, "a: 1\n")
        seen: set[str] = set()
        while not {"draft:pay/default", "audit"} <= seen:
            name, topics = await events.get()
            assert name == "changed"
            seen |= set(topics)
        assert plane.of(OpenPages).count == 1
        gone.set()
        await task
    assert plane.of(OpenPages).count == 0


async def test_the_stream_ends_when_the_server_stops(browser, server, plane):
    events, gone, task = await stream(browser, server)
    async with asyncio.timeout(10):
        await events.get()
        plane.closing.set()
        assert await events.get() == ("end", {"reason": "closing"})
        gone.set()
        await task


@pytest.fixture
def made(monkeypatch):
    """How often the overview was really made."""
    count = []
    rows = home._rows

    async def counted(*what):
        count.append(what[1:])
        await asyncio.sleep(0.05)
        return await rows(*what)

    monkeypatch.setattr(home, "_rows", counted)
    return count


async def test_a_page_that_many_have_open_is_made_once(browser, plane, made):
    await followed(plane)
    await released(plane, "a: 1\n")
    await asyncio.sleep(0.2)
    answers = await asyncio.gather(*(browser.get("/console/", headers=LIVE) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len(made) == 1
    assert (await browser.get("/console/", headers=LIVE)).text == answers[0].text
    assert len(made) == 1


async def test_it_is_made_again_after_a_change(browser, plane, made):
    await followed(plane)
    await released(plane, "a: 1\n", message="one")
    assert "one" in (await browser.get("/console/", headers=LIVE)).text
    await told(plane, 1, lambda: released(plane, "a: 2\n", message="two"))
    async with asyncio.timeout(5):
        while "two" not in (await browser.get("/console/", headers=LIVE)).text:  # noqa: ASYNC110  a page says it
            await asyncio.sleep(0.01)


async def test_it_is_made_again_when_something_was_missed(browser, plane, made):
    await released(plane, "a: 1\n")
    await browser.get("/console/", headers=LIVE)
    before = len(made)
    plane.of(Changes).touch(EVERYTHING)
    await browser.get("/console/", headers=LIVE)
    assert len(made) == before + 1


async def test_another_language_is_another_page(browser, plane):
    english = await browser.get("/console/", headers=LIVE)
    chinese = await browser.get("/console/", headers={**LIVE, "accept-language": "zh"})
    assert english.text != chinese.text


async def test_what_a_page_is_made_of_when_asked_again_names_nobody(browser, plane):
    whole, again = await browser.get("/console/"), await browser.get("/console/", headers=LIVE)
    assert "ada · open" in whole.text
    assert "ada · open" not in again.text
