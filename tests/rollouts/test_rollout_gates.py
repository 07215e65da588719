"""Argo Rollouts and Flagger ask, and are answered as they understand it."""

from __future__ import annotations

import pytest

from herz.release.rollout import Phase


async def flagger(world, hook: str, **metadata: str):
    """What Flagger's hook is answered: the status, and why."""
    body = {
        "name": "pay",
        "namespace": "prod",
        "phase": "Progressing",
        "checksum": "85d557f47b",
        "buildId": "1",
        "metadata": metadata,
    }
    reply = await world.http.post(f"/flagger/{hook}", json=body)
    said = reply.json()
    return reply.status_code, said.get("reason", said.get("what", ""))


async def test_argo_reads_one_value_and_the_reason_beside_it(world, two):
    await world.join("a", "b")
    good = await world.http.post("/argo-rollouts/pay/default", json={"config_version": 1})
    assert good.status_code == 200
    assert good.json() | {"took_ms": 0, "reason": ""} == {
        "ok": True,
        "verified": True,
        "config_version": 1,
        "patch_id": None,
        "members": 2,
        "answered": 2,
        "differing": 0,
        "reason": "",
        "took_ms": 0,
    }
    bad = (await world.http.post("/argo-rollouts/pay/default", json={"config_version": 2, "window_s": 0.1})).json()
    assert (bad["ok"], bad["verified"], bad["differing"]) == (False, False, 2)
    assert "not verified" in bad["reason"]


async def test_argo_is_told_of_a_release_that_does_not_exist(world, two):
    assert (await world.http.post("/argo-rollouts/pay/default", json={"config_version": 7})).status_code == 404


async def test_flagger_may_go_on_while_the_release_it_names_is_proved(world, two):
    await world.join("a", patch_id="P1")
    for hook in ("rollout", "confirm-promotion", "confirm-traffic-increase"):
        assert (await flagger(world, hook, config_version="1", patch_id="P1"))[0] == 200
        status, why = await flagger(world, hook, config_version="1", patch_id="P2", window_s="0.1")
        assert status == 409
        assert "runs patch P1, expected P2" in why


async def test_flagger_begins_unless_a_rollout_is_in_trouble(world, two, plan):
    (instance,) = await world.join("a")
    for hook in ("confirm-rollout", "pre-rollout"):
        assert (await flagger(world, hook))[0] == 200
    assert (await flagger(world, "rollback"))[0] == 409
    instance.faults.build_fails = True
    await world.until(await world.start(two[1], plan=plan(100.0)))
    for hook in ("confirm-rollout", "pre-rollout", "rollout", "confirm-promotion"):
        status, why = await flagger(world, hook)
        assert status == 409
        assert "cannot build the release" in why
    assert (await flagger(world, "rollback"))[0] == 200
    assert (await flagger(world, "post-rollout"))[0] == 200


async def test_flagger_promotes_once_herz_has(world, two, plan):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    assert (await flagger(world, "rollout"))[0] == 200
    status, why = await flagger(world, "confirm-promotion")
    assert (status, "r1 is BAKING" in why) == (409, True)
    await world.order(rollout, "pause")
    assert (await flagger(world, "confirm-rollout"))[0] == 409
    await world.order(rollout, "promote")
    await world.until(rollout)
    assert (await flagger(world, "confirm-promotion"))[0] == 200


async def test_an_unknown_hook_is_no_yes(world, two):
    assert (await flagger(world, "event"))[0] == 404 or (await flagger(world, "event"))[0] == 400


@pytest.mark.parametrize("metadata", [{"config_version": "x"}, {"config_version": "1", "window_s": "soon"}])
async def test_metadata_that_makes_no_sense_is_no_yes(world, two, metadata):
    await world.join("a")
    assert (await flagger(world, "rollout", **metadata))[0] == 400


async def test_with_nothing_to_prove_there_is_no_yes(world, two):
    assert (await flagger(world, "rollout"))[0] == 409
