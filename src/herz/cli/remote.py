"""What commands that ask the control plane have in common: which one, for which application, and asking it."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from herz.cli.journals import author
from herz.client import ControlPlane, Namespace
from herz.client.endpoint import DEFAULT_URL
from herz.errors import UsageError

T = TypeVar("T")


def server_options() -> argparse.ArgumentParser:
    """Which control plane, and what it is shown."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("which control plane")
    group.add_argument(
        "--server", metavar="URL", help=f"the `herz serve` to ask (default: HERZ_SERVER, else {DEFAULT_URL})"
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file that holds the token (default: HERZ_TOKEN, which other users of the machine cannot see)",
    )
    group.add_argument("--ca", metavar="FILE", help="the authorities that the server's certificate is verified by")
    group.add_argument("--cert", metavar="FILE", help="our certificate, where the server asks for one")
    group.add_argument("--key", metavar="FILE", help="and its key")
    return parent


def place_options() -> argparse.ArgumentParser:
    """Which application's namespace."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "-a",
        "--app",
        metavar="APP[/NAMESPACE]",
        help='the application, its namespace "default" unless named '
        "(default: HERZ_APP, else the only one that the control plane has)",
    )
    return parent


def message_option() -> argparse.ArgumentParser:
    """Who changes something, and why."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--author",
        metavar="WHO",
        help="who makes the change, where the server asks for no token (default: git's user, else user@host)",
    )
    parent.add_argument("-m", "--message", default="", metavar="WHY", help="why, for the history and the audit log")
    return parent


def plane_of(arguments: argparse.Namespace) -> ControlPlane:
    """The control plane that the command line means, not connected yet."""
    return ControlPlane(
        arguments.server,
        token_file=arguments.token_file,
        author=(arguments.author or author()) if "author" in arguments else None,  # a reader need not say who
        ca=arguments.ca,
        cert=arguments.cert,
        key=arguments.key,
    )


def asked(arguments: argparse.Namespace, question: Callable[[Namespace], Awaitable[T]], *, version: str = "") -> T:
    """What `question` makes of the namespace that the command line means; `version` may name it as `pay/eu@13`."""

    async def ask() -> T:
        async with plane_of(arguments) as plane:
            return await question(await namespace_of(arguments, plane, version=version))

    return asyncio.run(ask())


async def namespace_of(arguments: argparse.Namespace, plane: ControlPlane, *, version: str = "") -> Namespace:
    """The namespace that `--app`, the version, HERZ_APP or the control plane names. `UsageError` when none does."""
    place, at, _ = version.rpartition("@")
    if at and not arguments.app:
        return plane.namespace(place)
    if named := arguments.app or os.environ.get("HERZ_APP"):
        return plane.namespace(named)
    listed = await plane.apps()
    known = [(entry["app"], namespace) for entry in listed for namespace in entry["namespaces"]]
    if len(known) == 1:
        return plane.namespace(*known[0])
    shown = ", ".join(f"{app}/{namespace}" for app, namespace in known[:8])
    raise UsageError(
        f"which application? The control plane has {shown}" if known else "no application is named",
        where=plane.url,
        remedy="pass --app APP[/NAMESPACE], or set HERZ_APP",
    )


def data(value: Any) -> Any:
    """A record, or a tuple of them, as JSON holds it."""
    return msgspec.to_builtins(value)
