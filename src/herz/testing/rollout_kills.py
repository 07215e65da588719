"""SIGKILL for the server that drives a rollout, at random points of it, again and again; and what is left then.

Two real `herz serve` processes share one SQLite file. Whichever drives is killed, the other one goes on, and the killed
one starts anew. Every few rollouts one instance cannot build, cannot apply, or lies, so that a rollout which is
promoted all the same would show.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from herz.client import ControlPlane
from herz.errors import HerzError, SourceError
from herz.release.channel import Release
from herz.release.content import Content, LayerText
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Phase, Rollout
from herz.server.audit import Audit
from herz.server.clock import SystemClock
from herz.server.contents import Contents
from herz.server.rollouts import rosters
from herz.server.rollouts.book import stored
from herz.store.plane import rollout_key
from herz.store.sqlite import SqliteStore
from herz.testing.followers import Faults, Follower
from herz.testing.processes import Port, ServerFailed, ServerProcess, Workspace, server_environment

T = TypeVar("T")

APP, NAMESPACE = "pay", "default"
STUCK_S: Final = 30.0
"""A rollout that is not over after so long is stuck."""
ASTRAY_S: Final = 5.0
"""After so long an instance that does not run what the channel says went astray: one that was told to flip just before
a rollback flips there and back."""
TAKEOVER_S: Final = 0.5
WRITES: Final = 14
"""About how many writes a rollout of two batches makes: a kill comes after one of them."""
PLAN: Final = Plan(
    kind=PlanKind.EXPLICIT, percent=(40.0, 100.0), bake_s=0.05, check_s=0.05, prepare_s=8, commit_s=8, verify_s=4
)
FAULTS: Final = (
    Faults(),
    Faults(),
    Faults(build_fails=True),
    Faults(),
    Faults(lies=True),
    Faults(),
    Faults(apply_fails=True),
)


@dataclass
class Killed:
    """What came of it. `resumed_s` is from each kill to the next write of the rollout, or to its end."""

    kills: int = 0
    rollouts: int = 0
    promoted: int = 0
    rolled_back: int = 0
    stuck: int = 0
    unverified: int = 0
    """Promotions without proof of every batch, or of a release that an instance could not run."""
    lost: int = 0
    """Releases and rollouts that were acknowledged, and are not there, or not whole: who took part included."""
    astray: int = 0
    """Instances that did not end at what the channel says."""
    audited: bool = True
    """Whether the audit log's chain holds at the end."""
    phases: Counter[str] = field(default_factory=Counter)
    """In which phase the rollout was when it was killed."""
    resumed_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return self.audited and not (self.stuck or self.unverified or self.lost or self.astray)


async def kill_rollouts(kills: int, seed: int, *, instances: int = 6) -> Killed:
    """Kill `kills` times, at points that `seed` chooses."""
    async with AsyncExitStack() as stack:
        trial = _Trial(seed, stack)
        await trial.begin(instances)
        while trial.told.kills < kills and not trial.told.stuck:
            await trial.rollout(kills)
        await trial.examine()
        return trial.told


class _Server:
    """One `herz serve`, on a port of its own."""

    def __init__(self, url: str, workspace: Workspace, number: int) -> None:
        self.port = Port()
        environment = {**server_environment("HERZ_"), "HERZ_TAKEOVER_S": str(TAKEOVER_S)}
        program = "from herz.cli.main import main; raise SystemExit(main())"
        arguments = [sys.executable, "-c", program, "serve", "--store", url, "--listen", f"http://{self.port.address}"]
        log = workspace.path / f"server-{number}.log"
        self.process = ServerProcess(arguments, log=log, environment=environment)

    async def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.process.start()
        async with asyncio.timeout(STUCK_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection(self.port.host, self.port.number)
                except OSError:
                    if not self.process.running:
                        raise ServerFailed(f"herz serve did not start:{self.process.said()}") from None
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return


class _Trial:
    def __init__(self, seed: int, stack: AsyncExitStack) -> None:
        self.told = Killed()
        self._chance = random.Random(seed)  # noqa: S311  points in time, not keys
        self._stack = stack
        self._workspace = Workspace("kills")
        stack.callback(self._workspace.close)
        path = self._workspace.path / "herz.db"
        self._store = SqliteStore(path)
        self._servers = [_Server(f"sqlite:///{path}", self._workspace, number) for number in range(2)]
        for server in self._servers:
            stack.callback(server.port.close)
            stack.callback(server.process.kill)
        self._followers: list[Follower] = []
        self._releases: list[Release] = []
        self._restarting: asyncio.Task[None] | None = None

    async def begin(self, instances: int) -> None:
        """Two servers, a stable release, and instances that run it."""
        self._stack.push_async_callback(self._store.close)
        await asyncio.gather(*(server.start() for server in self._servers))
        await self._release(publish=True)
        for number in range(instances):
            follower = Follower(self._store, APP, NAMESPACE, f"i{number}", ttl_s=30.0)
            self._followers.append(await self._stack.enter_async_context(follower.alive()))
        async with asyncio.timeout(STUCK_S):
            await asyncio.gather(*(follower.begun.wait() for follower in self._followers))

    async def rollout(self, kills: int) -> None:
        """One rollout, with kills at random points; then what came of it."""
        if self._restarting is not None:  # both servers are up, so that the kill need not wait
            await self._restarting
        faults = FAULTS[self.told.rollouts % len(FAULTS)]
        bad = faults != Faults()
        self._followers[self._chance.randrange(len(self._followers))].faults = faults
        release = await self._release(publish=False)
        begun = await self._begun(release)
        self.told.rollouts += 1
        try:
            async with asyncio.timeout(STUCK_S * 3):
                over = await self._until_over(begun, kills)
        except TimeoutError:
            self.told.stuck += 1
            self.told.notes.append(f"{begun.id} is stuck")
            return
        proved = bool(over.batches) and all(batch.verified for batch in over.batches)
        self.told.promoted += over.phase is Phase.PROMOTED
        self.told.rolled_back += over.phase is Phase.ROLLED_BACK
        if over.phase is Phase.PROMOTED and (bad or not proved):
            self.told.unverified += 1
            self.told.notes.append(f"{over.id} was promoted without proof")
        await self._look_at_roster(over)
        wanted = over.release if over.phase is Phase.PROMOTED else over.stable
        for follower in self._followers:
            follower.faults = Faults()
        deadline_s = asyncio.get_running_loop().time() + ASTRAY_S
        while astray := [one.instance for one in self._followers if one.running != wanted]:
            if asyncio.get_running_loop().time() > deadline_s:
                break
            await asyncio.sleep(0.01)
        self.told.astray += len(astray)
        if astray:
            self.told.notes.append(f"{over.id} ({over.phase}): {', '.join(astray)} went astray")

    async def _look_at_roster(self, over: Rollout) -> None:
        """Whether the record of who took part names everybody, and whoever proved a promoted release."""
        roster = await rosters.written(self._store, over)
        frozen = sum(batch.size for batch in over.batches)
        whole = roster is not None and roster.left_out == 0 and len(roster.participants) >= frozen
        if whole and roster is not None and over.phase is Phase.PROMOTED:
            whole = all(one.verified is not None and one.took_ms is not None for one in roster.participants)
        if not whole:
            self.told.lost += 1
            self.told.notes.append(f"{over.id} ({over.phase}): who took part is not whole: {roster}")

    async def _until_over(self, begun: Rollout, kills: int) -> Rollout:
        """The rollout's end, with a kill after some of its writes."""
        written: asyncio.Queue[Rollout] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(begun, written))
        left = self._chance.randrange(WRITES)
        loop = asyncio.get_running_loop()
        killed_s: float | None = None
        try:
            value = await written.get()
            while not value.over:
                if left <= 0 and killed_s is None and self.told.kills < kills:
                    await asyncio.sleep(self._chance.random() * 0.012)
                    if await self._kill():
                        killed_s = loop.time()
                    while not written.empty():  # from before
                        value = written.get_nowait()
                    if killed_s is not None:
                        self.told.phases[value.phase] += 1
                    left = self._chance.randrange(WRITES)
                with suppress(TimeoutError):  # while it bakes or waits, time passes instead of writes
                    async with asyncio.timeout(0.02):
                        value = await written.get()
                        if killed_s is not None:
                            self.told.resumed_s.append(loop.time() - killed_s)
                            killed_s = None
                left -= 1
            return value
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    async def _watch(self, begun: Rollout, written: asyncio.Queue[Rollout]) -> None:
        key = rollout_key(APP, NAMESPACE, begun.id)
        found = await self._store.get(key)
        assert found is not None  # noqa: S101  it was acknowledged
        written.put_nowait(stored(found).value)
        async with self._store.watch(key, found.mod_revision) as items:
            async for item in items:
                for event in getattr(item, "events", ()):
                    if event.entry.key == key:
                        written.put_nowait(stored(event.entry).value)

    async def _kill(self) -> bool:
        """SIGKILL for whoever drives; it starts anew in the background. False when nobody does."""
        if self._restarting is not None and not self._restarting.done():
            return False  # the other one has just taken over: let it live
        holder = await self._store.get("/herz/duties/rollouts")
        pid = None if holder is None else msgspec.json.decode(holder.value).get("pid")
        for server in self._servers:
            if pid is not None and server.process.pid == pid:
                os.kill(pid, signal.SIGKILL)
                await asyncio.to_thread(server.process.kill)
                self.told.kills += 1
                self._restarting = asyncio.create_task(server.start())
                return True
        return False

    async def _release(self, *, publish: bool) -> Release:
        number = len(self._releases) + 1
        text = f"timeout: {number}000ms\npool: {number}\n"

        async def made(plane: ControlPlane) -> Release:
            there = plane.namespace(APP, NAMESPACE)
            draft = await there.draft()
            await there.write_draft(Content(layers=(LayerText(name="main", text=text),)), expect=draft.revision)
            return await there.release(f"number {number}", publish=publish)

        self._releases.append(release := await self._asked(made))
        return release

    async def _begun(self, release: Release) -> Rollout:
        async def begin(plane: ControlPlane) -> Rollout:
            return await plane.namespace(APP, NAMESPACE).start_rollout(release.number, PLAN)

        return await self._asked(begin)

    async def _asked(self, ask: Callable[[ControlPlane], Awaitable[T]]) -> T:
        """What a server answers, whichever lives."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + STUCK_S
        failure: HerzError | None = None
        while loop.time() < deadline_s:
            for server in self._servers:
                if not server.process.running:
                    continue
                try:
                    async with ControlPlane(f"http://{server.port.address}") as plane:
                        return await ask(plane)
                except SourceError as error:  # the other one answers
                    failure = error
            await asyncio.sleep(0.05)
        said = "".join(server.process.said() for server in self._servers)
        raise ServerFailed(f"no server answers for {STUCK_S:g} s: {failure}{said}") from failure

    async def examine(self) -> None:
        """Whether everything that was acknowledged is there, and whole."""
        if self._restarting is not None:
            await self._restarting
        contents = Contents(self._store, SystemClock(), 3600)
        for release in self._releases:
            try:
                found = await contents.read(release.digest)
                if not found.layers[0].text.startswith(f"timeout: {release.number}000ms"):
                    raise HerzError("another content")
            except HerzError as error:
                self.told.lost += 1
                self.told.notes.append(f"release {release.number}: {error}")
        verified = await Audit(self._store, SystemClock()).verify()
        self.told.audited = verified.ok
        if not verified.ok:
            self.told.notes.append(f"the audit log is broken at {verified.broken_at}: {verified.why}")
