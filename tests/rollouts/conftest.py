"""What rollouts meet, for real: HTTP servers on loopback, and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web
from litestar import Litestar

from herz.release.atomicity import Verdict
from herz.release.channel import Channel, Mailbox, Release
from herz.release.plan import Plan, PlanKind
from herz.release.record import decode
from herz.release.rollout import Phase, Rollout
from herz.server import api_delivery
from herz.server.app import create_app
from herz.server.audit import AuditEntry, By
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.rollouts.book import Book, Wish, stored
from herz.server.rollouts.outbound import Outbound
from herz.server.rollouts.proofs import Proofs
from herz.server.rollouts.standing import Rollouts, RolloutSettings, rollouts
from herz.server.settings import ServerSettings
from herz.store.base import Store
from herz.store.plane import mailboxes_prefix, rollout_key
from herz.testing.followers import Follower
from herz.testing.memory_store import MemoryStore


async def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait in real time until `condition` holds; what it gave."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"never held: {condition}"
        await asyncio.sleep(0.005)
    return found


@pytest.fixture(name="eventually")
def eventually_() -> Callable[..., Awaitable[Any]]:
    return eventually


@dataclass
class Place:
    """An HTTP server that remembers what it was asked, and answers as told."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    answer: Callable[[web.Request, bytes], web.Response | None] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append((request.method, request.path_qs, body))
        await self.hold.wait()
        if self.answer is not None and (said := self.answer(request, body)) is not None:
            return said
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    there = Place()
    there.hold.set()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", there.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield there
    there.hold.set()
    await runner.cleanup()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound(limit_s=5)
    yield outbound
    await outbound.close()


PLACE = "/apps/pay/namespaces/default"


class World:
    """A server over a store, in this process, and instances that follow the store."""

    def __init__(self, store: Store, app: Litestar, stack: AsyncExitStack) -> None:
        self.store, self.app, self._stack = store, app, stack
        self.plane: Plane = app.state.plane
        self.hub, self.book, self.proofs = self.plane.of(Hub), self.plane.of(Book), self.plane.of(Proofs)
        self.driver = self.plane.of(Rollouts).driver
        self.instances: dict[str, Follower] = {}
        asgi: Any = app
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi), base_url="http://127.0.0.1/api/v1")

    async def release(self, text: str, *, publish: bool = False, **facts: Any) -> Release:
        """A release of one layer."""
        draft = await self.http.get(f"{PLACE}/draft")
        expect = draft.json()["revision"] if draft.status_code == 200 else 0
        layers = [{"name": "main", "text": text}]
        body = {"content": {"layers": layers}, "expect": expect}
        done = await self.http.put(f"{PLACE}/draft", json=body)
        assert done.status_code == 200, done.text
        return await self.plane.desk.create("pay", "default", by=By("ann"), message="m", publish=publish, **facts)

    async def join(self, *names: str, store: Store | None = None, **facts: Any) -> list[Follower]:
        """Instances that are alive until the end, and have reported."""
        made = []
        for name in names:
            follower = Follower(store or self.store, "pay", "default", name, **facts)
            self.instances[name] = follower
            await self._stack.enter_async_context(follower.alive())
            made.append(follower)
        reports = self.hub.namespace
        await eventually(lambda: {*names} <= reports("pay", "default").reports.keys())
        return made

    async def start(self, release: Release, by: str = "ann", **facts: Any) -> Rollout:
        """A rollout of two batches without baking, unless `facts` say otherwise."""
        facts = {"plan": plan(), **facts}
        return await self.book.start("pay", "default", Wish(release=release.number, **facts), By(by))

    async def order(self, rollout: Rollout, order: str, **body: Any) -> httpx.Response:
        """What the API says to an order."""
        return await self.http.post(f"{PLACE}/rollouts/{rollout.id}/{order}", json=body)

    async def verify(self, release: Release, **facts: Any) -> Verdict:
        """The verdict that the API gives on everybody."""
        done = await self.http.post(f"{PLACE}/verify", json={"config_version": release.number, **facts})
        assert done.status_code == 200, done.text
        return msgspec.json.decode(done.content, type=Verdict)

    async def found(self, rollout: Rollout) -> Rollout:
        """The record as it is now."""
        return (await self.book.find("pay", "default", rollout.id)).value

    async def until(self, rollout: Rollout, *phases: Phase, batch: int | None = None, seconds: float = 20) -> Rollout:
        """The record once it is in one of `phases`, by default over."""
        key = rollout_key("pay", "default", rollout.id)
        begun = await self.book.find("pay", "default", rollout.id)
        async with asyncio.timeout(seconds), self.store.watch(key, begun.revision) as items:
            value = begun.value
            while not (value.over if not phases else value.phase in phases and batch in (None, value.batch)):
                item = await anext(items)
                for event in getattr(item, "events", ()):
                    if event.entry.key == key:
                        value = stored(event.entry).value
            return value

    async def channel(self) -> Channel:
        return (await self.plane.desk.channel("pay", "default"))[0]

    async def mailboxes(self) -> dict[str, str]:
        prefix = mailboxes_prefix("pay", "default")
        found = (await self.store.range(prefix)).entries
        return {entry.key.split("/")[-2]: decode(entry.value, Mailbox, entry.key).cohort for entry in found}

    async def audit(self) -> list[AuditEntry]:
        return list(await self.plane.audit.entries(limit=1_000))


def plan(*percent: float, **facts: Any) -> Plan:
    """Batches of `percent`, that bake for no time and wait for seconds."""
    waits = {"bake_s": 0.0, "check_s": 0.05, "prepare_s": 5.0, "commit_s": 5.0, "verify_s": 3.0, "deploy_s": 10.0}
    return Plan(kind=PlanKind.EXPLICIT, percent=percent or (50.0, 100.0), **(waits | facts))


@asynccontextmanager
async def running(store: Store, settings: RolloutSettings | None = None) -> AsyncIterator[World]:
    """A server that runs while this lasts."""
    parts = (api_delivery.part, rollouts(settings or RolloutSettings()))
    app = create_app(store, ServerSettings(), parts=parts)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.lifespan())
        instances = await stack.enter_async_context(AsyncExitStack())
        yield World(store, app, instances)


@asynccontextmanager
async def apart(context: AbstractAsyncContextManager[World]) -> AsyncIterator[World]:
    """`context`, entered and left by one task: a fixture is set up in another one than it is torn down in."""
    entered: asyncio.Future[World] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def inside() -> None:
        try:
            async with context as world:
                entered.set_result(world)
                await over.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    task = asyncio.create_task(inside())
    try:
        yield await entered
    finally:
        over.set()
        await task


@pytest.fixture(name="running")
def running_() -> Callable[..., AbstractAsyncContextManager[World]]:
    return running


@pytest.fixture(name="plan")
def plan_() -> Callable[..., Plan]:
    return plan


@pytest.fixture
async def two(world: World) -> tuple[Release, Release]:
    """A stable release, and one to roll out."""
    stable = await world.release("timeout: 1000ms\npool: 5\n", publish=True)
    return stable, await world.release("timeout: 3000ms\npool: 7\n")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = MemoryStore()
    async with apart(running(store)) as world:
        yield world
    await store.close()
