"""What a release would change, before it is one: keys, instances, objects; and a build that is not used."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from herz.release.report import Answer, AskKind, Rehearsed
from herz.server.asks import Asking

from .conftest import ADA, released, written
from .fleets import cut, graph, question, report, reported

PAGE = "/console/apps/pay/default/impact"


def cards(text: str) -> list[int]:
    """The figures: keys, instances, objects, unknown."""
    return [int(found) for found in re.findall(r'<div class="card[^>]*><strong>(\d+)</strong>', text)]


def drawn(text: str) -> Any:
    return json.loads(cut(r'id="graph-data">(.*?)</script>', text))


async def fleet(plane) -> None:
    """Two instances with a graph, one without."""
    address = await graph(
        plane,
        properties={"DbConfig": "db", "HttpConfig": "http"},
        objects={"Pool": ("DbConfig",), "Service": ("Pool", "HttpConfig")},
    )
    known = (report(plane, f"pay-{number}", graph=address) for number in range(2))
    await reported(plane, *known, report(plane, "pay-9"))


async def test_a_draft_tells_its_keys_instances_and_objects(plane, browser):
    await released(plane, "db:\n  pool: 1\n  password: s3cret\nhttp:\n  port: 1\nflag: true\n")
    await fleet(plane)
    await written(plane, "db:\n  pool: 2\n  password: t0p\nhttp:\n  port: 1\nflag: false\n")
    text = (await browser.get(PAGE)).text
    assert cards(text) == [3, 3, 2, 1]
    assert "s3cret" not in text
    assert "t0p" not in text
    assert '<span class="value">false</span>' in text
    assert "layer-0.yml:2" in text


async def test_it_is_drawn_from_keys_to_counts_of_instances(plane, browser):
    await released(plane, "db:\n  pool: 1\nother: 1\n")
    await fleet(plane)
    await written(plane, "db:\n  pool: 2\nother: 2\n")
    found = drawn((await browser.get(PAGE)).text)
    assert {one["id"] for one in found["nodes"]} == {
        "key:db.pool",
        "properties:DbConfig",
        "object:Pool",
        "object:Service",
        "instances:2",
    }
    assert sorted(map(tuple, found["edges"])) == [
        ("key:db.pool", "properties:DbConfig"),
        ("object:Pool", "object:Service"),
        ("object:Service", "instances:2"),
        ("properties:DbConfig", "object:Pool"),
    ]


async def test_names_in_a_drawing_end_no_script(plane, browser):
    await released(plane, "db:\n  '</script><b>': 1\n")
    address = await graph(plane, properties={"</script><i>": "db"}, objects={"<u>": ("</script><i>",)})
    await reported(plane, report(plane, "pay-0", graph=address))
    await written(plane, "db:\n  '</script><b>': 2\n")
    text = (await browser.get(PAGE)).text
    assert len(drawn(text)["nodes"]) == 4
    assert not re.search("<b>|<i>|<u>", text[text.index("<main") :])


async def test_a_bound_prefix_that_is_no_key_hinders_nobody(plane, browser):
    await released(plane, "a: 1\n")
    await reported(plane, report(plane, "pay-0", graph=await graph(plane, properties={"X": "a..b", "Y": "a"})))
    await written(plane, "a: 2\n")
    answer = await browser.get(PAGE)
    assert answer.status_code == 200
    assert cards(answer.text) == [1, 1, 0, 0]


async def test_a_release_that_nobody_runs_can_be_looked_at(plane, browser):
    await released(plane, "a: 1\n")
    await written(plane, "a: 2\n")
    await plane.desk.create("pay", "default", by=ADA, message="for later", publish=False)
    await written(plane, "a: 1\n")
    text = (await browser.get(PAGE, params={"release": "2"})).text
    assert "What release @2 would change" in text
    assert cards(text)[0] == 1
    assert (await browser.get(PAGE, params={"release": "9"})).status_code == 404
    assert (await browser.get(PAGE, params={"release": "x"})).status_code == 400


async def test_a_draft_that_changes_nothing_says_so(plane, browser):
    await released(plane, "a: 1\n")
    assert "Nothing: it is what is live, @1." in (await browser.get(PAGE)).text


async def test_a_draft_that_cannot_be_read_says_where(plane, browser):
    await released(plane, "a: 1\n")
    await written(plane, "a: 1\nb: [\n")
    answer = await browser.get(PAGE)
    assert answer.status_code == 200
    assert "layer-0.yml:" in answer.text


async def answering(plane, **facts) -> None:
    """Answer the next question as pay-0 would."""
    asked = await question(plane)
    assert asked.kind is AskKind.BUILD
    rehearsed = Rehearsed(number=0, digest=asked.digest or "", fingerprint="sha256:" + "a" * 64, **facts)
    answer = Answer(
        nonce=asked.nonce, instance="pay-0", report=report(plane, "pay-0"), rehearsed=rehearsed, rebuilt=("Pool",)
    )
    plane.of(Asking).took(("pay", "default"), answer)


async def test_an_instance_builds_it_and_the_outcome_is_shown(plane, browser):
    await released(plane, "db:\n  pool: 1\n")
    await fleet(plane)
    await written(plane, "db:\n  pool: 2\n")
    asked = browser.post(f"{PAGE}/build", data={"instance": "pay-0", "release": ""})
    answer, _ = await asyncio.gather(asked, answering(plane, unbuilt=("Lazy",)))
    assert answer.status_code == 200
    assert "pay-0 has built it; nothing of that is in use." in answer.text
    assert "Lazy" in answer.text


async def test_a_build_that_fails_says_why(plane, browser):
    await released(plane, "db:\n  pool: 1\n")
    await fleet(plane)
    await written(plane, "db:\n  pool: 2\n")
    asked = browser.post(f"{PAGE}/build", data={"instance": "pay-0", "release": ""})
    answer, _ = await asyncio.gather(asked, answering(plane, error="<b>100 sessions at most"))
    assert "&lt;b&gt;100 sessions at most" in answer.text


async def test_an_instance_that_is_not_there_builds_nothing(plane, browser):
    await released(plane, "a: 1\n")
    await written(plane, "a: 2\n")
    answer = await browser.post(f"{PAGE}/build", data={"instance": "nobody", "release": ""})
    assert answer.status_code == 404
    assert "no instance nobody" in answer.text
