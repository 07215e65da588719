"""What instances run, and the proof of it, by the client: real instances on a real `herz serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from herz.client import NotThere
from herz.errors import Conflict
from herz.release.atomicity import What
from herz.release.content import Content, LayerText
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Phase

POOL = Content(layers=(LayerText(name="pay.yml", text="db:\n  pool: 5\ntimeout: 3s\n"),))
AT_ONCE = Plan(kind=PlanKind.EXPLICIT, percent=(50.0, 100.0), bake_s=0.1)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  another process says it
            await asyncio.sleep(0.01)


async def reported(pay, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await pay.instances()) < count:  # noqa: ASYNC110  another process says it
            await asyncio.sleep(0.02)


@pytest.fixture
async def pay(pay):
    """The test's namespace, where release 1 is live."""
    await pay.write_draft(POOL)
    await pay.release("first")
    return pay


async def test_instances_report_what_they_run_with_their_labels(pay, instance):
    instance("pay-1", zone="eu", patch="4f1c")
    await reported(pay, 1)
    (one,) = await pay.instances()
    assert (one.instance, one.config_version, one.labels, one.patch_id) == ("pay-1", 1, {"zone": "eu"}, "4f1c")
    assert (one.agrees, one.assigned) == (True, "stable")
    assert await pay.instance("pay-1") == one
    with pytest.raises(NotThere):
        await pay.instance("pay-2")


async def test_atomicity_is_verified_for_the_release_and_the_patch_that_run_and_for_no_other(pay, instance, app):
    for name in ("pay-1", "pay-2"):
        instance(name, patch="4f1c")
    await reported(pay, 2)
    assert await pay.verify_atomicity("4f1c", 1, window_s=20) is True
    assert await pay.verify_atomicity("4f1c", "1", window_s=20) is True
    assert await pay.verify_atomicity(None, f"{app}/default@1", window_s=20) is True
    assert await pay.verify_atomicity("5a2d", 1, window_s=20) is False
    await pay.set({"db.pool": 20})
    await pay.release("second", publish=False)
    assert await pay.verify_atomicity("4f1c", 2) is False
    with pytest.raises(NotThere):
        await pay.verify_atomicity("4f1c", 3)


async def test_nobody_to_ask_is_no_proof(pay):
    assert await pay.verify_atomicity(None, 1) is False


async def test_an_instance_that_does_not_answer_is_not_verified(pay, instance):
    silent = instance("pay-1")
    await reported(pay, 1)
    silent.stop()
    verdict = await pay.verify(None, 1, window_s=0.3)
    assert (verdict.verified, verdict.answered, verdict.differences[0].what) == (False, 0, What.UNREACHABLE)


async def test_a_key_that_an_instance_decides_itself_is_reported_with_both_values_and_places(pay, instance, tmp_path):
    (tmp_path / "own.yml").write_text("db:\n  pool: 3\n")
    instance("pay-1")
    instance("pay-2", str(tmp_path / "own.yml"), container="sidecar")
    await reported(pay, 2)
    verdict = await pay.verify(None, 1, window_s=20)
    (one,) = verdict.differences
    assert not verdict.verified
    assert (one.instance, one.container, one.what, one.key) == ("pay-2", "sidecar", What.OVERRIDE, "db.pool")
    assert one.values == ("5", "3")
    assert one.origins is not None
    assert one.origins[0].endswith("pay.yml@1:2")
    assert one.origins[1].endswith("own.yml:2")
    assert await pay.verify_atomicity(None, 1, allow_overrides=["db.pool"], window_s=20) is True
    assert await pay.verify_atomicity(None, 1, instances=["pay-1"], window_s=20) is True


async def test_a_question_is_answered_from_what_runs_now(pay, instance):
    instance("pay-1")
    await reported(pay, 1)
    (answer,) = await pay.ask("explain", keys=["db.pool"], window_s=20)
    assert [(one.key, one.value) for one in answer.explained] == [("db.pool", "5")]
    assert (await pay.ask("probe", instances=["pay-2"], window_s=0.2)) == ()


async def test_an_impact_names_keys_instances_and_objects_and_builds_where_asked(pay, instance):
    instance("pay-1")
    await reported(pay, 1)
    await pay.set({"db.pool": 500})
    found = await pay.impact(dry_build="pay-1")
    assert [(one.key, one.before, one.after) for one in found.changed] == [("db.pool", 5, 500)]
    assert ([one.instance for one in found.instances], found.objects) == (["pay-1"], {"Pool": 1})
    assert found.rehearsed is not None
    assert "100 sessions at most" in str(found.rehearsed.error)
    await pay.set({"db.pool": 20})
    assert (await pay.impact(dry_build="pay-1")).rehearsed.error is None


async def test_a_rollout_is_told_step_by_step_to_its_end(pay, instance, sessions):
    fleet = [instance("pay-1"), instance("pay-2")]
    await reported(pay, 2)
    await pay.set({"db.pool": 20})
    await pay.release("second", publish=False)
    begun = await pay.start_rollout(2, AT_ONCE, message="more load")
    phases = list(dict.fromkeys([told.phase async for told in pay.rollout_events(begun.id)]))
    assert phases[-1] is Phase.PROMOTED
    steps = [phase for phase in phases if phase in (Phase.PREPARING, Phase.COMMITTING, Phase.VERIFYING)]
    assert steps == [Phase.PREPARING, Phase.COMMITTING, Phase.VERIFYING]
    ended = await pay.rollout(begun.id)
    assert [batch.verified for batch in ended.batches] == [True, True]
    assert (await pay.rollouts())[0] == ended
    await until(lambda: [sessions(one) for one in fleet] == [20, 20])


async def test_a_rollout_obeys_orders_and_a_second_one_is_a_conflict(pay, instance, sessions):
    one = instance("pay-1")
    await reported(pay, 1)
    await pay.set({"db.pool": 20})
    await pay.release("second", publish=False)
    begun = await pay.start_rollout(2, Plan(kind=PlanKind.EXPLICIT, percent=(100.0,), bake_s=60.0))
    with pytest.raises(Conflict):
        await pay.start_rollout(2, AT_ONCE)
    with pytest.raises(Conflict):
        await pay.publish(2, "at once")
    assert (await pay.pause(begun.id, "looking")).paused is not None
    assert (await pay.resume(begun.id)).paused is None
    await until(lambda: sessions(one) == 20)
    assert (await pay.abort(begun.id, "no")).aborted is not None
    async for _ in pay.rollout_events(begun.id):
        pass
    assert (await pay.rollout(begun.id)).phase is Phase.ROLLED_BACK
    await until(lambda: sessions(one) == 5)
