"""`herz token`: who may use the control plane."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from herz.cli.arguments import command, group
from herz.cli.journals import author
from herz.cli.output import paint, print_json
from herz.cli.place import opened, place_parents, store_of
from herz.cli.remote import plane_of
from herz.errors import UsageError
from herz.model.units import seconds

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers
    from herz.server.tokens import Tokens
    from herz.store.base import Store

_DESCRIPTION = """\
A token says who acts, and what they may do: APPLICATION:SCOPE, or *:SCOPE for all applications. Scopes are
read, report (say what an instance runs), edit (drafts), release, rollout, approve and admin (all of them).

The first token is made in the store itself, with --store; later ones by a server as well."""

_EXAMPLES = """\
  herz token create ops --grant '*:admin' --store sqlite:///herz.db
  herz token create ci --grant pay:edit --grant pay:release --expires 90d
  herz token create pay-instances --grant pay:report
  herz token list
  herz token revoke 3f9c0a1b2c3d4e5f"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "token", "who may use the control plane", _DESCRIPTION, _EXAMPLES)
    creating = command(top, "create", run_create, summary="make a token; it is shown once", parents=place_parents())
    creating.add_argument("name", metavar="NAME", help="whose it is; what the history calls its owner")
    creating.add_argument(
        "--grant", action="append", required=True, metavar="APP:SCOPE", help="what it may do; may be repeated"
    )
    creating.add_argument("--expires", metavar="WHEN", help="after 30d or 12h, or at a time: 2030-01-31T12:00:00Z")
    command(top, "list", run_list, summary="list all tokens, without what they are", parents=place_parents())
    revoking = command(top, "revoke", run_revoke, summary="end a token", parents=place_parents())
    revoking.add_argument("id", metavar="ID", help="as `herz token list` shows it")


def run_create(arguments: argparse.Namespace) -> int:
    """Make a token and show it."""
    url, expires = store_of(arguments), _expires(arguments.expires)

    async def create() -> dict[str, Any]:
        if url is None:
            async with plane_of(arguments) as plane:
                return await plane.create_token(arguments.name, arguments.grant, expires=expires)
        async with opened(url, create=True) as store:
            from herz.server.audit import By
            from herz.server.tokens import Grant

            grants = [Grant.parse(grant) for grant in arguments.grant]
            text, token = await _tokens(store).create(arguments.name, grants, by=By(author()), expires=expires)
            return {"token": text, **_shown(token)}

    made = asyncio.run(create())
    if arguments.json:
        print_json(msgspec.to_builtins(made))
    else:
        print(made["token"])
        until = f", until {made['expires']}" if made.get("expires") else ""
        print(paint(f"{made['id']}: {made['name']}, {', '.join(made['grants'])}{until}", "dim"))
        print(paint("Keep it now: it is stored nowhere, and shown this once.", "dim"))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Show all tokens."""
    url = store_of(arguments)

    async def found() -> list[dict[str, Any]]:
        if url is None:
            async with plane_of(arguments) as plane:
                return list(await plane.tokens())
        async with opened(url) as store:
            return [_shown(token) for token in await _tokens(store).all()]

    tokens = asyncio.run(found())
    if arguments.json:
        print_json({"tokens": msgspec.to_builtins(tokens)})
        return 0
    for token in tokens:
        until = f"  until {token['expires']}" if token.get("expires") else ""
        print(f"{paint(token['id'], 'bold')}  {token['name']}  {', '.join(token['grants'])}{paint(until, 'dim')}")
    if not tokens:
        print("there are no tokens")
    return 0


def run_revoke(arguments: argparse.Namespace) -> int:
    """End a token."""
    url = store_of(arguments)

    async def revoke() -> None:
        if url is None:
            async with plane_of(arguments) as plane:
                await plane.revoke_token(arguments.id)
            return
        async with opened(url) as store:
            from herz.server.audit import By

            await _tokens(store).revoke(arguments.id, by=By(author()))

    asyncio.run(revoke())
    if arguments.json:
        print_json({"revoked": arguments.id})
    else:
        print(f"{arguments.id} is revoked")
    return 0


def _tokens(store: Store) -> Tokens:
    from herz.server.audit import Audit
    from herz.server.clock import SystemClock
    from herz.server.tokens import Tokens

    clock = SystemClock()
    return Tokens(store, Audit(store, clock), clock)


def _shown(token: Any) -> dict[str, Any]:
    """A token without its digest."""
    return {
        "id": token.id,
        "name": token.name,
        "grants": [str(grant) for grant in token.grants],
        "created": token.created.isoformat(),
        "expires": None if token.expires is None else token.expires.isoformat(),
    }


def _expires(text: str | None) -> datetime | None:
    """The time that `30d` or `2030-01-31T12:00:00Z` means."""
    if text is None:
        return None
    if text.isdecimal():
        raise UsageError(f"{text} names no unit", remedy="write 30d, 12h, or 2030-01-31T12:00:00Z")
    try:
        return datetime.now(UTC) + timedelta(seconds=float(seconds(text)))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time", remedy="write 30d, 12h, or 2030-01-31T12:00:00Z") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
