"""The part of the server that runs rollouts: made from its settings, with everything wired."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from herz.errors import ConfigurationError
from herz.server.asks import Asking
from herz.server.hub import Hub
from herz.server.metrics import Metrics
from herz.server.plane import MakePart, Part, Plane
from herz.server.rollouts.acts import Acts
from herz.server.rollouts.alerts import target
from herz.server.rollouts.book import Book, Wish
from herz.server.rollouts.checks import Checks, options_of
from herz.server.rollouts.deployer import Deployer, Hook, hooks_of
from herz.server.rollouts.driver import DUTY, Driver
from herz.server.rollouts.gates import Gates
from herz.server.rollouts.outbound import Outbound
from herz.server.rollouts.proofs import Proofs
from herz.server.rollouts.references import References
from herz.server.rollouts.rosters import Rosters
from herz.server.rollouts.verify import Verifier
from herz.server.work import TTL_S, held_forever

ALERTS: Final = "HERZ_ALERTS"
"""Where alerts go: URLs, separated by white space. In the environment, for they hold secrets."""
DEPLOYERS: Final = "HERZ_DEPLOYERS"
"""The file that defines deployers, JSON."""
TAKEOVER: Final = "HERZ_TAKEOVER_S"
"""After how many seconds another server goes on with the rollouts of one that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """What whoever starts the server decides: whom alerts reach, and which programs may install patches.

    `ttl_s` is after how many seconds another server goes on with the rollouts of one that died.
    """

    alerts: tuple[str, ...] = ()
    deployers: Mapping[str, Hook] = field(default_factory=dict)
    ttl_s: float = TTL_S

    @classmethod
    def from_environment(cls) -> Self:
        """As the three variables say. `ConfigurationError` for what cannot be used."""
        path = os.environ.get(DEPLOYERS)
        hooks: Mapping[str, Hook] = {}
        if path:
            try:
                hooks = hooks_of(Path(path).read_bytes(), path)
            except OSError as error:
                raise ConfigurationError(
                    f"the deployers cannot be read: {error.strerror}", where=path, remedy=f"mend {DEPLOYERS}"
                ) from error
        try:
            ttl_s = float(os.environ.get(TAKEOVER) or TTL_S)
        except ValueError:
            ttl_s = 0.0
        if not 0.1 <= ttl_s <= 3600:
            raise ConfigurationError(
                f"{TAKEOVER} is no time", where="the environment", remedy="give seconds, such as 5"
            )
        return cls(alerts=tuple(os.environ.get(ALERTS, "").split()), deployers=hooks, ttl_s=ttl_s)


class Rollouts:
    """All that runs rollouts at one server."""

    def __init__(self, plane: Plane, settings: RolloutSettings) -> None:
        self._settings, self._store = settings, plane.store
        self._outbound = Outbound()
        self._deployer = Deployer(settings.deployers, self._outbound)
        hub = plane.of(Hub)
        book = plane.offer(Book(plane.store, plane.audit, plane.clock, plane.desk.approvals))
        references = References(plane.contents, plane.desk.readings)
        verifier = Verifier(plane.store, plane.of(Asking), references, plane.clock, plane.of(Metrics).verified)
        proofs = plane.offer(Proofs(hub, book, verifier))
        plane.offer(Gates(book, proofs))
        plane.offer(Rosters(plane.store, hub))
        self.driver = Driver(
            store=plane.store,
            hub=hub,
            audit=plane.audit,
            clock=plane.clock,
            acting=Acts(verifier, self._deployer, Checks(self._outbound)),
            targets=[target(url, self._outbound) for url in settings.alerts],
        )

    @property
    def deployers(self) -> tuple[str, ...]:
        """The deployers that a rollout may name at this server."""
        return self._deployer.names

    def check(self, wish: Wish) -> None:
        """Nothing; `UsageError` for checks or a deployer that this server cannot run."""
        for check in wish.checks:
            options_of(check)
        if wish.deployer is not None:
            self._deployer.known(wish.deployer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Drive rollouts whenever the lease is ours, while this lasts."""
        work = held_forever(self._store, DUTY, self.driver.work, ttl_s=self._settings.ttl_s)
        task = asyncio.create_task(work, name="herz-rollouts")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._outbound.close()


def rollouts(settings: RolloutSettings | None = None) -> MakePart:
    """Makes the part, with `settings`, by default those of the environment. Delivery is made before it."""
    from herz.server.rollouts.api import HANDLERS  # which need the class above

    def part(plane: Plane) -> Part:
        made = plane.offer(Rollouts(plane, settings or RolloutSettings.from_environment()))
        return Part(api=HANDLERS, running=[made.running])

    return part
