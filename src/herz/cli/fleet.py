"""`herz fleet`: what every instance runs, live."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from herz.cli.arguments import command
from herz.cli.fleet_table import Filter, filters, fleet_text, rich_table, summary
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, data, namespace_of, place_options, plane_of, server_options
from herz.client import Instance, Namespace
from herz.errors import SourceUnavailable

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

INTERVAL_S = 1.0
"""How often `--watch` looks."""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "fleet",
        run,
        summary="what every instance runs, as it says itself",
        description="Every instance with its labels, the release it runs, its status, fingerprint, patch and\n"
        "the age of its report. Instances report after each swap what they run, not what they\n"
        "fetched; one that is gone is not here.",
        examples="  herz fleet --app pay\n"
        "  herz fleet --watch                       live, until Ctrl-C\n"
        "  herz fleet --filter zone=eu --filter status=FAILED\n"
        "  herz fleet --filter 'instance=pay-*' --json",
        parents=[place_options(), server_options()],
    )
    parser.add_argument("-w", "--watch", action="store_true", help="keep looking, until Ctrl-C")
    parser.add_argument(
        "-f",
        "--filter",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="only instances whose label, or instance, status, version, patch or cohort, is like this; may be repeated",
    )
    parser.add_argument(
        "--interval", type=float, default=INTERVAL_S, metavar="SECONDS", help="how often --watch looks (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table, once or until Ctrl-C."""
    wanted = filters(arguments.filter)
    if arguments.watch:
        try:
            asyncio.run(_watch(arguments, wanted))
        except KeyboardInterrupt:  # how one ends a watch
            print(file=sys.stderr)
        return 0
    found = wanted.of(asked(arguments, Namespace.instances))
    if arguments.json:
        print_json(data(found))
    else:
        print(fleet_text(found, datetime.now(UTC)))
    return 0


async def _watch(arguments: argparse.Namespace, wanted: Filter) -> None:
    with _showing(as_data=arguments.json) as show:
        async with plane_of(arguments) as plane:
            pay = await namespace_of(arguments, plane)
            while True:
                try:
                    show.fleet(wanted.of(await pay.instances()))
                except SourceUnavailable as error:  # it comes back, and a watch goes on
                    show.trouble(error)
                await asyncio.sleep(arguments.interval)


class _Show(Protocol):
    def __enter__(self) -> _Show: ...
    def __exit__(self, *_: object) -> None: ...
    def fleet(self, found: tuple[Instance, ...]) -> None: ...
    def trouble(self, error: Exception) -> None: ...


def _showing(*, as_data: bool) -> _Show:
    """A live table on a terminal that can show it, else the table anew whenever it has changed."""
    if as_data or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return _Lines(as_data=as_data)
    try:
        return _Live()
    except ModuleNotFoundError:
        return _Lines(as_data=False)


class _Lines:
    """Prints when something is another than before; the age alone is no change."""

    def __init__(self, *, as_data: bool) -> None:
        self._as_data = as_data
        self._last: Any = None

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def fleet(self, found: tuple[Instance, ...]) -> None:
        now = data(found)
        if now == self._last:
            return
        if self._as_data:
            print_json(now, lines=True)
        else:
            print(("" if self._last is None else "\n") + fleet_text(found, datetime.now(UTC)), flush=True)
        self._last = now

    def trouble(self, error: Exception) -> None:
        if self._last != str(error):
            self._last = str(error)
            print(f"{paint('herz:', 'red', sys.stderr)} {error}", file=sys.stderr, flush=True)


class _Live:
    """One table that changes in its place. Needs rich."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False, vertical_overflow="crop")
        self._found: tuple[Instance, ...] = ()

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def fleet(self, found: tuple[Instance, ...]) -> None:
        self._found = found
        self._show(summary(found))

    def trouble(self, error: Exception) -> None:
        self._show(f"as it was: {error}")

    def _show(self, caption: str) -> None:
        console = self._live.console
        table = rich_table(self._found, datetime.now(UTC), height=console.height, width=console.width, caption=caption)
        self._live.update(table, refresh=True)
