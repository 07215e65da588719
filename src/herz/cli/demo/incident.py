"""`herz demo --incident`: a sidecar that keeps an old timeout while a gray release changes it, and is found out.

What happened in 2022 took 17 hours to find: a ConfigMap said `timeout: 3000ms`, a release changed the value for the
main container, its sidecar went on with the old one, and calls piled up behind it. Two real processes play the pod.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json as json_
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TextIO

from herz.cli.demo.crew import Crew, together
from herz.cli.demo.incident_story import FILE, OLD, POD, Found, Incident
from herz.cli.demo.process import Child
from herz.cli.demo.screen import Screen, screen_for
from herz.cli.demo.stage import TERMINATED, to_its_end
from herz.client import ControlPlane
from herz.errors import HerzError, MissingExtra
from herz.release.content import Content, LayerText

NEEDED: Final = ("aiohttp", "litestar", "uvicorn")
WORK_S: Final = 9.0
PAUSES: Final = 6

RELEASED: Final = "# Shared by all containers of the pod.\ntimeout: {timeout}\n"
MOUNTED: Final = "# The sidecar's own ConfigMap, from before there were releases.\nport: 15001\ntimeout: 3000ms\n"


def play_incident(*, json: bool, seconds: float, stdout: TextIO) -> int:
    """Play it; 0 when the promotion was refused for the right reason, and the mended one was not."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"herz demo --incident needs {', '.join(missing)}; not installed", remedy="pip install 'herz[demo]'"
        )
    found = Found()
    screen = screen_for(found, json=json)
    if not to_its_end(_play(screen, found, pause_s=max(0.0, (seconds - WORK_S) / PAUSES)), screen):
        return TERMINATED
    if json:
        print(json_.dumps(found.as_dict()), file=stdout, flush=True)
    return 0 if found.ok else 1


async def _play(screen: Screen, found: Found, *, pause_s: float) -> None:
    started = time.monotonic()
    try:
        await _perform(screen, found, pause_s)
    except (HerzError, OSError, EOFError) as error:  # TimeoutError is an OSError
        found.ok = False
        screen.fact(False, f"the demo cannot go on: {type(error).__name__}: {error}")
    found.ok = found.ok and found.refused and found.difference is not None
    took = f"{time.monotonic() - started:.0f} s"
    if found.ok:
        end = f"Found on one pod, {found.after_s:.2f} s after the rollout began. In 2022 it was 17 hours down."
    else:
        end = f"Not as expected: see what is marked ✗ above. {took}."
    screen.text("")
    screen.summary("", end)


async def _perform(screen: Screen, found: Found, pause_s: float) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="herz-demo-")))
        crew = await stack.enter_async_context(Crew(folder))
        screen.text(
            "Herz: the incident of 2022, and why it is refused now.",
            "",
            "A pod has two containers that must agree on one value: the main container",
            "gives up a call after `timeout`, and so must the sidecar that makes it.",
            "Otherwise calls that nobody waits for any more pile up in the sidecar. Both",
            "follow a control plane; the sidecar has a ConfigMap of its own besides.",
            "Starting it (`herz serve`) and both containers, processes all …",
        )
        plane = await crew.start("control_plane")
        asked = await stack.enter_async_context(ControlPlane(plane.ready["url"], author="demo"))
        pay = asked.namespace("pay")
        await pay.write_draft(_content(OLD), message="as it was", expect=0)
        await pay.release("as it was before")
        mounted = folder / "sidecar" / "configmap.yml"
        mounted.parent.mkdir()
        mounted.write_text(MOUNTED, encoding="utf-8")
        source = f"herz://{plane.ready['url'].partition('://')[2]}/pay"
        names = {"main": (), "sidecar": ("--mounted", mounted.name)}
        containers = await together(_container(crew, source, name, arguments) for name, arguments in names.items())
        for child in containers:
            listening = asyncio.create_task(_listen(child, found))
            stack.callback(listening.cancel)
        screen.open()
        stack.callback(screen.close)
        await crew.during(Incident(pay, screen, found, mounted, pause_s).play())


def _content(timeout: str) -> Content:
    return Content(layers=(LayerText(name=FILE, text=RELEASED.format(timeout=timeout)),))


async def _container(crew: Crew, source: str, name: str, arguments: tuple[str, ...]) -> Child:
    identity = ("--instance", f"{POD}-{name}", "--pod", POD, "--container", name)
    return await crew.start("incident_container", "--source", source, *identity, *arguments, inside=name)


async def _listen(child: Child, found: Found) -> None:
    """Take over what a container says of itself, from its first word on."""
    found.containers[child.ready["container"]] = child.ready
    async for said in child.lines():
        found.containers[said["container"]] = said
