"""`herz approval`: which changes need somebody else's consent, who gave it, and giving it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from herz.cli.arguments import command, group, positive
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, data, message_option, place_options, server_options
from herz.cli.told import in_words, moment, short, who
from herz.client import ApprovalState, Namespace, Policy, Weighed
from herz.errors import Conflict, UsageError

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

_SHORTEST = 8

_DESCRIPTION = """\
A policy names layers. What changes one of them becomes live only when people who wrote none of it
have approved it: as the draft or as a release, by its content, against what is live now. An edit
needs another approval. Going back to what was live before needs none, `--force` passes it, loudly."""

_EXAMPLES = """\
  herz approval policy infrastructure policy --approvals 2
  herz approval policy '*'                 every change of every layer
  herz approval list                       who wrote the draft, who approves it, what is missing
  herz approval list 13                    … of release 13
  herz approval give 13 -m 'looked at it with Ada'
  herz approval withdraw 13 -m 'not before Monday'"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "approval", "who must agree before it is live, and who does", _DESCRIPTION, _EXAMPLES)
    parents = [place_options(), server_options()]
    changing = [place_options(), message_option(), server_options()]

    listing = command(
        top, "list", run_list, summary="what needs approval, who gave it, what is missing", parents=parents
    )
    _version(listing)
    listing.add_argument("--exit-code", action="store_true", help="end with 1 where an approval is missing")

    giving = command(
        top,
        "give",
        run_give,
        summary="approve a release, or the draft",
        description="Approve a release, or the draft, as it is now. Look at it first (`herz draft diff`,\n"
        "`herz release diff`); with --digest it is approved only if it is still what you have looked at.",
        examples="  herz approval give -m 'reviewed'\n  herz approval give 13 --digest 3f9c0a1b -m 'reviewed'",
        parents=changing,
    )
    _version(giving)
    giving.add_argument("--digest", metavar="D", help=f"only if its digest begins so, {_SHORTEST} digits at least")

    taking = command(top, "withdraw", run_withdraw, summary="take an approval back", parents=changing)
    _version(taking)
    taking.add_argument("--approver", metavar="WHO", help="whose: one's own unless named, which needs scope admin")

    asking = command(
        top,
        "policy",
        run_policy,
        summary="print or set which layers need approval",
        description="Print which layers need approval, set it, or end it. Setting needs scope admin.",
        examples="  herz approval policy\n  herz approval policy infrastructure --approvals 2\n"
        "  herz approval policy --delete",
        parents=changing,
    )
    either = asking.add_mutually_exclusive_group()
    either.add_argument("layers", nargs="*", default=[], metavar="LAYER", help="a layer's name, '*' for all of them")
    either.add_argument("--delete", action="store_true", help="nothing needs approval any more")
    asking.add_argument(
        "--approvals", type=positive, default=1, metavar="N", help="by how many people (default: %(default)s)"
    )


def _version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version", nargs="?", metavar="N", help="a release, as 13 or pay/default@13 (default: the draft)"
    )


def run_list(arguments: argparse.Namespace) -> int:
    """Print how it stands."""

    async def read(pay: Namespace) -> ApprovalState:
        return await pay.approvals(arguments.version)

    state = asked(arguments, read, version=arguments.version or "")
    if arguments.json:
        print_json(data(state))
    else:
        print(state_text(state))
    return 1 if arguments.exit_code and not state.ok else 0


def run_give(arguments: argparse.Namespace) -> int:
    """Approve what is there now."""
    wanted = None if arguments.digest is None else arguments.digest.removeprefix("sha256:")
    if wanted is not None and len(wanted) < _SHORTEST:
        raise UsageError(f"{wanted!r} is no digest", remedy=f"write {_SHORTEST} digits or more: herz approval list")

    async def give(pay: Namespace) -> ApprovalState:
        state = await pay.approvals(arguments.version)
        if wanted is not None and not state.digest.removeprefix("sha256:").startswith(wanted):
            raise Conflict(
                f"it is content {short(state.digest)} now, not {wanted}; nothing was written",
                remedy="look at it as it is now, then approve that",
            )
        return await pay.approve(state.digest, arguments.message, version=arguments.version)

    state = asked(arguments, give, version=arguments.version or "")
    if arguments.json:
        print_json(data(state))
    else:
        print(state_text(state))
    return 0


def run_withdraw(arguments: argparse.Namespace) -> int:
    """Take it back, and say how it stands then."""

    async def withdraw(pay: Namespace) -> ApprovalState:
        state = await pay.approvals(arguments.version)
        await pay.withdraw_approval(state.digest, arguments.message, approver=arguments.approver)
        return await pay.approvals(arguments.version)

    state = asked(arguments, withdraw, version=arguments.version or "")
    if arguments.json:
        print_json(data(state))
    else:
        print(state_text(state))
    return 0


def run_policy(arguments: argparse.Namespace) -> int:
    """Print the policy, or set or delete it."""

    async def ask(pay: Namespace) -> Policy | None:
        if arguments.delete:
            await pay.delete_policy()
        elif arguments.layers:
            await pay.set_policy(arguments.layers, arguments.approvals)
        return await pay.policy()

    policy = asked(arguments, ask)
    if arguments.json:
        print_json(None if policy is None else data(policy) | {"approvals": policy.approvals})
    else:
        print(policy_text(policy))
    return 0


# --- telling --------------------------------------------------------------------------------------


def policy_text(policy: Policy | None) -> str:
    """What needs approval, in a line."""
    if policy is None:
        return "nothing needs approval"
    layers = "any layer" if "*" in policy.layers else ", ".join(policy.layers)
    return f"a change of {layers} needs {_approvals(policy.approvals)}"


def state_text(state: ApprovalState) -> str:
    """What needs approval and why, who wrote it, and each approval with whether it counts."""
    what = "the draft" if state.release is None else f"release {state.release}"
    lines = [f"{paint(what, 'bold')}  content {short(state.digest)}  {_outcome(state)}"]
    if state.layers:
        live = "nothing" if state.against is None else f"release {state.against}"
        lines.append(f"  changes {', '.join(state.layers)} against {live}, which is live")
    if state.needed and state.authors:
        lines.append(f"  written by {', '.join(map(who, state.authors))}")
    lines += [_line(one) for one in state.given]
    return "\n".join(lines)


def _outcome(state: ApprovalState) -> str:
    if not state.layers:
        return "changes nothing that needs approval"
    if state.was_stable:
        return paint("was live before: needs no approval", "green")
    given = f"{state.have} of {_approvals(state.need)}"
    return paint(f"✓ approved, {given}", "green") if state.ok else paint(f"✗ not approved, {given}", "red")


def _line(one: Weighed) -> str:
    given = one.approval
    mark = paint("✓", "green") if one.counts else paint("✗", "red")
    said = f"  {in_words(given.message)}" if given.message else ""
    why_not = f"  does not count: {one.why_not}" if one.why_not else ""
    return f"  {mark} {who(given.by)}  {paint(moment(given.time), 'dim')}{said}{why_not}"


def _approvals(count: int) -> str:
    return f"{count} approval{'' if count == 1 else 's'}"
