"""Handles: the current object of a class, one attribute read away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

X = TypeVar("X")


class Handle(Generic[X]):
    """The current object of one class; there is one handle per class, for ever.

    `handle.current` is a real slot: one attribute read, no lock, always the newest. Two reads may give objects of two
    generations; pin where that matters, and do not keep what was read. A handle does not honour a pin. Asked for as
    a constructor parameter (`pool: Handle[Pool]`), it spares its owner from being rebuilt when the Pool is.

    While nothing is built the slot is empty, and the first read builds; `NotRunning` before the start and after
    the stop.
    """

    __slots__ = ("__weakref__", "_fill", "current", "provides")

    current: X

    def __init__(self, provides: type[X], fill: Callable[[Any], Any]) -> None:
        self.provides = provides
        self._fill = fill
        self.__class__ = EmptyHandle

    def refill(self, fill: Callable[[Any], Any]) -> None:
        """Have `fill` build from now on what is not built."""
        self._fill = fill

    def __repr__(self) -> str:
        return f"<Handle of {self.provides.__qualname__}>"


class EmptyHandle(Handle[X]):
    """A handle whose slot is not filled yet.

    Only this class has `__getattr__`: the mere presence of one makes every attribute read of a class several times
    slower, so a handle sheds it as soon as it is filled.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name != "current":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._fill(self.provides)


def point(handle: Handle[Any], target: Any) -> None:
    """Have `handle.current` be `target`."""
    handle.current = target
    if type(handle) is not Handle:
        handle.__class__ = Handle


def empty(handle: Handle[Any]) -> None:
    """Have the next read of `handle.current` build, or say that there is nothing to read."""
    handle.__class__ = EmptyHandle
    if "current" in _filled(handle):
        del handle.current


def _filled(handle: Handle[Any]) -> tuple[str, ...]:
    try:
        object.__getattribute__(handle, "current")
    except AttributeError:
        return ()
    return ("current",)
