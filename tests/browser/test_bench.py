"""The bench itself: what goes wrong in a page is noticed, and what is in order is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.async_api import Page, expect

from herz.client import Namespace
from herz.release.content import Content, LayerText
from herz.testing.browser import Chromium, Kind
from herz.testing.control_plane import ControlPlaneServer
from herz.testing.processes import Port

from .conftest import Axe, Instances, Visits

STRICT = "default-src 'none'; script-src 'self'"
PAGE = '<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>{}</main></html>'


Texts = dict[str, tuple[int, str, str]]
"""Status, content type and body of every path."""


class Site:
    """A few pages under a strict Content-Security-Policy."""

    def __init__(self, url: str, texts: Texts) -> None:
        self.url = url
        self.texts = texts

    def page(self, path: str, inside: str, status: int = 200) -> None:
        self.texts[path] = (status, "text/html; charset=utf-8", PAGE.format(inside))

    def script(self, path: str, text: str) -> None:
        self.texts[path] = (200, "text/javascript; charset=utf-8", text)


@pytest.fixture
def site() -> Iterator[Site]:
    texts: Texts = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, text = texts.get(self.path, (404, "text/plain", "there is nothing here"))
            body = text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-security-policy", STRICT)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site(f"http://127.0.0.1:{server.server_address[1]}", texts)
        server.shutdown()
        thread.join()


Look = Callable[..., Any]


@pytest.fixture
def look(chromium: Chromium, site: Site) -> Look:
    """Opens a page of the site, waits for faults of the kinds named, if any, and tells all that there were."""

    async def open_and_wait(path: str, *kinds: Kind) -> list[str]:
        visit = await chromium.visit(site.url)
        try:
            page = await visit.page()
            await page.goto(path)
            await visit.noticed(*kinds)
            return sorted(map(str, visit.faults))
        finally:
            await visit.context.close()

    return open_and_wait


async def test_a_page_in_order_has_no_fault(site: Site, look: Look):
    site.page("/", "<script src='/good.js'></script>")
    site.script("/good.js", "console.log('fine'); console.warn('well')")
    assert await look("/") == []


async def test_a_request_to_another_host_is_a_fault_and_never_leaves(site: Site, look: Look):
    site.page("/", "<script src='/calls.js'></script>")
    site.script("/calls.js", "location.href = 'http://elsewhere.example/x'")
    foreign, unreachable = await look("/", "foreign", "unreachable")
    assert foreign == "foreign: GET http://elsewhere.example/x"
    assert unreachable.endswith("net::ERR_NAME_NOT_RESOLVED")


async def test_another_port_of_this_machine_is_another_host(site: Site, look: Look, server: ControlPlaneServer):
    site.page("/", "<script src='/calls.js'></script>")
    site.script("/calls.js", f"location.href = '{server.url}/health'")
    assert await look("/", "foreign") == [f"foreign: GET {server.url}/health"]


async def test_what_the_policy_refuses_is_a_fault(site: Site, look: Look):
    site.page("/", "<script>document.title = 'inline'</script><img src='http://elsewhere.example/x.png'>")
    said = await look("/", "console")
    assert any("inline script" in one for one in said)
    assert any("elsewhere.example/x.png" in one for one in said)


async def test_an_error_in_the_console_is_a_fault(site: Site, look: Look):
    site.page("/", "<script src='/bad.js'></script>")
    site.script("/bad.js", "\nconsole.error('no luck')")
    assert await look("/", "console") == [f"console: no luck ({site.url}/bad.js:2)"]


async def test_an_uncaught_exception_is_a_fault(site: Site, look: Look):
    site.page("/", "<script src='/bad.js'></script>")
    site.script("/bad.js", "undefinedFunction()")
    (said,) = await look("/", "exception")
    assert said.startswith("exception: ReferenceError: undefinedFunction is not defined")


async def test_a_rejected_promise_is_a_fault(site: Site, look: Look):
    site.page("/", "<script src='/bad.js'></script>")
    site.script("/bad.js", "Promise.reject(new Error('no luck'))")
    (said,) = await look("/", "exception")
    assert said.startswith("exception: Error: no luck")


async def test_an_answer_of_5xx_is_a_fault(site: Site, look: Look):
    site.page("/", "broken", status=500)
    assert await look("/", "status") == [f"status: 500 for GET {site.url}/"]


async def test_an_answer_of_4xx_to_a_person_is_no_fault(site: Site, look: Look):
    site.page("/", "that name is taken", status=422)
    assert await look("/") == []


async def test_a_script_that_is_not_there_is_a_fault(site: Site, look: Look):
    site.page("/", "<script src='/missing.js'></script>")
    assert await look("/", "status") == [f"status: 404 for GET {site.url}/missing.js"]


async def test_a_fault_fails_the_test(chromium: Chromium, site: Site):
    site.page("/", "broken", status=503)
    visit = await chromium.visit(site.url)
    await (await visit.page()).goto("/")
    await visit.context.close()
    with pytest.raises(AssertionError, match=f"status: 503 for GET {site.url}/"):
        visit.check()


async def test_an_unreachable_server_is_a_fault_but_in_an_outage(chromium: Chromium):
    port = Port()  # where nobody listens
    visit = await chromium.visit(f"http://{port.address}")
    page = await visit.page()
    with visit.outage(), pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
        await page.goto("/")
    visit.check()
    with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
        await page.goto("/")
    await visit.context.close()
    port.close()
    assert [fault.kind for fault in visit.faults] == ["unreachable"]


async def test_axe_finds_what_is_serious_under_a_strict_policy(site: Site, visits: Visits, axe: Axe):
    site.page("/", "<img src='data:,'><button></button>")
    visit = await visits(site.url)
    page = await visit.page()
    with visit.tolerating("console"):  # the policy allows no image
        await page.goto("/")
        found = await axe(page)
    assert sorted(line.partition(":")[0] for line in found) == ["button-name (critical)", "image-alt (critical)"]
    assert all(line.endswith((": img", ": button")) for line in found)


async def test_axe_finds_nothing_in_a_page_in_order(site: Site, visits: Visits, axe: Axe):
    site.page("/", "<p>Well said.</p>")
    page = await (await visits(site.url)).page()
    await page.goto("/")
    assert await axe(page) == []
    assert await axe(page) == []


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, "(prefers-color-scheme: light) and (min-width: 1280px)"),
        ({"dark": True}, "(prefers-color-scheme: dark)"),
        ({"phone": True}, "(max-device-width: 360px) and (pointer: coarse)"),
    ],
)
async def test_a_visitor_sees_as_asked(visits: Visits, options: dict, query: str):
    page = await (await visits(**options)).page()
    await page.goto("/health")
    assert await page.evaluate("query => matchMedia(query).matches", query)


async def test_a_visitor_reads_and_lives_where_asked(visits: Visits):
    page = await (await visits(language="zh-CN", timezone="Asia/Shanghai")).page()
    await page.goto("/health")
    assert await page.evaluate("[navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone]") == [
        "zh-CN",
        "Asia/Shanghai",
    ]


async def test_visitors_share_nothing(visits: Visits):
    first, second = await (await visits()).page(), await (await visits()).page()
    for page in (first, second):
        await page.goto("/health")
    await first.evaluate("document.cookie = 'a=1'")
    assert await first.evaluate("document.cookie") == "a=1"
    assert await second.evaluate("document.cookie") == ""


async def test_both_servers_answer(page: Page, visits: Visits, closed_server: ControlPlaneServer):
    await page.goto("/health")
    await expect(page.locator("body")).to_contain_text('"status":"UP"')
    guarded = await (await visits(closed_server.url)).page()
    answer = await guarded.goto("/api/v1/apps")
    assert answer is not None
    assert answer.status == 401


async def test_an_instance_runs_what_is_released(pay: Namespace, instance: Instances):
    await pay.write_draft(Content(layers=(LayerText(name="pay.yml", text="db:\n  pool: 3\n"),)))
    await pay.release("go")
    herz = await asyncio.to_thread(instance, "i1")
    assert herz.snapshot["db.pool"] == 3


async def test_chinese_is_written_with_glyphs_of_its_own(page: Page):
    await page.goto("/health")
    drawn = """text => {
        const pen = document.createElement('canvas').getContext('2d');
        pen.font = '40px sans-serif';
        pen.fillText(text, 0, 60);
        return Array.from(pen.getImageData(0, 0, 80, 80).data).join();
    }"""
    missing, *glyphs = [await page.evaluate(drawn, text) for text in ("\U0010fffd", "应", "用")]
    assert len({missing, *glyphs}) == 3, "no Chinese font: tools/servers installs one"
