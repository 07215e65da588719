"""`herz verify`: prove that every instance runs a patch together with a configuration, whole."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from herz.cli.arguments import command
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, data, place_options, server_options
from herz.cli.told import in_words, short
from herz.client import Namespace
from herz.client.namespace import WINDOW_S
from herz.release.atomicity import Difference, Verdict, What

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "verify",
        run,
        summary="prove that every instance runs a patch and a configuration, whole",
        description="Ask every instance, under a number that was never used before, what it runs now, while\n"
        "the store is read. Status 0 only when all of them answered and run patch P with the whole\n"
        "of version V; else 1, and the report says who differs, in which key, with both values and\n"
        "where each was written. Who does not answer is not verified.",
        examples="  herz verify --patch 4f1c --version pay/default@13\n"
        "  herz verify --version 13 --app pay       any program\n"
        "  herz verify --version 13 --instance pay-7f9c-2 --window 5\n"
        "  herz verify --version 13 --json | jq '.differences[].instance'",
        parents=[place_options(), server_options()],
    )
    parser.add_argument("--patch", metavar="P", help="the program: HERZ_PATCH_ID of the instances (default: any)")
    parser.add_argument("--version", metavar="V", required=True, help="the release: 13 or pay/default@13")
    parser.add_argument("--cohort", action="append", default=[], metavar="C", help="only this batch; may be repeated")
    parser.add_argument("--instance", action="append", default=[], metavar="I", help="only this one; may be repeated")
    parser.add_argument(
        "--window", type=float, default=WINDOW_S, metavar="SECONDS", help="how long they have (default: %(default)g)"
    )
    parser.add_argument(
        "--allow-override", action="append", default=[], metavar="KEY", help="a key that instances may set otherwise"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict; 0 when it is verified, 1 when not."""

    async def verify(pay: Namespace) -> Verdict:
        return await pay.verify(
            arguments.patch,
            arguments.version,
            cohorts=arguments.cohort,
            instances=arguments.instance,
            window_s=arguments.window,
            allow_overrides=arguments.allow_override,
        )

    verdict = asked(arguments, verify, version=arguments.version)
    if arguments.json:
        print_json(data(verdict))
    else:
        print(verdict_text(verdict))
    return 0 if verdict.verified else 1


def verdict_text(verdict: Verdict) -> str:
    """The verdict in a line, then each difference."""
    patch = f" with patch {verdict.patch_id}" if verdict.patch_id else ""
    said = f"release {verdict.config_version}{patch}: {verdict.answered} of {verdict.members} answered"
    took = paint(f"  {verdict.took_ms:.0f} ms", "dim")
    if verdict.verified:
        return f"{paint('✓ verified', 'green')}  {said}, all run it whole{took}"
    lines = [f"{paint('✗ not verified', 'red')}  {said}{_differing(verdict)}{took}"]
    lines += differences_lines(verdict.differences)
    left = verdict.differing - len({one.instance for one in verdict.differences if one.instance})
    if left > 0:
        lines.append(f"  … and {left} more")
    return "\n".join(lines)


def differences_lines(differences: Sequence[Difference]) -> list[str]:
    """Every difference by instance: in what, and for a key both values and where each was written."""
    return [line for one in sorted(differences, key=lambda one: one.instance) for line in _difference(one)]


def _difference(one: Difference) -> list[str]:
    labels = ", ".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
    who = (one.instance or "the channel") + (f" ({labels})" if labels else "")
    if one.key is None or one.values is None:
        return [f"  {paint(who, 'bold')}: {_words(one)}"]
    origins = one.origins or (None, None)
    sides = zip(("release", "instance"), one.values, origins, strict=True)
    return [
        f"  {paint(who, 'bold')}: {one.key} differs"
        + (" (set there by another layer)" if one.what == What.OVERRIDE else ""),
        *(
            f"    {side:<8} {'(none)' if value is None else in_words(value)}"
            + (f"  {paint(origin, 'dim')}" if origin else "")
            for side, value, origin in sides
        ),
    ]


def _words(one: Difference) -> str:
    expected, actual = in_words(one.expected), in_words(one.actual)
    if one.what == What.UNREACHABLE:
        return "did not answer in time"
    if one.what == What.MOVED:
        return f"{actual}, expected {expected}"
    if one.what == What.VERSION:
        return f"runs release {actual or '(none)'}, expected {expected}"
    if one.what in (What.DIGEST, What.FINGERPRINT):
        expected, actual = short(one.expected), short(one.actual)
    return f"{one.what.replace('_', ' ')} {actual or '(none)'}, expected {expected or '(none)'}"


def _differing(verdict: Verdict) -> str:
    return f", {verdict.differing} differ{'s' if verdict.differing == 1 else ''}" if verdict.differing else ""
