"""`herz impact`: what a release would change before it is one: keys, instances, and objects that are rebuilt."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from herz.cli.arguments import command
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, data, place_options, server_options
from herz.cli.told import difference_line, in_words
from herz.client import Built, Impact, Namespace

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "impact",
        run,
        summary="what a release, or the draft, would change, and which objects it would rebuild",
        description="Say before a release which keys differ, which instances would change, and which of their\n"
        "objects would be rebuilt, by the dependency graphs that they report. With --dry-build one\n"
        "instance builds it for real, does not use it, and says how that went: status 1 when it failed.",
        examples="  herz impact --app pay                    of the draft\n"
        "  herz impact --release 13\n"
        "  herz impact --release 13 --dry-build pay-7f9c-2",
        parents=[place_options(), server_options()],
    )
    parser.add_argument("--release", metavar="N", help="a release: 13 or pay/default@13 (default: the draft)")
    parser.add_argument("--dry-build", metavar="INSTANCE", help="have this instance build it, without using it")


def run(arguments: argparse.Namespace) -> int:
    """Print the impact; 1 when a dry build failed."""

    async def look(pay: Namespace) -> Impact:
        return await pay.impact(arguments.release, dry_build=arguments.dry_build)

    found = asked(arguments, look, version=arguments.release or "")
    if arguments.json:
        print_json(data(found))
    else:
        print(impact_text(found))
    return 1 if found.rehearsed is not None and found.rehearsed.error else 0


def impact_text(found: Impact) -> str:
    """What changes, where, and what that rebuilds."""
    count = len(found.changed)
    lines = [f"{count} key differs" if count == 1 else f"{count or 'no'} keys differ"]
    lines += [f"  {difference_line(one)}" for one in found.changed]
    there = len(found.instances)
    lines.append(f"{there or 'no'} instance{'' if there == 1 else 's'} would change")
    for kind, names in (("object", found.objects), ("properties class", found.properties)):
        for name, where in sorted(names.items()):
            lines.append(f"  new {kind} {paint(in_words(name), 'bold')} on {where} of {there}")
    if found.unknown:
        lines.append(f"  {found.unknown} of them have told no graph of their objects")
    if found.rehearsed is not None:
        lines += _rehearsed(found.rehearsed)
    return "\n".join(lines)


def _rehearsed(built: Built) -> list[str]:
    if built.error:
        return [f"{paint('✗', 'red')} {built.instance} cannot build it: {in_words(built.error)}"]
    lines = [f"{paint('✓', 'green')} {built.instance} has built it; nothing of that is in use"]
    if built.rebuilt:
        lines.append(f"  built {', '.join(built.rebuilt)}")
    if built.unbuilt:
        lines.append(f"  only built on first use, so not proved: {', '.join(built.unbuilt)}")
    return lines
