"""Cases in which members of the cluster fail, fall behind, or come back from the dead."""

from __future__ import annotations

import asyncio

from herz.testing.fault_bench.bench import Bench
from herz.testing.fault_bench.case import case


@case(7, "leader-killed", share=2)
async def leader_killed(bench: Bench) -> None:
    """The leader is killed (SIGKILL) again and again; then the majority is frozen, and what is left must say STALE."""
    await bench.start(query="?proof=1s")
    writing = asyncio.create_task(bench.write(bench.events * 3 // 4))
    for _ in range(3):
        await asyncio.sleep(bench.rng.uniform(0.1, 0.3))
        leader = await bench.cluster.leader()
        leader.kill()
        await bench.cluster.leader()
        await leader.start()
    await writing
    await bench.settle()
    frozen = bench.rng.sample(bench.cluster.members, 2)
    for member in frozen:
        member.pause()
    bench.notes["stale_s"] = round(
        await bench.until(lambda: bench.hot.health.freshness == "STALE", "a minority says STALE", 10), 2
    )
    for member in frozen:
        member.resume()
    await bench.cluster.leader()
    await bench.write()


@case(9, "lagging-member")
async def lagging_member(bench: Bench) -> None:
    """A follower is frozen while the others go on, and the only one left to connect to when it wakes."""
    await bench.start()
    await bench.write(bench.events // 3)
    await bench.settle()
    late = bench.rng.choice(await bench.cluster.followers())
    late.pause()
    await bench.write(bench.events // 3)
    await bench.settle()
    for member, proxy in zip(bench.cluster.members, bench.proxies, strict=True):
        if member is not late:
            proxy.refuse()
            proxy.cut()
    late.resume()
    await bench.write()
    await bench.settle()
    for proxy in bench.proxies:
        proxy.heal()
    assert bench.session.rewinds == 0, "a member that lags is no rewind"  # noqa: S101  the verdict


@case(22, "old-log-after-removal")
async def old_log_after_removal(bench: Bench) -> None:
    """The leader is killed while it applies, removed, and brought back with its old log."""
    await bench.start(query="?proof=1s")
    await bench.write(bench.events // 3)
    leader = await bench.cluster.leader()
    writing = asyncio.create_task(bench.write(bench.events // 3))
    await asyncio.sleep(0.1)
    leader.kill()
    await bench.cluster.leader()
    await writing
    await bench.cluster.remove(leader)
    await bench.settle()
    others = [proxy for member, proxy in zip(bench.cluster.members, bench.proxies, strict=True) if member is not leader]
    for proxy in others:
        proxy.refuse()
        proxy.cut()
    await bench.cluster.add(leader, keep_log=True)  # the followers can reach nobody but the member with the old log
    await bench.write()
    await asyncio.sleep(2.0)
    held = bench.hot.state
    assert all(held[key] == value for key, value in held.items())  # noqa: S101
    for proxy in others:
        proxy.heal()
    await bench.settle()
    leader.kill()
    await bench.cluster.remove(leader)
    await bench.cluster.add(leader)
