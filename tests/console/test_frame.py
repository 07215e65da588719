"""What holds for every page: who comes in, what it may load, and what a problem looks like."""

from __future__ import annotations

import re

import httpx
import pytest

from herz.server.app import create_app
from herz.server.console.part import PAGES
from herz.server.parts import all_parts
from herz.server.settings import ServerSettings

from .conftest import URL, released

POLICY = (
    r"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-[\w-]{20,}'; img-src 'self' data:; "
    r"font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


async def test_the_address_of_the_server_leads_to_its_pages(browser):
    answer = await browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/console/")


NOWHERE = ["/console/nowhere", *(f"/console/apps/{rest}" for rest in ("pay", "pay/default/nowhere", "pay/default/a/b"))]


@pytest.mark.parametrize("path", ["/console/", *NOWHERE])
async def test_a_page_may_load_nothing_from_elsewhere(browser, path):
    headers = (await browser.get(path)).headers
    assert re.fullmatch(POLICY, headers["content-security-policy"])
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert headers["referrer-policy"] == "same-origin"


async def test_the_nonce_of_a_page_is_new_each_time(browser):
    first, second = [(await browser.get("/console/")).headers["content-security-policy"] for _ in range(2)]
    assert first != second


async def test_a_page_holds_no_script_and_no_style_of_its_own(browser, plane):
    await released(plane, "a: 1\n")
    page = (await browser.get("/console/")).text
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts
    assert all(" src=" in script or 'type="application/json"' in script for script in scripts)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert all(url.startswith("/console/") for url in re.findall(r'(?:src|href|action|hx-get)="([^"#]+)"', page))


async def test_what_a_page_loads_is_there_packed_and_kept_for_ever(browser):
    page = (await browser.get("/console/")).text
    urls = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)
    assert len(urls) >= 5
    for url in urls:
        answer = await browser.get(url)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(answer.content) < 700 or answer.headers["content-encoding"] == "gzip"


async def test_what_is_loaded_unpacked_is_the_same(browser):
    (url,) = re.findall(r'href="([^"]+console.css)"', (await browser.get("/console/")).text)
    plain = await browser.get(url, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == (await browser.get(url)).text


@pytest.mark.parametrize("path", ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "js/../../pages.py", "js", ""])
async def test_nothing_else_is_served_as_a_file(browser, path):
    assert (await browser.get(f"/console/static/x/{path}")).status_code in (404, 405)


async def test_a_file_of_another_version_is_not_kept(browser):
    assert (await browser.get("/console/static/older/console.css")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", NOWHERE)
async def test_a_problem_is_a_page_that_says_what_to_do(browser, path):
    answer = await browser.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>404" in answer.text


def test_every_page_has_a_guard_or_is_open_on_purpose():
    open_ones = {
        path for handler in PAGES if not handler.guards for path in handler.paths if handler.opt.get("open") is True
    }
    unguarded = {path for handler in PAGES if not handler.guards for path in handler.paths}
    assert unguarded == open_ones


@pytest.fixture
async def stranger(server):
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


async def test_a_form_of_another_site_changes_nothing(stranger):
    for headers in ({}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "null"}):
        answer = await stranger.post("/console/language", data={"language": "zh"}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
async def test_an_open_server_answers_to_no_other_name(stranger, host):
    answer = await stranger.get("/console/", headers={"host": host})
    assert answer.status_code in (403, 421)
    assert "Applications" not in answer.text


def paths_of_guarded_pages():
    for handler in PAGES:
        if handler.guards and "GET" in handler.http_methods:
            for path in handler.paths:
                yield "/console" + re.sub(r"\{\w+:(\w+)\}", lambda kind: "1", path)


@pytest.mark.parametrize("path", sorted(paths_of_guarded_pages()))
async def test_whoever_is_not_logged_in_is_sent_to_do_so(memory_server, path):
    answer = await memory_server.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/login?next=%2Fconsole")


@pytest.mark.parametrize("asking", [{"x-herz-live": "1"}, {"hx-request": "true"}, {"accept": "text/event-stream"}])
async def test_an_open_page_is_told_that_nobody_is_logged_in(memory_server, asking):
    answer = await memory_server.get("/console/", headers=asking)
    assert answer.status_code == 401


async def test_whoever_sent_a_form_comes_back_to_its_page(memory_server):
    form = next(path for one in PAGES if one.guards and "POST" in one.http_methods for path in sorted(one.paths))
    here = {"sec-fetch-site": "same-origin", "referer": "https://herz.example/console/me?a=b"}
    answer = await memory_server.post("/console" + re.sub(r"{\w+:(\w+)}", "1", form), headers=here)
    assert answer.headers["location"] == "/console/login?next=%2Fconsole%2Fme%3Fa%3Db"


@pytest.fixture
async def memory_server(memory_store):
    app = create_app(memory_store, ServerSettings(open=False), parts=all_parts())
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://herz.example") as client:
        yield client
