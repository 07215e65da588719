"""What `herz user` and `herz role` have in common: they work on the store itself, for they say who may ask a server."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from herz.cli.journals import author
from herz.cli.place import opened

if TYPE_CHECKING:
    from herz.server.audit import By
    from herz.server.door.door import Door

T = TypeVar("T")
_STORE: Final = "sqlite:///herz.db"


def store_parent() -> argparse.ArgumentParser:
    """`--store`."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--store",
        metavar="URL",
        help=f"the control plane's store: sqlite:///FILE or etcd://HOST:PORT,… (default: HERZ_STORE, else {_STORE})",
    )
    return parent


def at_door(arguments: argparse.Namespace, work: Callable[[Door, By], Awaitable[T]], *, create: bool = False) -> T:
    """What `work` does with the door over the store that is meant, and in whose name."""

    async def run() -> T:
        async with opened(arguments.store or os.environ.get("HERZ_STORE") or _STORE, create=create) as store:
            from herz.server.audit import Audit, By
            from herz.server.clock import SystemClock
            from herz.server.door.door import Door
            from herz.server.settings import ServerSettings

            clock = SystemClock()
            door = Door.over(store, Audit(store, clock), clock, ServerSettings())
            return await work(door, By(author()))

    return asyncio.run(run())
