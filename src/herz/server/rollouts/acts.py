"""What a rollout has done outside of the store, wired to who does it."""

from __future__ import annotations

from datetime import datetime

from herz.errors import UsageError
from herz.release.member import Member
from herz.release.rollout import Check, CheckResult, Rollout
from herz.server.rollouts.checks import Checks
from herz.server.rollouts.deployer import Deployer, Order
from herz.server.rollouts.deployer import Member as Installed
from herz.server.rollouts.verify import Proof, Verifier


class Acts:
    """Asks by the verifier, deploys by the hooks, looks by the checks."""

    def __init__(self, verifier: Verifier, deployer: Deployer, checks: Checks) -> None:
        self._verifier, self._deployer, self._checks = verifier, deployer, checks

    async def ask(self, rollout: Rollout, members: tuple[Member, ...], window_s: float) -> Proof:
        """The verdict on `members`, and what each answered."""
        return await self._verifier.verify(
            rollout.app,
            rollout.namespace,
            release=rollout.release,
            members=members,
            patch_id=rollout.patch_id,
            window_s=window_s,
            allow_overrides=rollout.allow_overrides,
        )

    async def deploy(self, rollout: Rollout, members: tuple[Member, ...]) -> None:
        """Have the patch installed."""
        name = None if rollout.deployer is None else rollout.deployer.get("name")
        if not isinstance(name, str):
            raise UsageError(f"rollout {rollout.id} names no deployer", remedy="start another one")
        order = Order(
            key=f"{rollout.app}/{rollout.namespace}/{rollout.id}/{rollout.batch}",
            app=rollout.app,
            namespace=rollout.namespace,
            rollout=rollout.id,
            batch=rollout.batch,
            patch_id=rollout.patch_id,
            release=rollout.release.number,
            members=tuple(
                Installed(
                    instance=member.instance,
                    labels=dict(member.labels),
                    patch_id=None if member.report is None else member.report.patch_id,
                )
                for member in members
            ),
        )
        await self._deployer.deploy(name, order)

    async def look(self, check: Check, rollout: Rollout, members: tuple[Member, ...], now: datetime) -> CheckResult:
        """One result of a check."""
        return await self._checks.look(check, rollout, members, now)
