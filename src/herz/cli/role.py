"""`herz role`: what users, and groups of their provider, may do."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from herz.cli.arguments import command, group
from herz.cli.output import paint, print_json
from herz.cli.people import at_door, store_parent

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers
    from herz.server.audit import By
    from herz.server.door.door import Door
    from herz.server.door.rights import Binding

_DESCRIPTION = """\
A role is given as APPLICATION:ROLE, or *:ROLE for all applications, to a user, or to a group as the provider calls
it (group:NAME).

  viewer    sees everything of the application
  editor    and writes its draft
  releaser  and releases, rolls out and rolls back
  approver  sees everything, and approves what others wrote
  admin     everything; for all applications also users, tokens and the audit log"""

_EXAMPLES = """\
  herz role grant ana pay:releaser --store sqlite:///herz.db
  herz role grant group:sre '*:viewer'
  herz role list
  herz role revoke ana pay:releaser"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "role", "what the console's users may do", _DESCRIPTION, _EXAMPLES)
    granting = command(top, "grant", run_grant, summary="give a role", parents=[store_parent()])
    revoking = command(top, "revoke", run_revoke, summary="take a role away", parents=[store_parent()])
    for one in (granting, revoking):
        one.add_argument("subject", metavar="NAME", help="a user, or group:NAME")
        one.add_argument("role", metavar="APP:ROLE", help="pay:editor, *:viewer")
    revoking.add_argument("--force", action="store_true", help="even if nobody is left who may everything")
    command(top, "list", run_list, summary="list all roles", parents=[store_parent()])


def run_grant(arguments: argparse.Namespace) -> int:
    """Give a role."""

    async def grant(door: Door, by: By) -> Binding:
        from herz.server.door.rights import Binding

        binding = Binding.parse(arguments.subject, arguments.role)
        await door.users.grant(binding, by=by)
        return binding

    return _told(arguments, "granted", at_door(arguments, grant))


def run_revoke(arguments: argparse.Namespace) -> int:
    """Take a role away."""

    async def revoke(door: Door, by: By) -> Binding:
        from herz.server.door.rights import Binding

        binding = Binding.parse(arguments.subject, arguments.role)
        await door.users.revoke(binding, by=by, force=arguments.force)
        return binding

    return _told(arguments, "revoked", at_door(arguments, revoke))


def run_list(arguments: argparse.Namespace) -> int:
    """Show all roles."""

    async def found(door: Door, _: By) -> tuple[Binding, ...]:
        return (await door.rights.read())[0].bindings

    bindings = at_door(arguments, found)
    if arguments.json:
        print_json({"roles": [{"subject": one.subject, "app": one.app, "role": one.role.value} for one in bindings]})
        return 0
    for one in bindings:
        print(f"{paint(one.subject, 'bold')}  {one}")
    if not bindings:
        print("there are no roles")
    return 0


def _told(arguments: argparse.Namespace, what: str, binding: Binding) -> int:
    if arguments.json:
        print_json({what: {"subject": binding.subject, "app": binding.app, "role": binding.role.value}})
    else:
        print(f"{binding.subject}: {binding} is {what}")
    return 0
