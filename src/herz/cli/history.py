"""`herz history` and `herz rollback`: what was changed in a store, and taking it back."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from herz.cli.arguments import command, positive, source_options, store_options
from herz.cli.journals import author, journal, prepared
from herz.cli.output import paint, print_json
from herz.cli.set import change_data, change_options, change_text
from herz.cli.values import checked
from herz.store.record import Record

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register both commands."""
    showing = command(
        subparsers,
        "history",
        run,
        summary="list the changes made in a store, newest first",
        description="List who changed what, when and why, the newest first; secrets are masked. The revision\n"
        "is what `herz explain` shows behind a key (key@revision) and what `herz rollback` takes.",
        examples="  herz history --store sqlite:///herz.db#pay\n"
        "  herz history herz.service -n 5           what changed under this key\n"
        "  herz history --json | jq '.[0].author'",
        parents=[store_options(), source_options()],
    )
    showing.add_argument("key", nargs="?", metavar="KEY", help="only changes of this key and those under it")
    showing.add_argument("-n", "--limit", type=positive, metavar="N", help="at most N changes")
    rolling = command(
        subparsers,
        "rollback",
        run_rollback,
        summary="bring back the values as they were at a revision",
        description="Bring back every value as it was at a revision. It is written as a new revision, so\n"
        "nothing is lost and a rollback can be rolled back.",
        examples="  herz rollback 12 --store sqlite:///herz.db#pay --message 'back to before the incident'\n"
        "  herz rollback 12 --expect 15             only if revision 15 is still the last",
        parents=[store_options(), change_options(), source_options()],
    )
    rolling.add_argument("revision", type=int, metavar="REVISION", help="a revision that `herz history` lists")


def run(arguments: argparse.Namespace) -> int:
    """Print the records."""
    url = prepared(arguments)
    key = None if arguments.key is None else checked(arguments.key)

    async def read() -> tuple[Record, ...]:
        async with journal(arguments, url) as found:
            return await found.history(key, limit=arguments.limit)

    records = asyncio.run(read())
    if arguments.json:
        print_json([_data(record) for record in records])
    elif not records:
        print("no change is recorded" + (f" under {key}" if key else ""))
    else:
        print("\n\n".join(map(_text, records)))
    return 0


def run_rollback(arguments: argparse.Namespace) -> int:
    """Write the old values anew."""
    url = prepared(arguments)

    async def write() -> tuple[int, Record | None]:
        async with journal(arguments, url) as found:
            before = await found.revision()
            revision = await found.rollback(
                arguments.revision,
                author=arguments.author or author(),
                message=arguments.message,
                expect=arguments.expect,
            )
            return revision, None if revision == before else (await found.history(limit=1))[0]

    revision, record = asyncio.run(write())
    if arguments.json:
        changes = [] if record is None else [change_data(one) for one in record.changes]
        print_json({"revision": revision, "changed": record is not None, "changes": changes})
    elif record is None:
        print(f"revision {revision} has the values of revision {arguments.revision} already, nothing was written")
    else:
        print(_text(record))
    return 0


def _data(record: Record) -> dict[str, object]:
    return {
        "revision": record.revision,
        "number": record.number,
        "time": record.time.isoformat(),
        "author": record.author,
        "message": record.message,
        "rollback_to": record.rollback_to,
        "changes": [change_data(change) for change in record.changes],
    }


def _text(record: Record) -> str:
    when = record.time.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    lines = [f"{paint(f'revision {record.revision}', 'bold')}  {when}  {record.author}"]
    if record.message:
        lines.append(f"  {record.message}")
    return "\n".join([*lines, *map(change_text, record.changes)])
