"""Instances that get a release batch by batch, and are asked what they run.

    herz serve
    herz draft write pay.yml --app pay -m "as it was" && herz release create --app pay -m "as it was"

and in three more terminals `python app.py pay-1`, `python app.py pay-2`, `python app.py pay-3`. Then

    herz draft set db.pool=20 --app pay && herz release create --app pay --dormant -m "more load"
    herz rollout start 2 --app pay --batches 30%,100% --bake 10s --watch
    herz verify --version pay@2

A pool of more than 100 sessions cannot be built, so such a release is rolled back before anybody runs it. A line on
standard input ends an instance.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from herz import Herz

SERVER = os.environ.get("HERZ_SERVER", "http://127.0.0.1:4379").replace("http://", "herz://")


@dataclass(frozen=True)
class DatabaseConfig:
    """How many sessions the database gives us."""

    pool: int


class Pool:
    """A connection pool, built anew by every release that changes it."""

    def __init__(self, config: DatabaseConfig) -> None:
        if config.pool > 100:
            raise ValueError("the database takes 100 sessions at most")
        self.size = config.pool


def main(instance: str) -> None:
    herz = Herz(f"{SERVER}/pay?instance={instance}")
    herz.properties("db")(DatabaseConfig)
    herz.refresh_scope(eager=True)(Pool)

    @herz.on_change("db")
    def changed(_: object) -> None:
        print(f"{instance}: a pool of {herz.get(Pool).size}", flush=True)

    with herz:
        print(f"{instance}: a pool of {herz.get(Pool).size}", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "pay-1")
