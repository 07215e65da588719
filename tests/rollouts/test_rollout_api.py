"""The API of rollouts: beginning one, following it, and who may."""

from __future__ import annotations

import asyncio
import json

import pytest

from herz.release.rollout import Phase
from herz.server.audit import By
from herz.server.tokens import Grant, Scope

PLACE = "/apps/pay/namespaces/default"


async def lines(world, rollout: str) -> list[dict]:
    """All that is told of a rollout until it is over."""
    reply = await world.http.get(f"{PLACE}/rollouts/{rollout}/events")
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in reply.text.splitlines()]


async def test_a_rollout_is_begun_listed_and_read(world, two):
    await world.join("a", "b")
    wish = {
        "release": 2,
        "plan": {"kind": "linear", "step": 50, "bake_s": 0},
        "selector": {},
        "message": "more pool",
        "deployer": None,
    }
    begun = await world.http.post(f"{PLACE}/rollouts", json=wish)
    assert begun.status_code == 201, begun.text
    assert (begun.json()["id"], begun.json()["message"]) == ("r1", "more pool")
    rollout = await world.book.newest("pay", "default")
    await world.until(rollout)
    assert [one["id"] for one in (await world.http.get(f"{PLACE}/rollouts")).json()] == ["r1"]
    found = (await world.http.get(f"{PLACE}/rollouts/r1")).json()
    assert found["phase"] == "PROMOTED"
    assert found["batches"][0]["verdict"]["verified"]
    assert (await world.http.get(f"{PLACE}/rollouts/r9")).status_code == 404


async def test_a_second_rollout_is_a_conflict(world, two, plan):
    await world.join("a")
    await world.start(two[1], plan=plan(100.0, bake_s=30))
    refused = await world.http.post(f"{PLACE}/rollouts", json={"release": 2})
    assert refused.status_code == 409
    assert "is in flight" in refused.json()["what"]


async def test_events_tell_every_step_and_end_with_the_rollout(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=0.3))
    told = await lines(world, rollout.id)
    phases = [line["rollout"].get("phase", "PENDING") for line in told if line["type"] == "rollout"]
    assert phases[-1] == "PROMOTED"
    assert {"PREPARING", "COMMITTING", "VERIFYING", "BAKING"} <= {*phases}
    assert told[-1] == {"type": "end"}
    revisions = [line["revision"] for line in told if line["type"] == "rollout"]
    assert revisions == sorted(set(revisions))


async def test_events_of_a_rollout_that_is_over_are_its_end(world, two, plan):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0))
    await world.until(rollout)
    told = await lines(world, rollout.id)
    assert [line["type"] for line in told] == ["rollout", "end"]


async def test_events_end_when_the_server_stops(world, two, plan):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    following = asyncio.create_task(lines(world, rollout.id))
    await asyncio.sleep(0.05)
    world.plane.closing.set()
    told = await following
    assert told[-1]["problem"]["kind"] == "closing"


@pytest.mark.parametrize(
    "wish",
    [
        {"release": 2, "deployer": "rm"},
        {"release": 2, "checks": [{"name": "x", "kind": "shell"}]},
        {"release": 2, "checks": [{"name": "x", "kind": "health", "options": {"url": "http://10.0.0.1/"}}]},
        {
            "release": 2,
            "checks": [{"name": "x", "kind": "prometheus", "options": {"server": "https://p", "canary": "up"}}],
        },
        {"release": 1},
        {"release": "two"},
        {"release": 0},
        {"release": 10**30},
    ],
)
async def test_what_cannot_work_is_refused_before_it_begins(world, two, wish):
    refused = await world.http.post(f"{PLACE}/rollouts", json=wish)
    assert refused.status_code in (400, 404), refused.text
    assert await world.book.newest("pay", "default") is None


async def test_who_may_only_read_orders_nothing(world, two, plan):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=30))
    texts = {}
    for scope in (Scope.READ, Scope.ROLLOUT):
        grants = (Grant(app="pay", scope=scope),)
        texts[scope], _ = await world.plane.tokens.create(scope.value, grants, by=By("ann"))
    reading = {"authorization": f"Bearer {texts[Scope.READ]}"}
    rolling = {"authorization": f"Bearer {texts[Scope.ROLLOUT]}"}
    place = f"{PLACE}/rollouts/{rollout.id}"
    assert (await world.http.get(place, headers=reading)).status_code == 200
    for path, body in (
        (f"{place}/abort", {}),
        (f"{PLACE}/rollouts", {"release": 2}),
        (f"{PLACE}/verify", {"config_version": 1}),
        ("/argo-rollouts/pay/default", {"config_version": 1}),
        ("/flagger/rollout", {"name": "pay"}),
    ):
        assert (await world.http.post(path, json=body, headers=reading)).status_code == 403, path
    assert (await world.http.post(f"{place}/force", json={"message": "x"}, headers=rolling)).status_code == 403
    aborted = await world.http.post(f"{place}/abort", json={"message": "x"}, headers=rolling)
    assert aborted.status_code == 200
    assert aborted.json()["aborted"]["by"] == "rollout"


async def test_rollouts_are_listed_page_by_page(world, two, plan):
    (instance,) = await world.join("a")
    instance.faults.build_fails = True
    for _ in range(7):
        await world.until(await world.start(two[1], plan=plan(100.0)))
    assert [one["id"] for one in (await world.http.get(f"{PLACE}/rollouts")).json()] == [
        f"r{n}" for n in range(7, 0, -1)
    ]
    page = await world.http.get(f"{PLACE}/rollouts", params={"limit": 2, "before": 4})
    assert [one["id"] for one in page.json()] == ["r3", "r2"]


async def test_a_rollout_that_would_not_fit_its_record_is_refused(world, two):
    for wish in (
        {"release": 2, "message": "x" * 70_000},
        {
            "release": 2,
            "checks": [{"name": f"c{n}", "kind": "health", "options": {"url": "https://a"}} for n in range(11)],
        },
        {"release": 2, "checks": [{"name": "c", "kind": "health", "options": {"url": "https://a"}}] * 2},
    ):
        assert (await world.http.post(f"{PLACE}/rollouts", json=wish)).status_code == 400
