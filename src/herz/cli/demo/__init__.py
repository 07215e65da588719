"""`herz demo`: a real service under real load while its configuration changes, narrated, in half a minute.

Four processes: this one tells the story and changes the files, the service (FastAPI on uvicorn) serves, a small
database takes its connections, and the load checks every answer. What is told are their counts, and what they should
be is part of each act: the exit status is 0 only when everything was as expected.

`herz demo --faults` breaks a real etcd of three members under a plain client and Herz, side by side. `--fleet N`
releases to N real services, batch by batch; `--incident` plays the incident that all this is there to stop.
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
FAULTS_SECONDS: Final = 40
"""And with `--faults`."""
FLEET_SECONDS: Final = 45
"""And with `--fleet`; more instances take longer."""
INCIDENT_SECONDS: Final = 20
"""And with `--incident`."""
INSTANCES: Final = 20
"""How many services `--fleet` starts, unless told otherwise."""
EVENTS: Final = 12_000
"""How many keys `--faults` writes."""

_DESCRIPTION: Final = """\
Starts a real service under real load in a temporary folder, then changes its configuration
while it runs: a good change, a change of spelling only, a mistake, a ConfigMap swapped the
Kubernetes way, a rollback. Every answer is checked: none may fail, none may be torn (made
from two configurations). Ends by itself; nothing is left behind.

With --faults: six ways to lose a change. A real etcd of three members is cut off, frozen,
killed, compacted and restored while keys are written; a plain client and Herz follow the same
keys through the same faults, and what each lost is counted against the writer's own log.

With --fleet [N]: a control plane and N services (default 20), processes all, and three
releases to them under load, batch by batch, each batch proved whole: a good one, one that
cannot be built, one that does harm.

With --incident: main container and sidecar share a timeout, a gray release updates one of
them, and the promotion is refused, with container, key, both values and both places."""

_EXAMPLES: Final = """\
  herz demo                 about 25 seconds, to be read along
  herz demo --seconds 5     as quick as it can
  herz demo --faults        six faults of etcd in about 40 seconds, a plain client beside Herz
  herz demo --fleet         three releases to 20 services, under 90 seconds
  herz demo --fleet 6       fewer, on a small machine
  herz demo --incident      the incident of 2022, refused in 20 seconds
  herz demo --json          for programs: the last line is the outcome"""


def add_parser(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """Add `demo` to the commands."""
    from herz.cli.arguments import command, positive

    parser = command(
        subparsers,
        "demo",
        run,
        summary="a real service, or a fleet of them, under load while configuration changes",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
        parents=parents,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="N",
        help="how long to take, pauses for reading included, at most 50 "
        f"(default: {SECONDS}, with --faults {FAULTS_SECONDS}, --fleet {FLEET_SECONDS}, --incident {INCIDENT_SECONDS}; "
        "or as long as it takes)",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--faults", action="store_true", help="break a real etcd under a plain client and Herz")
    kinds.add_argument(
        "--fleet",
        type=_instances,
        nargs="?",
        const=INSTANCES,
        metavar="N",
        help=f"three releases to N services, batch by batch (default: {INSTANCES})",
    )
    kinds.add_argument("--incident", action="store_true", help="a sidecar that keeps the old value, and is found out")
    parser.add_argument(
        "--events",
        type=positive,
        default=EVENTS,
        metavar="N",
        help="with --faults: how many keys are written over all cases (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="with --faults: repeats the choices (default: %(default)s)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 50:
        raise argparse.ArgumentTypeError(f"expected 0 to 50 seconds, got {text}")
    return seconds


def _instances(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 99:
        raise argparse.ArgumentTypeError(f"expected 2 to 99 services, got {text}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; 0 when everything was as expected, 1 when not, 130 or 143 when interrupted or terminated.

    `MissingExtra` when the service's libraries, or what the other demos need, are not installed.
    """
    if arguments.incident:
        from herz.cli.demo.incident import play_incident

        seconds = INCIDENT_SECONDS if arguments.seconds is None else arguments.seconds
        return play_incident(json=bool(arguments.json), seconds=float(seconds), stdout=sys.stdout)
    if arguments.fleet is not None:
        from herz.cli.demo.fleet import play_fleet

        return play_fleet(
            json=bool(arguments.json),
            seconds=float(FLEET_SECONDS if arguments.seconds is None else arguments.seconds),
            instances=int(arguments.fleet),
            stdout=sys.stdout,
        )
    if arguments.faults:
        from herz.cli.demo.faults import play_faults

        seconds = FAULTS_SECONDS if arguments.seconds is None else arguments.seconds
        return play_faults(
            json=bool(arguments.json),
            seconds=float(seconds),
            events=int(arguments.events),
            seed=int(arguments.seed),
            stdout=sys.stdout,
        )
    from herz.cli.demo.stage import play

    seconds = SECONDS if arguments.seconds is None else arguments.seconds
    return play(json=bool(arguments.json), seconds=float(seconds), stdout=sys.stdout)
