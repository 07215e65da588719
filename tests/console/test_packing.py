"""Pages are packed where nobody else can learn anything from their length."""

from __future__ import annotations

import gzip

import pytest

from .conftest import released

PAGE = "/console/apps/pay/default/fleet"
SCRIPTED = ({"x-herz-live": "1"}, {"hx-request": "true"})


async def got(browser, **headers: str) -> tuple[bool, bytes, dict[str, str]]:
    """Whether it came packed, the bytes, and the headers."""
    async with browser.stream("GET", PAGE, headers=headers) as answer:
        body = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return "content-encoding" in answer.headers, body, dict(answer.headers)


@pytest.mark.parametrize("header", SCRIPTED)
async def test_what_a_script_of_the_console_asks_for_is_packed(plane, browser, header):
    await released(plane, "a: 1\n")
    for _ in range(2):  # made, and known already
        packed, body, headers = await got(browser, **header)
        assert packed
        assert "content-security-policy" in headers
        plain = gzip.decompress(body)
        assert b"<h1>Fleet</h1>" in plain
        assert len(body) < len(plain) / 2


async def test_what_any_page_can_make_a_browser_ask_for_is_not(plane, browser):
    await released(plane, "a: 1\n")
    packed, body, _ = await got(browser)
    assert not packed
    assert b"<h1>Fleet</h1>" in body


async def test_who_takes_nothing_packed_gets_it_plain(plane, browser):
    await released(plane, "a: 1\n")
    for _ in range(2):
        packed, body, _ = await got(browser, **SCRIPTED[0], **{"accept-encoding": "identity"})
        assert not packed
        assert b"<h1>Fleet</h1>" in body
    assert (await got(browser, **SCRIPTED[0]))[0]
