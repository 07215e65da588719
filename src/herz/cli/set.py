"""`herz set` and `herz unset`: change what lies in a store."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from typing import TYPE_CHECKING

from herz.cli.arguments import command, source_options, store_options
from herz.cli.journals import author, journal, prepared
from herz.cli.output import in_line, paint, print_json
from herz.cli.values import checked
from herz.errors import UsageError
from herz.store.record import Change

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register both commands."""
    parents = [store_options(), change_options(), source_options()]
    setting = command(
        subparsers,
        "set",
        run,
        summary="write values into a store",
        description="Write values, all in one revision that says who, when and why. Services that follow the\n"
        "store have it within milliseconds. With --expect nothing is written when somebody else was quicker.",
        examples="  herz set herz.service.timeout=5s --store sqlite:///herz.db#pay --message 'slow bank'\n"
        "  herz set db.pool=20 db.timeout=3s        both or none\n"
        "  herz set db.password --stdin < secret    a secret belongs on no command line\n"
        "  herz set db.pool=20 --expect 12          only if revision 12 is still the last",
        parents=parents,
    )
    setting.add_argument("changes", nargs="+", metavar="KEY=VALUE", help="what to write")
    setting.add_argument("--stdin", action="store_true", help="read the value of the one KEY from standard input")
    deleting = command(
        subparsers,
        "unset",
        run_unset,
        summary="delete values from a store",
        description="Delete values, all in one revision that says who, when and why.",
        examples="  herz unset herz.service.timeout --store sqlite:///herz.db#pay --message 'default again'",
        parents=parents,
    )
    deleting.add_argument("keys", nargs="+", metavar="KEY", help="what to delete")


def change_options() -> argparse.ArgumentParser:
    """Who changes, why, and on top of what."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--author", metavar="WHO", help="who makes the change (default: git's user, else user@host)")
    parent.add_argument("-m", "--message", default="", metavar="WHY", help="why, for the history")
    parent.add_argument(
        "--expect",
        type=int,
        metavar="REVISION",
        help="write only if nobody changed the application after this revision (compare-and-set)",
    )
    return parent


def run(arguments: argparse.Namespace) -> int:
    """Write the values."""
    if arguments.stdin:
        if len(arguments.changes) != 1 or "=" in arguments.changes[0]:
            raise UsageError("--stdin is for one key without a value", remedy="write: herz set KEY --stdin")
        changes = {checked(arguments.changes[0]): _from_stdin(arguments.changes[0])}
    else:
        changes = dict(map(assignment, arguments.changes))
        if len(changes) < len(arguments.changes):
            raise UsageError("one key is written twice in this change", remedy="name it once")
    return _write(arguments, dict(changes))


def run_unset(arguments: argparse.Namespace) -> int:
    """Delete the values."""
    return _write(arguments, {checked(key): None for key in arguments.keys})


def _from_stdin(key: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{key}: ")
    return sys.stdin.read().removesuffix("\n")


def assignment(text: str) -> tuple[str, str]:
    """Key and value of `KEY=VALUE`; a `=` in the brackets of a key does not count."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "=" and depth <= 0:
            return checked(text[:position]), text[position + 1 :]
    raise UsageError(f"{text!r} has no value", remedy="write KEY=VALUE; `herz unset KEY` deletes")


def _write(arguments: argparse.Namespace, changes: dict[str, str | None]) -> int:
    url = prepared(arguments)

    async def write() -> tuple[int, bool, tuple[Change, ...]]:
        async with journal(arguments, url, create=True) as found:
            before = await found.revision()
            revision = await found.set(
                changes, author=arguments.author or author(), message=arguments.message, expect=arguments.expect
            )
            if revision == before:
                return revision, False, ()
            return revision, True, (await found.history(limit=1))[0].changes

    revision, changed, made = asyncio.run(write())
    if arguments.json:
        print_json({"revision": revision, "changed": changed, "changes": [change_data(one) for one in made]})
    elif not changed:
        print(f"revision {revision} has it so already, nothing was written")
    else:
        print(f"revision {paint(str(revision), 'bold')}")
        print("\n".join(change_text(one) for one in made))
    return 0


def change_data(change: Change) -> dict[str, object]:
    """A recorded change for JSON; its secrets are masked already."""
    return {"key": change.key, "before": change.before, "after": change.after, "secret": change.secret}


def change_text(change: Change) -> str:
    """A recorded change in a line."""
    before = None if change.before is None else in_line(change.before)
    after = None if change.after is None else in_line(change.after)
    if before is None:
        return paint(f"  + {change.key}: {after}", "green")
    if after is None:
        return paint(f"  - {change.key}: {before}", "red")
    return f"  {paint('~', 'yellow')} {change.key}: {before} → {after}"
