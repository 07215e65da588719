"""A control plane on which everything that the console shows is there to be seen: for pictures, and tests of all pages.

A real `herz serve`, real instances, a release that is rolled out gradually and one that failed: what is seen has
happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from herz import Herz
from herz.client import ControlPlane, Namespace
from herz.release.content import Content, LayerText
from herz.release.plan import Plan, PlanKind
from herz.testing.control_plane import ControlPlaneServer

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {},
    "dark": {"dark": True},
    "phone": {"phone": True},
    "chinese": {"language": "zh-CN"},
}
"""How pages are looked at: options of `Chromium.visit`."""
PAY: Final = "/console/apps/pay/default"
PAGES: Final = {
    "overview": "/console/",
    "application": PAY,
    "draft": f"{PAY}/draft",
    "releases": f"{PAY}/releases",
    "release": f"{PAY}/releases/3",
    "compare": f"{PAY}/compare?from=2&to=4",
    "rollouts": f"{PAY}/rollouts",
    "rollout": f"{PAY}/rollouts/r2",
    "rolled-back": f"{PAY}/rollouts/r1",
    "new-rollout": f"{PAY}/rollouts/new?release=5",
    "fleet": f"{PAY}/fleet",
    "instance": f"{PAY}/fleet/pay-3",
    "explain": f"{PAY}/explain?key=db.host",
    "impact": f"{PAY}/impact",
    "audit": "/console/audit",
    "sources": "/console/sources",
    "services": "/console/services",
    "users": "/console/users",
    "tokens": "/console/tokens",
    "nowhere": "/console/nowhere",
}
CLOSED: Final = {"login": "/console/login", "welcome": "/console/welcome"}
"""Pages of a server that asks who one is."""

APPLICATION: Final = """\
# what every region has in common
db:
  host: db.internal
  pool: 10            # connections of each process
  password: s3cret
retry:
  attempts: 3
  backoff: 200ms
features:
  instant-payment: false
"""
REGION: Final = """\
# Europe
db:
  host: db.eu.internal
quota:
  cpu: 2
  storage: 50Gi
"""
SCHEMA: Final = {
    "type": "object",
    "properties": {
        "db": {
            "type": "object",
            "title": "Database",
            "properties": {
                "host": {"type": "string"},
                "pool": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Connections of each process"},
                "password": {"type": "string"},
            },
            "required": ["host", "pool"],
        },
        "retry": {
            "type": "object",
            "title": "Retries",
            "properties": {"attempts": {"type": "integer", "minimum": 0}, "backoff": {"type": "string"}},
        },
        "features": {"type": "object", "properties": {"instant-payment": {"type": "boolean"}}},
    },
}


@dataclass(frozen=True)
class DatabaseConfig:
    """What the pool needs."""

    host: str
    pool: int
    password: str = ""


@dataclass(frozen=True)
class RetryConfig:
    """How often something is tried."""

    attempts: int
    backoff: str


class Pool:
    """Connections; one of more than 60 cannot be made."""

    def __init__(self, config: DatabaseConfig) -> None:
        if config.pool > 60:
            raise ValueError(f"{config.host} gives 60 connections at most, not {config.pool}")


class PaymentClient:
    """Made anew whenever the pool or the retries are."""

    def __init__(self, pool: Pool, retry: RetryConfig) -> None:
        self.pool, self.retry = pool, retry


def instance(server: ControlPlaneServer, app: str, number: int) -> Herz:
    """One running instance."""
    labels = f"label.zone={'eu' if number % 2 else 'us'}&label.container=main"
    herz = Herz(f"{server.source}/{app}?instance={app}-{number}&{labels}")
    herz.properties("db")(DatabaseConfig)
    herz.properties("retry")(RetryConfig)
    herz.refresh_scope(eager=True)(Pool)
    herz.refresh_scope(eager=True)(PaymentClient)
    herz.start()
    return herz


async def releases(place: Namespace) -> None:
    """Three releases, live one after the other."""
    layers = (LayerText(name="application.yml", text=APPLICATION), LayerText(name="region-eu.yml", text=REGION))
    await place.write_draft(Content(layers=layers))
    await place.release("first configuration", git_commit="7d41c0e")
    await place.set({"db.pool": 20}, message="the sale is coming")
    await place.release("20 connections for the sale", git_commit="a80f1b3")
    await place.set({"retry.attempts": 5})
    await place.release("more patience with the bank", git_commit="c1e97f2")


async def rollouts(place: Namespace) -> None:
    """One that failed and was taken back, one that bakes, and a draft."""
    await place.set({"db.pool": 80})
    await place.release("80 connections", publish=False)
    gray = Plan(kind=PlanKind.EXPLICIT, percent=(25.0, 50.0, 100.0), bake_s=600.0)
    failed = await place.start_rollout(4, gray, message="as much as the sale needs")
    async for _ in place.rollout_events(failed.id):
        pass
    await place.set({"db.pool": 40})
    await place.release("40 connections", publish=False)
    baking = await place.start_rollout(5, gray, message="half of that, then")
    async for told in place.rollout_events(baking.id):
        if told.phase == "BAKING":
            break
    await place.set({"db.pool": 45, "features.instant-payment": True}, message="instant payment")


@asynccontextmanager
async def scene() -> AsyncIterator[ControlPlaneServer]:
    """A control plane with two applications that run, and one that has only releases."""
    with ControlPlaneServer("--name", "herz-eu-1") as server:
        running: list[Herz] = []
        try:
            async with ControlPlane(server.url, author="ada") as plane:
                for app, count in (("pay", 8), ("search", 3), ("checkout", 0)):
                    await releases(plane.namespace(app))
                    running += [await asyncio.to_thread(instance, server, app, number) for number in range(count)]
                await plane.namespace("pay").set_schema(SCHEMA)
            async with ControlPlane(server.url, author="ben") as plane:
                await rollouts(plane.namespace("pay"))
            yield server
        finally:
            for herz in running:
                await asyncio.to_thread(herz.stop)
