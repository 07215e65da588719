"""The story that `herz demo --fleet` tells: three releases to a running fleet, each held against what should happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from herz.cli.demo.fleet_tally import FleetTally
from herz.cli.demo.screen import Screen
from herz.client import Instance, Namespace
from herz.release.atomicity import Verdict
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Batch, Phase, Rollout
from herz.release.statistics import Outcome

BANK_S: Final = 0.025
"""How long the bank takes for a payment."""
ROLLOUT_S: Final = 60.0
"""How long a rollout may take before the demo calls it stuck."""
BACK_S: Final = 10.0
"""How long its end may take to be reported by every instance."""
POLL_S: Final = 0.05
HEALTH: Final[Mapping[str, Any]] = {
    "name": "health",
    "kind": "health",
    "options": {"url": "http://{label.http}/health", "attempts": 2, "pause_s": 0.1, "limit_s": 2.0},
}

CONFIGURATION: Final = """\
# The shop's configuration.
database:
  host: 127.0.0.1
  port: {port}
  pool-size: 1

payment:
  timeout: 3s

prices:
  edition: 7
  book: 12.50

receipts:
  edition: 7
  greeting: Thank you!
"""


@dataclass(frozen=True)
class Act:
    """One release and what should come of it. `harm_s` is how long a batch is watched."""

    title: str
    moral: str
    said: str
    changes: Mapping[str, Any]
    ends: Phase
    committed: bool = True
    bake_s: float = 1.0
    tells: tuple[str, ...] = field(default=())


def acts(free_port: int) -> tuple[Act, ...]:
    """The three releases; nobody listens at `free_port`."""
    return (
        Act(
            "A good release, batch by batch",
            "Each batch builds it, flips at one write, and is asked what it runs.",
            "edition 8 of prices and receipts, two sessions with the bank",
            {
                "prices.edition": 8,
                "prices.book": 11.9,
                "receipts.edition": 8,
                "receipts.greeting": "Happy holidays!",
                "database.pool-size": 2,
            },
            Phase.PROMOTED,
        ),
        Act(
            "A release that cannot be built",
            "Building comes before flipping, so nobody ever runs it.",
            f"a bank at port {free_port}, where nobody listens; edition 9",
            {"database.port": free_port, "prices.edition": 9, "receipts.edition": 9},
            Phase.ROLLED_BACK,
            committed=False,
        ),
        Act(
            "A release that is whole, and does harm",
            "The first batch answers for it, and is taken back by itself at one write.",
            f"payments give up after 5 ms, and the bank takes {BANK_S * 1000:.0f}; edition 9",
            {"payment.timeout": "5ms", "prices.edition": 9, "receipts.edition": 9},
            Phase.ROLLED_BACK,
            bake_s=8.0,
        ),
    )


class FleetStory:
    """Plays the acts against a fleet that serves, and holds what happened against what was expected."""

    def __init__(self, pay: Namespace, screen: Screen, tally: FleetTally, *, free_port: int, pause_s: float) -> None:
        self._shop, self._screen, self._tally, self._pause_s = pay, screen, tally, pause_s
        self._acts = acts(free_port)

    async def play(self) -> None:
        """All acts, one after the other; `FleetTally.ok` is False when anything was not as expected."""
        live = (await self._shop.find_release(1)).number
        await self._proof(live)
        await asyncio.sleep(self._pause_s)
        for number, act in enumerate(self._acts, 1):
            self._screen.act(number, act.title, act.moral)
            await asyncio.sleep(self._pause_s / 2)
            live = await self._act(act, live)
            await asyncio.sleep(self._pause_s)

    async def _act(self, act: Act, live: int) -> int:
        """Release it, roll it out, and say which release is live then."""
        failed = self._tally.failed
        await self._shop.reset_draft()
        await self._shop.set(act.changes)
        release = await self._shop.release(act.said, publish=False)
        self._screen.change(f"release {release.number}: {act.said}")
        plan = Plan(kind=PlanKind.EXPLICIT, percent=(10.0, 50.0, 100.0), bake_s=act.bake_s, check_s=0.2, prepare_s=15.0)
        begun = await self._shop.start_rollout(release.number, plan, checks=[HEALTH], message=act.said)
        rollout = await self._followed(begun)
        self._check(
            rollout.phase is act.ends,
            "",
            f"expected {act.ends}, and it is {rollout.phase}: {rollout.reason}",
            quiet=True,
        )
        if rollout.phase is Phase.PROMOTED:
            live = release.number
        else:
            self._screen.message(rollout.reason or "no reason is told")
        committed = any(batch.committed for batch in rollout.batches)
        self._check(committed == act.committed, "", f"committed: {committed}, expected {act.committed}", quiet=True)
        if rollout.phase is Phase.ROLLED_BACK:
            await self._back(act, rollout, live, failed)
        await self._proof(live)
        if act.ends is Phase.PROMOTED:
            self._tally.promoted = rollout.phase is Phase.PROMOTED
        elif act.committed:
            self._tally.rolled_back = rollout.phase is Phase.ROLLED_BACK
        return live

    async def _followed(self, rollout: Rollout) -> Rollout:
        """The rollout at its end, each step told as it happens. `TimeoutError` when it does not come to one."""
        told = 0
        async with asyncio.timeout(ROLLOUT_S):
            while not rollout.over:
                async for now in self._shop.rollout_events(rollout.id):
                    rollout = now
                    proved = [batch for batch in rollout.batches if batch.verdict is not None]
                    for batch in proved[told:]:
                        self._tell(batch, batch.verdict)
                    told = len(proved)
        return rollout

    def _tell(self, batch: Batch, verdict: Verdict | None) -> None:
        if verdict is None:
            return
        size = f"{batch.size} instance{'' if batch.size == 1 else 's'}"
        if verdict.verified:
            self._tally.verify_ms.append(verdict.took_ms)
        self._check(
            verdict.verified,
            f"batch {batch.number}, {size}: built, flipped, proved in {verdict.took_ms:.0f} ms",
            f"batch {batch.number}, {size}: {verdict}",
        )

    async def _back(self, act: Act, rollout: Rollout, live: int, failed: int) -> None:
        """Every member of the batches runs what it ran before; how long that took."""
        if not act.committed:
            self._check(
                not any(batch.committed for batch in rollout.batches),
                f"rolled back before anybody flipped: all go on with release {live}",
                "a batch had flipped",
            )
            return
        reports = await self._settled(live)
        probe = failing_probe(rollout)
        came = [one.time for one in reports if probe is not None and one.time >= probe]
        if probe is None or not came:
            self._check(False, "", f"no instance has come back: {rollout.reason}")
            return
        self._tally.rollback_s = (max(came) - probe).total_seconds()
        self._check(
            True,
            f"{len(came)} back on release {live} {self._tally.rollback_s:.2f} s after the failing probe;"
            f" {self._tally.failed - failed} of {self._tally.requests:,} requests had failed",
            "",
        )

    async def _settled(self, live: int) -> Sequence[Instance]:
        """The reports, once every instance says that it runs `live`."""
        deadline = time.monotonic() + BACK_S
        while True:
            reports = await self._shop.instances()
            if all(one.config_version == live for one in reports) or time.monotonic() > deadline:
                return reports
            await asyncio.sleep(POLL_S)

    async def _proof(self, live: int) -> None:
        """All of them run `live`, proved once more from outside the rollout."""
        await self._settled(live)
        verdict = await self._shop.verify(None, live)
        whole = verdict.verified and verdict.members == self._tally.instances
        if whole:
            self._tally.verify_ms.append(verdict.took_ms)
        self._check(
            whole,
            f"verify_atomicity: all {verdict.members} run release {live}, whole ({verdict.took_ms:.0f} ms)",
            f"expected {self._tally.instances} instances on release {live}: {verdict}",
        )

    def _check(self, held: bool, said: str, otherwise: str, *, quiet: bool = False) -> None:
        if not held:
            self._tally.ok = False
            self._screen.fact(False, otherwise)
        elif not quiet:
            self._screen.fact(True, said)


def failing_probe(rollout: Rollout) -> datetime | None:
    """When the first check that failed was begun, as the rollout's evidence has it."""
    failing = [
        check.time
        for batch in rollout.batches
        for check in batch.checks
        if check.outcome is Outcome.FAIL and check.time is not None
    ]
    return min(failing, default=None)
