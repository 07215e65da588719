"""What a stream is still to be told, from what it was told and how its namespace stands now."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

from herz.errors import HerzError
from herz.release.channel import Pointer
from herz.release.content import Content
from herz.release.report import Ask
from herz.server import frames
from herz.server.counts import Counts
from herz.server.hub import Hub, Name
from herz.server.outlet import PIECE_BYTES
from herz.server.sized import Sized
from herz.server.stream import Stream, contents_of

KEPT_BYTES: Final = 64 * 1024 * 1024
"""Of contents, and of frames that bring them."""
ABSENT: Final = 4096
"""Contents that clients say they have and that cannot be read here; so many are remembered."""
OWN: Final = 16_384
"""Contents of which it is remembered whether they are a namespace's."""
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


Released: TypeAlias = Callable[[str, str, str], Awaitable[bool]]
"""Whether a namespace has released a content lately, by application, name and digest."""


class Shown(NamedTuple):
    """What a server says of itself in each hello."""

    server: str
    proof_s: float


class Library:
    """The contents that are being delivered, and the frames that bring them to who has another one.

    What differs from a content tells what is in it; so what a client says it has is a base only where its own namespace
    points at it, or has released it (`released`).
    """

    def __init__(self, read: Callable[[str], Awaitable[Content]], released: Released) -> None:
        self._read, self._released = read, released
        self._contents: Sized[str, Content] = Sized(
            KEPT_BYTES, lambda one: sum(len(layer.text) for layer in one.layers)
        )
        self._frames: Sized[tuple[str | None, str], bytes] = Sized(KEPT_BYTES, len)
        self._absent: Sized[str, bool] = Sized(ABSENT, lambda _: 1)
        self._own: Sized[tuple[Name, str], bool] = Sized(OWN, lambda _: 1)

    def own(self, name: Name, digest: str) -> None:
        """Know that the namespace `name` points at a content."""
        if not self._own.get((name, digest)):
            self._own.put((name, digest), True)

    async def fetch(self, name: Name, digest: str) -> None:
        """Have a content in memory for a namespace, unless it is another's.

        What reading it raises is remembered, until it is fetched again.
        """
        try:
            if self._own.get((name, digest)) is None:
                self._own.put((name, digest), await self._released(*name, digest))
            if not self._own.get((name, digest)):
                return
            content = await self._read(digest)
        except HerzError:
            self._absent.put(digest, True)
            raise
        self._contents.put(digest, content)

    def frame(self, name: Name, held: tuple[str, ...], digest: str) -> bytes | str:
        """The frame that brings `digest` to who has `held`, or the content that must be fetched for it."""
        base = next((one for one in held if self._may_be_base(name, one)), None)
        if base is not None and self._own.get((name, base)) is None:
            return base
        known = self._frames.get((base, digest))
        if known is not None:
            return known
        wanted = self._contents.get(digest)
        if wanted is None:
            return digest
        before = None if base is None else self._contents.get(base)
        if base is not None and before is None:
            return base
        frame = frames.content(digest, wanted, base, before)
        self._frames.put((base, digest), frame)
        return frame

    def _may_be_base(self, name: Name, digest: str) -> bool:
        known = digest in self._contents or digest not in self._absent
        return known and self._own.get((name, digest)) is not False


class Telling:
    """What the streams of a namespace are told at one moment: frames are encoded once for all who are told the same."""

    def __init__(self, hub: Hub, name: Name, library: Library, counts: Counts, shown: Shown) -> None:
        self._hub, self._library, self._counts, self._shown = hub, library, counts, shown
        self._name = name
        self._namespace = hub.namespace(*name)
        self._states: dict[str, bytes] = {}
        asks = self._namespace.asks.open
        self._questions = [(ask, frozenset(ask.instances), frames.ask(ask)) for ask in asks]
        self._nonces = frozenset(ask.nonce for ask in asks)

    def __call__(self, stream: Stream) -> str | None:
        """Tell one stream all that it was not told; the content that must be fetched before, if one must."""
        told: list[bytes] = []
        lacking: str | None = None
        if not stream.greeted:
            told.append(self._add("hello", self._hello(stream)))
        cohort = self._namespace.cohort(stream.instance)
        pointer = self._namespace.channel.of(cohort)
        if cohort != stream.cohort or (pointer is not stream.pointer and pointer != stream.pointer):
            lacking = self._state(stream, cohort, pointer, told)
        if stream.asked != self._nonces:
            told += [
                self._add("ask", frame)
                for ask, instances, frame in self._questions
                if ask.nonce not in stream.asked and _concerns(ask, instances, stream.instance, cohort)
            ]
            stream.asked = self._nonces
        if sum(map(len, told)) > PIECE_BYTES:  # joined, a large content would be copied for each who is told it
            for frame in told:
                stream.tell(frame)
        elif told:
            stream.tell(b"".join(told))
        stream.greeted, stream.settled = True, lacking is None
        return lacking

    def _hello(self, stream: Stream) -> bytes:
        return frames.hello(
            identity=self._hub.identity,
            revision=self._hub.revision,
            server=self._shown.server,
            proof_s=self._shown.proof_s,
            stream=stream.session,
            continues=stream.continues,
        )

    def _state(self, stream: Stream, cohort: str, pointer: Pointer, told: list[bytes]) -> str | None:
        wanted = contents_of(pointer)
        held, news = stream.held, list[bytes]()
        for digest in wanted:
            self._library.own(self._name, digest)
            if digest not in held:
                frame = self._library.frame(self._name, held, digest)
                if isinstance(frame, str):
                    return frame
                news.append(frame)
                held = (digest, *held)
        told += [self._add("content", frame) for frame in news]
        state = self._states.get(cohort)
        if state is None:
            state = self._states[cohort] = frames.state(self._hub.revision, cohort, pointer, self._namespace.mark)
        told.append(self._add("state", state))
        stream.cohort, stream.pointer, stream.held = cohort, pointer, wanted or stream.held
        return None

    def _add(self, kind: str, frame: bytes) -> bytes:
        self._counts.pushed(kind, len(frame))
        return frame


def _concerns(ask: Ask, instances: frozenset[str], instance: str, cohort: str) -> bool:
    """As `Ask.concerns`, which looks through all instances each time."""
    if not ask.instances and not ask.cohorts:
        return True
    return instance in instances or cohort in ask.cohorts
