"""An instance as a process: `instance.py SOURCE…`. Reads all the time; for each line it says as JSON what it saw.

Both keys that it reads belong together: seeing them of two releases inside one pin is what must never happen.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta

from herz import Herz


@dataclass(frozen=True)
class Call:
    timeout: timedelta
    pool: int


class Pool:
    def __init__(self, call: Call) -> None:
        if call.pool < 0:
            raise ValueError(f"a pool of {call.pool}")
        self.size = call.pool


def main() -> None:
    herz = Herz(*sys.argv[1:])
    herz.properties("")(Call)
    herz.refresh_scope(eager=True)(Pool)
    seen: list[int] = []
    mixed = 0
    over = threading.Event()

    def read() -> None:
        nonlocal mixed
        while not over.wait(0.0005):
            with herz.pin() as pinned:
                first = int(pinned.snapshot["first"])
                size = pinned.get(Pool).size
                second = int(pinned.snapshot["second"])
            mixed += not first == second == size
            if seen[-1:] != [first]:
                seen.append(first)

    with herz:
        reader = threading.Thread(target=read)
        reader.start()
        print(json.dumps({"ready": True}), flush=True)
        for _ in sys.stdin:
            told = {"seen": seen, "mixed": mixed, "timeout": str(herz.snapshot["timeout"])}
            print(json.dumps(told), flush=True)
        over.set()
        reader.join()


if __name__ == "__main__":
    main()
