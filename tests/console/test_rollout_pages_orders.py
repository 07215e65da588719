"""What people order of a rollout on its page, and who may."""

from __future__ import annotations

import httpx
import pytest

from herz.release.rollout import Phase
from herz.server.door.door import Door
from herz.server.door.rights import Binding
from herz.server.settings import ServerSettings

from .conftest import ADA, OWN, URL
from .rollout_scene import BASE, Scene, plan, scene, words

__all__ = ["scene"]

PASSWORD = "correct horse battery"


async def baking(scene: Scene) -> None:
    await scene.join("a", "b", "c", "d")
    await scene.start(plan=plan(25.0, 50.0, 100.0, bake_s=600.0))
    await scene.reach(Phase.BAKING)


async def test_an_order_is_written_and_leads_back_to_the_page(scene):
    await baking(scene)
    answer = await scene.post(order="pause", message="lunch")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/r1")
    paused = (await scene.found()).paused
    assert paused is not None
    assert (paused.by, paused.message) == ("ada", "lunch")
    said = words(await scene.page())
    assert "Paused by ada" in said
    assert ": lunch" in said
    assert 'id="resume"' in (await scene.page()).text


async def test_resumed_it_goes_on(scene):
    await baking(scene)
    await scene.post(order="pause")
    await scene.post(order="resume")
    found = await scene.found()
    assert (found.paused, found.phase) == (None, Phase.BAKING)
    assert 'id="pause"' in (await scene.page()).text


async def test_promoting_ends_the_baking_of_one_batch(scene):
    await baking(scene)
    await scene.post(order="promote")
    found = await scene.reach(Phase.BAKING, batch=2)
    assert found.hurried == 1


async def test_promoting_all_goes_on_to_everybody(scene):
    await baking(scene)
    await scene.post(order="promote-all")
    assert (await scene.reach()).phase is Phase.PROMOTED
    assert "Everybody runs release 2." in words(await scene.page())


async def test_aborted_with_its_name_typed_it_goes_back_and_says_who_and_why(scene):
    await baking(scene)
    answer = await scene.post(order="abort", confirm="r1", message="too slow")
    assert answer.status_code == 303
    assert (await scene.reach()).phase is Phase.ROLLED_BACK
    assert "Rolled back: ada aborted it: too slow" in words(await scene.page())


@pytest.mark.parametrize("order", ["abort", "force"])
@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"confirm": "r2", "message": "m"}, "'r2' was typed, the rollout is called r1; nothing was changed"),
        ({"message": "m"}, "was typed, the rollout is called r1; nothing was changed"),
        ({"confirm": "r1"}, "nobody said why; nothing was changed"),
    ],
)
async def test_without_its_name_or_a_reason_nothing_is_taken_back_or_forced(scene, order, typed, says):
    await baking(scene)
    answer = await scene.post(order=order, **typed)
    assert answer.status_code == 400
    assert says in words(answer)
    assert "What you can do" in words(answer), "the page is still there"
    found = await scene.found()
    assert (found.aborted, found.forced, found.phase) == (None, None, Phase.BAKING)


async def test_forced_it_is_marked_for_ever(scene):
    await baking(scene)
    await scene.post(order="force", confirm="r1", message="the shop is down")
    assert (await scene.reach()).phase is Phase.PROMOTED
    said = words(await scene.page())
    assert "ada forced it without proof: the shop is down" in said
    assert "Nobody has proved that all instances run the release." in said
    assert [entry.action for entry in await scene.plane.audit.entries(limit=100) if entry.forced][:1] == [
        "rollout.force"
    ]


async def test_an_order_to_what_is_over_is_refused_on_the_page(scene):
    await scene.join("a")
    await scene.start(plan=plan(100.0))
    await scene.reach()
    answer = await scene.post(order="pause")
    assert answer.status_code == 409
    said = words(answer)
    assert "rollout r1 is over: PROMOTED" in said
    assert "start another one" in said
    assert 'id="pause"' not in answer.text


async def test_what_is_no_order_is_refused(scene):
    await baking(scene)
    answer = await scene.post(order="explode")
    assert answer.status_code == 400
    assert "'explode' is no order" in words(answer)


async def test_a_form_of_another_site_orders_nothing(scene):
    await baking(scene)
    answer = await scene.browser.post(
        f"{BASE}/r1", data={"order": "abort", "confirm": "r1", "message": "m"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403
    assert (await scene.found()).aborted is None


async def test_what_each_order_will_do_is_said_before(scene):
    await baking(scene)
    said = words(await scene.page())
    for text in (
        "A batch that is prepared is not committed; a committed one is still verified.",
        "Batch 1 bakes no longer. The next batch begins, or everybody follows where it was the last one.",
        "Rolls every batch back now, in one write: 1 instance returns to what is stable.",
        "Breaks the glass: release 2 becomes stable for everybody at once, without proof.",
        "Type r1 to confirm",
    ):
        assert text in said


class TestClosed:
    """A server that asks everybody who they are."""

    @pytest.fixture
    def settings(self):
        return ServerSettings(name="test", open=False, argon2=(8, 1, 1))

    @pytest.fixture
    async def log_in(self, server, plane):
        clients = []

        async def log_in(name, *scopes):
            roles = [Binding.parse(name, f"pay:{scope}") for scope in scopes]
            await plane.of(Door).users.add(name, by=ADA, password=PASSWORD, roles=roles)
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url=URL, headers=OWN)
            clients.append(client)
            answer = await client.post("/console/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            return client

        yield log_in
        for client in clients:
            await client.aclose()

    async def test_who_only_reads_sees_everything_and_no_button(self, scene, log_in):
        await baking(scene)
        scene.browser = await log_in("eve", "viewer")
        page = await scene.page()
        assert "Batch 1 is verified, and watched for a while." in words(page)
        assert "What you can do" not in words(page)
        assert f"{BASE}/new" not in (await scene.page("")).text
        for order in ("pause", "resume", "promote", "promote-all", "abort", "force"):
            answer = await scene.post(order=order, confirm="r1", message="m")
            assert answer.status_code == 403, order
        for path in ("/new", "/verify"):
            assert (await scene.page(path)).status_code == 403
            assert (await scene.post(path, release=2)).status_code == 403
        found = await scene.found()
        assert (found.paused, found.aborted, found.forced, found.hurried) == (None, None, None, 0)

    async def test_who_releases_may_pause_and_abort_and_not_force(self, scene, log_in):
        await baking(scene)
        scene.browser = await log_in("ben", "releaser")
        page = await scene.page()
        assert 'id="pause"' in page.text
        assert 'id="abort"' in page.text
        assert 'id="force"' not in page.text
        assert (await scene.post(order="force", confirm="r1", message="m")).status_code == 403
        assert (await scene.post(order="pause")).status_code == 303
        paused = (await scene.found()).paused
        assert paused is not None
        assert paused.by == "ben"

    async def test_who_approves_may_force(self, scene, log_in):
        await baking(scene)
        scene.browser = await log_in("ann", "approver")
        page = await scene.page()
        assert 'id="force"' in page.text
        assert 'id="pause"' not in page.text
        assert (await scene.post(order="pause")).status_code == 403
        assert (await scene.post(order="force", confirm="r1", message="m")).status_code == 303
        assert (await scene.reach()).phase is Phase.PROMOTED

    async def test_who_may_nothing_here_is_refused(self, scene, log_in, plane):
        await baking(scene)
        await plane.of(Door).users.add(
            "joe", by=ADA, password=PASSWORD, roles=[Binding.parse("joe", "search:releaser")]
        )
        client = await log_in("jim", "viewer")
        await client.post("/console/logout")
        await client.post("/console/login", data={"name": "joe", "password": PASSWORD})
        assert (await client.get(f"{BASE}/r1")).status_code == 403
        assert (await client.get(BASE)).status_code == 403

    async def test_who_is_not_logged_in_is_led_to_the_login_and_back(self, scene):
        answer = await scene.page()
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/login?next=%2Fconsole%2Fapps%2Fpay")
        assert (await scene.page(**{"x-herz-live": "1"})).status_code == 401
