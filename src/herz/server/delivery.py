"""Delivery: who is connected, and that each of them is told what happens.

Everything that is told to a stream is told by its namespace's one pass, so that frames come in order and once. A pass
writes without waiting; a content that is not in memory is fetched, and then it passes again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from herz.errors import HerzError
from herz.release.content import Content
from herz.server.counts import Counts
from herz.server.hub import Happened, Hub, Name
from herz.server.problems import Problem, body_of
from herz.server.stream import Poll, Stream, contents_of, known
from herz.server.telling import Library, Released, Shown, Telling

_log = logging.getLogger("herz")

SLICE: Final = 200
"""Streams that are written to before others may have the loop."""
RETRY_S: Final = 1.0
"""Seconds until a content that could not be read is tried again."""
LINGER_S: Final = 60.0
"""Seconds that a client which asks again and again may take between two of its questions."""
SPREAD_PER_S: Final = 500
"""Clients that are to come back in one second after all were sent away."""


class Audience:
    """The streams of one namespace, by their instances.

    `fresh` are those to be told something; `dirty` says that all are. `failed` are contents that could not be read, and
    when to try again.
    """

    __slots__ = ("dirty", "failed", "fresh", "streams", "task")

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.fresh: list[Stream] = []
        self.dirty = False
        self.failed: dict[str, float] = {}
        self.task: asyncio.Task[None] | None = None


class Delivery:
    """Tells streams what happens. `read` gives a content by its digest.

    `joined` and `left` are called with each stream that comes and goes.
    """

    def __init__(
        self,
        hub: Hub,
        read: Callable[[str], Awaitable[Content]],
        released: Released,
        *,
        server: str,
        proof_s: float,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.shown = Shown(server, proof_s)
        self.audiences: dict[Name, Audience] = {}
        self.closing: str | None = None
        self.joined: Callable[[Name, Stream], None] = lambda name, stream: None
        self.left: Callable[[Name, Stream], None] = lambda name, stream: None
        self.counts = counts
        self._hub, self._library = hub, Library(read, released)
        self._clock, self._chance = clock, chance
        self._lingering: dict[tuple[Name, str], tuple[str, float]] = {}
        hub.on_change(self._happened)
        hub.on_rewind(self._rewound)

    @property
    def connected(self) -> int:
        """How many streams are open."""
        return sum(len(audience.streams) for audience in self.audiences.values())

    def join(self, name: Name, stream: Stream) -> None:
        """Tell `stream` everything from now on. Another stream of the same instance ends: the newest one speaks."""
        audience = self.audiences.get(name)
        if audience is None:
            audience = self.audiences[name] = Audience()
        before = audience.streams.get(stream.instance)
        audience.streams[stream.instance] = stream
        if before is not None:
            before.end(problem("replaced", f"{stream.instance} has opened another stream", 5 + 10 * self._chance()))
        self._lingering.pop((name, stream.instance), None)
        self.joined(name, stream)
        if self.closing is not None:
            stream.end(problem("closing", self.closing, self._chance()))
        else:
            audience.fresh.append(stream)
            self._pass(name, audience)

    def leave(self, name: Name, stream: Stream) -> None:
        """`stream` is gone. A client that asks again keeps its right to speak until then."""
        stream.abandon()
        audience = self.audiences.get(name)
        if audience is None or audience.streams.get(stream.instance) is not stream:
            return
        del audience.streams[stream.instance]
        if not audience.streams and audience.task is None:
            del self.audiences[name]
        if isinstance(stream, Poll):
            self._linger((name, stream.instance), stream.session)
        self.left(name, stream)

    def speaking(self, name: Name, instance: str, session: str | None) -> None:
        """Nothing, when `session` is that of the stream which `instance` has open now; else a `Problem` 409."""
        audience = self.audiences.get(name)
        stream = None if audience is None else audience.streams.get(instance)
        right = self._lingers((name, instance)) if stream is None else stream.session
        if right is None or session != right:
            raise Problem(
                409,
                "not-this-stream",
                f"{instance} has {'no stream' if right is None else 'another stream'} open here",
                remedy="open a stream, and send what its hello calls `stream` as X-Herz-Stream",
            )

    def session_of(self, name: Name, instance: str, session: str | None) -> str | None:
        """`session`, when it is that of the last question of a client which asks again; it goes on with it."""
        audience = self.audiences.get(name)
        stream = None if audience is None else audience.streams.get(instance)
        right = self._lingers((name, instance)) if stream is None else stream.session
        return session if session is not None and session == right else None

    def know(self, name: Name, stream: Stream, after: int) -> None:
        """Take as told what the client knows which has read up to revision `after`."""
        namespace = self._hub.namespace(*name)
        cohort, pointer = namespace.cohort(stream.instance), namespace.pointer(stream.instance)
        if after > self._hub.revision or after < max(namespace.channel_revision, namespace.moved):
            return
        if all(digest in stream.held for digest in contents_of(pointer)):
            asks = namespace.asks.open if namespace.asks_revision <= after else ()
            known(stream, cohort, pointer, frozenset(ask.nonce for ask in asks))

    def close(self, reason: str) -> None:
        """End every stream, now and from now on; clients are told to come back at different times."""
        self.closing = reason
        spread_s = max(1.0, self.connected / SPREAD_PER_S)
        for stream in self.streams():
            stream.end(problem("closing", reason, spread_s * self._chance()))

    def streams(self) -> list[Stream]:
        """Everybody who is connected."""
        return [stream for audience in self.audiences.values() for stream in audience.streams.values()]

    def told(self) -> list[tuple[Audience, Stream]]:
        """Everybody who is connected, each with those who are told the same."""
        return [(audience, stream) for audience in self.audiences.values() for stream in audience.streams.values()]

    def look_again(self) -> None:
        """Try again what could not be read, where it is time."""
        now = self._clock()
        for name, audience in list(self.audiences.items()):
            if audience.failed and min(audience.failed.values()) <= now:
                audience.dirty = True
                self._pass(name, audience)

    def _rewound(self, reason: str) -> None:
        for stream in self.streams():
            stream.end(problem("rewound", f"the store {reason}", self._chance()))

    def _happened(self, happened: Happened) -> None:
        name = (happened.namespace.app, happened.namespace.name)
        audience = self.audiences.get(name)
        if audience is not None and (happened.channel or happened.asks or happened.reset):
            audience.dirty = True
            self._pass(name, audience)
        elif audience is not None and happened.mailboxes:
            audience.fresh += [audience.streams[one] for one in happened.mailboxes if one in audience.streams]
            self._pass(name, audience)

    def _pass(self, name: Name, audience: Audience) -> None:
        if audience.task is None:
            audience.task = asyncio.get_running_loop().create_task(self._passes(name, audience))

    async def _passes(self, name: Name, audience: Audience) -> None:
        try:
            while audience.dirty or audience.fresh:
                await self._hub.loaded.wait()
                streams = list(audience.streams.values()) if audience.dirty else audience.fresh
                failed = audience.failed
                if audience.dirty:
                    audience.failed = {}
                audience.dirty, audience.fresh = False, []
                lacking = await self._tell(name, streams)
                for digest, waiting in lacking.items():
                    if await self._fetched(name, digest, audience, failed.get(digest)):
                        audience.fresh += waiting
        except Exception:
            _log.exception("herz: telling the instances of %s failed", "/".join(name))
            audience.dirty = True
            audience.failed[""] = self._clock() + RETRY_S
        finally:
            audience.task = None
            if not audience.streams:
                self.audiences.pop(name, None)

    async def _tell(self, name: Name, streams: list[Stream]) -> dict[str, list[Stream]]:
        """Tell them what they were not told; the contents that are lacking for that, and who waits for them."""
        lacking: dict[str, list[Stream]] = {}
        for start in range(0, len(streams), SLICE):
            if start:
                await asyncio.sleep(0)
            tell = Telling(self._hub, name, self._library, self.counts, self.shown)
            for stream in streams[start : start + SLICE]:
                if not stream.closed and (digest := tell(stream)) is not None:
                    lacking.setdefault(digest, []).append(stream)
        return lacking

    async def _fetched(self, name: Name, digest: str, audience: Audience, again_at: float | None) -> bool:
        """Have a content in memory, or know that it cannot be; whether anything is new."""
        if again_at is not None and again_at > self._clock():
            audience.failed[digest] = again_at
            return False
        try:
            await self._library.fetch(name, digest)
        except HerzError as error:
            audience.failed[digest] = self._clock() + RETRY_S
            if again_at is None:
                _log.warning("herz: a content cannot be read: %s", error)
            return again_at is None  # if it is what somebody has, they get the next one whole
        audience.failed.pop(digest, None)
        return True

    def _linger(self, key: tuple[Name, str], session: str) -> None:
        now = self._clock()
        if len(self._lingering) > 1_000:
            self._lingering = {one: value for one, value in self._lingering.items() if value[1] > now}
        self._lingering[key] = session, now + LINGER_S

    def _lingers(self, key: tuple[Name, str]) -> str | None:
        session, until = self._lingering.get(key, (None, 0.0))
        return session if until > self._clock() else None


def problem(kind: str, what: str, retry_after_s: float) -> Mapping[str, Any]:
    """Why a stream ends, and in how many seconds the client may come back."""
    body, _ = body_of(Problem(503, kind, what, remedy="open the stream again"))
    return {**body, "retry_after_s": round(retry_after_s, 3)}
