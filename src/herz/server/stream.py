"""One client's stream: what it was told, and what it has; nothing else is kept for a client that only waits."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

from herz.release.channel import Pointer
from herz.server import frames
from herz.server.access import Caller
from herz.server.outlet import Outlet, Send

SLOW_S: Final = 30.0
"""Seconds that a client has to take a piece."""
FIRST_S: Final = 5.0
"""Seconds that the first frames may take, with a content that must be read."""
NOBODY: Final[frozenset[str]] = frozenset()


class Stream(Outlet):
    """An instance that is connected here. `session` is what it shows to speak for itself.

    `cohort` and `pointer` are what it was told last; `held` the contents that it has: those it said it has, then
    those of what it was told last. `asked` are the questions that stood when it was last told of questions.
    """

    __slots__ = (
        "_left",
        "asked",
        "caller",
        "cohort",
        "continues",
        "failure",
        "greeted",
        "held",
        "instance",
        "pointer",
        "session",
        "settled",
    )

    waits: ClassVar[bool] = True
    """Whether it stays open, and so is told that nothing is missing."""

    def __init__(
        self,
        instance: str,
        held: tuple[str, ...],
        caller: Caller,
        send: Send,
        left: Callable[[Stream], None],
        session: str | None = None,
    ) -> None:
        super().__init__(send)
        self.instance = instance
        self.session = session or secrets.token_hex(16)
        self.caller = caller
        self.held = held
        self.cohort: str | None = None
        self.pointer: Pointer | None = None
        self.asked = NOBODY
        self.continues = True
        """Whether this store told what the client was told last, as far as is known."""
        self.greeted = False
        self.settled = False
        """Whether it was told everything, when it was last looked at."""
        self.failure: str | None = None
        """Why it was cut off without an end."""
        self._left = left

    def tell(self, data: bytes) -> None:
        """Write frames."""
        self.write(data, SLOW_S)

    def end(self, problem: Mapping[str, Any]) -> None:
        """Say why, and close."""
        self.tell(frames.end(problem))
        self.finish(SLOW_S)

    def fell_behind(self, reason: str) -> None:
        """Cut off a client that takes nothing; its connection goes with what it has not read."""
        self.failure = reason
        super().fell_behind(reason)
        self._left(self)


class Poll(Stream):
    """A client that asks again and again: the frames that there are, or the first that come, are one answer."""

    __slots__ = ("_ready", "_some", "collected")

    waits = False

    def __init__(
        self,
        instance: str,
        held: tuple[str, ...],
        caller: Caller,
        left: Callable[[Stream], None],
        session: str | None = None,
    ) -> None:
        self._ready = asyncio.Event()
        super().__init__(instance, held, caller, _nowhere, left, session)
        self.collected: list[bytes] = []
        self._some = asyncio.Event()

    def write(self, data: bytes, limit_s: float) -> None:
        """Keep frames for the answer."""
        if not self.closed:
            self.collected.append(data)
            if self.greeted or len(self.collected) > 1 or data.count(b"\n") > 1:
                self._some.set()

    def finish(self, limit_s: float) -> None:
        """Answer now."""
        self.closed = True
        self._ready.set()
        self._some.set()

    @property
    def settled(self) -> bool:
        """Whether it was told everything, when it was last looked at."""
        return self._ready.is_set()

    @settled.setter
    def settled(self, told: bool) -> None:
        if told:
            self._ready.set()
        else:
            self._ready.clear()

    async def some(self, wait_s: float) -> None:
        """Wait until there are other frames than the first, or the time is over. What there is comes in any case."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(wait_s, FIRST_S)):
                await self._ready.wait()
            async with asyncio.timeout(wait_s):
                await self._some.wait()

    def answer(self) -> bytes:
        """The frames that there are, as one JSON array."""
        return b"[" + b"".join(self.collected).rstrip(b"\n").replace(b"\n", b",\n") + b"]\n"


async def _nowhere(message: Any) -> None:
    raise AssertionError("a poll collects")


def known(stream: Stream, cohort: str, pointer: Pointer, asked: frozenset[str]) -> None:
    """Take as told what a client that asks again knows already."""
    stream.cohort, stream.pointer, stream.asked = cohort, pointer, asked


def contents_of(pointer: Pointer) -> tuple[str, ...]:
    """The contents that a pointer names, the one in force first."""
    refs = (pointer.release, pointer.prepare)
    return tuple(dict.fromkeys(ref.digest for ref in refs if ref is not None))
