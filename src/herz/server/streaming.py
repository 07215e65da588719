"""The route of streams: plain ASGI, for what stays open by the ten thousand must not bring a framework with it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from herz.errors import UsageError
from herz.server.access import Caller
from herz.server.continuity import Continuity
from herz.server.delivery import Delivery
from herz.server.frames import alive
from herz.server.hub import Hub, Name
from herz.server.problems import Problem
from herz.server.proving import Proving
from herz.server.stream import Poll, Stream
from herz.server.telling import DIGEST
from herz.store.plane import checked_instance

_log = logging.getLogger("herz")

Answering: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

WAIT_S: Final = 60
"""Seconds that a client which asks again and again may wait for an answer."""
HELD: Final = 8
"""Contents that a client may say it has."""
CATCH_UP_S: Final = 1.0
"""Seconds that a client which has seen more of the store than this server is kept waiting for it."""
MARK: Final = re.compile(r"[0-9]{1,18}-[0-9a-f]{16}")
STREAMS: Final = 50_000
_HEADERS: Final = [
    (b"content-type", b"application/x-ndjson"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class Asked(NamedTuple):
    """What a client says when it opens a stream. `after` is the revision up to which it knows everything."""

    instance: str
    held: tuple[str, ...] = ()
    after: int = 0
    wait_s: float | None = None
    mark: str = ""

    @classmethod
    def checked(
        cls, instance: str, have: Iterable[str], after: int, wait_s: float | None, mark: str | None = None
    ) -> Asked:
        """Itself; `UsageError` when a name or a digest is none."""
        held = [part for value in have for part in value.split(",") if part]
        if len(held) > HELD or not all(DIGEST.fullmatch(one) for one in held):
            raise UsageError("have= names no digests", remedy=f"name up to {HELD}, each as sha256:<64 hex digits>")
        if mark and not MARK.fullmatch(mark):
            raise UsageError("mark= is none", remedy="send what the last state called `mark`, as it is")
        return cls(checked_instance(instance), tuple(dict.fromkeys(held)), after, wait_s, mark or "")


class Streaming:
    """Opens streams. Everything that is wrong with a request is raised before anything is answered."""

    def __init__(self, hub: Hub, delivery: Delivery, proving: Proving, continuity: Continuity) -> None:
        self._hub, self._delivery, self._proving, self._continuity = hub, delivery, proving, continuity

    async def opened(self, name: Name, asked: Asked, caller: Caller, session: str | None) -> Answering:
        """What answers the request, until the client goes or the stream ends."""
        if self._delivery.connected >= STREAMS:
            raise Problem(503, "too-many-streams", "this server has all streams that it takes", remedy="ask another")
        if not self._hub.loaded.is_set():
            raise Problem(503, "loading", "the store has not been read yet", headers={"retry-after": "1"})
        if asked.after > self._hub.revision:
            await self._hub.reached(asked.after, CATCH_UP_S)
        continues = not asked.mark or await self._continuity.holds(name, asked.mark)
        if asked.wait_s is None:
            return partial(self._stream, name, asked, continues, caller)
        return partial(self._poll, name, asked, asked.wait_s, continues, caller, session)

    async def _stream(
        self,
        name: Name,
        asked: Asked,
        continues: bool,
        caller: Caller,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Any],
    ) -> None:
        task = asyncio.current_task()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})

        def left(stream: Stream) -> None:
            self._delivery.counts.cut_off += 1
            _log.warning("herz: the stream of %s of %s is cut off: %s", stream.instance, "/".join(name), stream.failure)
            if task is not None:
                task.cancel()

        stream = Stream(asked.instance, asked.held, caller, send, left)
        stream.continues = continues
        del asked, caller, scope, send  # they would be kept for as long as the stream
        self._delivery.join(name, stream)
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if stream.failure is None:
                raise
        finally:
            self._delivery.leave(name, stream)

    async def _poll(
        self,
        name: Name,
        asked: Asked,
        wait_s: float,
        continues: bool,
        caller: Caller,
        session: str | None,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Any],
    ) -> None:
        session = self._delivery.session_of(name, asked.instance, session)
        poll = Poll(asked.instance, asked.held, caller, lambda stream: None, session)
        poll.continues = continues
        if continues:
            self._delivery.know(name, poll, asked.after)
        self._delivery.join(name, poll)
        try:
            await poll.some(wait_s)
            if poll.settled and not poll.closed and self._proving.vouches():
                poll.collected.append(alive(self._hub.revision))
            body = poll.answer()
        finally:
            self._delivery.leave(name, poll)
        length = (b"content-length", b"%d" % len(body))
        headers = [(b"content-type", b"application/json"), *_HEADERS[1:], length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
