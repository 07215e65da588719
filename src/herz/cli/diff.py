"""`herz diff`: what differs between two sources or revisions, by meaning."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from immutables import Map

from herz.app.bootstrap import Loaded
from herz.cli.arguments import command, profiles_of, source_options, store_options, wanted_of
from herz.cli.doctor.application import imported
from herz.cli.journals import journal, prepared
from herz.cli.loading import loaded, written_in
from herz.cli.output import before_and_after, change_line, print_json
from herz.merge.diff import KindOf, changes, counted
from herz.model.change import Change
from herz.model.document import Event
from herz.model.key import Path, split
from herz.model.secret import SecretKeys
from herz.model.tree import EMPTY, Tree, differences, put
from herz.sources.urls import SourceContext, masked
from herz.store.names import config_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from herz.cli.arguments import Subparsers

LIVE: Final = "live"
"""Stands for the configuration that the other commands show."""


class Side(NamedTuple):
    """One of the two: its tree as written, and where each path of it was written."""

    name: str
    tree: Tree
    locate: Callable[[Path], str]


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "diff",
        run,
        summary="say what differs between two sources or revisions, by meaning",
        description="Compare two sources, two revisions of a store, or either with what is live. Only what means\n"
        "something else is told: 3 and 3.0 are equal, so are 0.1+0.2 and 0.3; 3s and 3000ms are\n"
        "when --app names the models that make durations of them. Values are compared as written,\n"
        "before ${references} are resolved.",
        examples="  herz diff staging.yml production.yml\n"
        "  herz diff new.yml live                   a file against what is in force\n"
        "  herz diff 12 15 --store sqlite:///herz.db#pay\n"
        "  herz diff 12 live                        what changed since revision 12\n"
        "  herz diff a.yml b.json --exact           also what is only written differently\n"
        "  herz diff a.yml b.yml --exit-code        status 1 when they differ, for scripts",
        parents=[store_options(), source_options()],
    )
    parser.add_argument("before", metavar="A", help=f"a source, a revision of --store, or {LIVE!r}")
    parser.add_argument("after", metavar="B", help="the same")
    parser.add_argument("--exact", action="store_true", help="tell every difference in writing as well")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when there is a difference")
    parser.add_argument(
        "--app",
        metavar="MODULE:ATTRIBUTE",
        help="the application's Herz, whose models say what durations and sizes are",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the changes that lead from A to B."""
    application = imported(arguments.app) if arguments.app else None
    live = loaded(wanted_of(arguments)) if LIVE in (arguments.before, arguments.after) else None
    secrets = live.composition.secrets if live is not None else SecretKeys()
    before, after = _side(arguments, arguments.before, live), _side(arguments, arguments.after, live)
    kind_of: KindOf = (lambda path: None) if application is None else application.kind_of
    found = difference(before, after, exact=arguments.exact, kind_of=kind_of, secrets=secrets)
    if arguments.json:
        print_json(
            {
                "before": before.name,
                "after": after.name,
                "changes": [
                    {"key": one.key, **before_and_after(one.before, one.after), "cause": one.cause} for one in found
                ],
            }
        )
    elif not found:
        print("no difference" if arguments.exact else "no difference in meaning")
    else:
        print("\n".join(change_line(one.key, one.before, one.after, one.cause) for one in found))
    return 1 if found and arguments.exit_code else 0


def difference(before: Side, after: Side, *, exact: bool, kind_of: KindOf, secrets: SecretKeys) -> tuple[Change, ...]:
    """What leads from one side to the other, in key order, secrets wrapped."""
    events = [Event(*one) for one in differences(before.tree, after.tree)]
    if not exact:
        events, _ = counted(events, kind_of, Map())
    return changes(events, secrets.hidden, after.locate, after.name)


def _side(arguments: argparse.Namespace, text: str, live: Loaded | None) -> Side:
    if text == LIVE and live is not None:
        return Side("what is live", live.composition.raw, live.composition.locate)
    if text.isdecimal():
        return _revision(arguments, int(text))
    context = SourceContext(base_folders=tuple(arguments.base_folder or (".",)), profiles=profiles_of(arguments) or ())
    tree, composition = asyncio.run(written_in(text, context))
    return Side(masked(text), tree, composition.locate)


def _revision(arguments: argparse.Namespace, revision: int) -> Side:
    url = prepared(arguments)

    async def read() -> tuple[Tree, dict[Path, str]]:
        tree, places = EMPTY, dict[Path, str]()
        async with journal(arguments, url) as found:
            for key, setting in (await found.settings(revision=revision)).items():
                path = split(key)
                value = setting.value
                tree = put(tree, path, value if isinstance(value, str) else value.reveal())
                places[path] = f"{config_name(found.app, key)}@{setting.revision}"
        return tree, places

    tree, places = asyncio.run(read())
    name = f"revision {revision}"
    return Side(name, tree, lambda path: places.get(path, name))
