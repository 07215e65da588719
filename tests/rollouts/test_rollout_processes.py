"""Rollouts to real processes that run Herz, driven by a real `herz serve`: over HTTP, and straight from the store."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from herz.client import ControlPlane, Namespace, Step
from herz.errors import NotRunning, SourceError
from herz.release.content import Content, LayerText
from herz.release.rollout import Phase, Rollout
from herz.release.roster import unpack
from herz.store.plane import ROSTERS
from herz.store.sqlite import SqliteStore
from herz.testing.followers import Follower
from herz.testing.processes import Port, ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PROGRAM = "from herz.cli.main import main; raise SystemExit(main())"


def text(number: int, timeout: str = "3000ms", pool: int | None = None) -> str:
    return f"first: {number}\ntimeout: {timeout}\npool: {number if pool is None else pool}\nsecond: {number}\n"


class Process:
    """One instance."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> dict:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return json.loads(await self._process.stdout.readline())


class Site:
    """A control plane and the processes that follow it, by `herz://` or `herz+sqlite://`."""

    def __init__(self, source: str, folder: Path, pay: Namespace, stack: AsyncExitStack) -> None:
        self.pay, self._source, self._folder, self._stack = pay, source, folder, stack

    async def join(self, instance: str, *local: str, labels: str = "", patch: str = "") -> Process:
        environment = {
            **os.environ,
            "HERZ_INSTANCE": instance,
            "HERZ_LABELS": labels or "x=y",
            "HERZ_PATCH_ID": patch or "P1",
            "XDG_STATE_HOME": str(self._folder / instance),
        }
        program = str(Path(__file__).with_name("instance.py"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, self._source, *local, stdin=PIPE, stdout=PIPE, env=environment, cwd=self._folder
        )
        self._stack.push_async_callback(self._end, process)
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline()) == {"ready": True}
        return Process(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def release(self, content: str, *, publish: bool = False) -> int:
        draft = await self.pay.draft()
        layers = (LayerText(name="main", text=content),)
        await self.pay.write_draft(Content(layers=layers), expect=draft.revision)
        return (await self.pay.release("m", publish=publish)).number

    async def instances(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(await self.pay.instances()) < count:  # noqa: ASYNC110  the API has no event for that
                await asyncio.sleep(0.05)

    async def over(self, rollout: Rollout) -> Rollout:
        async with asyncio.timeout(40):
            async for found in self.pay.rollout_events(rollout.id):
                if found.over:
                    break
        return await self.pay.rollout(rollout.id)


@pytest.fixture(params=["herz", "herz+sqlite"])
async def site(request, tmp_path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        port, _ = await served(tmp_path, stack)
        plane = await stack.enter_async_context(ControlPlane(f"http://{port.address}"))
        source = f"herz://{port.address}/pay" if request.param == "herz" else f"herz+{store_in(tmp_path)}#pay"
        yield Site(source, tmp_path, plane.namespace("pay"), stack)


def store_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'herz.db'}"


async def served(folder: Path, stack: AsyncExitStack) -> tuple[Port, ServerProcess]:
    """A server over the folder's store."""
    port = Port()
    stack.callback(port.close)
    url = f"http://{port.address}"
    arguments = [sys.executable, "-c", PROGRAM, "serve", "--store", store_in(folder), "--listen", url]
    environment = {**os.environ, "HERZ_TAKEOVER_S": "0.5"}
    server = ServerProcess(arguments, log=folder / f"server-{port.number}.log", environment=environment)
    server.start()
    stack.callback(server.kill)
    async with asyncio.timeout(40), ControlPlane(url) as plane:
        while True:
            try:
                await plane.apps()
                return port, server
            except (SourceError, NotRunning):
                assert server.running, server.said()
                await asyncio.sleep(0.05)


async def test_a_good_release_is_promoted_and_no_instance_ever_mixes_two(site, plan):
    await site.release(text(1), publish=True)
    processes = [await site.join(f"pay-{number}") for number in range(4)]
    await site.instances(4)
    release = await site.release(text(2))
    over = await site.over(await site.pay.start_rollout(release, plan(50.0, 100.0)))
    assert over.phase is Phase.PROMOTED, over.reason
    assert [(batch.size, batch.verified) for batch in over.batches] == [(2, True), (2, True)]
    assert await site.pay.verify_atomicity("P1", release, window_s=20)
    for process in processes:
        said = await process.said()
        assert said["mixed"] == 0
        assert said["seen"] == [1, 2]


async def test_a_release_that_one_instance_cannot_build_flips_nobody(site, plan):
    await site.release(text(1), publish=True)
    processes = [await site.join(f"pay-{number}") for number in range(3)]
    await site.instances(3)
    release = await site.release(text(2, pool=-1))
    over = await site.over(await site.pay.start_rollout(release, plan(100.0)))
    assert over.phase is Phase.ROLLED_BACK
    assert "cannot build the release" in (over.reason or "")
    assert "a pool of -1" in (over.reason or "")
    for process in processes:
        said = await process.said()
        assert (said["seen"], said["mixed"]) == ([1], 0)


async def test_the_incident_a_sidecar_with_the_old_value_is_found_and_named(site, tmp_path, plan):
    await site.release(text(1, "1000ms"), publish=True)
    (tmp_path / "old.yml").write_text("# left behind in the sidecar's own ConfigMap\ntimeout: 1000ms\n")
    main = await site.join("pay-0.main", labels="pod=pay-0,container=main")
    sidecar = await site.join("pay-0.sidecar", "old.yml", labels="pod=pay-0,container=sidecar")
    await site.instances(2)
    assert (await site.pay.verify(None, 1)).verified  # the same value twice is no difference
    release = await site.release(text(2, "3000ms"))
    over = await site.over(await site.pay.start_rollout(release, plan(100.0), selector={"pod": "pay-0"}))
    assert over.phase is Phase.ROLLED_BACK
    verdict = over.batches[0].verdict
    assert verdict is not None
    assert not verdict.verified
    (difference,) = verdict.differences
    assert (difference.instance, difference.container, difference.key) == ("pay-0.sidecar", "sidecar", "timeout")
    assert difference.values == ("3000ms", "1000ms")
    released_at, here = difference.origins or ("", "")
    assert released_at is not None
    assert released_at.endswith("main@2:2")
    assert here is not None
    assert here.endswith("old.yml:2")
    assert (await main.said())["timeout"] == (await sidecar.said())["timeout"] == "1000ms"
    assert (await site.pay.channel()).stable.release.number == 1


async def test_instances_go_on_with_the_rollout_when_the_server_that_drives_is_killed(tmp_path, plan):
    async with AsyncExitStack() as stack:
        servers = [await served(tmp_path, stack) for _ in range(2)]
        store = SqliteStore(tmp_path / "herz.db")
        stack.push_async_callback(store.close)
        planes = [await stack.enter_async_context(ControlPlane(f"http://{port.address}")) for port, _ in servers]
        source = f"herz://{','.join(port.address for port, _ in servers)}/pay"
        site = Site(source, tmp_path, planes[0].namespace("pay"), stack)
        await site.release(text(1), publish=True)
        processes = [await site.join(f"pay-{number}") for number in range(3)]
        await site.instances(3)
        release = await site.release(text(2))
        rollout = await site.pay.start_rollout(release, plan(30.0, 100.0, bake_s=1.5, commit_s=30, prepare_s=30))
        async with asyncio.timeout(30):
            async for found in site.pay.rollout_events(rollout.id):
                if found.phase is Phase.BAKING:
                    break
        holder = await store.get("/herz/duties/rollouts")
        assert holder is not None
        pid = json.loads(holder.value)["pid"]
        killed, left = (0, 1) if servers[0][1].pid == pid else (1, 0)
        servers[killed][1].kill()
        site.pay = planes[left].namespace("pay")
        over = await site.over(rollout)
        assert over.phase is Phase.PROMOTED, over.reason
        assert all(batch.verified for batch in over.batches)
        for process in processes:
            said = await process.said()
            assert (said["seen"], said["mixed"]) == ([1, 2], 0)


async def test_a_server_killed_while_the_rollout_ends_leaves_the_record_to_the_next_one(tmp_path, plan):
    async with AsyncExitStack() as stack:
        servers = [await served(tmp_path, stack) for _ in range(2)]
        store = SqliteStore(tmp_path / "herz.db")
        stack.push_async_callback(store.close)
        planes = [await stack.enter_async_context(ControlPlane(f"http://{port.address}")) for port, _ in servers]
        site = Site("", tmp_path, planes[0].namespace("pay"), stack)
        await site.release(text(1), publish=True)
        fleet = [Follower(store, "pay", "default", f"pay-{number}", ttl_s=60.0) for number in range(5)]
        for one in fleet:
            await stack.enter_async_context(one.alive())
        await site.instances(5)
        release = await site.release(text(2))
        rollout = await site.pay.start_rollout(release, plan(100.0, bake_s=60.0, commit_s=4.0))
        async for found in site.pay.rollout_events(rollout.id):
            if found.phase is Phase.BAKING:
                break
        fleet[4].faults.ignores_commit = True  # it never comes back: the rollout goes back for as long as it may
        await site.pay.abort(rollout.id, "enough")
        async for found in site.pay.rollout_events(rollout.id):
            if found.phase is Phase.ROLLING_BACK:
                break
        holder = await store.get("/herz/duties/rollouts")
        assert holder is not None
        killed = next(number for number in (0, 1) if servers[number][1].pid == json.loads(holder.value)["pid"])
        servers[killed][1].kill()
        site.pay = planes[1 - killed].namespace("pay")
        assert (await site.over(rollout)).phase is Phase.ROLLED_BACK
        (entry,) = (await store.range(ROSTERS)).entries
        roster = await site.pay.rollout_roster(rollout.id)
        assert unpack(entry.value, entry.key) == roster
        assert (roster.members, roster.left_out) == (5, 0)
        assert [one.step for one in roster.participants] == [Step.BACK] * 4 + [Step.RETURNING]
        assert all(one.verified is not None and one.took_ms is not None for one in roster.participants)
        assert (await site.pay.rollout_roster(rollout.id, well=False)).participants == roster.participants[4:]
