"""`herz demo`: a real service under real load while its configuration changes, narrated, in half a minute.

Four processes: this one tells the story and changes the files, the service (FastAPI on uvicorn) serves, a small
database takes its connections, and the load checks every answer. What is told are their counts, and what they should
be is part of each act: the exit status is 0 only when everything was as expected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

SECONDS: Final = 25
"""How long the demo takes, unless told otherwise."""

_DESCRIPTION: Final = """\
Starts a real service under real load in a temporary folder, then changes its configuration
while it runs: a good change, a change of spelling only, a mistake, a ConfigMap swapped the
Kubernetes way, a rollback. Every answer is checked: none may fail, none may be torn (made
from two configurations). Ends by itself; nothing is left behind."""

_EXAMPLES: Final = """\
  herz demo                 about 25 seconds, to be read along
  herz demo --seconds 5     as quick as it can
  herz demo --json          for programs: the last line is the outcome"""


def add_parser(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """Add `demo` to the commands."""
    from herz.cli.arguments import command

    parser = command(
        subparsers,
        "demo",
        run,
        summary="a real service under load while its configuration changes",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
        parents=parents,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS,
        metavar="N",
        help="how long to take, pauses for reading included, at most 50 (default: %(default)s)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 50:
        raise argparse.ArgumentTypeError(f"expected 0 to 50 seconds, got {text}")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; 0 when everything was as expected, 1 when not, 130 or 143 when interrupted or terminated.

    `MissingExtra` when the service's libraries are not installed.
    """
    from herz.cli.demo.stage import play

    return play(json=bool(arguments.json), seconds=float(arguments.seconds), stdout=sys.stdout)
