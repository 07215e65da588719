"""A process that follows a prefix with a last-good copy, to be killed: `python -m … FOLDER ENDPOINTS PREFIX [--once]`.

It prints one line of JSON for each revision that it puts in force; with `--once` it starts, prints what is in force,
and ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from herz.app.herz import Herz
from herz.model.change import ChangeSet
from herz.model.tree import leaves
from herz.sources.store import StoreSource
from herz.store.etcd.store import EtcdStore


def main(arguments: Sequence[str]) -> None:
    """Follow until killed, or once."""
    folder, endpoints, prefix, *options = arguments
    store = EtcdStore(endpoints.split(","), dial_timeout_s=1.0)
    herz = Herz(StoreSource(store, prefix), environment={}, last_good=Path(folder) / "last-good")

    def tell(changes: ChangeSet) -> None:
        say({"revision": changes.revision})

    herz.on_change(tell)
    began = time.perf_counter()
    herz.start()
    started_ms = (time.perf_counter() - began) * 1000
    row = herz.health().sources[0]
    content = {"/".join(path): value for path, value in leaves(herz.snapshot.composed.tree)}
    say(
        {
            "revision": row.revision,
            "freshness": row.freshness,
            "error": row.error,
            "started_ms": round(started_ms, 1),
            "content": content,
        }
    )
    if "--once" not in options:
        time.sleep(3600)
    herz.stop()


def say(told: object) -> None:
    """One line of JSON."""
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
