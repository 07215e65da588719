"""A value explained: who decides it, since which release, who overrides it, what uses it, and what instances answer."""

from __future__ import annotations

import asyncio
import re

import pytest

from herz.release.report import Answer, AskKind, Explained, Override
from herz.server.asks import Asking
from herz.server.audit import By

from .conftest import released, written
from .fleets import cut, graph, question, report, reported

PAGE = "/console/apps/pay/default/explain"


def section(text: str, name: str) -> str:
    """The part of a page with this id."""
    return cut(rf'<section[^>]* id="{name}".*?</section>|<div[^>]* id="{name}".*?</div>', text)


async def explained(browser, key: str, **query: str) -> str:
    answer = await browser.get(PAGE, params={"key": key, **query})
    assert answer.status_code == 200
    return answer.text


async def test_the_winner_comes_first_and_the_losers_in_their_order(plane, browser):
    await released(plane, "a: 1\n", "b: 5\na: 2\n", "a: 3\n")
    found = section(await explained(browser, "a"), "winner")
    assert re.findall(r"<code>([^<]*)</code>", found) == ["layer-2.yml:1", "layer-1.yml:2", "layer-0.yml:1"]
    assert found.index("decides") < found.index("overridden")


async def test_any_spelling_is_understood(plane, browser):
    await released(plane, "max-pool: 7\n")
    assert "layer-0.yml:1" in section(await explained(browser, "MAX_POOL"), "winner")


async def test_it_says_in_which_release_a_key_became_what_it_is_and_by_whom(plane, browser):
    await released(plane, "a: 1\n", message="the first")
    await released(plane, "b: 0\na: 2\n", message="two for the sale")
    await released(plane, "a: 2\nb: 9\n", message="another thing")
    text = await explained(browser, "a")
    said = cut(r"It is so since.*?</p>", text)
    assert ">@2</a>" in said
    assert "<bdi>ada</bdi>" in said
    assert "two for the sale" in said
    assert "another thing" not in text
    assert "the first" in text


async def test_history_follows_what_a_release_was_made_from(plane, browser):
    await released(plane, "a: 1\n", message="one")
    await released(plane, "a: 2\n", message="two")
    await plane.desk.rollback("pay", "default", 1, by=By("ben"), message="back")
    await released(plane, "a: 1\nb: 1\n", message="three")
    said = cut(r"It is so since.*?</p>", await explained(browser, "a"))
    assert ">@1</a>" in said


async def test_a_key_that_was_removed_has_its_history(plane, browser):
    await released(plane, "a: 1\nb: 1\n")
    await released(plane, "b: 1\n", message="a is gone")
    text = await explained(browser, "a")
    assert "It is not set since" in text
    assert "a is gone" in text
    assert "layer-0.yml:1" in text


async def test_reading_back_ends_somewhere_and_says_where(plane, browser, monkeypatch):
    from herz.server.console import explain

    for number in range(6):
        await released(plane, f"a: 1\nb: {number}\n")
    monkeypatch.setattr(explain, "MOST", 3)
    text = await explained(browser, "a")
    assert "3 releases were looked at; those older than @4 were not." in text
    assert "further=1" in text
    whole = await explained(browser, "a", further="1")
    assert "were not." not in whole
    assert ">@1</a>" in cut(r"It is so since.*?</p>", whole)


async def test_secrets_are_masked_in_every_release(plane, browser):
    await released(plane, "db:\n  password: s3cret\n")
    await released(plane, "db:\n  password: t0p\n")
    text = await explained(browser, "db.password") + await explained(browser, "db")
    assert "s3cret" not in text
    assert "t0p" not in text
    assert "••••" in text
    assert ">@1</a>" in text  # that it changed is told


async def test_another_value_in_the_draft_is_told(plane, browser):
    await released(plane, "a: 1\n")
    await written(plane, "a: 4711\n")
    assert "4711" in await explained(browser, "a")
    await written(plane, "a: [broken\n")
    assert "In the draft" not in await explained(browser, "a")


async def test_a_key_that_does_not_exist_leads_to_those_like_it(plane, browser):
    await released(plane, "db:\n  pool: 1\n  host: h\nother: 1\n")
    found = section(await explained(browser, "db.pol"), "unknown")
    assert "explain?key=db.pool" in found
    assert "<bdi>other</bdi>" not in found


async def test_among_many_keys_those_like_it_are_found_as_well(plane, browser):
    await released(plane, "".join(f"k{number}:\n  pool-{number}: 1\n" for number in range(3_000)))
    assert "<bdi>k77.pool-77</bdi>" in await explained(browser, "k77.pool77x")


async def test_a_table_shows_its_keys(plane, browser):
    await released(plane, "db:\n  pool: 1\n  host: h\ndbx: 1\n")
    found = section(await explained(browser, "db"), "winner")
    assert "A table of 2 keys" in found
    assert "explain?key=db.host" in found
    assert "dbx" not in found


@pytest.mark.parametrize("key", ["a..b", "a[b", "."])
async def test_what_is_no_key_says_how_to_write_one(plane, browser, key):
    await released(plane, "a: 1\n")
    assert "This is no key." in await explained(browser, key)


async def test_no_key_and_no_release_say_what_to_do(plane, browser):
    await written(plane, "a: 1\n")
    assert "Open the draft" in (await browser.get(PAGE)).text
    await released(plane, "a: 1\n")
    assert "Write a key" in (await browser.get(PAGE)).text


async def test_objects_are_found_through_properties_and_references(plane, browser):
    await released(plane, "host: h\ndb:\n  url: x://${host}/\nother: 1\n")
    address = await graph(
        plane,
        properties={"DbConfig": "db", "OtherConfig": "other"},
        objects={"Pool": ("DbConfig",), "Service": ("Pool",), "Else": ("OtherConfig",)},
    )
    await reported(plane, *(report(plane, f"pay-{n}", graph=address) for n in range(3)), report(plane, "pay-9"))
    text = await explained(browser, "host")
    for name in ("DbConfig", "Pool", "Service"):
        assert f"<bdi>{name}</bdi>" in text
    assert "Else" not in text
    assert "3 of 4 instances have told of their objects." in text
    assert "explain?key=db.url" in text


async def test_instances_that_decide_a_key_themselves_are_listed(plane, browser):
    await released(plane, "db:\n  pool: 1\n")
    over = Override(key="db.pool", value="99", origin="env:DB__POOL", released="1", released_at="layer-0.yml:2")
    await reported(plane, report(plane, "pay-0", overrides=(over,)), report(plane, "pay-1"))
    found = section(await explained(browser, "db.pool"), "overrides")
    assert "pay-0" in found
    assert "env:DB__POOL" in found
    assert "pay-1" not in found
    assert "None, as they report." in await explained(browser, "db.host")


@pytest.mark.parametrize(("typed", "found"), [("db.p", ["db.pool", "db.port"]), ("HOST", ["db.host"]), ("zz", [])])
async def test_keys_are_suggested(plane, browser, typed, found):
    await released(plane, "db:\n  pool: 1\n  port: 2\n  host: h\n")
    answer = await browser.get(f"{PAGE}/keys", params={"key": typed})
    assert re.findall('value="([^"]*)"', answer.text) == found


async def answering(plane, values: dict[str, Explained]) -> None:
    """Answer the next question as these instances would."""
    asked = await question(plane)
    assert (asked.kind, asked.keys) == (AskKind.EXPLAIN, ("db.pool",))
    for name, one in values.items():
        answer = Answer(nonce=asked.nonce, instance=name, report=report(plane, name), explained=(one,))
        plane.of(Asking).took(("pay", "default"), answer)


async def test_instances_answer_what_it_is_there_and_from_where(plane, browser):
    await released(plane, "db:\n  pool: 1\n")
    await reported(plane, *(report(plane, f"pay-{number}") for number in range(3)))
    same = Explained(key="db.pool", value="1", origin="pay/default:layer-0.yml@1:2")
    other = Explained(key="db.pool", value="<b>99", origin="env:DB__POOL", overrode=("1 (layer-0.yml@1:2)",))
    said = {"pay-0": same, "pay-1": other, "pay-2": same}
    text, _ = await asyncio.gather(browser.post(f"{PAGE}/ask", data={"key": "db.pool"}), answering(plane, said))
    found = section(text.text, "answers")
    assert text.status_code == 200
    assert "3 of 3 answered." in found
    assert "&lt;b&gt;99" in found
    assert "another than in @1" in found
    assert "env:DB__POOL" in found
    assert found.count("another than in @1") == 1


async def test_one_instance_is_asked_alone(plane, browser):
    await released(plane, "db:\n  pool: 1\n")
    await reported(plane, *(report(plane, f"pay-{number}") for number in range(3)))
    said = {"pay-1": Explained(key="db.pool", value="1", origin="x")}
    asked = browser.post(f"{PAGE}/ask", data={"key": "db.pool", "instance": "pay-1"})
    text, _ = await asyncio.gather(asked, answering(plane, said))
    assert "1 of 1 answered." in text.text
    assert (await browser.post(f"{PAGE}/ask", data={"key": "db.pool", "instance": "nobody"})).status_code == 404
    assert (await browser.post(f"{PAGE}/ask", data={"key": "a..b"})).status_code == 400


async def test_no_other_site_makes_a_browser_ask(plane, browser):
    await released(plane, "a: 1\n")
    answer = await browser.post(f"{PAGE}/ask", data={"key": "a"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
