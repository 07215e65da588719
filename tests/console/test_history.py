"""Releases: the history, one of them, two compared, publishing and going back."""

from __future__ import annotations

import re

import pytest

from herz.release.approval import Policy
from herz.release.content import Content, LayerText
from herz.server.masking import masked

from .conftest import ADA, BEN, released, written
from .fleets import report, reported

BASE = "/console/apps/pay/default"


async def stable(plane):
    return (await plane.desk.channel("pay", "default"))[0].stable.release.number


async def dormant(plane, text, message="later"):
    await written(plane, text)
    return (await plane.desk.create("pay", "default", by=ADA, message=message, publish=False)).number


async def test_without_a_release_the_page_says_what_to_do(browser):
    page = await browser.get(f"{BASE}/releases")
    assert page.status_code == 200
    assert "There is no release yet." in page.text
    assert f"{BASE}/draft" in page.text


async def test_the_history_says_how_each_release_stands(browser, plane):
    await released(plane, "a: 1\n", message="first")
    await released(plane, "a: 2\n", message="second")
    await dormant(plane, "a: 3\n")
    page = await browser.get(f"{BASE}/releases")
    rows = dict(re.findall(r'<tr id="release-(\d+)">(.*?)</tr>', page.text, re.DOTALL))
    assert list(rows) == ["3", "2", "1"]
    assert "dormant" in rows["3"]
    assert "Publish" in rows["3"]
    assert ">live<" in rows["2"]
    assert "Roll back" not in rows["2"]
    assert "was live" in rows["1"]
    assert "Roll back" in rows["1"]
    assert f"{BASE}/compare?from=1&amp;to=2" in rows["2"]


async def test_the_history_is_read_page_by_page(browser, plane):
    for number in range(23):
        await dormant(plane, f"a: {number}\n")
    first = await browser.get(f"{BASE}/releases")
    assert re.findall(r'id="release-(\d+)"', first.text) == [str(number) for number in range(23, 3, -1)]
    assert "before=4" in first.text
    rest = await browser.get(f"{BASE}/releases", params={"before": 4})
    assert re.findall(r'id="release-(\d+)"', rest.text) == ["3", "2", "1"]
    assert "Older" not in rest.text
    end = await browser.get(f"{BASE}/releases", params={"before": 1})
    assert "There is no older release." in end.text


@pytest.mark.parametrize("where", ["draft", "releases", "releases/1", "compare", "draft/text"])
async def test_an_application_that_cannot_be_is_refused_as_text(browser, where):
    page = await browser.get(f"/console/apps/%3Cscript%3E/default/{where}")
    assert page.status_code == 400
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize("number", ["0", "99999999999999999999", "x", "1.5"])
async def test_what_is_no_number_of_a_release_has_no_page(browser, number):
    assert (await browser.get(f"{BASE}/releases/{number}")).status_code in (400, 404)


async def test_going_back_takes_the_name_and_resets_the_draft(browser, plane):
    await released(plane, "a: 1\n")
    await released(plane, "a: 2\n")
    seen = (await plane.desk.drafts.facts("pay", "default")).revision
    asked = {"release": 1, "message": "back to @1", "expect": seen}
    refused = await browser.post(f"{BASE}/releases/rollback", data={**asked, "confirm": "x"})
    assert refused.status_code == 400
    assert await stable(plane) == 2
    answer = await browser.post(f"{BASE}/releases/rollback", data={**asked, "confirm": "pay"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/releases")
    assert await stable(plane) == 1
    assert (await plane.desk.drafts.get("pay", "default")).content.layers[0].text == "a: 1\n"


async def test_going_back_over_a_draft_that_was_not_seen_is_refused(browser, plane):
    await released(plane, "a: 1\n")
    await released(plane, "a: 2\n")
    seen = (await plane.desk.drafts.facts("pay", "default")).revision
    await written(plane, "a: 3\n")
    answer = await browser.post(
        f"{BASE}/releases/rollback", data={"release": 1, "message": "back", "expect": seen, "confirm": "pay"}
    )
    assert answer.status_code == 409
    assert await stable(plane) == 2


async def test_a_dormant_release_is_published_by_its_application_s_name(browser, plane):
    await released(plane, "a: 1\n")
    number = await dormant(plane, "a: 2\n")
    asked = {"release": number, "message": "now"}
    assert (await browser.post(f"{BASE}/releases/publish", data={**asked, "confirm": "PAY"})).status_code == 400
    assert (await browser.post(f"{BASE}/releases/publish", data={**asked, "confirm": "pay"})).status_code == 303
    assert await stable(plane) == number


async def test_a_dormant_release_is_approved_on_its_page_and_not_by_its_author(browser, plane):
    await plane.desk.policies.put("pay", "default", Policy(layers=("*",)), by=BEN)
    layers = (LayerText(name="one.yml", text="a: 1\n"),)
    await plane.desk.drafts.write("pay", "default", Content(layers=layers), by=BEN, expect=0)
    made = await plane.desk.create("pay", "default", by=BEN, message="first", publish=False)
    assert "0 of 1 approvals" in (await browser.get(f"{BASE}/releases/1")).text
    other = await browser.post(f"{BASE}/releases/1/approve", data={"digest": "sha256:" + "0" * 64})
    assert other.status_code == 409  # not what was looked at
    answer = await browser.post(f"{BASE}/releases/1/approve", data={"digest": made.digest})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/releases/1")
    assert "1 of 1 approvals" in (await browser.get(f"{BASE}/releases/1")).text
    own = await dormant(plane, "a: 2\n")
    digest = (await plane.desk.release("pay", "default", own)).digest
    refused = await browser.post(f"{BASE}/releases/{own}/approve", data={"digest": digest})
    assert refused.status_code == 403
    assert "wrote some of it" in refused.text


async def test_a_release_that_does_not_exist_is_not_found(browser, plane):
    await released(plane, "a: 1\n")
    assert (await browser.get(f"{BASE}/releases/7")).status_code == 404
    answer = await browser.post(f"{BASE}/releases/publish", data={"release": 7, "message": "m", "confirm": "pay"})
    assert answer.status_code == 404


async def test_one_release_tells_everything_of_itself(browser, plane):
    await released(plane, "a: 1\n", message="first")
    await released(plane, "a: 2\nb: 1\n", message="second")
    await reported(plane, report(plane, "pay-0"), report(plane, "pay-1"))
    page = await browser.get(f"{BASE}/releases/2")
    assert page.status_code == 200
    assert "<title>@2" in page.text
    assert "What it changed against @1" in page.text
    assert '<bdi class="key">b</bdi>' in page.text
    assert f'<a href="{BASE}/fleet?release=2">2 instances</a>' in page.text
    assert "a: 2\nb: 1\n</pre>" in page.text


async def test_the_first_release_is_compared_with_nothing(browser, plane):
    await released(plane, "a: 1\n")
    page = await browser.get(f"{BASE}/releases/1")
    assert "The first release" in page.text


# --- secrets


SECRETS = {
    "yaml": 'db:\n  password: hunter2\n  host: db  # password: hunter2\nlist:\n  - token: "hunter2"\n'
    "secrets: {a: hunter2}\n",
    "json": '{"db": {"password": "hunter2", "host": "db"}, "items": [{"api-key": "hunter2"}]}',
    "toml": '[db]\npassword = "hunter2"\nhost = "db"\n',
    "properties": "db.password=hun\\\n  ter2\ndb.host=db\n# db.password=hunter2\n",
    "env": "DB__PASSWORD=hunter2\nDB__HOST=db\n",
}


@pytest.mark.parametrize("format", SECRETS)
async def test_a_release_and_a_comparison_show_no_secret(browser, plane, format):
    layers = (LayerText(name="one", text=SECRETS[format], format=format),)
    await plane.desk.drafts.write("pay", "default", Content(layers=layers), by=ADA, expect=None)
    await plane.desk.create("pay", "default", by=ADA, message="first")
    for url in (f"{BASE}/releases/1", f"{BASE}/compare?from=1&to=draft", f"{BASE}/compare?from=live&to=1"):
        page = await browser.get(url)
        assert page.status_code == 200
        assert "••••" in page.text
        assert "hunter2" not in page.text
        assert "ter2" not in page.text.replace("filter2", "")
        assert "db" in page.text


@pytest.mark.parametrize(
    ("format", "text", "kept"),
    [
        ("toml", '[tls]\npassword = """\nhun\\\n  ter2\n# ter2\n[x]"""\nport = 1\n', "port = 1"),
        ("toml", "secrets = [\n  'ab', # c\n  'cd',\n]\nport = 1\n", "port = 1"),
        ("toml", '[db]\npassword = "ab"\n\n[other]\nport = 1\n', "[other]\nport = 1"),
        ("env", 'TOKEN="ab\ncd"\nPORT=1\n', "PORT=1"),
        ("properties", "token = a\\\n  b\\\n  cd\nport = 1\n", "port = 1"),
        ("yaml", 'token: "a\\x62\n  cd"\nport: 1\n', "port: 1"),
        ("yaml", "token: >-\n  ab\n\n  cd\nport: 1\n", "port: 1"),
        ("yaml", "it: &it cd\ntoken: *it\nport: 1\n", "port: 1"),
        ("json", '{\n\t"token": "ab",\n\t"port": 1\n}\n', '"port"'),
    ],
)
def test_a_secret_of_several_lines_or_of_few_letters_is_masked(format, text, kept):
    shown = masked(LayerText(name="one", text=text, format=format))
    assert shown is not None
    assert kept in shown
    for part in ("ab", "cd", "ter2", "hun"):
        assert part not in shown, shown


async def test_an_anchored_secret_is_masked_at_its_anchor(browser, plane):
    await released(plane, "shared: &it hunter2\ndb:\n  password: *it\n")
    page = await browser.get(f"{BASE}/releases/1")
    assert "hunter2" not in page.text


async def test_a_block_of_text_under_a_secret_key_is_masked_whole(browser, plane):
    await released(plane, "tls:\n  private-key: |\n    BEGIN\n    abcd\n  port: 1\n")
    page = await browser.get(f"{BASE}/releases/1")
    assert "BEGIN" not in page.text
    assert "abcd" not in page.text
    assert "port: 1" in page.text


# --- comparing


async def test_two_releases_are_compared_key_by_key_and_side_by_side(browser, plane):
    await released(plane, "a: 1\n")
    await released(plane, "a: 2\n", "b: 1\n")
    page = await browser.get(f"{BASE}/compare?from=1&to=2")
    assert "2 keys differ" in page.text
    assert re.search(r'data-side="before"[^>]*>\n?a: 1\n</pre>', page.text)
    assert re.search(r'data-side="after"[^>]*>\n?a: 2\n</pre>', page.text)
    assert 'layer-1.yml</code> <span class="badge good">new' in page.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=live&to=draft", 200),
        ("", 200),
        ("from=x", 400),
        ("from=99", 404),
        ("from=1&to=%00", 400),
        ("from=²", 400),
    ],
)
async def test_live_and_draft_are_sides_and_nothing_else_is(browser, plane, query, status):
    await released(plane, "a: 1\n")
    assert (await browser.get(f"{BASE}/compare?{query}")).status_code == status


async def test_a_draft_that_cannot_be_read_is_compared_no_further(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, "a: [\npassword: hunter2\n")
    page = await browser.get(f"{BASE}/compare?from=live&to=draft")
    assert page.status_code == 422
    assert "hunter2" not in page.text
    assert "cannot be shown here" in page.text


@pytest.mark.slow
async def test_large_layers_are_told_of_not_shown(browser, plane):
    await released(plane, "a: 1\n")
    await released(plane, "".join(f"key{number}: {'v' * 1000}\n" for number in range(10_000)))
    for url in (f"{BASE}/releases/2", f"{BASE}/compare?from=1&to=2"):
        page = await browser.get(url)
        assert page.status_code == 200
        assert len(page.content) < 1_000_000
        assert "too large" in page.text
