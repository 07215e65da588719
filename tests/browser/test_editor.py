"""The draft's editor in a browser: faults as they are typed, saving, releasing, comparing, going back, two editors."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from herz.release.content import Content, LayerText

pytestmark = pytest.mark.slow

SCHEMA = {
    "title": "Payments",
    "properties": {
        "db": {
            "title": "Database",
            "properties": {
                "pool": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Sessions at once."},
                "password": {"type": "string"},
                "hosts": {"type": "array", "items": {"type": "string"}},
            },
        },
        "mode": {"enum": ["fast", "safe"]},
    },
}
TEXT = "# ours\ndb:\n  pool: 10  # sessions\n  password: hunter2\nmode: safe\n"


def content(text, *more):
    names = ["application.yml", "region-eu.yml"]
    return Content(
        layers=tuple(LayerText(name=name, text=one) for name, one in zip(names, (text, *more), strict=False))
    )


@pytest_asyncio.fixture(loop_scope="session")
async def live(pay):
    """The test's application with a schema, and release 1."""
    await pay.set_schema(SCHEMA)
    await pay.write_draft(content(TEXT))
    await pay.release("first")
    return pay


async def opened(page: Page, app: str) -> Page:
    """The page with its editor ready."""
    await page.goto(f"/console/apps/{app}/default/draft")
    await page.locator("body[data-editor=ready]").wait_for()
    await expect(page.locator("#faults")).to_contain_text("No faults")
    return page


async def rewrite(page: Page, before: str, after: str) -> None:
    """Type `after` where `before` stands in the editor, by the keyboard."""
    editor = page.locator("#editor .cm-content")
    found = await editor.evaluate(
        """(content, before) => {
          const walker = document.createTreeWalker(content, NodeFilter.SHOW_TEXT);
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.indexOf(before);
            if (at < 0) continue;
            content.focus();
            getSelection().setBaseAndExtent(node, at, node, at + before.length);
            return true;
          }
          return false;
        }""",
        before,
    )
    assert found, before
    await page.keyboard.insert_text(after)


async def saved(page: Page) -> None:
    await page.get_by_role("button", name="Save draft").click()
    await expect(page.locator("#state")).to_have_text("Saved")


async def test_a_fault_is_marked_while_typing_and_goes_when_it_is_mended(page, live, app):
    await opened(page, app)
    await rewrite(page, "10", "500")
    faults = page.locator("#faults")
    await expect(faults).to_contain_text("Faults: 1")
    await expect(faults).to_contain_text("db.pool")
    await expect(page.locator("#editor .cm-lintRange-error")).to_have_count(1)
    await expect(page.locator("#editor .cm-lint-marker-error")).to_have_count(1)
    await faults.get_by_role("button", name="application.yml:3").click()
    await expect(page.locator("#editor .cm-content")).to_be_focused()
    await expect(page.locator("#editor .cm-activeLine")).to_contain_text("pool")
    await rewrite(page, "500", "50")
    await expect(faults).to_contain_text("No faults")
    await expect(page.locator("#editor .cm-lintRange-error")).to_have_count(0)


async def test_another_draft_is_told_of_once_it_is_there_and_not_before(page, live, app):
    fresh = asyncio.Event()
    await page.expose_function("freshened", fresh.set)
    await page.add_init_script("document.addEventListener('herz:fresh', () => freshened())")

    async def late(route):
        await fresh.wait()  # the page has asked for itself again before the editor has its text
        await route.continue_()

    await page.route("**/draft/text", late)
    await opened(page, app)
    await expect(page.locator("#notice")).to_be_hidden()
    await live.set({"mode": "fast"})
    await expect(page.locator("#notice")).to_contain_text("saved another draft")
    await page.get_by_role("button", name="Load it").click()
    await expect(page.locator("#editor")).to_contain_text("mode: fast")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_a_change_is_saved_compared_released_and_taken_back(page, live, app):
    await opened(page, app)
    await rewrite(page, "10", "20")
    await expect(page.locator("#state")).to_have_text("Not saved")
    await expect(page.get_by_role("button", name="Release…")).to_be_disabled()
    await saved(page)
    change = page.locator("#saved").get_by_role("row", name="db.pool")
    await expect(change).to_contain_text("10")
    await expect(change).to_contain_text("20")

    await page.get_by_role("button", name="Release…").click()
    dialog = page.get_by_role("dialog", name="Release this draft")
    await dialog.get_by_label("Why").fill("twice as many")
    await dialog.get_by_label("Everybody, at once").check()
    release = dialog.get_by_role("button", name="Release", exact=True)
    await expect(release).to_be_disabled()
    await dialog.get_by_label(f"Type {app} to publish").fill(app)
    await release.click()
    await expect(page).to_have_title(f"@2 · {app} · Herz")
    await expect(page.locator("#facts")).to_contain_text("twice as many")

    await page.get_by_role("link", name="Releases").click()
    await expect(page.get_by_role("row", name="@2")).to_contain_text("live")
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator("#keys").get_by_role("row", name="db.pool")).to_contain_text("20")
    await expect(page.locator(".cm-mergeView .cm-changedText").first).to_be_visible()
    await expect(page.locator(".beside")).not_to_contain_text("hunter2")

    await page.go_back()
    await page.get_by_role("button", name="Roll back @1").click()
    dialog = page.get_by_role("dialog", name="Roll back @1")
    await expect(dialog.get_by_label("Why")).to_have_value("back to @1")
    await dialog.get_by_label(f"Type {app}").fill(app)
    await dialog.get_by_role("button", name="Roll back").click()
    await expect(page.get_by_role("row", name="@1")).to_contain_text("live")
    await expect(page.get_by_role("row", name="@2")).to_contain_text("was live")
    assert (await live.channel()).stable.release.number == 1


async def test_two_editors_at_once_lose_nothing(visits, live, app):
    ada, ben = await visits(), await visits()
    one, other = await opened(await ada.page(), app), await opened(await ben.page(), app)
    await rewrite(one, "10", "20")
    await rewrite(other, "10", "30")
    await rewrite(other, "safe", "fast")
    await saved(other)
    await expect(one.locator("#notice")).to_contain_text("saved another draft while you were editing")
    await expect(one.locator("#editor")).to_contain_text("pool: 20")

    await one.get_by_role("button", name="Save draft").click()
    conflict = one.get_by_role("region", name="Somebody else was quicker")
    row = conflict.get_by_role("row", name="db.pool")
    await expect(row).to_contain_text("10")
    await expect(row).to_contain_text("20")
    await expect(row).to_contain_text("30")
    await row.get_by_label("30").check()
    await conflict.get_by_role("button", name="Put both together").click()
    await expect(conflict).to_have_count(0)
    await expect(one.locator("#editor")).to_contain_text("pool: 30  # sessions")
    await expect(one.locator("#editor")).to_contain_text("mode: fast")
    await one.get_by_role("button", name="Discard").wait_for()
    draft = await live.draft()
    assert "pool: 30" in draft.content.layers[0].text


async def test_mine_replaces_theirs_when_i_say_so(visits, live, app):
    ada, ben = await visits(), await visits()
    one, other = await opened(await ada.page(), app), await opened(await ben.page(), app)
    await rewrite(one, "10", "20")
    await rewrite(other, "10", "30")
    await saved(other)
    await one.get_by_role("button", name="Save draft").click()
    await one.get_by_role("button", name="Keep mine").click()
    await expect(one.locator("#state")).to_have_text("Saved")
    assert "pool: 20" in (await live.draft()).content.layers[0].text
    await expect(other.locator("#notice")).to_contain_text("saved another draft")
    await other.get_by_role("button", name="Load it").click()
    await expect(other.locator("#editor")).to_contain_text("pool: 20")


async def test_theirs_is_taken_and_undo_brings_mine_back(visits, live, app):
    ada, ben = await visits(), await visits()
    one, other = await opened(await ada.page(), app), await opened(await ben.page(), app)
    await rewrite(one, "10", "20")
    await rewrite(other, "10", "30")
    await saved(other)
    await one.get_by_role("button", name="Save draft").click()
    await one.get_by_role("button", name="Take theirs").click()
    await expect(one.locator("#editor")).to_contain_text("pool: 30")
    await expect(one.locator("#state")).to_have_text("Saved")
    await one.locator("#editor .cm-content").press("Control+z")
    await expect(one.locator("#editor")).to_contain_text("pool: 20")


async def test_unsaved_text_survives_a_reload_and_is_forgotten_once_saved(page, live, app):
    await opened(page, app)
    page.on("dialog", lambda dialog: dialog.accept())  # the browser asks whether to leave
    await rewrite(page, "10", "42")
    await page.reload()
    await expect(page.locator("#notice")).to_contain_text("Your unsaved text was restored.")
    await expect(page.locator("#editor")).to_contain_text("pool: 42")
    await expect(page.locator("#state")).to_have_text("Not saved")
    await saved(page)
    await page.reload()
    await page.locator("body[data-editor=ready]").wait_for()
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator("#editor")).to_contain_text("pool: 42")


async def test_leaving_with_unsaved_text_is_asked_about(page, live, app):
    await opened(page, app)
    await rewrite(page, "10", "42")
    asked = []

    async def answered(dialog):
        asked.append(dialog.type)
        await dialog.accept()

    page.on("dialog", answered)
    await page.goto("/console/")
    assert asked == ["beforeunload"]


async def test_a_field_of_the_form_sets_the_text_and_keeps_its_comments(page, live, app):
    await opened(page, app)
    await page.get_by_role("button", name="Form").click()
    pool = page.get_by_label("pool", exact=True)
    await expect(pool).to_have_value("10")
    await pool.fill("25")
    await pool.press("Tab")
    await expect(page.locator("#state")).to_have_text("Not saved")
    password = page.get_by_label("password", exact=True)
    await expect(password).to_have_value("")
    await expect(password).to_have_attribute("placeholder", "••••")
    await page.get_by_label("hosts", exact=True).fill("one\ntwo")
    await page.get_by_label("mode", exact=True).select_option(label='"fast"')
    await page.get_by_role("button", name="Text", exact=True).click()
    editor = page.locator("#editor")
    await expect(editor).to_contain_text("pool: 25  # sessions")
    await expect(editor).to_contain_text("mode: fast")
    await expect(editor).to_contain_text("hosts:")
    await saved(page)
    text = (await live.draft()).content.layers[0].text
    assert text.startswith("# ours\ndb:\n  pool: 25  # sessions\n  password: hunter2\n")


@pytest.mark.parametrize("how", ["by the button", "by the keyboard"])
async def test_a_field_that_is_still_being_typed_in_is_saved_as_well(page, live, app, how):
    await opened(page, app)
    await page.get_by_role("button", name="Form").click()
    await page.get_by_label("pool", exact=True).fill("33")
    if how == "by the button":
        await page.get_by_role("button", name="Save draft").click()
    else:
        await page.keyboard.press("Control+s")
    await expect(page.locator("#standing")).to_contain_text("Saved by")
    await expect(page.locator("#saved").get_by_role("row", name="db.pool")).to_contain_text("33")
    assert "pool: 33  # sessions" in (await live.draft()).content.layers[0].text


async def test_what_is_typed_is_compared_with_what_is_live_before_it_is_saved(page, live, app):
    await opened(page, app)
    await rewrite(page, "10", "20")
    await rewrite(page, "hunter2", "hunter3")
    await page.get_by_role("button", name="Against live").click()
    table = page.locator("#view-difference")
    await expect(table.get_by_role("row", name="db.pool")).to_contain_text("20")
    await expect(table.get_by_role("row", name="db.password")).to_contain_text("••••")
    await expect(table).not_to_contain_text("hunter")
    await expect(page.locator("#view-difference .cm-changedText").first).to_be_visible()


async def test_layers_are_added_named_ordered_and_removed(page, live, app):
    await opened(page, app)
    await page.get_by_role("button", name="Add layer").click()
    dialog = page.get_by_role("dialog", name="Add layer")
    await dialog.get_by_label("Name").fill("region.json")
    await dialog.get_by_label("Format").select_option("json")
    await dialog.get_by_label("Dimension").select_option("tenant")
    await dialog.get_by_role("button", name="Add layer").click()
    await expect(page.get_by_role("tab", name="region.json")).to_have_attribute("aria-selected", "true")
    await page.locator("#editor .cm-content").click()
    await page.keyboard.insert_text('{"db": {"pool": 7}}')
    await page.get_by_role("button", name="Layer…").click()
    dialog = page.get_by_role("dialog", name="Layer")
    await dialog.get_by_label("Name").fill("region-eu.json")
    await dialog.get_by_label("Place in the order").select_option("0")
    await dialog.get_by_role("button", name="Apply").click()
    await saved(page)
    first, second = (await live.draft()).content.layers
    assert (first.name, first.format, first.dimension, first.text) == (
        "region-eu.json",
        "json",
        "tenant",
        '{"db": {"pool": 7}}',
    )
    assert second.name == "application.yml"
    await page.get_by_role("button", name="Layer…").click()
    await page.get_by_role("dialog", name="Layer").get_by_role("button", name="Remove layer").click()
    await saved(page)
    (left,) = (await live.draft()).content.layers
    assert left.name == "application.yml"


async def test_the_editor_is_left_by_the_keyboard(page, live, app):
    await opened(page, app)
    content = page.locator("#editor .cm-content")
    await content.focus()
    await page.keyboard.press("Tab")
    await expect(content).not_to_be_focused()
    await page.get_by_role("tab", name="application.yml").focus()
    await rewrite(page, "10", "20")
    await page.keyboard.press("Control+s")
    await expect(page.locator("#state")).to_have_text("Saved")


async def test_a_first_draft_is_written_saved_and_released(page, app):
    await page.goto(f"/console/new?app={app}")
    await page.locator("body[data-editor=ready]").wait_for()
    await page.locator("#editor .cm-content").click()
    await page.keyboard.insert_text("a: 1\n")
    await saved(page)
    await page.get_by_role("button", name="Release…").click()
    dialog = page.get_by_role("dialog", name="Release this draft")
    await dialog.get_by_label("Why").fill("first")
    await dialog.get_by_label("Nobody yet").check()
    await expect(dialog.locator("[name=confirm]")).to_be_hidden()
    await dialog.get_by_role("button", name="Release", exact=True).click()
    await expect(page.locator("#facts")).to_contain_text("dormant")
    await page.get_by_role("button", name="Publish @1").click()
    dialog = page.get_by_role("dialog", name="Publish @1")
    await dialog.get_by_label("Why").fill("now")
    publish = dialog.get_by_role("button", name="Publish")
    await dialog.get_by_text("Force", exact=True).click()
    await dialog.get_by_label("Force it").check()
    await dialog.locator("[name=confirm]").fill(app)
    await expect(publish).to_be_disabled()  # it is typed in another way
    await dialog.get_by_label("Force it").uncheck()
    await publish.click()
    await expect(page.get_by_role("row", name="@1")).to_contain_text("live")


async def test_a_release_by_somebody_else_is_no_change_of_the_draft(page, live, app):
    await live.write_draft(content(TEXT.replace("10", "11")))
    await opened(page, app)
    await rewrite(page, "11", "12")
    await live.release("second", publish=False)  # the draft's revision is another one then, not its content
    await expect(page.locator("#standing")).to_contain_text("@2")
    await expect(page.locator("#notice")).to_be_hidden()
    await saved(page)
    assert "pool: 12" in (await live.draft()).content.layers[0].text


async def test_a_release_that_was_refused_is_not_sent_again_by_its_page(page, live, app):
    await live.write_draft(content(TEXT.replace("10", "500")))
    await page.goto(f"/console/apps/{app}/default/draft")
    await page.get_by_role("button", name="Release…").click()
    dialog = page.get_by_role("dialog", name="Release this draft")
    await dialog.get_by_label("Why").fill("too many")
    await dialog.get_by_label("Nobody yet").check()
    await dialog.get_by_role("button", name="Release", exact=True).click()
    await expect(page.get_by_role("alert").first).to_contain_text("nothing was released")
    await page.evaluate("window.same = true")
    await live.write_draft(content(TEXT.replace("10", "20")))  # the page is kept up to date where it is
    await expect(page.locator("#standing")).to_contain_text("valid")
    assert await page.evaluate("window.same")
    assert [one.number for one in await live.releases()] == [1]


async def test_ten_megabytes_are_edited_and_saved(page, pay, app):
    await pay.write_draft(content("".join(f"key{number}: {'v' * 1000}\n" for number in range(10_000))))
    await page.goto(f"/console/apps/{app}/default/draft")
    await page.locator("body[data-editor=ready]").wait_for()
    await expect(page.locator("#faults")).to_contain_text("Too large to check while you type.")
    await page.locator("#editor .cm-content").click()
    await page.keyboard.press("Control+Home")
    await page.keyboard.insert_text("first: 1\n")
    await expect(page.locator("#notice")).to_contain_text("too large to be kept by the browser")
    await saved(page)
    assert (await pay.draft()).content.layers[0].text.startswith("first: 1\nkey0: v")


async def test_what_was_typed_stays_when_the_server_is_away(visits, live, app):
    visit = await visits()
    page = await opened(await visit.page(), app)
    await rewrite(page, "10", "20")
    with visit.tolerating("unreachable", "status"):
        await page.route("**/draft", lambda route: route.abort())
        await page.get_by_role("button", name="Save draft").click()
        await expect(page.locator("#trouble")).to_contain_text("The server did not answer.")
        await expect(page.locator("#state")).to_have_text("Not saved")
        await page.unroute("**/draft")
    await saved(page)
    assert "pool: 20" in (await live.draft()).content.layers[0].text


async def test_whoever_wrote_it_cannot_approve_it_and_somebody_else_can(page, live, app):
    await live.set_policy(["application.yml"])
    await live.set({"db.pool": 20})  # by ada
    await opened(page, app)
    box = page.locator(".approval")
    await expect(box).to_contain_text("0 of 1 approvals")
    await box.get_by_role("button", name="Approve…").click()
    dialog = page.get_by_role("dialog", name="Approve")
    await dialog.get_by_label("What you looked at").fill("the load test")
    await dialog.get_by_role("button", name="Approve", exact=True).click()
    await expect(box).to_contain_text("the load test")
    await expect(box).to_contain_text("1 of 1 approvals")
    await box.get_by_role("button", name="Withdraw my approval").click()
    await expect(box).to_contain_text("0 of 1 approvals")
    await page.locator("body[data-editor=ready]").wait_for()
    await rewrite(page, "20", "21")
    await saved(page)
    await expect(box.get_by_role("button", name="Approve…")).to_be_disabled()


async def test_hostile_keys_and_values_are_shown_as_text(page, pay, app):
    await pay.write_draft(content("a: 1\n"))
    await pay.release("<script>alert('release')</script>")
    hostile = f'"<script>alert(1)</script>": "<img src=x onerror=alert(2)>"\nturn: "a\\u202Eb"\nlong: {"x" * 10_000}\n'
    await pay.write_draft(content(hostile))
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    await opened(page, app)
    await page.get_by_role("button", name="Against live").click()
    await expect(page.locator("#view-difference")).to_contain_text("<script>alert(1)</script>")
    await expect(page.locator("#saved")).to_contain_text("a⟨U+202E⟩b")
    await expect(page.locator("#saved")).to_contain_text("show all")
    for url in ("releases", "releases/1", "compare?from=1&to=draft"):
        await page.goto(f"/console/apps/{app}/default/{url}")
        await expect(page.locator("main")).to_contain_text("<script>alert(")


@pytest.mark.parametrize("where", ["draft", "releases", "releases/1", "compare?from=live&to=draft"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(visits, axe, live, app, where, dark):
    await live.write_draft(content(TEXT.replace("10", "20"), "db:\n  pool: 500\n"))
    page = await (await visits(dark=dark)).page()
    await page.goto(f"/console/apps/{app}/default/{where}")
    if where == "draft":
        await expect(page.locator("#faults")).to_contain_text("Faults: 1")
    assert await axe(page) == []


async def test_axe_finds_nothing_serious_in_what_the_editor_opens(visits, axe, live, app):
    await live.set_policy(["*"])
    await live.set({"mode": "fast"})
    page = await opened(await (await visits(dark=True)).page(), app)
    await page.get_by_role("button", name="Approve…").click()
    assert await axe(page) == []
    await page.keyboard.press("Escape")
    await rewrite(page, "10", "20")
    await live.set({"db.pool": 30})
    await page.get_by_role("button", name="Save draft").click()
    await page.get_by_role("region", name="Somebody else was quicker").wait_for()
    for view, ready in (("Form", "#fields"), ("Against live", ".cm-mergeView")):
        await page.get_by_role("button", name=view).click()
        await page.locator(ready).wait_for()
        assert await axe(page) == [], view
    await page.get_by_role("button", name="Keep mine").click()
    await expect(page.locator("#state")).to_have_text("Saved")
    for button in ("Release…", "Add layer", "Throw the draft away"):
        await page.get_by_role("button", name=button).click()
        assert await axe(page) == [], button
        await page.keyboard.press("Escape")


async def test_pages_are_no_wider_than_a_phone(visits, live, app):
    await live.write_draft(content(TEXT.replace("hunter2", "x" * 500)))
    page = await (await visits(phone=True)).page()
    for where in ("draft", "releases", "releases/1", "compare?from=live&to=draft"):
        await page.goto(f"/console/apps/{app}/default/{where}")
        await page.locator("main h1").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
        if where == "draft":
            for view in ("Form", "Against live"):
                await page.get_by_role("button", name=view).click()
                await page.locator("#fields" if view == "Form" else ".cm-mergeView").wait_for()
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
