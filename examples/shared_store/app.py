"""Processes that share an embedded store.

`python app.py one` and `python app.py two`, and in a third terminal:

    herz set limits.per-second=20 --store sqlite:///herz.db#shop --message "more load"
    herz history --store sqlite:///herz.db#shop
    herz rollback 1 --store sqlite:///herz.db#shop

Each process prints every revision once, in order; one that does not fit is refused by both. A line on standard input
ends it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from herz import ChangeSet, Herz, Rejected

herz = Herz({"limits": {"per-second": 10, "burst": 20}}, "sqlite:///herz.db#shop")  # defaults, then the store


@herz.properties("limits")
@dataclass(frozen=True)
class Limits:
    """How many requests are let in."""

    per_second: int
    burst: int

    def __post_init__(self) -> None:
        if self.burst < self.per_second:
            raise ValueError("burst is less than per-second")


def main(name: str) -> None:
    @herz.on_change("limits")
    def changed(changes: ChangeSet) -> None:
        for change in changes:
            print(f"{name}: revision {changes.revision}: {change.key} = {change.after}", flush=True)

    @herz.on_rejected
    def rejected(event: Rejected) -> None:
        print(f"{name}: revision {event.revision} refused", flush=True)

    with herz:
        print(f"{name}: {herz.get(Limits)}", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "one")
