"""Where a command finds the control plane's own records: at a server, or in the store itself."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from herz.cli.remote import server_options
from herz.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from herz.store.base import Store


def place_parents() -> list[argparse.ArgumentParser]:
    """`--store` beside the options of commands that ask a server."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--store",
        metavar="URL",
        help="work on the store itself, without a server: sqlite:///FILE or etcd://HOST:PORT "
        "(default: HERZ_STORE where neither --server nor HERZ_SERVER is given)",
    )
    return [parent, server_options()]


def store_of(arguments: argparse.Namespace) -> str | None:
    """The store that is meant, None where a server is. `UsageError` when both are named."""
    if arguments.store and arguments.server:
        raise UsageError("both --store and --server are given", remedy="a server knows its store: name one of them")
    if arguments.store:
        return str(arguments.store)
    if arguments.server or os.environ.get("HERZ_SERVER"):
        return None
    return os.environ.get("HERZ_STORE") or None


@asynccontextmanager
async def opened(url: str, *, create: bool = False) -> AsyncIterator[Store]:
    """The store at `url`, closed at the end. With `create` an SQLite file is made where there is none."""
    try:
        import herz.server.tokens  # noqa: F401  it needs more than the store does
        from herz.server.opening import open_store
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"this needs {error.name}, which is not installed", remedy="pip install 'herz[server]'"
        ) from error
    store = open_store(url, create=create)
    try:
        yield store
    finally:
        await store.close()
