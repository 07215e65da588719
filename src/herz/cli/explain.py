"""`herz explain`: where a value comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from herz.cli.arguments import command, source_options
from herz.cli.loading import snapshot_of
from herz.cli.output import plain, print_json
from herz.cli.values import checked, not_set
from herz.model.explanation import Contribution, Explanation
from herz.model.tree import ABSENT

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "explain",
        run,
        summary="say where a value comes from, and what it overrode",
        description="Name the layer that decides a value, as file:line or key@revision, everything that it\n"
        "overrides, and what its ${references} led to. For a table: each key under it.",
        examples="  herz explain herz.service.timeout\n"
        "  herz explain herz.service --profile prod\n"
        "  HERZ__SERVICE__TIMEOUT=5s herz explain herz.service.timeout",
        parents=[source_options()],
    )
    parser.add_argument("key", metavar="KEY", help="what to explain")


def run(arguments: argparse.Namespace) -> int:
    """Print who decided. `NotSet` when nobody did."""
    snapshot = snapshot_of(arguments)
    key = checked(arguments.key)
    if key not in snapshot:
        raise not_set(key, snapshot)
    inner = sorted(snapshot.keys(key)) if isinstance(snapshot[key], dict) else []
    explanations = [snapshot.explain(one) for one in inner or [key]]
    if arguments.json:
        data = [as_data(explanation) for explanation in explanations]
        print_json(data if inner else data[0])
    else:
        print("\n".join(map(str, explanations)))
    return 0


def as_data(explanation: Explanation) -> dict[str, Any]:
    """An explanation for JSON, its secrets masked."""
    data: dict[str, Any] = {"key": explanation.key}
    if explanation.value is not ABSENT:
        data["value"] = plain(explanation.value)
    data["winner"] = None if explanation.winner is None else _contribution(explanation.winner)
    data["losers"] = [_contribution(loser) for loser in explanation.losers]
    data["references"] = [as_data(reference) for reference in explanation.references]
    return data


def _contribution(contribution: Contribution) -> dict[str, Any]:
    return {"layer": contribution.layer, "place": contribution.place, "written": plain(contribution.value)}
