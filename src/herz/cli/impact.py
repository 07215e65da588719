"""`herz impact`: what a release would change before it is one: keys, instances, and objects that are rebuilt."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from herz.cli.arguments import command
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, place_options, server_options
from herz.cli.told import difference_line, in_words
from herz.client import Namespace
from herz.client.replies import Facts
from herz.release.difference import KeyDifference

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

    async def look(pay: Namespace) -> Facts:
        return await pay.impact(arguments.release, dry_build=arguments.dry_build)

    found = asked(arguments, look, version=arguments.release or "")
    if arguments.json:
        print_json(found)
    else:
        print(impact_text(found))
    rehearsed = found.get("rehearsed")
    return 1 if isinstance(rehearsed, Mapping) and rehearsed.get("error") else 0


def impact_text(found: Facts) -> str:
    """What changes, where, and what that rebuilds."""
    changed = found.get("changed") or []
    lines = [f"{len(changed)} key{'' if len(changed) == 1 else 's'} differ{'s' if len(changed) == 1 else ''}"]
    lines += [f"  {_key(one)}" for one in changed]
    instances = found.get("instances") or []
    lines.append(f"{len(instances)} instance{'' if len(instances) == 1 else 's'} would change")
    objects = found.get("objects") or {}
    for name, where in sorted(objects.items()):
        lines.append(f"  rebuilds {paint(in_words(str(name)), 'bold')}{_where(where, len(instances))}")
    if not objects and instances:
        lines.append("  rebuilds no object")
    rehearsed = found.get("rehearsed")
    if isinstance(rehearsed, Mapping):
        lines += _rehearsed(rehearsed)
    return "\n".join(lines)


def _key(one: Any) -> str:
    if not isinstance(one, Mapping):
        return in_words(str(one))
    known = {name: one[name] for name in KeyDifference.__struct_fields__ if name in one}
    return difference_line(KeyDifference(**known))


def _where(where: Any, instances: int) -> str:
    """On how many instances, and by name where they are few."""
    if isinstance(where, int):
        return f" on {where} of {instances}"
    if isinstance(where, list) and where:
        return f" on {len(where)} of {instances}" + (f": {', '.join(map(str, where))}" if len(where) <= 5 else "")
    return ""


def _rehearsed(rehearsed: Mapping[str, Any]) -> list[str]:
    who = f" on {rehearsed['instance']}" if rehearsed.get("instance") else ""
    if rehearsed.get("error"):
        return [f"{paint('✗', 'red')} dry build{who} failed: {in_words(str(rehearsed['error']))}"]
    lines = [f"{paint('✓', 'green')} dry build{who} succeeded; nothing of it is in use"]
    if rehearsed.get("rebuilt"):
        lines.append(f"  built {', '.join(map(str, rehearsed['rebuilt']))}")
    if rehearsed.get("unbuilt"):
        lines.append(f"  only built on first use, so not proved: {', '.join(map(str, rehearsed['unbuilt']))}")
    return lines
