"""`herz release`: make the draft a release, look at releases, and point everybody at one."""

from __future__ import annotations

import argparse
import subprocess
from typing import TYPE_CHECKING

from herz.cli.arguments import command, group, positive
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, data, message_option, place_options, server_options
from herz.cli.told import (
    differences_text,
    masked_differences_told,
    masking_told,
    publication_line,
    release_line,
    who,
)
from herz.client import Namespace, Publication
from herz.client.replies import Moved
from herz.errors import UsageError
from herz.release.channel import Channel, Release
from herz.release.content import Content
from herz.release.difference import KeyDifference

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

SHOWN = 20
"""How many releases are listed unless told otherwise."""

_DESCRIPTION = """\
A release is an immutable version of an application's configuration: numbered, addressed by
what it holds, with author, message and fingerprint. Instances run the one that their channel
points at; going back is one write."""

_EXAMPLES = """\
  herz release create -m 'pool doubled'    everybody runs it at once
  herz release create --dormant --patch 4f1c -m 'with the new program'
  herz rollout start 13                    … batch by batch, each proved whole
  herz release list                        the newest first, with the one that is live
  herz release diff 12 13                  what differs, key by key
  herz release publish 13                  point the channel at it
  herz release rollback 12 -m 'slow bank'  point it back, and reset the draft"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "release", "make, list, publish and take back releases", _DESCRIPTION, _EXAMPLES)
    parents = [place_options(), server_options()]
    changing = [place_options(), message_option(), server_options()]

    creating = command(
        top,
        "create",
        run_create,
        summary="make the draft a release",
        description="Make the draft a release, and point everybody at it unless it is to stay dormant.",
        examples="  herz release create -m 'pool doubled'\n"
        "  herz release create --dormant --patch 4f1c --git-commit HEAD -m 'for the new program'",
        parents=changing,
    )
    creating.add_argument("--dormant", action="store_true", help="nobody runs it until it is published or rolled out")
    creating.add_argument("--patch", metavar="P", help="the program it is meant for: HERZ_PATCH_ID of its instances")
    creating.add_argument("--git-commit", metavar="C", help="the commit it belongs to; HEAD is looked up here")
    creating.add_argument("--expect", type=int, metavar="REVISION", help="only if the draft is still at this revision")
    creating.add_argument(
        "--force", action="store_true", help="break glass: past what stops it; the audit log says so, loudly"
    )

    listing = command(top, "list", run_list, summary="list the releases, the newest first", parents=parents)
    listing.add_argument(
        "-n", "--limit", type=positive, default=SHOWN, metavar="N", help="at most N (default: %(default)s)"
    )
    listing.add_argument("--before", type=positive, metavar="N", help="only releases below this number")

    showing = command(top, "show", run_show, summary="show one release", parents=parents)
    showing.add_argument("version", metavar="N", help="its number, or pay/default@13")
    showing.add_argument("--content", action="store_true", help="print what it holds")

    comparing = command(
        top,
        "diff",
        run_diff,
        summary="what differs between two releases, key by key",
        examples="  herz release diff 12 13\n  herz release diff 13                     against the one that is live",
        parents=parents,
    )
    comparing.add_argument("before", metavar="A", help="a release")
    comparing.add_argument("after", nargs="?", metavar="B", help="another (default: A is compared with the live one)")
    comparing.add_argument("--exit-code", action="store_true", help="end with 1 when anything differs")

    publishing = command(
        top,
        "publish",
        run_publish,
        summary="point everybody at a release",
        description="Point the channel at a release: every instance that is in no rollout runs it, at once.\n"
        "`herz rollout start` does it batch by batch, with proof.",
        parents=changing,
    )
    publishing.add_argument("version", metavar="N", help="its number, or pay/default@13")
    publishing.add_argument(
        "--force", action="store_true", help="break glass: past a rollout or a missing approval; loud"
    )

    rolling = command(
        top,
        "rollback",
        run_rollback,
        summary="point everybody back at a release, and reset the draft to it",
        description="Point the channel back at an older release: one write, and every instance has it. The\n"
        "draft is reset to it as well, so that the next release does not bring the fault back.",
        parents=changing,
    )
    rolling.add_argument("version", metavar="N", help="its number, or pay/default@12")


def run_create(arguments: argparse.Namespace) -> int:
    """Make the release and say what it is called."""
    commit = _commit(arguments.git_commit)

    async def create(pay: Namespace) -> Release:
        return await pay.release(
            arguments.message,
            patch_id=arguments.patch,
            git_commit=commit,
            expect=arguments.expect,
            publish=not arguments.dormant,
            force=arguments.force,
        )

    release = asked(arguments, create)
    if arguments.json:
        print_json(data(release))
    else:
        print(release_line(release, live=not arguments.dormant))
        if arguments.dormant:
            print(
                f"nobody runs it yet: `herz rollout start {release.number}` or `herz release publish {release.number}`"
            )
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print the releases."""

    async def read(pay: Namespace) -> tuple[tuple[Release, ...], Channel]:
        return await pay.releases(before=arguments.before, limit=arguments.limit), await pay.channel()

    releases, channel = asked(arguments, read)
    live = channel.stable.release
    number = None if live is None else live.number
    if arguments.json:
        print_json([{**data(one), "live": one.number == number} for one in releases])
    elif not releases:
        print("there is no release yet: `herz release create` makes the draft one")
    else:
        print("\n\n".join(release_line(one, live=one.number == number) for one in releases))
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one release, and what it holds where that is wanted."""

    async def read(pay: Namespace) -> tuple[Release, Content | None, Channel, tuple[Publication, ...]]:
        release = await pay.find_release(arguments.version)
        content = await pay.content(release.number) if arguments.content else None
        return release, content, await pay.channel(), await pay.publications(release.number)

    release, content, channel, publications = asked(arguments, read, version=arguments.version)
    live = channel.stable.release is not None and channel.stable.release.number == release.number
    if arguments.json:
        told = {**data(release), "live": live, "publications": data(publications)}
        print_json(told | ({} if content is None else {"content": data(content)}))
        return 0
    print(release_line(release, live=live))
    print(f"  content {release.digest}")
    if release.authors:
        print(f"  written by {', '.join(map(who, release.authors))}")
    for one in publications:
        print(f"  {publication_line(one)}")
    if content is None:
        return 0
    masking_told(content)
    for layer in content.layers:
        print(paint(f"\n# --- {layer.name} ({layer.format})", "bold"))
        print(layer.text, end="" if layer.text.endswith("\n") else "\n")
    return 0


def run_diff(arguments: argparse.Namespace) -> int:
    """Print what differs."""

    async def read(pay: Namespace) -> tuple[KeyDifference, ...]:
        if arguments.after is not None:
            return await pay.compare(arguments.before, arguments.after)
        live = (await pay.channel()).stable.release
        if live is None:
            raise UsageError("no release is live yet", remedy="name two releases")
        return await pay.compare(live.number, arguments.before)

    found = asked(arguments, read, version=arguments.before)
    if arguments.json:
        print_json(data(found))
    else:
        print(differences_text(found))
        masked_differences_told(found)
    return 1 if found and arguments.exit_code else 0


def run_publish(arguments: argparse.Namespace) -> int:
    """Point the channel at a release."""

    async def publish(pay: Namespace) -> Moved:
        return await pay.publish(arguments.version, arguments.message, force=arguments.force)

    return _pointed(arguments, asked(arguments, publish, version=arguments.version))


def run_rollback(arguments: argparse.Namespace) -> int:
    """Point the channel back."""

    async def roll_back(pay: Namespace) -> Moved:
        return await pay.rollback(arguments.version, arguments.message)

    return _pointed(arguments, asked(arguments, roll_back, version=arguments.version))


def _pointed(arguments: argparse.Namespace, moved: Moved) -> int:
    if arguments.json:
        print_json(data(moved))
    else:
        print(f"release {paint(str(moved.release.number), 'bold')} is live")
    return 0


def _commit(named: str | None) -> str | None:
    """The commit that `HEAD` is here; any other name as it is."""
    if named != "HEAD":
        return named
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607  the user's own git
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        found = None
    if found is None or found.returncode != 0:
        raise UsageError("HEAD cannot be looked up: this is no git checkout", remedy="name the commit itself")
    return found.stdout.strip()
