"""What the doctor is asked about etcd itself: a server's settings, and the members of a cluster."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from herz.cli.doctor.etcd_flags import from_arguments, from_file
from herz.cli.doctor.etcd_members import member_findings, table
from herz.cli.doctor.etcd_server import server_findings
from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.errors import HerzError, MissingExtra
from herz.sources.urls import OPTIONAL

SERVER_CHECK: Final = "the etcd server's settings fit"
MEMBERS_CHECK: Final = "the members of etcd agree"
_SCHEMES: Final = ("etcd:", "etcd+tls:")


@dataclass(frozen=True, slots=True)
class EtcdVisit:
    """What was looked at, and what is wrong with it; `checks` is empty when nobody asked."""

    checks: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    lines: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """What JSON has besides the findings."""


def etcd_options(parser: argparse.ArgumentParser) -> None:
    """The options that ask about etcd."""
    group = parser.add_argument_group(
        "etcd itself", "without --source, --app, --code or --url nothing else is looked at then"
    )
    group.add_argument(
        "--etcd-args",
        metavar="ARGS",
        help="the flags of an etcd server, in one argument; ETCD_… variables count as well",
    )
    group.add_argument("--etcd-config", metavar="FILE", help="the configuration file of an etcd server")
    group.add_argument(
        "--etcd-endpoints",
        metavar="ENDPOINTS",
        help="the members to compare: http://A:2379,http://B:2379 or etcd+tls://USER:PASSWORD@A:2379,B:2379?ca=FILE "
        "(default: those of an etcd source that is examined)",
    )


def visit(arguments: argparse.Namespace) -> EtcdVisit:
    """Look at what the command line asks about etcd."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the reasons stand in the findings; its log goes to the terminal
    found: list[Finding] = []
    lines: list[str] = []
    visits: list[EtcdVisit] = []
    if arguments.etcd_args is not None:
        lines.append("etcd: the server's flags")
        found += server_findings(from_arguments(arguments.etcd_args, os.environ))
    if arguments.etcd_config is not None:
        lines.append(f"etcd: {arguments.etcd_config}")
        found += server_findings(from_file(arguments.etcd_config))
    if lines:
        visits.append(EtcdVisit((SERVER_CHECK,), tuple(found), tuple(lines)))
    if arguments.etcd_endpoints is not None:
        visits.append(_members(arguments.etcd_endpoints, 0))
    return together(visits)


def visit_sources(examination: Examination) -> EtcdVisit:
    """Compare the members of each cluster that a source of the configuration names."""
    specs = [str(spec).removeprefix(OPTIONAL) for spec in (*examination.wanted.specs, *examination.settings.imports)]
    places = [spec for spec in specs if spec.startswith(_SCHEMES)]
    visits: list[EtcdVisit] = []
    for place in dict.fromkeys(places):
        with contextlib.suppress(HerzError):  # what is wrong with the URL, or not installed, is told with the sources
            visits.append(_members(place, _known(examination)))
    return together(visits)


def _known(examination: Examination) -> int:
    """The highest revision of an etcd that the last-good copy holds, 0 for none."""
    copy = examination.last_good
    if copy is None:
        return 0
    origins = [feed.source.origin for feed in examination.feeds if feed.source.origin.kind == "etcd"]
    return max((document.revision for document in map(copy.document, origins) if document is not None), default=0)


def _members(place: str, known: int) -> EtcdVisit:
    try:
        from herz.cli.doctor.etcd_asking import asked, cluster_of
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"asking etcd needs {error.name}, which is not installed", remedy="pip install 'herz[etcd]'"
        ) from error
    cluster = cluster_of(place)
    answers = asked(cluster, known)
    return EtcdVisit(
        (MEMBERS_CHECK,),
        tuple(member_findings(answers)),
        tuple(table(answers)),
        {"members": [member.as_dict() for member in answers.members]},
    )


def together(visits: Sequence[EtcdVisit]) -> EtcdVisit:
    """All of them as one."""
    members = [member for one in visits for member in one.data.get("members", ())]
    return EtcdVisit(
        tuple(dict.fromkeys(check for one in visits for check in one.checks)),
        tuple(finding for one in visits for finding in one.findings),
        tuple(line for one in visits for line in one.lines),
        {"members": members} if members else {},
    )
