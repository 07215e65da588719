"""The stage: starts the demo's processes in a temporary folder, plays the story, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import importlib.util
import json as json_
import signal
import tempfile
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TextIO

from herz.cli.demo.files import Files
from herz.cli.demo.http import Connection
from herz.cli.demo.process import Child, ChildFailed
from herz.cli.demo.screen import Screen, screen_for
from herz.cli.demo.story import Story
from herz.cli.demo.tally import Tally
from herz.errors import MissingExtra

NEEDED: Final = ("fastapi", "pydantic", "uvicorn")
WORK_S: Final = 5.0
"""What the demo takes without pauses: starting, draining, stopping."""
PAUSES: Final = 9
"""How many pauses share what is left of the time."""
LEAST_PAUSE_S: Final = 0.1
RATE: Final = 300
"""Requests a second: enough that every change meets some, few enough for one core."""
CONNECTIONS: Final = 8
TERMINATED: Final = 143  # 128 + SIGTERM, as shells count


def play(*, json: bool, seconds: float, stdout: TextIO) -> int:
    """Play the demo in about `seconds`; its exit status."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"the demo needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            remedy="pip install 'herz[demo]'",
        )
    tally = Tally()
    screen = screen_for(tally, json=json)
    if not to_its_end(_play(screen, tally, seconds), screen):
        return TERMINATED
    if json:
        print(json_.dumps(tally.as_dict()), file=stdout, flush=True)
    return 0 if tally.ok else 1


def to_its_end(playing: Coroutine[Any, Any, None], screen: Screen) -> bool:
    """Run a demo; False when a signal ended it before its time. Ctrl-C is told, and goes on to the caller."""
    try:
        asyncio.run(_stoppable(playing))
    except asyncio.CancelledError:
        return False
    except KeyboardInterrupt:
        screen.text("", "Interrupted: everything is stopped, and nothing is left behind.")
        raise
    return True


async def _stoppable(playing: Coroutine[Any, Any, None]) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine runs in one
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await playing


async def _play(screen: Screen, tally: Tally, seconds: float) -> None:
    started = time.monotonic()
    try:
        await _perform(screen, tally, max(LEAST_PAUSE_S, (seconds - WORK_S) / PAUSES))
    except (ChildFailed, OSError, EOFError) as error:
        tally.ok = False
        screen.fact(False, f"the demo cannot go on: {type(error).__name__}: {error}")
    tally.ok = tally.ok and tally.requests > 0 and tally.failed == 0 and tally.torn == 0
    took = f"{time.monotonic() - started:.0f} s"
    if tally.ok:
        end = f"All as expected, in {took}. The README shows how your own service gets this."
    else:
        end = f"Not as expected: see what is marked ✗ or red above. {took}."
    screen.text("")
    screen.summary(end)


async def _perform(screen: Screen, tally: Tally, pause_s: float) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="herz-demo-")))

        async def start(name: str, *arguments: str) -> Child:
            child = await Child.start(name, *arguments, folder=folder)
            stack.push_async_callback(child.stop)
            return child

        screen.text("Herz: the configuration of a running service changes, and no request notices.")
        database = await start("database")
        files = Files(folder, database_port=database.ready["port"])
        files.lay_out()
        service = await start("service")
        port = int(service.ready["port"])
        load = await start("load", "--port", str(port), "--rate", str(RATE), "--connections", str(CONNECTIONS))
        screen.text(
            "",
            f"A shop (FastAPI) now answers {RATE} requests a second over {CONNECTIONS} connections.",
            "Five of its objects are made from configuration: a connection pool, a payment",
            "client that uses it, a price list, a receipt printer, a rate limiter.",
            "Each answer is checked: failed is none or a bad one, torn is one that was",
            "made from two configurations.",
        )
        counting = asyncio.create_task(_count(load, tally))
        stack.callback(counting.cancel)
        screen.open()
        stack.callback(screen.close)
        asking = Connection("127.0.0.1", port)
        stack.callback(asking.close)
        story = Story(files, asking, ("127.0.0.1", database.ready["port"]), screen, tally, pause_s=pause_s)
        telling = asyncio.create_task(story.play())
        stack.callback(telling.cancel)
        await asyncio.wait({telling, counting}, return_when=asyncio.FIRST_COMPLETED)
        if not telling.done() or telling.exception() is not None:
            for child in (database, service, load):
                if await child.ended(within_s=0.2):  # the reason behind whatever else went wrong
                    raise ChildFailed(f"the {child.name} ended unasked{child.said()}")
            if not telling.done():
                raise ChildFailed("the load counts no more")
        telling.result()
        load.dismiss()  # it finishes what is under way, and counts once more
        await counting


async def _count(load: Child, tally: Tally) -> None:
    async for report in load.lines():
        tally.loaded(report)
