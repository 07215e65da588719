"""Opening the journal of a store for one command."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from herz.cli.arguments import sources_of, wanted_of
from herz.cli.loading import close, existing, loaded, secrets_known
from herz.errors import HerzError, UsageError
from herz.model.key import split
from herz.sources.store import StoreSource
from herz.sources.urls import OPTIONAL, masked
from herz.store.journal import Journal

_STORES: Final = ("sqlite:", "etcd:", "etcd+tls:")
"""The schemes of places that keep revisions, so that a journal can lie beside the values."""


def store_url(arguments: argparse.Namespace) -> str:
    """The store that `--store`, HERZ_STORE or the configuration names. `UsageError` when none or several do."""
    if named := arguments.store or os.environ.get("HERZ_STORE"):
        if not named.startswith(_STORES) or (not named.startswith("sqlite:") and "#" not in named):
            raise UsageError(
                f"{masked(named)} is no store with an application",
                remedy="write sqlite:///FILE#APPLICATION or etcd://HOST:PORT#APPLICATION",
            )
        return str(named)
    found: list[str] = []
    try:
        found = _stores(sources_of(arguments)) or _stores(loaded(wanted_of(arguments)).settings.imports)
    except HerzError:  # no configuration here, or none that can be read: then it names no store
        found = found or []
    if len(found) == 1:
        return found[0]
    raise UsageError(
        "no store is named" if not found else f"which store? The configuration has {', '.join(map(masked, found))}",
        remedy="pass --store sqlite:///herz.db#APPLICATION, or set HERZ_STORE",
    )


def _stores(specs: tuple[str, ...]) -> list[str]:
    named = (spec.removeprefix(OPTIONAL) for spec in specs)
    return [url for url in named if url.startswith(_STORES) and "#" in url]


@asynccontextmanager
async def journal(arguments: argparse.Namespace, url: str, *, create: bool = False) -> AsyncIterator[Journal]:
    """The journal at `url`; with `create` its store is made when there is none."""
    source = StoreSource.from_url(url if create else existing(url))
    app = url.rpartition("#")[2]
    secrets = arguments.secrets
    try:
        yield Journal(source.store, app, secret=lambda key: secrets.holds(split(key)))
    finally:
        await close([source])


def prepared(arguments: argparse.Namespace) -> str:
    """The store's URL; what has to be known before a loop runs is put into `arguments`."""
    url = store_url(arguments)
    arguments.secrets = secrets_known(arguments)
    return url


def author() -> str:
    """Who is at the keyboard: as git knows them, else user@host."""
    found = [_git("user.name"), _git("user.email")]
    if all(found):
        return f"{found[0]} <{found[1]}>"
    if found[0] or found[1]:
        return found[0] or found[1]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _git(name: str) -> str:
    try:
        asked = subprocess.run(  # noqa: S603  a fixed command
            ["git", "config", "--get", name],  # noqa: S607  the user's own git
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()
