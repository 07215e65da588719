"""`herz user`: the people who use the console."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import TYPE_CHECKING, Any

from herz.cli.arguments import command, group
from herz.cli.output import paint, print_json
from herz.cli.people import at_door, store_parent
from herz.client.endpoint import DEFAULT_URL
from herz.errors import UsageError

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers
    from herz.server.audit import By
    from herz.server.door.door import Door

_DESCRIPTION = """\
Users log in to the console with a password of their own, or by a provider (herz serve --oidc-issuer). What they
may do is a matter of roles: herz role. These commands work on the store itself; servers need not run, and feel a
change within a second.

Passwords have 12 characters or more. They are asked for, or read from standard input; never given as an argument,
which other users of the machine could see."""

_EXAMPLES = """\
  herz user add ana --role '*:admin' --store sqlite:///herz.db
  herz user add eva --role pay:releaser --invite
  herz user list
  herz user password ana --password-stdin < password.txt
  herz user disable eva
  herz user remove eva"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "user", "the people who use the console", _DESCRIPTION, _EXAMPLES)
    adding = _command(top, "add", run_add, "make a user")
    adding.add_argument("--role", action="append", default=[], metavar="APP:ROLE", help="what they may; repeatable")
    _password_options(adding)
    adding.add_argument("--invite", action="store_true", help="print a link where they choose a password themselves")
    _link_option(adding)
    command(top, "list", run_list, summary="list all users", parents=[store_parent()])
    disabling = _command(top, "disable", run_disable, "let a user in no more, and end their sessions")
    _force_option(disabling)
    _command(top, "enable", run_enable, "let a user in again")
    _password_options(_command(top, "password", run_password, "give a user another password"))
    _link_option(_command(top, "invite", run_invite, "print a link where a user chooses a password, once"))
    _force_option(_command(top, "remove", run_remove, "remove a user with all roles"))


def run_add(arguments: argparse.Namespace) -> int:
    """Make a user."""
    password = None if arguments.invite else _password(arguments)

    async def add(door: Door, by: By) -> dict[str, Any]:
        from herz.server.door.invitations import link
        from herz.server.door.rights import Binding
        from herz.server.door.users import entry_of
        from herz.store.plane import checked_user

        name = checked_user(arguments.name)
        roles = [Binding.parse(name, role) for role in arguments.role]
        user = await door.users.add(name, by=by, password=password, must_change=arguments.must_change, roles=roles)
        told = None
        if arguments.invite:
            told = link(_url(arguments), await door.invitations.create(name, by=by), name)
        return {**entry_of(user), "roles": [str(role) for role in roles], "link": told}

    made = at_door(arguments, add, create=True)
    if arguments.json:
        print_json(made)
        return 0
    print(f"{paint(made['name'], 'bold')}  {', '.join(made['roles']) or 'no role yet: herz role grant'}")
    if made["link"] is not None:
        _tell_link(made["link"])
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Show all users."""

    async def found(door: Door, _: By) -> list[dict[str, Any]]:
        from herz.server.door.users import entry_of

        bindings, _revision = await door.rights.read()
        return [
            {**entry_of(user), "roles": [str(one) for one in bindings.of(user.name, user.groups)]}
            for user in await door.users.all()
        ]

    users = at_door(arguments, found)
    if arguments.json:
        print_json({"users": users})
        return 0
    for user in users:
        way = user["provider"] or ("password" if user["password"] else "invited")
        state = paint("  disabled", "red") if user["disabled"] else ""
        print(
            f"{paint(user['name'], 'bold')}  {', '.join(user['roles']) or 'no role'}{paint(f'  {way}', 'dim')}{state}"
        )
    if not users:
        print("there are no users")
    return 0


def run_disable(arguments: argparse.Namespace) -> int:
    """Let a user in no more."""

    async def disable(door: Door, by: By) -> None:
        await door.users.disable(arguments.name, by=by, force=arguments.force)

    at_door(arguments, disable)
    return _told(arguments, "disabled")


def run_enable(arguments: argparse.Namespace) -> int:
    """Let a user in again."""

    async def enable(door: Door, by: By) -> None:
        await door.users.enable(arguments.name, by=by)

    at_door(arguments, enable)
    return _told(arguments, "enabled")


def run_password(arguments: argparse.Namespace) -> int:
    """Give a user another password."""
    password = _password(arguments)

    async def change(door: Door, by: By) -> None:
        await door.users.set_password(arguments.name, password, by=by, must_change=arguments.must_change)

    at_door(arguments, change)
    return _told(arguments, "changed", "has a new password; their sessions have ended")


def run_invite(arguments: argparse.Namespace) -> int:
    """Print a link where a user chooses a password."""

    async def invite(door: Door, by: By) -> str:
        from herz.server.door.invitations import link

        user, _ = await door.users.get(arguments.name)
        return link(_url(arguments), await door.invitations.create(user.name, by=by), user.name)

    told = at_door(arguments, invite)
    if arguments.json:
        print_json({"name": arguments.name, "link": told})
    else:
        _tell_link(told)
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove a user."""

    async def remove(door: Door, by: By) -> None:
        await door.users.remove(arguments.name, by=by, force=arguments.force)

    at_door(arguments, remove)
    return _told(arguments, "removed")


def _command(top: Subparsers, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    made = command(top, name, run, summary=summary, parents=[store_parent()])
    made.add_argument("name", metavar="NAME", help="the user's name")
    return made


def _password_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    parser.add_argument(
        "--must-change", action="store_true", help="have them choose another one when they log in first"
    )


def _force_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="even if nobody is left who may everything")


def _link_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", metavar="URL", help=f"where the console is, for the link (default: HERZ_SERVER, else {DEFAULT_URL})"
    )


def _url(arguments: argparse.Namespace) -> str:
    return str(arguments.url or os.environ.get("HERZ_SERVER") or DEFAULT_URL)


def _password(arguments: argparse.Namespace) -> str:
    """The password, from standard input or asked for twice."""
    if arguments.password_stdin:
        return sys.stdin.read(4096).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask for the password", remedy="pass --password-stdin, or use --invite")
    password = getpass.getpass(f"password of {arguments.name}: ")
    if getpass.getpass("the same again: ") != password:
        raise UsageError("the two passwords differ", remedy="nothing was changed: try again")
    return password


def _tell_link(link: str) -> None:
    print(f"\n  {link}\n")
    print(paint("Good once, for 24 hours. Hand it to them alone: whoever opens it first chooses the password.", "dim"))


def _told(arguments: argparse.Namespace, what: str, words: str = "") -> int:
    if arguments.json:
        print_json({what: arguments.name})
    else:
        print(f"{arguments.name} {words or f'is {what}'}")
    return 0
