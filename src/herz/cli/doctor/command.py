"""`herz doctor`: what is wrong, where, and what to do."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from herz.app.wanted import Wanted
from herz.cli.arguments import command, source_options, wanted_of
from herz.cli.doctor.application import Application, NotImportable, imported
from herz.cli.doctor.checks import CHECKS, findings
from herz.cli.doctor.etcd import etcd_options, together, visit, visit_sources
from herz.cli.doctor.examination import Examination, examine
from herz.cli.doctor.finding import RANKS, Finding, finding_of
from herz.cli.output import paint, print_json
from herz.errors import UsageError
from herz.model.tree import leaves

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "doctor",
        run,
        summary="find out what is wrong, and say what to do about it",
        description="Look at sources, files, profiles, environment, the embedded store and the system; with --app at\n"
        "the models and the code of the application; with --url at the running service. Each finding\n"
        "says what is wrong, where, and what to do. Nothing is changed, and nothing is started.\n"
        "\n"
        "An error stops the service or its updates; a warning lets something go wrong unseen; a note is\n"
        "good to know. Exit status 1 when there is an error or a warning, 0 otherwise.",
        examples="  herz doctor\n"
        "  herz doctor --app app.main:herz          also the models, and values copied out of configuration\n"
        "  herz doctor --code src/                  look for such copies without importing anything\n"
        "  herz doctor --url http://127.0.0.1:8000/actuator\n"
        "  herz doctor --etcd-args '--listen-client-urls https://0.0.0.0:2379 --cert-file s.crt --key-file s.key'\n"
        "  herz doctor --ignore sources-disagree    leave a kind of finding out\n"
        "  herz doctor --json | jq '.findings[].remedy'",
        parents=[source_options()],
    )
    parser.add_argument("--app", metavar="MODULE:ATTRIBUTE", help="the application's Herz; its module is imported")
    parser.add_argument("--code", action="append", metavar="PATH", help="code to scan (default: the package of --app)")
    parser.add_argument("--url", metavar="URL", help="the actuator of a running service")
    parser.add_argument("--ignore", action="append", default=[], metavar="CODE", help="leave findings of this code out")
    etcd_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong; 1 when there is an error or a warning."""
    found: list[Finding] = []
    examination: Examination | None = None
    etcd = visit(arguments)
    if not etcd.checks or arguments.source or arguments.app or arguments.code or arguments.url:
        examination = _examined(arguments, found)
        found += findings(examination)
        if arguments.etcd_endpoints is None:
            etcd = together([visit_sources(examination), etcd])
    found = [one for one in dict.fromkeys([*found, *etcd.findings]) if one.code not in arguments.ignore]
    found.sort(key=lambda one: RANKS[one.severity])
    checks = [*(CHECKS if examination is not None else ()), *etcd.checks]
    wrong = any(one.severity != "note" for one in found)
    if arguments.json:
        counts = Counter(one.severity for one in found)
        print_json(
            {
                "ok": not wrong,
                "errors": counts["error"],
                "warnings": counts["warning"],
                "notes": counts["note"],
                "checks": checks,
                "findings": [one.as_dict() for one in found],
                **etcd.data,
            }
        )
    else:
        print(_report([*_heading(examination), *etcd.lines], found, len(checks)))
    return 1 if wrong else 0


def _examined(arguments: argparse.Namespace, found: list[Finding]) -> Examination:
    """The examination that the command line asks for; an application that cannot be imported is `found`."""
    application: Application | None = None
    if arguments.app:
        try:
            application = imported(arguments.app)
        except NotImportable as error:
            found.append(finding_of(error, "application-not-importable", arguments.app))
    return examine(
        _wanted(arguments, application),
        application=application,
        code=tuple(map(_existing, arguments.code or ())),
        url=arguments.url,
    )


def _wanted(arguments: argparse.Namespace, application: Application | None) -> Wanted:
    """What the command line names; else, with an application, what that reads."""
    if application is None or arguments.source:
        return wanted_of(arguments)
    wanted = application.herz.wanted
    given = wanted_of(arguments, sources=())
    return wanted._replace(
        profiles=given.profiles if given.profiles is not None else wanted.profiles,
        base_folders=given.base_folders or wanted.base_folders,
    )


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise UsageError(f"there is no code at {text}", remedy="name a file or folder of Python code")
    return path


def _heading(examination: Examination | None) -> list[str]:
    if examination is None:
        return []
    names = [feed.name for feed in examination.feeds if not feed.source.local]
    keys = sum(1 for _ in leaves(examination.composition.tree))
    profiles = examination.settings.profiles
    return [
        paint(f"{', '.join(names)}: {keys} key{'' if keys == 1 else 's'}", "bold")
        + (f", profiles {', '.join(profiles)}" if profiles else "")
    ]


def _report(heading: Sequence[str], found: Sequence[Finding], checks: int) -> str:
    lines = [*heading]
    for one in found:
        lines += ["", f"{paint(one.severity, _COLOURS[one.severity])}  {one.where}  {paint(f'[{one.code}]', 'dim')}"]
        lines += [f"  {line}" for line in one.what.splitlines()]
        lines.append(f"  {paint('→', 'green')} {one.remedy}")
    return "\n".join([*lines, "", _summary(found, checks)])


def _summary(found: Sequence[Finding], checks: int) -> str:
    counts = Counter(one.severity for one in found)
    told = [
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in ("error", "warning", "note")
        if counts[severity]
    ]
    if any(one.severity != "note" for one in found):
        return ", ".join(told)
    return f"nothing is wrong: {checks} check{'' if checks == 1 else 's'}" + (f", {told[0]}" if told else "")
