"""The draft's page: who sees what, saving, conflicts, releasing, approving, and texts of any kind."""

from __future__ import annotations

import re

import pytest

from herz.release.approval import Policy
from herz.release.content import Content, LayerText
from herz.server.hub import Hub

from .conftest import ADA, BEN, released, written

DRAFT = "/console/apps/pay/default/draft"


def body(text: str, *, expect: int = 0, name: str = "layer-0.yml", **further: object) -> dict[str, object]:
    """What the editor sends."""
    return {"content": {"layers": [{"name": name, "text": text}]}, "expect": expect, **further}


async def revision(plane, app="pay"):
    found = await plane.desk.drafts.facts(app, "default")
    return 0 if found is None else found.revision


async def text_of(plane):
    draft = await plane.desk.drafts.get("pay", "default")
    return draft.content.layers[0].text


async def reached(plane):
    await plane.of(Hub).reached((await plane.store.status()).revision, 5.0)


# --- looking


async def test_a_new_application_begins_with_an_empty_draft(browser):
    answer = await browser.get("/console/new?app=fresh")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/apps/fresh/default/draft")
    page = await browser.get("/console/apps/fresh/default/draft")
    assert page.status_code == 200
    assert "There is no draft and no release yet" in page.text
    assert "Nothing is saved yet." in page.text


@pytest.mark.parametrize("name", ["a b", "../x", "-x", "<script>", "x" * 129])
async def test_a_name_that_is_none_is_refused_and_kept(browser, name):
    page = await browser.get("/console/new", params={"app": name})
    assert page.status_code == 400
    assert "is not the name of an application" in page.text
    assert "<script>" not in page.text.replace("<script ", "")


async def test_without_a_name_the_page_asks_for_one(browser):
    page = await browser.get("/console/new")
    assert page.status_code == 200
    assert 'name="app"' in page.text


async def test_without_a_draft_the_text_is_what_is_live(browser, plane):
    number = await released(plane, "a: 1\n")
    await plane.desk.drafts.delete("pay", "default", by=ADA)
    page = await browser.get(DRAFT)
    assert "There is no draft. What you write begins from what is live:" in page.text
    answer = (await browser.get(f"{DRAFT}/text")).json()
    assert (answer["revision"], answer["base"], answer["layers"]) == (
        0,
        number,
        [{"name": "layer-0.yml", "text": "a: 1\n"}],
    )


async def test_the_saved_draft_is_shown_against_what_is_live(browser, plane):
    await released(plane, "a: 1\nb: 2\n")
    await written(plane, "a: 2\nc: 3\n")
    page = await browser.get(DRAFT)
    for key in ("a", "b", "c"):
        assert f'<bdi class="key">{key}</bdi>' in page.text
    assert "layer-0.yml:1" in page.text
    assert "taken out" in page.text


async def test_secrets_are_masked_everywhere_but_in_the_text_that_is_edited(browser, plane):
    await released(plane, "db:\n  password: hunter2\n")
    await written(plane, "db:\n  password: hunter3\n")
    page = await browser.get(DRAFT)
    assert '<bdi class="key">db.password</bdi>' in page.text
    assert "hunter" not in page.text
    difference = await browser.post(f"{DRAFT}/difference", json=body("db:\n  password: hunter4\n"))
    assert "••••" in difference.text
    assert "hunter" not in difference.text
    assert "hunter3" in (await browser.get(f"{DRAFT}/text")).text


async def test_faults_of_the_saved_draft_keep_it_from_being_released(browser, plane):
    await plane.desk.schemas.put("pay", "default", {"properties": {"a": {"type": "integer"}}}, by=ADA)
    await written(plane, "a: x\n")
    page = await browser.get(DRAFT)
    assert "1 fault keeps it from being released" in page.text
    assert "<code>layer-0.yml:1</code>" in page.text
    answer = await browser.post(
        f"{DRAFT}/release", data={"expect": await revision(plane), "message": "now", "how": "dormant"}
    )
    assert answer.status_code == 422
    assert "nothing was released" in answer.text
    assert 'value="now"' in answer.text  # what was typed is kept


async def test_a_draft_that_cannot_be_read_is_still_shown_to_be_mended(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, "a: [\n")
    page = await browser.get(DRAFT)
    assert page.status_code == 200
    assert "Mend the text above, then save it." in page.text


# --- saving


async def test_saving_writes_the_draft_as_the_reader(browser, plane):
    answer = await browser.post(DRAFT, json=body("a: 1 # why\n", message="first"))
    assert answer.status_code == 200
    draft = await plane.desk.drafts.get("pay", "default")
    assert answer.json()["revision"] == draft.revision
    assert (draft.author, draft.message, draft.content.layers[0].text) == ("ada", "first", "a: 1 # why\n")


async def test_whoever_is_slower_sees_both_and_loses_nothing(browser, plane):
    await released(plane, "a: 1\nb: 1\n")
    seen = await revision(plane)
    await plane.desk.drafts.write(
        "pay", "default", Content(layers=(LayerText(name="layer-0.yml", text="a: 2\nb: 9\n"),)), by=BEN, expect=seen
    )
    answer = await browser.post(DRAFT, json=body("a: 3\nb: 1\n", expect=seen))
    assert answer.status_code == 409
    assert "ben saved another draft" in answer.text
    assert 'data-key="a"' in answer.text
    assert 'data-key="b"' not in answer.text  # only they changed it
    assert await text_of(plane) == "a: 2\nb: 9\n"
    assert f'data-actual="{await revision(plane)}"' in answer.text


async def test_a_conflict_with_a_draft_that_is_gone_says_so(browser, plane):
    await written(plane, "a: 1\n")
    seen = await revision(plane)
    await plane.desk.drafts.delete("pay", "default", by=BEN)
    answer = await browser.post(DRAFT, json=body("a: 3\n", expect=seen))
    assert answer.status_code == 409
    assert "thrown away meanwhile" in answer.text
    assert 'data-actual="0"' in answer.text


async def test_mine_is_kept_by_writing_it_on_their_revision(browser, plane):
    await written(plane, "a: 2\n")
    answer = await browser.post(DRAFT, json=body("a: 3\n", expect=await revision(plane)))
    assert answer.status_code == 200
    assert await text_of(plane) == "a: 3\n"


async def test_a_layer_that_is_none_is_refused_with_the_reason(browser):
    answer = await browser.post(DRAFT, json=body("a: 1\n", name="../x"))
    assert answer.status_code == 400
    assert "is not the name of a layer" in answer.text


async def test_the_draft_is_thrown_away_by_its_name_only(browser, plane):
    await written(plane, "a: 1\n")
    seen = await revision(plane)
    refused = await browser.post(f"{DRAFT}/delete", data={"confirm": "shop", "expect": seen})
    assert refused.status_code == 400
    assert await revision(plane) == seen
    answer = await browser.post(f"{DRAFT}/delete", data={"confirm": "pay", "expect": seen})
    assert answer.status_code == 303
    assert await revision(plane) == 0


# --- releasing


async def test_a_release_for_everybody_needs_the_name_typed(browser, plane):
    await written(plane, "a: 1\n")
    asked = {"expect": await revision(plane), "message": "go", "how": "all"}
    refused = await browser.post(f"{DRAFT}/release", data={**asked, "confirm": "nay"})
    assert refused.status_code == 400
    assert await plane.desk.releases("pay", "default") == ()
    answer = await browser.post(
        f"{DRAFT}/release", data={**asked, "confirm": "pay", "git_commit": "abc", "patch_id": "p1"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/apps/pay/default/releases/1")
    (made,) = await plane.desk.releases("pay", "default")
    assert (made.author, made.message, made.patch_id, made.git_commit) == ("ada", "go", "p1", "abc")
    assert (await plane.desk.channel("pay", "default"))[0].stable.release.number == 1


async def test_a_release_that_is_rolled_out_is_dormant_and_leads_to_the_rollout(browser, plane):
    await written(plane, "a: 1\n")
    answer = await browser.post(
        f"{DRAFT}/release", data={"expect": await revision(plane), "message": "go", "how": "gradual"}
    )
    assert answer.headers["location"] == "/console/apps/pay/default/rollouts/new?release=1"
    assert (await plane.desk.channel("pay", "default"))[0].stable.release is None


async def test_a_draft_that_was_changed_since_is_not_released(browser, plane):
    await written(plane, "a: 1\n")
    seen = await revision(plane)
    await written(plane, "a: 2\n")
    answer = await browser.post(f"{DRAFT}/release", data={"expect": seen, "message": "go", "how": "dormant"})
    assert answer.status_code == 409
    assert await plane.desk.releases("pay", "default") == ()


async def test_a_release_needs_a_message(browser, plane):
    await written(plane, "a: 1\n")
    answer = await browser.post(
        f"{DRAFT}/release", data={"expect": await revision(plane), "message": " ", "how": "dormant"}
    )
    assert answer.status_code == 400
    assert "a message is needed" in answer.text


async def test_what_needs_approval_says_so_and_is_not_published(browser, plane):
    await plane.desk.policies.put("pay", "default", Policy(layers=("*",)), by=ADA)
    await written(plane, "a: 1\n")
    page = await browser.get(DRAFT)
    assert "It changes layer-0.yml: 0 of 1 approvals." in page.text
    assert "Written by ada, who cannot approve it." in page.text
    asked = {"expect": await revision(plane), "message": "go", "how": "all", "confirm": "pay"}
    refused = await browser.post(f"{DRAFT}/release", data=asked)
    assert refused.status_code == 409
    assert "needs approval" in refused.text
    half = await browser.post(f"{DRAFT}/release", data={**asked, "force": "yes"})
    assert half.status_code == 400  # force is typed, too
    forced = await browser.post(f"{DRAFT}/release", data={**asked, "force": "yes", "confirm": "force pay"})
    assert forced.status_code == 303


async def test_an_author_cannot_approve_and_somebody_else_can_and_take_it_back(browser, plane):
    await plane.desk.policies.put("pay", "default", Policy(layers=("*",)), by=BEN)
    await written(plane, "a: 1\n")
    digest = (await plane.desk.drafts.facts("pay", "default")).digest
    refused = await browser.post(f"{DRAFT}/approve", data={"digest": digest})
    assert refused.status_code == 403
    layers = (LayerText(name="layer-0.yml", text="b: 1\n"),)
    await plane.desk.drafts.delete("pay", "default", by=BEN)
    draft = await plane.desk.drafts.write("pay", "default", Content(layers=layers), by=BEN, expect=0)
    given = await browser.post(f"{DRAFT}/approve", data={"digest": draft.digest, "message": "read"})
    assert given.status_code == 303
    assert "1 of 1 approvals" in (await browser.get(DRAFT)).text
    taken = await browser.post(f"{DRAFT}/approve", data={"digest": draft.digest, "withdraw": "yes"})
    assert taken.status_code == 303
    assert "0 of 1 approvals" in (await browser.get(DRAFT)).text


# --- texts of any kind


async def test_hostile_keys_and_values_are_shown_as_text(browser, plane):
    await released(plane, "ok: 1\n")
    await written(
        plane, '"<script>alert(1)</script>": "</script><img src=x onerror=alert(1)>"\nturn: "a\\u202Eb\\u200Bc"\n'
    )
    for page in (await browser.get(DRAFT), await browser.get("/console/apps/pay/default/compare?from=live&to=draft")):
        assert "<script>alert" not in page.text
        assert "<img" not in page.text.replace('<img src="/console/static', "")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "a⟨U+202E⟩b⟨U+200B⟩c" in page.text


async def test_letters_that_turn_the_line_are_visible_in_messages(browser, plane):
    await released(plane, "a: 1\n", message="safe\u202egnihton")
    for url in ("releases", "releases/1", "compare?from=1&to=live"):
        page = await browser.get(f"/console/apps/pay/default/{url}")
        assert "\u202e" not in page.text
        assert "safe⟨U+202E⟩gnihton" in page.text


async def test_a_long_value_is_cut_and_shown_whole_when_asked_for(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, f"a: {'x' * 10_000}\n")
    page = await browser.get(DRAFT)
    assert page.text.count("x" * 10_000) == 1
    assert re.search(r"<summary><bdi [^>]*>x{200}…</bdi> <span class=\"more\">show all", page.text)


async def test_a_value_of_a_megabyte_is_never_sent_whole(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, f"a: {'x' * 1_000_000}\n")
    page = await browser.get(DRAFT)
    assert len(page.content) < 100_000
    assert "characters more" in page.text


async def test_many_long_values_make_no_endless_page(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, "".join(f"k{number}: {'x' * 10_000}\n" for number in range(90)))
    page = await browser.get(DRAFT)
    assert len(page.content) < 400_000
    assert "characters more" in page.text


async def test_thousands_of_changes_are_counted_not_listed(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, "".join(f"k{number}: {number}\n" for number in range(2000)))
    page = await browser.get(DRAFT)
    assert "1701 keys more differ." in page.text
    assert len(page.content) < 200_000


@pytest.mark.slow
async def test_a_draft_of_ten_megabytes_is_compared_only_when_asked_for(browser, plane):
    await released(plane, "a: 1\n")
    await written(plane, "".join(f"key{number}: {'v' * 1000}\n" for number in range(10_000)))
    page = await browser.get(DRAFT)
    assert len(page.content) < 50_000
    assert "it is compared when you ask for it" in page.text
    whole = await browser.get(DRAFT, params={"whole": "true"})
    assert "keys more differ" in whole.text
    assert len(whole.content) < 1_000_000
