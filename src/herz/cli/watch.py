"""`herz watch`: print each change as it is applied."""

from __future__ import annotations

import argparse
import logging
import queue
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from herz.cli.arguments import command, positive, profiles_of, source_options, sources_of
from herz.cli.loading import existing
from herz.cli.output import before_and_after, change_line, paint, print_json
from herz.cli.values import checked
from herz.model.change import ChangeSet

if TYPE_CHECKING:
    from herz.app.events import Applied, Rejected
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "watch",
        run,
        summary="print each change as it is applied",
        description="Follow the configuration as a service does, and print each revision that is applied, and each\n"
        "that is refused (to standard error), until Ctrl-C. Secrets are masked.",
        examples="  herz watch                               everything\n"
        "  herz watch herz.service                  only what is under a key\n"
        "  herz watch --count 1 --timeout 60        wait for one change; status 1 when none came\n"
        "  herz watch --json | jq .changes          one line for each revision",
        parents=[source_options()],
    )
    parser.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="only keys under this one")
    parser.add_argument("--count", type=positive, metavar="N", help="end after N change sets")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end after this time")


def run(arguments: argparse.Namespace) -> int:
    """Print until the count, the time or Ctrl-C ends it; 1 when time was up before the count was reached."""
    from herz.app.herz import Herz  # brings the refresh scope, which other commands do not need

    prefix = checked(arguments.prefix) if arguments.prefix else ""
    logging.getLogger("herz").addHandler(logging.NullHandler())  # what is refused is told here, once
    heard: queue.SimpleQueue[Applied | Rejected] = queue.SimpleQueue()
    herz = Herz(
        *map(existing, sources_of(arguments)),
        profiles=profiles_of(arguments),
        base_folders=tuple(arguments.base_folder or ()),
    )
    herz.events.register("applied", heard.put)
    herz.events.register("rejected", heard.put)
    deadline = None if arguments.timeout is None else time.monotonic() + arguments.timeout
    printed = 0
    try:
        with herz:
            if not arguments.json:
                rows = ", ".join(
                    row.name for row in herz.health().sources if row.kind not in ("environment", "arguments")
                )
                print(paint(f"watching {rows}; Ctrl-C ends", "dim", sys.stderr), file=sys.stderr, flush=True)
            while arguments.count is None or printed < arguments.count:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return 1 if arguments.count is not None else 0
                try:
                    printed += _tell(heard.get(timeout=left), prefix, arguments.json)
                except queue.Empty:
                    continue
    except KeyboardInterrupt:  # how one ends a watch
        if not arguments.json:
            print(file=sys.stderr)
    return 0


def _tell(event: Applied | Rejected, prefix: str, as_data: bool) -> int:
    """Print one revision; how many change sets that was."""
    error = getattr(event, "error", None)
    if error is not None:
        if as_data:
            print_json({"source": event.source, "revision": event.revision, "refused": str(error)}, lines=True)
        else:
            print(f"{paint('refused', 'red', sys.stderr)} {event.source}: {error}", file=sys.stderr, flush=True)
        return 0
    found: ChangeSet = event.change_set.under(prefix)  # type: ignore[union-attr]  # only what was refused has an error
    if not found.changes:
        return 0
    if as_data:
        print_json(
            {
                "source": found.source,
                "revision": found.revision,
                "generation": found.generation,
                "reset": found.reset,
                "changes": [
                    {"key": one.key, **before_and_after(one.before, one.after), "cause": one.cause} for one in found
                ],
            },
            lines=True,
        )
    else:
        when = datetime.now().astimezone().strftime("%H:%M:%S")
        reset = "  (read again as a whole)" if found.reset else ""
        print(f"{paint(f'{when}  {found.source} revision {found.revision}{reset}', 'bold')}")
        print("\n".join(f"  {change_line(one.key, one.before, one.after, one.cause)}" for one in found), flush=True)
    return 1
