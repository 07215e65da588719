"""An application's configuration: every key with its value, its layer, and what that overrode."""

from __future__ import annotations

import re
from typing import Any

import pytest

from herz.release.report import Override
from herz.server.console import application, explain, fleet, impact
from herz.server.tokens import Scope

from .conftest import released, written
from .fleets import report, reported

BASE = "db:\n  pool: 10\n  host: db.internal\n  password: s3cret\nurl: http://${db.host}/\n"
REGION = "db:\n  host: db.eu.internal\n"
PAGE = "/console/apps/pay/default"


def row(text: str, key: str) -> str:
    """The row of a key."""
    rows = re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    return next(one for one in rows if f"<bdi>{key}</bdi>" in one)


async def test_a_key_has_its_value_its_place_and_what_that_overrode(plane, browser):
    await released(plane, BASE, REGION)
    found = row((await browser.get(PAGE)).text, "db.host")
    assert "db.eu.internal" in found
    assert "layer-1.yml:2" in found
    assert "1 layer" in found
    assert "db.internal" in found
    assert "layer-0.yml:3" in found


async def test_a_key_that_nobody_else_sets_overrides_nothing(plane, browser):
    await released(plane, BASE, REGION)
    found = row((await browser.get(PAGE)).text, "db.pool")
    assert "layer-0.yml:2" in found
    assert "<details" not in found


async def test_a_value_above_a_table_is_named_among_what_was_overridden(plane, browser):
    await released(plane, "db: none\n", "db:\n  pool: 1\n")
    found = row((await browser.get(PAGE)).text, "db.pool")
    assert '<span class="key dim">db</span>' in found


async def test_spellings_of_one_key_are_one_row(plane, browser):
    await released(plane, "max-pool: 1\n", "max_pool: 2\n")
    text = (await browser.get(PAGE)).text
    assert "layer-1.yml:1" in row(text, "max-pool")
    assert "<bdi>max_pool</bdi>" not in text


async def test_a_secret_is_masked_and_is_not_found_by_its_value(plane, browser):
    await released(plane, BASE)
    text = (await browser.get(PAGE)).text
    assert "s3cret" not in text
    assert "••••" in row(text, "db.password")
    found = await browser.get(PAGE, params={"q": "s3cr"})
    assert "No key is like that." in found.text
    layered = await browser.get(PAGE, params={"q": "s3cr", "view": "layers"})
    assert "No key is like that." in layered.text


async def test_a_secret_in_a_list_of_tables_is_masked(plane, browser):
    await released(plane, "users:\n- name: ada\n  password: s3cret\n")
    text = (await browser.get(PAGE)).text
    assert "s3cret" not in text
    assert "ada" in text


@pytest.mark.parametrize(("q", "keys"), [("pool", 1), ("EU.internal", 1), ("layer-1", 1), ("db host", 2), ("db", 4)])
async def test_the_filter_looks_at_keys_values_and_layers(plane, browser, q, keys):
    await released(plane, BASE, REGION)
    found = await browser.get(PAGE, params={"q": q})
    assert len(re.findall(r"<tr>\s*<th scope=\"row\"><a class=\"key\"", found.text)) == keys


async def test_one_layer_as_it_was_written_says_what_of_it_is_in_force(plane, browser):
    await released(plane, BASE, REGION)
    text = (await browser.get(PAGE, params={"view": "layers", "layer": "layer-0.yml"})).text
    assert "overridden by layer-1.yml" in row(text, "db.host")
    assert "in force" in row(text, "db.pool")


async def test_another_release_can_be_looked_at(plane, browser):
    await released(plane, "a: 1\n")
    await released(plane, "a: 2\n")
    assert '<span class="value">1</span>' in row((await browser.get(PAGE, params={"release": "1"})).text, "a")
    assert '<span class="value">2</span>' in row((await browser.get(PAGE)).text, "a")


async def test_hostile_keys_and_values_are_text(plane, browser):
    await released(plane, "'<script>alert(1)</script>': '<img src=x onerror=alert(2)>'\n'a\"b': '\u202eevil'\n")
    text = (await browser.get(PAGE)).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert '<span class="value">⟨U+202E⟩evil</span>' in text


async def test_a_long_value_is_cut_and_can_be_opened(plane, browser):
    await released(plane, f"a: '{'x' * 10_000}'\n")
    assert "10000 characters" in (await browser.get(PAGE)).text


async def test_keys_that_instances_override_are_marked_with_how_many(plane, browser):
    await released(plane, BASE)
    over = Override(key="db.pool", value="99", origin="env:DB__POOL", released="10", released_at="layer-0.yml:2")
    await reported(plane, *(report(plane, f"pay-{n}", overrides=(over,)) for n in range(3)), report(plane, "pay-9"))
    text = (await browser.get(PAGE)).text
    assert "3 instances override it" in row(text, "db.pool")
    assert "override it" not in row(text, "db.host")


async def test_an_application_without_a_release_says_what_to_do(plane, browser):
    await written(plane, "a: 1\n")
    text = (await browser.get(PAGE)).text
    assert "Nothing is released here yet." in text
    assert f"{PAGE}/draft" in text


async def test_an_application_that_does_not_exist_is_not_found(plane, browser):
    assert (await browser.get("/console/apps/nothing/default")).status_code == 404


async def test_a_page_needs_the_right_to_read():
    pages: tuple[Any, ...] = (*application.PAGES, *fleet.PAGES, *explain.PAGES, *impact.PAGES)
    for handler in pages:
        scopes = [guard.__herz_scope__ for guard in handler.guards]
        wanted = Scope.RELEASE if "POST" in handler.http_methods else Scope.READ
        assert scopes == [wanted], handler


async def test_twenty_thousand_keys_are_shown_in_pages_and_filtered(plane, browser):
    await released(plane, "".join(f"s{n // 100}:\n" * (n % 100 == 0) + f"  key{n}: {n}\n" for n in range(20_000)))
    first = await browser.get(PAGE)
    assert "1 to 200 of 20,000 keys" in first.text
    assert "19800 more" in first.text
    second = await browser.get(PAGE, params={"n": "2"})
    assert "201 to 400 of 20,000 keys" in second.text
    found = await browser.get(PAGE, params={"q": "key19999"})
    assert "<bdi>s199.key19999</bdi>" in found.text
    assert len(first.content) < 400_000
