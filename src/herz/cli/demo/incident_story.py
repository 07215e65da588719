"""The story that `herz demo --incident` tells: one value in two containers, a gray release, and who is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from herz.cli.demo.screen import Screen
from herz.client import Namespace
from herz.release.atomicity import Difference, What
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Phase, Rollout

WAIT_S: Final = 15.0
"""How long anything may take before the demo calls it missing."""
POLL_S: Final = 0.05

POD: Final = "pay-0"
FILE: Final = "pay.yml"
OLD, NEW = "3000ms", "800ms"
MENDED: Final = "# The sidecar's own ConfigMap: the timeout is in the release.\nport: 15001\n"


@dataclass
class Found:
    """What came of it. `as_dict` is what `--json` prints."""

    ok: bool = True
    refused: bool = False
    difference: Difference | None = None
    after_s: float = 0.0
    """How long after its beginning the rollout was refused."""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The outcome, for programs; `values` and `origins` are (of the release, of the container that differs)."""
        found = self.difference
        return {
            "ok": self.ok,
            "refused": self.refused,
            "container": None if found is None else found.container,
            "key": None if found is None else found.key,
            "values": [] if found is None else list(found.values or ()),
            "origins": [] if found is None else list(found.origins or ()),
        }

    def counters(self) -> list[tuple[str, str, bool]]:
        """What each container is configured with."""
        return [(name, f"{said['timeout_ms']} ms", True) for name, said in sorted(self.containers.items())]

    def summary(self) -> list[str]:
        """The outcome in words."""
        if self.difference is None:
            return ["no container was found out"]
        found, values, origins = self.difference, self.difference.values, self.difference.origins
        lines = [f"refused: container {found.container} differs in {found.key}"]
        for who, value, origin in zip(("release", found.container), values or (), origins or (), strict=False):
            lines.append(f"  {who or '?':<9} {value or '(none)':<8} {origin or ''}")
        return lines


class Incident:
    """The story: one value, a gray release, a sidecar that is found out, and what mends it."""

    def __init__(self, pay: Namespace, screen: Screen, found: Found, mounted: Path, pause_s: float) -> None:
        self._pay, self._screen, self._found, self._mounted, self._pause_s = pay, screen, found, mounted, pause_s

    async def play(self) -> None:
        """All of it; `Found.ok` is False when anything was not as expected."""
        await self._agree()
        rollout = await self._gray()
        if await self._refused(rollout):
            await self._mended()

    async def _agree(self) -> None:
        self._screen.act(1, "Two containers, one value", "They agree, so nobody sees that one has it from elsewhere.")
        await self._both(3000)
        self._tell("main")
        self._tell("sidecar")
        async with asyncio.timeout(WAIT_S):
            while len(await self._pay.instances()) < len(self._found.containers):  # noqa: ASYNC110  as above
                await asyncio.sleep(POLL_S)
        verdict = await self._pay.verify(None, 1)
        self._check(
            verdict.verified,
            "verify_atomicity: both run release 1; the same twice is no difference",
            f"release 1 is not verified: {verdict}",
        )
        await self._pause()

    async def _gray(self) -> Rollout:
        self._screen.act(2, "The gray release", "Both containers get it. In the sidecar its own ConfigMap wins.")
        await self._pay.set({"timeout": NEW}, message="callers should not wait so long")
        release = await self._pay.release("callers should not wait so long", publish=False)
        self._screen.change(f"release {release.number}, to this pod alone: timeout {OLD} → {NEW}")
        rollout = await self._roll_out(release.number)
        return rollout

    async def _refused(self, rollout: Rollout) -> bool:
        verdicts = [batch.verdict for batch in rollout.batches if batch.verdict is not None]
        committed = any(batch.committed for batch in rollout.batches)
        self._found.refused = rollout.phase is Phase.ROLLED_BACK and committed and not any(v.verified for v in verdicts)
        told = [verdict.time for verdict in verdicts if verdict.time is not None]
        self._found.after_s = (min(told) - rollout.created).total_seconds() if told else 0.0
        differences = [one for verdict in verdicts for one in verdict.differences if one.what is What.OVERRIDE]
        self._found.difference = differences[0] if differences else None
        self._screen.act(3, "Refused", "The pod was asked what it runs, and one container answered something else.")
        self._check(
            self._found.refused,
            f"not promoted, {self._found.after_s:.2f} s after the rollout began",
            f"it is {rollout.phase}: {rollout.reason}",
        )
        named = self._found.difference
        self._check(
            named is not None
            and named.container == "sidecar"
            and named.key == "timeout"
            and named.values == (NEW, OLD),
            "the report names container, key, both values and both places:",
            f"the report does not name the sidecar and its timeout: {rollout.reason}",
        )
        for line in self._found.summary()[1:]:
            self._screen.detail(line)
        if not self._found.refused:
            return False
        await self._both(3000)
        verdict = await self._pay.verify(None, 1)
        self._check(
            verdict.verified,
            "rolled back by itself: both containers agree again, at 3000 ms",
            f"the pod is not back on release 1: {verdict}",
        )
        await self._pause()
        return True

    async def _mended(self) -> None:
        self._screen.act(4, "Mended", "Without that line in the sidecar, the same release passes.")
        self._screen.change(f"{self._mounted.name}: `timeout: {OLD}` is deleted")
        self._mounted.write_text(MENDED, encoding="utf-8")
        await self._released("sidecar")
        rollout = await self._roll_out(2)
        self._check(
            rollout.phase is Phase.PROMOTED and await self._pay.verify_atomicity(None, 2),
            f"promoted: both containers give up after {NEW}, proved",
            f"it is {rollout.phase}: {rollout.reason}",
        )
        self._tell("main")
        self._tell("sidecar")
        await self._pause()

    async def _roll_out(self, number: int) -> Rollout:
        plan = Plan(kind=PlanKind.EXPLICIT, percent=(100.0,), bake_s=0.5, check_s=0.2, prepare_s=10.0, verify_s=2.0)
        rollout = await self._pay.start_rollout(number, plan, selector={"pod": POD})
        async with asyncio.timeout(WAIT_S):
            while not rollout.over:
                await asyncio.sleep(POLL_S)
                rollout = await self._pay.rollout(rollout.id)
        return rollout

    async def _released(self, container: str) -> None:
        """Wait until the release decides the value in `container`: nothing changes there but who says so."""
        async with asyncio.timeout(WAIT_S):
            while True:
                answers = await self._pay.ask("explain", keys=["timeout"], instances=[f"{POD}-{container}"])
                if any(FILE in (told.origin or "") for answer in answers for told in answer.explained):
                    return
                await asyncio.sleep(POLL_S)

    def _says(self, container: str, timeout_ms: int) -> bool:
        return bool(self._said(container, "timeout_ms") == timeout_ms)

    def _said(self, container: str, name: str) -> Any:
        return self._found.containers.get(container, {}).get(name, "")

    def _tell(self, container: str) -> None:
        said = self._found.containers[container]
        self._screen.detail(f"{container:<8} timeout {said['value']:<8} {said['origin']}")

    async def _both(self, timeout_ms: int) -> None:
        await self._until(lambda: self._says("main", timeout_ms) and self._says("sidecar", timeout_ms))

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110  what processes say sets no event
                await asyncio.sleep(POLL_S)

    def _check(self, held: bool, said: str, otherwise: str, *, quiet: bool = False) -> None:
        if not held:
            self._found.ok = False
            self._screen.fact(False, otherwise)
        elif not quiet:
            self._screen.fact(True, said)

    async def _pause(self) -> None:
        await asyncio.sleep(self._pause_s)
