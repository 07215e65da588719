"""What instances run is proved against what the store holds at the same time, and whoever differs is named."""

from __future__ import annotations

import asyncio

from herz.release.channel import Channel, Pointer
from herz.release.record import encode
from herz.release.report import Answer, Override
from herz.release.rollout import Phase
from herz.store.plane import answer_key, channel_key

STALE = Override(
    key="timeout", value="1000ms", origin="local.yml:4", released="3000ms", released_at="pay/default:main@2:1"
)


async def test_instances_that_run_the_release_are_verified(world, two):
    await world.join("a", "b", "c", patch_id="P1")
    verdict = await world.verify(two[0], patch_id="P1")
    assert (verdict.verified, verdict.members, verdict.answered, verdict.differing) == (True, 3, 3, 0)
    assert verdict.took_ms > 0
    assert verdict.time is not None


async def test_each_verification_asks_under_a_fresh_nonce_and_leaves_nothing_behind(world, two, eventually):
    await world.join("a")
    nonces = {(await world.verify(two[0])).nonce for _ in range(3)}
    assert len(nonces) == 3
    await eventually(lambda: not world.hub.namespace("pay", "default").asks.open)
    assert not (await world.store.range("/herz/answers/")).entries


async def test_nobody_is_not_verified(world, two):
    verdict = await world.verify(two[0])
    assert (verdict.verified, verdict.members) == (False, 0)


async def test_another_patch_is_named(world, two):
    await world.join("a", patch_id="P1")
    await world.join("b", patch_id="P0")
    verdict = await world.verify(two[0], patch_id="P1")
    assert [(one.instance, one.what, one.expected, one.actual) for one in verdict.differences] == [
        ("b", "patch_id", "P1", "P0")
    ]


async def test_a_release_that_is_not_in_force_is_not_verified(world, two):
    await world.join("a")
    verdict = await world.verify(two[1], window_s=0.1)
    assert not verdict.verified
    assert {one.what for one in verdict.differences} >= {"moved", "config_version"}


async def test_an_instance_that_is_named_and_not_there_is_unreachable(world, two):
    await world.join("a")
    verdict = await world.verify(two[0], instances=["a", "ghost"], window_s=0.2)
    assert [(one.instance, one.what) for one in verdict.differences] == [("ghost", "unreachable")]


async def test_an_instance_that_comes_back_within_the_window_is_verified(world, two, eventually):
    a, b = await world.join("a", "b")
    b.faults.mute = True
    asked = asyncio.create_task(world.verify(two[0], window_s=5))
    await eventually(lambda: a.answered)
    b.faults.mute = False
    b._nonces.clear()
    await world.store.put(channel_key("pay", "default") + "~", b"")  # makes it look again
    assert (await asked).verified


async def test_a_channel_that_moves_away_and_back_during_a_round_proves_nothing(world, two, eventually):
    a, b = await world.join("a", "b")
    a.faults.ignores_commit = b.faults.ignores_commit = True  # so that only the channel moves
    b.faults.mute = True
    asked = asyncio.create_task(world.verify(two[0], window_s=5))
    await eventually(lambda: a.answered)
    key = channel_key("pay", "default")
    was = await world.store.get(key)
    await world.store.put(key, encode(Channel(stable=Pointer(release=two[1].ref))))
    await world.store.put(key, was.value)
    b.faults.mute = False
    b._nonces.clear()
    await world.store.put(key + "~", b"")
    verdict = await asked
    assert verdict.verified
    assert (a.answered, b.answered) == (2, 2)  # asked again, when the channel was left alone


async def test_a_forged_answer_of_another_instance_does_not_count(world, two, eventually):
    a, b = await world.join("a", "b")
    b.faults.mute = True
    asked = asyncio.create_task(world.verify(two[0], window_s=0.5))
    asks = await eventually(lambda: world.hub.namespace("pay", "default").asks.open)
    forged = Answer(nonce=asks[0].nonce, instance="b", report=a.said(honest=True))  # a speaks for b
    await world.store.put(answer_key("pay", "default", asks[0].nonce, "b"), encode(forged))
    verdict = await asked
    assert [(one.instance, one.what) for one in verdict.differences] == [("b", "unreachable")]


async def test_an_old_report_is_not_an_answer(world, two):
    (a,) = await world.join("a")  # its report says that it runs the release
    a.faults.silent = True
    verdict = await world.verify(two[0], window_s=0.2)
    assert [(one.instance, one.what) for one in verdict.differences] == [("a", "unreachable")]


async def test_who_runs_something_else_is_asked_for_the_key_both_values_and_both_origins(world, two):
    await world.join("main", labels={"container": "main"})
    (sidecar,) = await world.join("sidecar", labels={"container": "sidecar"})
    sidecar.faults.lies = True
    sidecar.values = {"timeout": ("3000ms", "/etc/old.yml:2"), "pool": ("5", "pay/default:main@1:2")}
    verdict = await world.verify(two[0])
    key = verdict.differences[0]
    assert (key.instance, key.container, key.key) == ("sidecar", "sidecar", "timeout")
    assert key.values == ("1000ms", "3000ms")
    assert key.origins == ("pay/default:main@1:1", "/etc/old.yml:2")
    assert verdict.differing == 1


async def test_a_local_override_is_refused_with_key_values_and_origins(world, two, plan):
    main, sidecar = [
        (await world.join(name, labels={"container": name}, overrides=overrides))[0]
        for name, overrides in (("main", ()), ("sidecar", (STALE,)))
    ]
    over = await world.until(await world.start(two[1], plan=plan(100.0)))
    assert over.phase is Phase.ROLLED_BACK
    (difference,) = over.batches[0].verdict.differences
    assert (difference.container, difference.key) == ("sidecar", "timeout")
    assert difference.values == ("3000ms", "1000ms")
    assert difference.origins == ("pay/default:main@2:1", "local.yml:4")
    assert "timeout" in over.reason
    assert main.running == sidecar.running == two[0].ref


async def test_an_override_that_the_rollout_allows_passes(world, two, plan):
    await world.join("a", overrides=(STALE,))
    over = await world.until(await world.start(two[1], plan=plan(100.0), allow_overrides=("timeout",)))
    assert over.phase is Phase.PROMOTED


async def test_one_failing_answer_ends_the_wait_for_a_silent_instance(world, two):
    a, b, _ = await world.join("a", "b", "c")
    a.faults.lies, b.faults.mute = True, True
    begin = asyncio.get_running_loop().time()
    verdict = await world.verify(two[0], window_s=30)
    assert asyncio.get_running_loop().time() - begin < 3
    assert {one.instance for one in verdict.differences} == {"a", "b"}


async def test_verifications_at_the_same_time_do_not_disturb_each_other(world, two):
    await world.join(*(f"i{number}" for number in range(10)))
    verdicts = await asyncio.gather(*(world.verify(two[0]) for _ in range(8)))
    assert all(verdict.verified for verdict in verdicts)
    assert len({verdict.nonce for verdict in verdicts}) == 8


async def test_a_window_that_makes_no_sense_is_refused(world, two):
    for window_s in (0, -1, 1e9):
        body = {"config_version": 1, "window_s": window_s}
        refused = await world.http.post("/apps/pay/namespaces/default/verify", json=body)
        assert refused.status_code == 400


async def test_who_still_runs_another_release_is_asked_first_for_the_keys_in_which_they_differ(world):
    many = "".join(f"a{number}: 1\n" for number in range(150))  # more than one question takes
    await world.release(many + "timeout: 1000ms\n", publish=True)
    (late,) = await world.join("late")
    late.faults.ignores_commit = True
    late.values = {"timeout": ("1000ms", "pay/default:main@1:151"), "a0": ("1", "pay/default:main@1:1")}
    release = await world.release(many + "timeout: 3000ms\n", publish=True)
    verdict = await world.verify(release, window_s=0.2)
    assert [(one.what, one.key, one.values) for one in verdict.differences] == [
        ("value", "timeout", ("3000ms", "1000ms")),
        ("config_version", None, None),
    ]
    assert verdict.differing == 1
