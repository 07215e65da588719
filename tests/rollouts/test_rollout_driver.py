"""What the driver does when something around it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from herz.release.record import encode
from herz.release.rollout import Phase
from herz.server.rollouts import alerts, tracing
from herz.server.rollouts.standing import RolloutSettings
from herz.store.plane import fleet_prefix, rollout_key
from herz.testing.memory_store import MemoryStore


async def test_an_alert_that_nobody_took_is_in_the_audit_log(running, plan, place, eventually, monkeypatch):
    monkeypatch.setattr(alerts, "ATTEMPTS", 1)
    place.status = 500
    store = MemoryStore()
    async with running(store, RolloutSettings(alerts=(place.url,))) as world:
        await world.release("timeout: 1s\n", publish=True)
        release = await world.release("timeout: 3s\n")
        (instance,) = await world.join("a")
        instance.faults.build_fails = True
        over = await world.until(await world.start(release, plan=plan(100.0)))
        assert over.phase is Phase.ROLLED_BACK  # whether people are told or not
        await eventually(lambda: not [key for key in store.place.state if key.startswith("/herz/alerts/")])
        untold = [entry for entry in await world.audit() if entry.action == "alert.undelivered"]
        assert {entry.details["kind"] for entry in untold} == {"rolling-back", "rolled-back"}
        assert (await world.plane.audit.verify()).ok
    await store.close()


async def test_a_store_that_is_away_for_a_while_stops_nothing_for_good(world, two, plan):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=0.5))
    await world.until(rollout, Phase.BAKING)
    world.store.place.down = True
    world.store.place.cut()
    await asyncio.sleep(0.3)
    world.store.place.down = False
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_a_record_that_cannot_be_read_stops_no_other_rollout(world, two, plan):
    await world.join("a", "b")
    await world.store.put(rollout_key("pay", "eu", "r1"), b"{broken")
    await world.store.put(rollout_key("pay", "us", "r1"), b'{"phase": "PENDING"}')
    assert (await world.until(await world.start(two[1]))).phase is Phase.PROMOTED


async def test_a_report_under_a_name_that_no_instance_can_have_stops_no_rollout(world, two, plan, eventually):
    await world.join("a")
    name = "<script>alert(1)<script>"
    report = world.instances["a"].said()
    await world.store.put(fleet_prefix("pay", "default") + name, encode(msgspec.structs.replace(report, instance=name)))
    over = await world.until(await world.start(two[1], plan=plan(100.0)))
    assert (over.phase, over.batches[0].size) == (Phase.PROMOTED, 1)
    (refused,) = world.hub.refused.values()
    assert "is not the name of an instance" in refused
    await world.store.delete(fleet_prefix("pay", "default") + name)
    await eventually(lambda: not world.hub.refused)


async def test_an_unexpected_error_in_an_act_is_survived(world, two, plan, monkeypatch):
    await world.join("a")
    acting = world.driver._acting
    asked = acting.ask
    failures = iter([RuntimeError("a bug"), RuntimeError("a bug")])

    async def ask(*arguments: Any) -> Any:
        error = next(failures, None)
        if error is not None:
            raise error
        return await asked(*arguments)

    monkeypatch.setattr(acting, "ask", ask)
    assert (await world.until(await world.start(two[1], plan=plan(100.0)))).phase is Phase.PROMOTED


async def test_an_act_that_never_ends_rolls_back_when_its_window_is_over(world, two, plan, monkeypatch):
    (instance,) = await world.join("a")

    async def ask(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.driver._acting, "ask", ask)
    over = await world.until(await world.start(two[1], plan=plan(100.0, verify_s=0.3)))
    assert (over.phase, over.reason) == (Phase.ROLLED_BACK, "no verdict on batch 1 within 0.3 s")
    assert instance.running == two[0].ref


@pytest.mark.parametrize("orders", [2, 10])
async def test_orders_given_at_the_same_time_are_all_obeyed_or_refused(world, two, plan, orders):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=30))
    await world.until(rollout, Phase.BAKING)
    said = await asyncio.gather(*(world.order(rollout, ["pause", "abort"][n % 2]) for n in range(orders)))
    assert {one.status_code for one in said} <= {200, 400, 409}
    assert (await world.until(rollout)).phase is Phase.ROLLED_BACK
    assert (await world.plane.audit.verify()).ok


async def test_verifications_are_spans_where_opentelemetry_is_installed(world, two, monkeypatch):
    spans: list[dict[str, Any]] = []

    @contextmanager
    def started(name: str, attributes: dict[str, Any]) -> Iterator[Any]:
        spans.append({"name": name, **attributes})
        yield SimpleNamespace(set_attributes=spans[-1].update)

    monkeypatch.setattr(tracing, "_TRACER", SimpleNamespace(start_as_current_span=started))
    await world.join("a")
    await world.verify(two[0])
    assert spans == [
        {
            "name": "herz.verify",
            "herz.app": "pay",
            "herz.namespace": "default",
            "herz.release": 1,
            "herz.verified": True,
            "herz.members": 1,
            "herz.differing": 0,
        }
    ]


async def test_verifications_are_measured_for_prometheus(world, two):
    await world.join("a")
    await world.verify(two[0])
    await world.verify(two[1], window_s=0.05)
    text = (await world.http.get("http://127.0.0.1/metrics")).text
    assert 'herz_verify_seconds_count{app="pay",namespace="default",verified="true"} 1.0' in text
    assert 'herz_verify_seconds_count{app="pay",namespace="default",verified="false"} 1.0' in text
    assert 'herz_drift_ratio{app="pay",namespace="default"} 0.0' in text


async def test_a_rollout_goes_on_from_a_restored_backup(world, two, plan, eventually):
    await world.join("a", "b")
    rollout = await world.start(two[1], plan=plan(50.0, 100.0, bake_s=1.5))
    await world.until(rollout, Phase.BAKING)
    place = world.store.place
    backup = place.backup()
    assert (await world.order(rollout, "pause")).status_code == 200
    for number in range(20):
        await world.store.put(f"/elsewhere/{number}", b"")
    (drive,) = world.driver.driven
    await eventually(lambda: drive.record.paused)
    place.restore(backup)
    assert (await world.until(rollout)).phase is Phase.PROMOTED


async def test_a_clock_that_is_set_forward_ends_no_bake(world, two, plan, eventually, monkeypatch):
    await world.join("a")
    rollout = await world.start(two[1], plan=plan(100.0, bake_s=60.0))
    await world.until(rollout, Phase.BAKING)
    (drive,) = world.driver.driven
    clock = drive._clock
    ahead = SimpleNamespace(now=lambda: clock.now() + timedelta(hours=1), monotonic=clock.monotonic)
    monkeypatch.setattr(drive, "_clock", ahead)
    await world.join("b")  # something is observed
    await eventually(lambda: not drive._wake.is_set())
    assert (await world.order(rollout, "pause")).status_code == 200
    await eventually(lambda: drive.record.paused)
    assert (await world.found(rollout)).phase is Phase.BAKING
    await world.order(rollout, "abort")
    assert (await world.until(rollout)).phase is Phase.ROLLED_BACK
