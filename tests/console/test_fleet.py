"""The fleet: which instances a query finds, what a row says, and what an export holds."""

from __future__ import annotations

import csv
import io
import re

import pytest

from herz.release.report import Override, Rehearsed, Status

from .conftest import released
from .fleets import cut, graph, report, reported

PAGE = "/console/apps/pay/default/fleet"
BASE = "db:\n  pool: 10\n"


@pytest.fixture
async def fleet(plane):
    """Six instances of two zones: one has failed, one is applying, one runs an old release."""
    await released(plane, BASE)
    await released(plane, "db:\n  pool: 20\n")
    await reported(
        plane,
        report(plane, "pay-0", labels={"zone": "eu"}),
        report(plane, "pay-1", labels={"zone": "us"}, patch_id="p1"),
        report(plane, "pay-2", labels={"zone": "eu"}, status=Status.FAILED, error="the pool is too large"),
        report(plane, "pay-3", labels={"zone": "us"}, status=Status.APPLYING),
    )
    await reported(plane, report(plane, "pay-4", labels={"zone": "us"}, config_version=1), age_s=300)
    await reported(plane, report(plane, "pay-5", labels={"zone": "eu"}, fingerprint="sha256:" + "0" * 64), age_s=60)


def names(text: str) -> list[str]:
    """The instances that are listed."""
    return re.findall(r'<th scope="row"><a href="[^"]*"><bdi>([^<]*)</bdi>', text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "012345"),
        ("q=pay-3", "3"),
        ("q=zone%3Deu+pool", "2"),
        ("q=TOO+LARGE", "2"),
        ("q=server-1", "012345"),
        ("state=failed", "2"),
        ("state=applying", "3"),
        ("state=differs", "45"),
        ("state=well", "01"),
        ("label=zone%3Deu", "025"),
        ("label=zone%3De", ""),
        ("label=zone", "012345"),
        ("label=zone%3Deu&state=failed", "2"),
        ("release=1", "4"),
        ("release=@2", "01235"),
        ("release=none", ""),
        ("patch=p1", "1"),
        ("differs=true", "2345"),
        ("differs=false", "01"),
        ("cohort=stable", "012345"),
        ("cohort=b1", ""),
        ("sort=state", "234501"),
        ("sort=age", "450123"),
        ("q=&label=&release=&sort=", "012345"),
    ],
)
async def test_a_query_finds_instances(fleet, browser, query, found):
    answer = await browser.get(f"{PAGE}?{query}")
    assert answer.status_code == 200
    assert names(answer.text) == [f"pay-{number}" for number in found]


@pytest.mark.parametrize("query", ["state=nonsense", "sort=colour", "release=x", "differs=perhaps"])
async def test_a_query_that_means_nothing_says_what_to_write(fleet, browser, query):
    answer = await browser.get(f"{PAGE}?{query}")
    assert answer.status_code == 400
    assert "What to do" in answer.text


async def test_states_are_counted_among_what_the_rest_of_the_query_finds(fleet, browser):
    text = (await browser.get(f"{PAGE}?label=zone%3Deu&state=failed")).text
    states = cut(r'<nav class="states".*?</nav>', text)
    assert re.findall(r"<strong>(\d+)</strong>", states) == ["3", "1", "0", "1", "1"]
    assert "state=well" in states
    assert "label=zone%3Deu" in states


async def test_a_row_says_what_runs_and_what_should(fleet, browser):
    text = (await browser.get(f"{PAGE}?q=pay-4")).text
    assert re.search(r">@1</a>.*should run.*>@2</a>", text, re.DOTALL)


async def test_another_fingerprint_than_that_of_the_release_is_marked(fleet, browser):
    assert "another" in (await browser.get(f"{PAGE}?q=pay-5")).text
    assert "another" not in (await browser.get(f"{PAGE}?q=pay-0")).text


async def test_what_instances_say_is_text(plane, browser):
    await released(plane, BASE)
    await reported(
        plane,
        report(
            plane,
            "pay-0",
            labels={"<b>": '"><script>alert(1)</script>'},
            status=Status.FAILED,
            error="<img src=x onerror=alert(1)>",
            patch_id="<i>p</i>",
            overrides=(Override(key="<u>", value="<s>", origin="<cite>", released="<a>", released_at="<em>"),),
            rehearsed=Rehearsed(number=1, digest="d", fingerprint="f", error="<h5>", unbuilt=("<h4>",)),
            graph=await graph(plane, properties={"</script><b>": "a..b"}, objects={"<o>": ("</script><b>",)}),
        ),
    )
    for address in (PAGE, f"{PAGE}/pay-0", "/console/apps/pay/default/explain?key=db.pool", f"{PAGE}?q=%3Cscript%3E"):
        answer = await browser.get(address)
        assert answer.status_code == 200
        main = answer.text[answer.text.index("<main") :]
        assert not re.search(r"<(script>|img|b>|i>|u>|s>|cite>|em>|h4>|o>)", main), address


async def test_a_fleet_without_instances_says_how_to_connect_one(plane, browser):
    await released(plane, BASE)
    text = (await browser.get(PAGE)).text
    assert "herz watch --source herz://SERVER:4379/pay" in text


async def test_a_hundred_are_on_a_page(plane, browser):
    await released(plane, BASE)
    await reported(plane, *(report(plane, f"pay-{number:03}") for number in range(150)))
    first = (await browser.get(PAGE)).text
    assert "1 to 100 of 150 instances" in first
    second = (await browser.get(f"{PAGE}?n=2&q=pay")).text
    assert names(second)[0] == "pay-100"
    assert len(names(second)) == 50
    assert names((await browser.get(f"{PAGE}?n=99")).text) == names(second)


async def test_an_export_holds_what_was_filtered(fleet, browser):
    answer = await browser.get("/console/apps/pay/default/fleet.csv?label=zone%3Deu")
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="fleet-pay-default.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["instance"] for row in rows] == ["pay-0", "pay-2", "pay-5"]
    assert rows[1]["error"] == "the pool is too large"
    assert rows[1]["labels"] == "zone=eu"
    assert rows[0]["release"] == rows[0]["should"] == "2"
    found = (await browser.get("/console/apps/pay/default/fleet.json?state=failed")).json()
    assert [one["instance"] for one in found] == ["pay-2"]
    assert (await browser.get("/console/apps/pay/default/fleet.json?q=nobody")).json() == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1"])
async def test_a_cell_of_an_export_is_no_formula(plane, browser, text):
    await released(plane, BASE)
    await reported(plane, report(plane, "pay-0", status=Status.FAILED, error=text, patch_id=text))
    answer = await browser.get("/console/apps/pay/default/fleet.csv")
    cells = next(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert cells["error"] == cells["patch_id"] == f"'{text}"


async def test_an_export_of_many_comes_in_pieces_and_whole(plane, browser):
    await released(plane, BASE)
    await reported(plane, *(report(plane, f"pay-{number:03}") for number in range(450)))
    assert len((await browser.get("/console/apps/pay/default/fleet.json")).json()) == 450
    assert len((await browser.get("/console/apps/pay/default/fleet.csv")).text.splitlines()) == 451


async def test_an_instance_has_its_overrides_its_labels_and_its_objects(plane, browser):
    await released(plane, BASE)
    address = await graph(plane, properties={"DbConfig": "db"}, objects={"Pool": ("DbConfig",)})
    over = Override(key="db.pool", value="99", origin="env:DB__POOL", released="10", released_at="layer-0.yml:2")
    await reported(plane, report(plane, "pay-0", labels={"zone": "eu"}, overrides=(over,), graph=address))
    text = (await browser.get(f"{PAGE}/pay-0")).text
    for word in ("env:DB__POOL", "99", "layer-0.yml:2", "zone=eu", "DbConfig", "Pool"):
        assert word in text
    assert '["properties:DbConfig","object:Pool"]' in text


async def test_a_clock_that_is_wrong_is_told(plane, browser):
    await released(plane, BASE)
    await reported(plane, report(plane, "pay-0"), age_s=90)
    assert "+90.0 s off" in (await browser.get(f"{PAGE}/pay-0")).text


async def test_an_instance_that_is_gone_has_a_page_that_waits_for_it(plane, browser):
    await released(plane, BASE)
    answer = await browser.get(f"{PAGE}/pay-0")
    assert answer.status_code == 200
    assert "When it connects, this page shows it." in answer.text
    await reported(plane, report(plane, "pay-0"))
    answer = await browser.get(f"{PAGE}/pay-0", headers={"x-herz-live": "1"})
    assert "as it should be" in answer.text


async def test_what_is_no_name_of_an_instance_is_refused(plane, browser):
    await released(plane, BASE)
    assert (await browser.get(f"{PAGE}/%3Cscript%3E")).status_code == 400


async def test_releases_patches_and_labels_of_the_fleet_are_offered(fleet, browser):
    text = (await browser.get(PAGE)).text
    form = cut(r'<form class="filter fleet-filter".*?</form>', text)
    assert re.findall(r'<option value="([^"]*)"', form) == [
        "zone=eu",
        "zone=us",
        "",
        "2",
        "1",
        "",
        "p1",
        "name",
        "state",
        "age",
    ]


async def test_a_filter_that_nothing_matches_any_more_stays_chosen(fleet, browser):
    text = (await browser.get(f"{PAGE}?release=9&patch=gone")).text
    assert '<option value="9" selected>' in text
    assert "<option selected>gone</option>" in text
    assert "No instance is like that." in text
