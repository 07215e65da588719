"""How far a long run is, and how long it still takes: a line every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from herz.testing.fault_bench.bench import Stage

EVERY_S: Final = 15.0
"""Seconds between two lines."""
TELLING: Final = 0.02
"""The share of a run that must be over before the time left is more than a guess."""


class Progress:
    """Says how far a run of `events` events is, every `every_s` seconds between `with` and its end.

    `cases` is how many there are. A thread says it, so a case that is busy does not keep it from speaking.
    """

    def __init__(
        self,
        events: int,
        cases: int,
        say: Callable[[str], None],
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events, self._cases, self._say, self._every_s, self._clock = events, cases, say, every_s, clock
        self._began_s = clock()
        self._before = self._case = 0
        self._bench: Stage | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak, name="herz-fault-progress", daemon=True)

    def begins(self, bench: Stage) -> None:
        """The next case begins."""
        self._before += self._bench.written if self._bench is not None else 0
        self._bench, self._case = bench, self._case + 1

    def line(self) -> str:
        """Where the run is now."""
        written = self._before + (self._bench.written if self._bench is not None else 0)
        took_s, share = self._clock() - self._began_s, min(1.0, written / max(1, self._events))
        left = f"some {_minutes(took_s * (1 - share) / share)} left" if share >= TELLING else "time left unknown yet"
        return (
            f"   … case {self._case} of {self._cases}, {written:,} of {self._events:,} events ({share:.0%}), "
            f"{_minutes(took_s)} so far, {left}"
        )

    def _speak(self) -> None:
        while not self._ended.wait(self._every_s):
            self._say(self.line())

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
