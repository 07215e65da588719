"""The languages of the console: every text is translated, with the same places for what is put in."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from babel.messages.extract import extract_from_dir

from herz.server.console.language import LANGUAGES, catalogue

from .conftest import released

TEMPLATES = files("herz.server.console") / "templates"
TEXTS = {
    message if isinstance(message, str) else message[0]: (name, line)
    for name, line, message, _, _ in extract_from_dir(str(TEMPLATES), [("**.html", "jinja2")], {"**.html": {}})
}
OTHERS = sorted(set(LANGUAGES) - {"en"})


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", text))


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated(language):
    known = {message.id if isinstance(message.id, str) else message.id[0]: message for message in catalogue(language)}
    missing = [
        f"{name}:{line}: {text}" for text, (name, line) in TEXTS.items() if not (text in known and known[text].string)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_places_of_its_text(language):
    wrong = []
    for message in catalogue(language):
        if not message.id:
            continue
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        strings = [message.string] if isinstance(message.string, str) else list(message.string or ())
        wanted = set().union(*map(placeholders, ids))
        wrong += [text for text in strings if placeholders(text) != wanted]
    assert not wrong


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_left_of_a_text_that_is_gone(language):
    known = {message.id if isinstance(message.id, str) else message.id[0] for message in catalogue(language)}
    assert not {text for text in known if text} - set(TEXTS)


def test_the_texts_of_templates_are_found():
    assert len(TEXTS) > 50
    assert "Overview" in TEXTS


@pytest.mark.parametrize(
    ("accepted", "shown"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "概览"),
        ("zh-Hant-TW", "概览"),
        ("de,en;q=0.5,zh;q=0.1", "Overview"),
        ("en-GB", "Overview"),
        ("", "Overview"),
        ("*;q=x,,;q=", "Overview"),
    ],
)
async def test_a_page_is_in_the_language_that_the_browser_prefers(browser, accepted, shown):
    page = await browser.get("/console/", headers={"accept-language": accepted})
    assert f"<h1>{shown}</h1>" in page.text


async def test_a_language_that_was_chosen_stays(browser):
    answer = await browser.post("/console/language", data={"language": "zh", "next": "/console/audit"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/audit")
    browser.cookies.set("herz-language", "zh")
    assert "概览" in (await browser.get("/console/", headers={"accept-language": "en"})).text


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/console/\\evil",
        "javascript:x",
        "/console/../api",
        "/console/\r\nx: y",
    ],
)
async def test_the_language_leads_nowhere_else(browser, elsewhere):
    answer = await browser.post("/console/language", data={"language": "zh", "next": elsewhere})
    assert answer.headers["location"] == "/console/"


async def test_another_site_may_not_choose_the_language(browser):
    answer = await browser.post("/console/language", data={"language": "zh"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


async def test_what_is_put_into_a_translation_is_escaped(browser, plane):
    await released(plane, "a: 1\n", message="<b>bold</b>")
    page = await browser.get("/console/", headers={"accept-language": "zh"})
    assert "&lt;b&gt;bold" in page.text
    assert "<b>bold" not in page.text


@pytest.mark.parametrize(
    "here", ["/console/login", "/console/welcome", "/console", "/console/apps/pay/default/fleet?q=x"]
)
async def test_the_language_is_changed_on_the_page_that_one_is_at(browser, here):
    answer = await browser.post("/console/language", data={"language": "zh", "next": here})
    assert answer.headers["location"] == here
