"""`herz get`: a value, or everything under a key."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from herz.cli.arguments import command, source_options
from herz.cli.loading import snapshot_of
from herz.cli.output import as_yaml, plain, print_json
from herz.cli.values import checked, not_set, whole

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "get",
        run,
        summary="print a value, or everything under a key",
        description="Print the value in force: all sources merged, ${references} resolved, secrets masked.\n"
        "A table is printed as YAML. Names are relaxed: max-retries, max_retries and MAXRETRIES are one key.",
        examples="  herz get                                 everything\n"
        "  herz get herz.service                    a table\n"
        "  herz get herz.service.timeout --default 3s\n"
        "  herz get db.password --reveal            the secret itself\n"
        "  herz get routes[api.example.org]         a name with a dot in it is quoted with brackets\n"
        "  herz get db --json -s defaults.yml -s 'sqlite:///herz.db#pay'",
        parents=[source_options()],
    )
    parser.add_argument("key", nargs="?", metavar="KEY", help="what to print (default: everything)")
    parser.add_argument("--default", metavar="VALUE", help="what to print when the key is not set")
    parser.add_argument("--reveal", action="store_true", help="print secrets, which are masked otherwise")


def run(arguments: argparse.Namespace) -> int:
    """Print the value. `NotSet` when there is none and no default."""
    snapshot = snapshot_of(arguments)
    value: Any
    if arguments.key is None:
        value = whole(snapshot.composed)  # type: ignore[arg-type]  # what `snapshot_of` was made of
    elif checked(arguments.key) in snapshot:
        value = snapshot[arguments.key]
    elif arguments.default is not None:
        value = arguments.default
    else:
        raise not_set(arguments.key, snapshot)
    value = plain(value, reveal=arguments.reveal)
    if arguments.json:
        print_json(value)
    else:
        print(value if isinstance(value, str) else as_yaml(value))
    return 0
