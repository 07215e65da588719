"""A bounded memory of values that never change: those used last, up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Sized(Generic[K, V]):
    """The values used last whose sizes add up to at most `limit`, and the last one in any case."""

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._total = 0

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """The value, used now; None when it is not kept."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value; others may have to go."""
        before = self._values.pop(key, None)
        self._total += self._size(value) - (0 if before is None else self._size(before))
        self._values[key] = value
        while self._total > self._limit and len(self._values) > 1:
            _, gone = self._values.popitem(last=False)
            self._total -= self._size(gone)

    def drop(self, key: K) -> None:
        """Keep a value no longer, if it is kept."""
        gone = self._values.pop(key, None)
        self._total -= 0 if gone is None else self._size(gone)
