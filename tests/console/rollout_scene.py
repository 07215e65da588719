"""Rollouts for the tests of their pages: instances that follow the server's store, and pages read as text."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from herz.release.content import Content, LayerText
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Phase, Rollout
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.rollouts.book import Book, Wish
from herz.testing.followers import Follower

from .conftest import ADA, OWN

BASE = "/console/apps/pay/default/rollouts"


def plan(*percent: float, **facts: Any) -> Plan:
    """Batches of `percent`, that bake for no time and wait for seconds."""
    waits = {"bake_s": 0.0, "check_s": 0.05, "prepare_s": 10.0, "commit_s": 10.0, "verify_s": 5.0, "deploy_s": 10.0}
    return Plan(kind=PlanKind.EXPLICIT, percent=percent or (50.0, 100.0), **(waits | facts))


def words(page: httpx.Response | str) -> str:
    """The text of a page without its marks, in one line."""
    text = page if isinstance(page, str) else page.text
    text = re.sub(r"<(script|style|template)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


class Scene:
    """Releases 1 (stable) and 2 of pay, and instances that live until the end."""

    def __init__(self, plane: Plane, browser: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.plane, self.browser, self._stack = plane, browser, stack
        self.book = plane.of(Book)
        self.instances: dict[str, Follower] = {}

    async def release(self, text: str, *, publish: bool = False) -> int:
        layers = (LayerText(name="application.yml", text=text),)
        await self.plane.desk.drafts.write("pay", "default", Content(layers=layers), by=ADA, expect=None)
        made = await self.plane.desk.create("pay", "default", by=ADA, message=f"says {text.strip()}", publish=publish)
        channel = self.plane.of(Hub).namespace
        await self.until(lambda: not publish or channel("pay", "default").channel.stable.release == made.ref)
        return made.number

    async def join(self, *names: str, **facts: Any) -> list[Follower]:
        for name in names:
            follower = Follower(self.plane.store, "pay", "default", name, **facts)
            self.instances[name] = follower
            await self._stack.enter_async_context(follower.alive())
        hub = self.plane.of(Hub)
        await self.until(lambda: {*names} <= hub.namespace("pay", "default").reports.keys())
        return [self.instances[name] for name in names]

    async def start(self, release: int = 2, **facts: Any) -> Rollout:
        return await self.book.start("pay", "default", Wish(release=release, **{"plan": plan(), **facts}), ADA)

    async def found(self, rollout: str = "r1") -> Rollout:
        return (await self.book.find("pay", "default", rollout)).value

    async def reach(self, *phases: Phase, rollout: str = "r1", batch: int | None = None) -> Rollout:
        """The rollout once it is in one of `phases`, by default over."""
        async with asyncio.timeout(20):
            while True:
                found = await self.found(rollout)
                if (found.phase in phases if phases else found.over) and batch in (None, found.batch):
                    return found
                await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def page(self, path: str = "/r1", **headers: str) -> httpx.Response:
        """A page as it is now."""
        return await self.browser.get(BASE + path, headers={**OWN, **headers})

    async def shows(self, text: str, path: str = "/r1", **headers: str) -> str:
        """What a page says, once it says `text`: instances are seen as they report."""
        said = ""
        try:
            async with asyncio.timeout(20):
                while True:
                    said = words(await self.page(path, **headers))
                    if text in said:
                        return said
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in: {said}") from None

    async def post(self, path: str = "/r1", **fields: Any) -> httpx.Response:
        return await self.browser.post(BASE + path, data=fields)


@asynccontextmanager
async def a_scene(plane: Plane, browser: httpx.AsyncClient) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        scene = Scene(plane, browser, stack)
        await scene.release("pool: 5\n", publish=True)
        await scene.release("pool: 7\n")
        yield scene


@pytest.fixture
async def scene(plane: Plane, browser: httpx.AsyncClient) -> AsyncIterator[Scene]:
    scenes: list[Scene] = []
    ready, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with a_scene(plane, browser) as made:  # entered and left in one task, as it must be
            scenes.append(made)
            ready.set()
            await over.wait()

    living = asyncio.create_task(live())
    await asyncio.wait({living, waiting := asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    yield scenes[0]
    over.set()
    await living
