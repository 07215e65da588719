"""Feature flags in a hot loop: `python app.py`, and edit flags.yml meanwhile.

`flags.current` is an attribute read: no lock, no parsing, always the newest. Reading it once for each decision keeps
the flags of that decision together.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import dataclass

from herz import ChangeSet, Herz

herz = Herz("flags.yml")


@herz.properties("flags")
@dataclass(frozen=True)
class Flags:
    """Which customers see the new checkout: none, or a share of them."""

    new_checkout: bool = False
    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("a share is between 0 and 1")

    def new(self, customer: int) -> bool:
        """The same answer for the same customer."""
        return self.new_checkout and customer * 2654435761 % 2**32 < self.share * 2**32


@herz.on_change("flags")
def changed(changes: ChangeSet) -> None:
    for change in changes:
        print(f"{change.key}: {change.before} -> {change.after}  ({change.cause})")


def serve(seen: Counter[bool], stop: threading.Event) -> None:
    """Decide as fast as possible until stopped."""
    flags = herz.handle(Flags)
    for customer in itertools.count():
        seen[flags.current.new(customer)] += 1
        if customer % 1000 == 0 and stop.is_set():
            return


if __name__ == "__main__":
    with herz:
        seen: Counter[bool] = Counter()
        stop = threading.Event()
        loop = threading.Thread(target=serve, args=(seen, stop))
        loop.start()
        try:
            while loop.is_alive():
                loop.join(2)
                print(f"old {seen[False]}, new {seen[True]}")
        except KeyboardInterrupt:
            stop.set()
            loop.join()
