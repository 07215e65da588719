"""Pins and leases: what keeps a generation, or one object, open while it is used."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from herz.errors import UsageError
from herz.live.injection import short, shown

if TYPE_CHECKING:
    from herz.live.generation import Generation, Instance
    from herz.live.scope import Scope
    from herz.model.snapshot import Snapshot

X = TypeVar("X")

HERZ: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_PASSED_OVER: Final = ("contextlib.py",)


class Holder:
    """Who holds something: where in the program it was taken. Two references now, a name when asked."""

    __slots__ = ("_code", "_line")

    def __init__(self) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(HERZ):
            frame = frame.f_back
        while frame.f_back is not None and frame.f_code.co_filename.endswith(_PASSED_OVER):
            frame = frame.f_back
        self._code: CodeType = frame.f_code
        self._line = frame.f_lineno

    @property
    def holder(self) -> str:
        """`function (file:line)` of whoever took it."""
        return f"{self._code.co_qualname} ({shown(self._code.co_filename)}:{self._line})"


class Unpinned:
    """What the context holds where nobody pinned."""

    __slots__ = ("held",)

    def __init__(self, held: Generation | None = None) -> None:
        self.held = held


class Pin(Holder):
    """Everything read inside sees one generation, and nothing of it is closed.

    `with scope.pin() as g`: `g.get(X)`, `g.snapshot`, `g.generation`. A pin inside a pin holds the same generation. It
    belongs to the context that took it: a task spawned inside reads through it until it ends, then reads what is
    current; a thread takes its own.
    """

    __slots__ = ("_scope", "_token", "held")

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope
        self._token: contextvars.Token[Any] | None = None
        self.held: Generation | None = None

    def __enter__(self) -> Pin:
        if self.held is not None:
            raise UsageError("a pin cannot be entered twice", remedy="call pin() for each `with`")
        scope = self._scope
        with scope.draining.lock:
            generation = scope.generation()
            if generation.constructing is not None:
                raise UsageError(
                    f"a pin was asked for while {generation.constructing} is being built",
                    remedy="take what is needed as constructor parameters: they are of one generation",
                )
            generation.objects.pins.add(self)
            self.held = generation
        self._token = scope.pinned.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope, generation, token = self._scope, self.held, self._token
        self.held = self._token = None
        if token is not None:
            # Frameworks leave sync generators in another context than they entered them in.
            with contextlib.suppress(ValueError):
                scope.pinned.reset(token)
        if generation is not None:
            scope.draining.unpin(generation.objects, self)

    def get(self, provides: type[X]) -> X:
        """The object of the pinned generation."""
        return self._scope.get_from(self._open(), provides)

    async def aget(self, provides: type[X]) -> X:
        """The object of the pinned generation, built by an async factory if it must be."""
        return await self._scope.aget_from(self._open(), provides)

    @property
    def snapshot(self) -> Snapshot:
        """The pinned generation's configuration."""
        return self._open().snapshot

    @property
    def generation(self) -> int:
        """The pinned generation's number."""
        return self._open().number

    def _open(self) -> Generation:
        if self.held is None:
            raise UsageError("this pin has ended", remedy="read inside its `with`")
        return self.held


class Lease(Holder, Generic[X]):
    """One object, not closed under our hands: `with scope.lease(X) as x`, also `async with`.

    What the object was built from stays open as well. It is the pinned generation's object inside a pin, else the
    current one.
    """

    __slots__ = ("_instance", "_provides", "_scope")

    def __init__(self, scope: Scope, provides: type[X]) -> None:
        super().__init__()
        self._scope = scope
        self._provides = provides
        self._instance: Instance | None = None

    def __enter__(self) -> X:
        scope = self._scope
        while True:
            generation = scope.generation()
            value = scope.get_from(generation, self._provides)
            if self._take(generation):
                return value

    async def __aenter__(self) -> X:
        scope = self._scope
        while True:
            generation = scope.generation()
            value = await scope.aget_from(generation, self._provides)
            if self._take(generation):
                return value

    def _take(self, generation: Generation) -> bool:
        """Whether the object is held; False when it was closed meanwhile, so that a newer one must be taken."""
        if self._instance is not None:
            raise UsageError("a lease cannot be entered twice", remedy="call lease() for each `with`")
        with self._scope.draining.lock:
            instance = generation.objects.instances.get(self._provides)
            if instance is None:
                return True  # properties: plain values that nobody closes
            if instance.closing:
                if self._scope.generation() is generation:
                    raise UsageError(
                        f"{short(self._provides)} of the pinned generation {generation.number} was closed: the pin"
                        " outlived its limit",
                        remedy="pin for less long, or raise drain_s or max_generations",
                    )
                return False
            instance.leases.add(self)
            self._instance = instance
            return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        instance, self._instance = self._instance, None
        if instance is not None:
            self._scope.draining.unlease(instance, self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
