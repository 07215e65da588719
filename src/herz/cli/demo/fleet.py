"""`herz demo --fleet N`: a control plane and N services, real processes all, and three releases to them under load."""

from __future__ import annotations

import asyncio
import importlib.util
import json as json_
import socket
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final, TextIO

from herz.cli.demo.crew import Crew, together
from herz.cli.demo.fleet_screen import FleetScreen
from herz.cli.demo.fleet_story import BANK_S, CONFIGURATION, FleetStory
from herz.cli.demo.fleet_tally import FleetTally
from herz.cli.demo.http import Connection
from herz.cli.demo.process import Child
from herz.cli.demo.screen import Screen, screen_for
from herz.cli.demo.stage import TERMINATED, to_its_end
from herz.client import ControlPlane, Namespace
from herz.errors import HerzError, MissingExtra, SourceUnavailable
from herz.release.content import Content, LayerText

NEEDED: Final = ("aiohttp", "litestar", "uvicorn")
WORK_S: Final = 30.0
"""What it takes with 20 instances, on two idle cores, without pauses."""
PAUSES: Final = 5
TOGETHER: Final = 8
"""How many services start at the same time: more would only wait for each other's processor."""
RATE: Final = 5.0
"""Requests a second for each instance."""
LOOK_S: Final = 0.2
"""How often the live table is brought up to date."""
ZONES: Final = ("eu", "us", "asia")


def play_fleet(*, json: bool, seconds: float, instances: int, stdout: TextIO) -> int:
    """Play the demo with so many instances; 0 when everything was as expected, 1 when not."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"herz demo --fleet needs {', '.join(missing)}; not installed", remedy="pip install 'herz[demo]'"
        )
    tally = FleetTally(instances)
    screen = screen_for(tally, json=json, live=FleetScreen)
    if not to_its_end(_play(screen, tally, pause_s=max(0.0, (seconds - WORK_S) / PAUSES)), screen):
        return TERMINATED
    if json:
        print(json_.dumps(tally.as_dict()), file=stdout, flush=True)
    return 0 if tally.ok else 1


async def _play(screen: Screen, tally: FleetTally, *, pause_s: float) -> None:
    started = time.monotonic()
    try:
        await _perform(screen, tally, pause_s)
    except (HerzError, OSError, EOFError) as error:  # TimeoutError is an OSError
        tally.ok = False
        screen.fact(False, f"the demo cannot go on: {type(error).__name__}: {error}")
    tally.ok = tally.ok and tally.promoted and tally.rolled_back and tally.mixed == 0 and tally.requests > 0
    took = f"{time.monotonic() - started:.0f} s"
    if tally.ok:
        end = f"All as expected, in {took}. docs/guide/releases.md does it with your own service."
    else:
        end = f"Not as expected: see what is marked ✗ above. {took}."
    screen.text("")
    screen.summary(end)


async def _perform(screen: Screen, tally: FleetTally, pause_s: float) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="herz-demo-")))
        crew = await stack.enter_async_context(Crew(folder))
        count = tally.instances
        screen.text(
            f"Herz: releases to {count} running services, each batch of them proved whole.",
            "",
            f"Starting a control plane (`herz serve`), a bank and {count} services, processes all …",
        )
        plane = await crew.start("control_plane")
        bank = await crew.start("database", "--work-s", str(BANK_S))
        asked = await stack.enter_async_context(ControlPlane(plane.ready["url"], author="demo"))
        shop = asked.namespace("shop")
        await _first_release(shop, bank.ready["port"])
        looking = asyncio.create_task(_look(shop, tally))
        stack.callback(looking.cancel)
        if screen.live:
            screen.open()  # the table fills while they start
        stack.callback(screen.close)
        services = await _services(crew, plane.ready["url"], count)
        load = await crew.start("fleet_load", "--rate", str(RATE), *(one.ready["address"] for one in services))
        screen.text(
            "Each builds four objects from the release that its channel points at, serves",
            f"{RATE:g} requests a second, and pins each. Every answer carries two values that",
            "belong together, of two objects: mixed are those that met two releases.",
        )
        counting = asyncio.create_task(_count(load, tally))
        stack.callback(counting.cancel)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            free_port = taken.getsockname()[1]
        await crew.during(_tell(FleetStory(shop, screen, tally, free_port=free_port, pause_s=pause_s), screen, tally))
        load.dismiss()  # it finishes what is under way, and counts once more
        await counting
        tally.mixed = max(tally.mixed, await _mixed(services))


async def _first_release(shop: Namespace, port: int) -> None:
    text = CONFIGURATION.format(port=port)
    await shop.write_draft(Content(layers=(LayerText(name="shop.yml", text=text),)), message="as it was", expect=0)
    await shop.release("as it was before")


async def _services(crew: Crew, url: str, count: int) -> list[Child]:
    """All services, some of them starting at the same time."""
    turn = asyncio.Semaphore(TOGETHER)
    source = f"herz://{url.partition('://')[2]}/shop"

    async def start(number: int) -> Child:
        name = f"shop-{number:02d}"
        zone = ZONES[number % len(ZONES)]
        async with turn:
            return await crew.start(
                "fleet_service", "--source", source, "--instance", name, "--zone", zone, inside=name
            )

    return await together(start(number) for number in range(1, count + 1))


async def _count(load: Child, tally: FleetTally) -> None:
    async for report in load.lines():
        tally.loaded(report)


async def _look(shop: Namespace, tally: FleetTally) -> None:
    """Keep the table current, until cancelled."""
    while True:
        with suppress(SourceUnavailable):
            tally.reports = await shop.instances()
        await asyncio.sleep(LOOK_S)


async def _tell(story: FleetStory, screen: Screen, tally: FleetTally) -> None:
    """The story, once every instance has reported."""
    async with asyncio.timeout(20):
        while len(tally.reports) < tally.instances:  # noqa: ASYNC110  another task's list, which sets no event
            await asyncio.sleep(0.05)
    if not screen.live:
        screen.open()
    await story.play()


async def _mixed(services: list[Child]) -> int:
    """How many requests saw two releases, as the services counted them."""
    mixed = 0
    for service in services:
        host, _, port = service.ready["address"].rpartition(":")
        connection = Connection(host, int(port))
        try:
            mixed += (await connection.request("GET", "/facts")).body["mixed"]
        finally:
            connection.close()
    return mixed
