"""The table of checks: each looks at one thing, in the order in which one would ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from herz.cli.doctor import (
    copied,
    declarations,
    disagreement,
    environment,
    exposure,
    last_good,
    profiles,
    secrets,
    service,
    sources,
    spelling,
    store,
    system,
    unread,
    watching,
)
from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import RANKS, Finding

Check = Callable[[Examination], Iterable[Finding]]

CHECKS: Final[dict[str, Check]] = {
    "sources can be used": sources.check,
    "the store is sound": store.check,
    "the last-good copy would help": last_good.check,
    "files are watched": watching.check,
    "refresh is exposed": exposure.check,
    "profiles have files": profiles.check,
    "keys are spelled right": spelling.check,
    "variables reach the configuration": environment.check,
    "sources agree": disagreement.check,
    "declarations fit": declarations.check,
    "every key is read": unread.check,
    "code holds no copies": copied.check,
    "secrets are private": secrets.check,
    "the system lets us watch": system.check,
    "the service is well": service.check,
}


def findings(examination: Examination, ignore: Iterable[str] = ()) -> list[Finding]:
    """What all checks find, the worst first, each thing once; codes in `ignore` are left out."""
    ignored = frozenset(ignore)
    found = dict.fromkeys(
        finding for check in CHECKS.values() for finding in check(examination) if finding.code not in ignored
    )
    return sorted(found, key=lambda finding: RANKS[finding.severity])
