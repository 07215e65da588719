"""The live stream: server-sent events that tell an open page which topics have changed.

event: hello      data: {"server": "…", "version": "…"}        first; whoever was away asks for everything again
event: changed    data: ["fleet:pay/default", …]                gathered for a moment
event: alive      data: {"current": true, "age_s": 0.4}         every few seconds: whether the server itself is current
event: end        data: {"reason": "…"}                         the session is over, or the server stops
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.response import Stream

from herz.errors import HerzError
from herz.server.access import Caller
from herz.server.console.changes import EVERYTHING, Changes
from herz.server.console.static_files import StaticFiles
from herz.server.door.entering import enters
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.tokens import Scope

GATHER_S: Final = 0.05
"""Seconds that changes are gathered: a rollout moves a thousand instances at once."""
ALIVE_S: Final = 5.0
ROUND_S: Final = 0.0005
"""Seconds that each open page adds to the time between two tellings: every one of them asks again."""
STREAMS: Final = 5_000
"""Pages that one server keeps up to date."""
_ADMINS: Final = frozenset({"tokens", "users", "roles", "sessions"})


class OpenPages:
    """How many pages are kept up to date by this server."""

    count = 0


@get("/live", guards=[enters(None)], include_in_schema=False)
async def live(plane: NamedDependency[Plane], caller: NamedDependency[Caller]) -> Stream:
    """Topics that the caller may see, as they change."""
    if plane.of(OpenPages).count >= STREAMS:
        raise Problem(503, "too-many-streams", "this server has all open pages that it takes", remedy="ask another")
    return Stream(
        _events(plane, caller),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(plane: Plane, caller: Caller) -> AsyncIterator[bytes]:
    pages = plane.of(OpenPages)
    pages.count += 1
    changed: dict[str, None] = {}
    awake = asyncio.Event()

    def listener(topic: str) -> None:
        if visible(caller, topic):
            changed[topic] = None
            awake.set()

    stop = plane.of(Changes).listen(listener)
    closing = asyncio.create_task(plane.closing.wait())
    not_before = 0.0
    try:
        version = plane.of(StaticFiles).version
        yield event("hello", {"server": plane.settings.name, "version": version})
        while True:
            waking = asyncio.create_task(awake.wait())
            await asyncio.wait({waking, closing}, timeout=ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            if closing.done():
                yield event("end", {"reason": "closing"})
                return
            try:
                caller = await plane.access.check(caller)
            except HerzError:
                yield event("end", {"reason": "ended"})
                return
            if changed:
                await asyncio.sleep(max(GATHER_S, not_before - plane.clock.monotonic()))
                not_before = plane.clock.monotonic() + pages.count * ROUND_S
                topics = list(changed)
                changed.clear()
                awake.clear()
                yield event("changed", topics)
            else:
                freshness = plane.of(Hub).freshness
                yield event("alive", {"current": freshness.current, "age_s": round(freshness.age_s, 1)})
    finally:
        pages.count -= 1
        stop()
        closing.cancel()


def visible(caller: Caller, topic: str) -> bool:
    """Whether the caller may know that this has changed."""
    kind, colon, place = topic.partition(":")
    if colon:
        return caller.may(Scope.READ, place.partition("/")[0])
    return topic == EVERYTHING or kind not in _ADMINS or caller.may(Scope.ADMIN, None)


def event(name: str, data: Any) -> bytes:
    """One event, as the stream has it (HTML, section 9.2.5)."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
