"""`herz fingerprint`: one line that is equal where the configuration means the same."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from herz.cli.arguments import command, source_options
from herz.cli.loading import snapshot_of
from herz.cli.output import print_json
from herz.cli.values import NotSet, checked, not_set
from herz.model.key import split
from herz.model.tree import spelled

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "fingerprint",
        run,
        summary="print the fingerprint of the configuration, or of a table in it",
        description="A sha256 of what the configuration means, not of how it is written. The effective\n"
        "fingerprint covers everything in force here. The release fingerprint covers the shared\n"
        "documents as written, without environment and command line: the same on every instance.",
        examples="  herz fingerprint\n"
        "  herz fingerprint --release               compare this one between machines\n"
        "  herz fingerprint herz.service            of one table\n"
        "  herz fingerprint --json                  both, and what is overridden here",
        parents=[source_options()],
    )
    parser.add_argument("key", nargs="?", metavar="KEY", help="a table (default: everything)")
    parser.add_argument("--release", action="store_true", help="the release fingerprint instead of the effective one")


def run(arguments: argparse.Namespace) -> int:
    """Print the fingerprint. `NotSet` when the key is no table."""
    snapshot = snapshot_of(arguments)
    composed = snapshot.composed
    effective: str | None = snapshot.fingerprint
    release: str | None = snapshot.release_fingerprint
    if arguments.key is not None:
        path = spelled(composed.tree, split(checked(arguments.key)))
        effective, release = composed.effective().under(path), composed.release().under(path)
        if effective is None and release is None:
            if arguments.key in snapshot:
                raise NotSet(
                    f"{arguments.key} is a value", remedy="only tables have fingerprints: name the one above it"
                )
            raise not_set(arguments.key, snapshot)
    if arguments.json:
        overridden = list(snapshot.overridden_locally())
        print_json({"key": arguments.key, "effective": effective, "release": release, "overridden_locally": overridden})
        return 0
    chosen = release if arguments.release else effective
    if chosen is None:
        raise NotSet(f"{arguments.key} is only set locally, so no release holds it", remedy="leave --release out")
    print(chosen)
    return 0
