"""`herz rollout`: roll a release out batch by batch, each proved whole, and watch it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from herz.cli.arguments import command, group
from herz.cli.output import print_json
from herz.cli.remote import asked, data, message_option, namespace_of, place_options, plane_of, server_options
from herz.cli.rollout_plan import checks_of, plan_of, plan_options, selector_of
from herz.cli.rollout_roster import roster_text
from herz.cli.rollout_told import line_of, outcome_text, step_text, waiting_text
from herz.client import Namespace, NotThere, Roster
from herz.errors import SourceUnavailable, UsageError
from herz.release.rollout import Phase, Rollout

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

AGAIN_S = 1.0
"""How long a watch waits before it asks again, where the stream ended before the rollout did."""

_DESCRIPTION = """\
A rollout gives a release to a batch of instances after the other. Each batch is prepared
(every instance builds the release without using it), committed (all flip at one write) and
verified (each is asked what it runs now, and must answer); then it bakes. What fails is
rolled back by itself, every batch of it. The control plane drives it: these commands may
end at any time."""

_EXAMPLES = """\
  herz rollout start 13 --app pay          5% of the instances, then twice as many each time
  herz rollout start 13 --batches 1%,10%,100% --bake 5m --select zone=eu --watch
  herz rollout start 13 --patch 4f1c --deployer k8s --checks checks.yml
  herz rollout status                      where it is, and the evidence so far
  herz rollout status r7 --members         each instance: its phase, when it was verified, how fast it answered
  herz rollout watch                       until it is over: status 0 when it was promoted
  herz rollout pause -m 'looking at it'    and resume, promote, abort"""

_ORDERS = {
    "pause": "take no further step forward; what fails is still rolled back",
    "resume": "go on with a rollout that is paused",
    "promote": "bake the batch in work no longer; verified it must be",
    "abort": "roll every batch back now",
    "force": "break the glass: everybody runs it without proof; the audit log says so",
}


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "rollout", "roll a release out batch by batch, with proof", _DESCRIPTION, _EXAMPLES)
    starting = command(
        top,
        "start",
        run_start,
        summary="begin to roll a release out",
        description="Begin to roll a release out. Shares are of the instances that match, cumulative.",
        examples="  herz rollout start 13 --linear 25% --bake 1m -m 'pool doubled'\n"
        "  herz rollout start 13 --exponential 5%x2 --select zone=eu --watch",
        parents=[place_options(), message_option(), server_options()],
    )
    starting.add_argument("version", metavar="N", help="the release: 13 or pay/default@13")
    plan_options(starting)
    starting.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="only instances with this label; may be repeated",
    )
    starting.add_argument("--patch", metavar="P", help="the program that members must run (default: the release's)")
    starting.add_argument("--deployer", metavar="NAME", help="what installs the patch: a hook that the server knows")
    starting.add_argument("--checks", metavar="FILE", help="health and metric checks, YAML or JSON")
    starting.add_argument(
        "--allow-override", action="append", default=[], metavar="KEY", help="a key that instances may set otherwise"
    )
    starting.add_argument("--watch", action="store_true", help="and watch it to its end")

    asking = [place_options(), server_options()]
    status = command(top, "status", run_status, summary="where a rollout is, and the evidence so far", parents=asking)
    watching = command(
        top,
        "watch",
        run_watch,
        summary="print what happens until it is over; status 0 when it was promoted",
        parents=asking,
    )
    for parser in (status, watching):
        _which(parser)
    status.add_argument("--members", action="store_true", help="and each instance that took part, with times")
    command(top, "list", run_list, summary="list the rollouts, the newest first", parents=asking)
    for name, summary in _ORDERS.items():
        parser = command(
            top, name, run_order, summary=summary, parents=[place_options(), message_option(), server_options()]
        )
        _which(parser)
        if name == "promote":
            parser.add_argument("--all", action="store_true", help="and no later batch either")


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rollout", nargs="?", metavar="ROLLOUT", help="such as r7 (default: the newest)")


def run_start(arguments: argparse.Namespace) -> int:
    """Begin; with `--watch` tell it to its end."""
    plan, selector, checks = plan_of(arguments), selector_of(arguments.select), checks_of(arguments.checks)

    async def start(pay: Namespace) -> Rollout:
        return await pay.start_rollout(
            arguments.version,
            plan,
            selector=selector,
            patch_id=arguments.patch,
            checks=checks,
            deployer=arguments.deployer,
            allow_overrides=arguments.allow_override,
            message=arguments.message,
        )

    rollout = asked(arguments, start, version=arguments.version)
    arguments.rollout = rollout.id
    if arguments.watch:
        return run_watch(arguments)
    if arguments.json:
        print_json(data(rollout))
    else:
        print(f"rollout {rollout.id} of release {rollout.release.number} begins; `herz rollout watch {rollout.id}`")
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    """Print one rollout, and the instances that took part: those to look at, or with `--members` all."""

    async def look(pay: Namespace) -> tuple[Rollout, Roster | None]:
        rollout = await _found(pay, arguments.rollout)
        try:
            return rollout, await pay.rollout_roster(rollout.id, well=None if arguments.members else False)
        except NotThere:  # a server of an earlier version
            return rollout, None

    rollout, roster = asked(arguments, look)
    if arguments.json:
        print_json(data(rollout) | ({"roster": data(roster)} if arguments.members else {}))
        return 0
    print(outcome_text(rollout, datetime.now(UTC)))
    if roster is not None:
        print(roster_text(roster, whole=arguments.members))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print all of them."""
    found = asked(arguments, Namespace.rollouts)
    if arguments.json:
        print_json(data(found))
    else:
        print("\n".join(map(line_of, found)) or "no rollout yet: `herz rollout start N` begins one")
    return 0


def run_watch(arguments: argparse.Namespace) -> int:
    """Print each step; 0 when it was promoted, 1 when it was rolled back."""
    try:
        rollout = asyncio.run(_watch(arguments))
    except KeyboardInterrupt:  # how one ends a watch
        print("\nthe rollout goes on; `herz rollout abort` takes it back", file=sys.stderr)
        return 0
    if not arguments.json:
        print(outcome_text(rollout, datetime.now(UTC)))
    return 0 if rollout.phase is Phase.PROMOTED else 1


async def _watch(arguments: argparse.Namespace) -> Rollout:
    async with plane_of(arguments) as plane:
        pay = await namespace_of(arguments, plane, version=getattr(arguments, "version", ""))
        last = await _found(pay, arguments.rollout)
        _tell(arguments, None, last)
        trouble = ""
        while not last.over:
            try:
                async for fresh in pay.rollout_events(last.id):
                    _tell(arguments, last, fresh)
                    last = fresh
                fresh = await pay.rollout(last.id)  # the stream has ended: it is over, or the server goes
                _tell(arguments, last, fresh)
                last = fresh
            except SourceUnavailable as error:  # another server drives it on
                if str(error) != trouble:
                    print(f"herz: {error}", file=sys.stderr, flush=True)
                trouble = str(error)
            if not last.over:
                await asyncio.sleep(AGAIN_S)
        return last


def _tell(arguments: argparse.Namespace, before: Rollout | None, now: Rollout) -> None:
    if before == now:
        return
    if arguments.json:
        print_json(data(now), lines=True)
        return
    for line in (step_text(before, now), waiting_text(before, now)):
        if line:
            print(f"{datetime.now().astimezone():%H:%M:%S}  {line}", flush=True)


def run_order(arguments: argparse.Namespace) -> int:
    """Give the order, and print how the rollout stands."""

    async def give(pay: Namespace) -> Rollout:
        found, why = (await _found(pay, arguments.rollout)).id, arguments.message
        match arguments.rollout_command:
            case "pause":
                return await pay.pause(found, why)
            case "resume":
                return await pay.resume(found, why)
            case "promote":
                return await pay.promote(found, why, all_batches=arguments.all)
            case "abort":
                return await pay.abort(found, why)
        return await pay.force(found, why)

    rollout = asked(arguments, give)
    if arguments.json:
        print_json(data(rollout))
    else:
        print(outcome_text(rollout, datetime.now(UTC)))
    return 0


async def _found(pay: Namespace, name: str | None) -> Rollout:
    """The rollout by that name, else the newest."""
    if name is not None:
        return await pay.rollout(name)
    known = await pay.rollouts()
    if not known:
        raise UsageError(f"{pay} has had no rollout yet", remedy="`herz rollout start N` begins one")
    return known[0]
