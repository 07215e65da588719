"""`herz audit`: who did what at the control plane, and whether that record is whole."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from herz.cli.arguments import command, group, positive
from herz.cli.output import in_line, paint, print_json
from herz.cli.place import opened, place_parents, store_of
from herz.cli.remote import plane_of

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers
    from herz.server.audit import Audit, AuditHead
    from herz.store.base import Store

_FURTHER = ("why", "head")
_DESCRIPTION = """\
Every act at the control plane is an entry of the audit log, written in the same transaction, and each entry
holds the hash of the one before: what is changed, removed or reordered afterwards is found.

Whoever can write the store could write the whole log anew. So keep its head elsewhere now and then, as
`herz audit verify` prints it, and hand it over later: --anchor NUMBER:HASH."""

_EXAMPLES = """\
  herz audit list                              the last 20 acts
  herz audit verify --store sqlite:///herz.db  exit status 1 when an entry does not hold
  herz audit verify --anchor 4711:5f0c…        and whether it is still the same log"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "audit", "who did what, and whether that record is whole", _DESCRIPTION, _EXAMPLES)
    listing = command(top, "list", run_list, summary="list acts, the last ones by default", parents=place_parents())
    listing.add_argument("--after", type=int, metavar="NUMBER", help="those behind this entry, instead of the last")
    listing.add_argument("-n", "--limit", type=positive, default=20, metavar="COUNT", help="at most so many (20)")
    verifying = command(top, "verify", run_verify, summary="compute the chain of hashes anew", parents=place_parents())
    verifying.add_argument("--anchor", metavar="NUMBER:HASH", help="a head that was kept elsewhere")


def run_list(arguments: argparse.Namespace) -> int:
    """Show entries."""
    url = store_of(arguments)

    async def found() -> list[dict[str, Any]]:
        if url is None:
            async with plane_of(arguments) as plane:
                after = arguments.after
                if after is None:
                    after = max(0, (await plane.verify_audit()).entries - arguments.limit)
                return list(await plane.audit(after=after, limit=min(arguments.limit, 500)))
        async with opened(url) as store:
            audit = _audit(store)
            after = arguments.after
            if after is None:
                after = max(0, (await audit.head()).number - arguments.limit)
            return [msgspec.to_builtins(entry) for entry in await audit.entries(after, arguments.limit)]

    entries = asyncio.run(found())
    if arguments.json:
        print_json({"entries": msgspec.to_builtins(entries)})
        return 0
    for entry in entries:
        loud = paint("  FORCED", "red") if entry.get("forced") else ""
        message = f"  {in_line(entry['message'])}" if entry.get("message") else ""
        what = f"{entry['action']} {entry['target']}"
        print(f"{entry['number']:>6}  {entry['time'][:19]}  {entry['actor']}  {paint(what, 'bold')}{loud}{message}")
    if not entries:
        print("nothing was done yet")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Compute the chain; 1 when it does not hold."""
    url = store_of(arguments)

    async def verified() -> dict[str, Any]:
        if url is None:
            async with plane_of(arguments) as plane:
                found: dict[str, Any] = msgspec.structs.asdict(await plane.verify_audit(anchor=arguments.anchor))
                return found
        async with opened(url) as store:
            return msgspec.structs.asdict(await _audit(store).verify(_anchor(arguments.anchor)))

    found = asyncio.run(verified())
    if arguments.json:
        print_json({name: found.get(name) for name in ("ok", "entries", "broken_at", *_FURTHER)}, lines=True)
    elif found["ok"]:
        print(f"{paint('whole', 'green')}: {found['entries']} entries, each continues the one before")
        if found.get("head"):
            print(f"head: {found['entries']}:{found['head']}")
    else:
        print(f"{paint('broken', 'red')} at entry {found['broken_at']} of {found['entries']}: {found.get('why')}")
    return 0 if found["ok"] else 1


def _audit(store: Store) -> Audit:
    from herz.server.audit import Audit
    from herz.server.clock import SystemClock

    return Audit(store, SystemClock())


def _anchor(text: str | None) -> AuditHead | None:
    from herz.server.audit import parse_anchor

    return None if text is None else parse_anchor(text)
