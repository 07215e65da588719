"""Sources that cannot be used: unreadable or malformed files, missing ones, schemes whose client is not installed."""

from __future__ import annotations

from collections.abc import Iterator

from herz.cli.doctor.examination import Examination, Fault
from herz.cli.doctor.finding import Finding, finding_of
from herz.errors import (
    ConfigurationError,
    HerzError,
    InterpolationError,
    MissingExtra,
    SourceDenied,
    SourceUnavailable,
    StoreCorrupt,
)


def check(examination: Examination) -> Iterator[Finding]:
    """Each source, and each file of one, that cannot be used; and what is wrong with all of it together."""
    for fault in examination.faults:
        if isinstance(fault.error, StoreCorrupt):
            continue  # told by the check of stores
        yield _told(fault)
    for source, found in examination.scans():
        if source.optional:
            for path in found.absent:
                yield Finding(
                    "optional-missing",
                    "note",
                    f"optional source {source.origin} is not there",
                    path,
                    "nothing, if that is meant; it is taken up when it appears",
                )
    error = examination.load_error
    if error is not None:
        code = "reference" if isinstance(error, InterpolationError) else "malformed-option"
        yield finding_of(error, code, _origin(error), _REMEDY[code])


_REMEDY = {
    "reference": "set the key that is referred to, or give a default: ${key:default}",
    "malformed-option": "mend the value",
}


def _origin(error: HerzError) -> str:
    path = getattr(error, "path", ())
    return " → ".join(path) if path else "the merged configuration"


def _told(fault: Fault) -> Finding:
    error, name = fault.error, fault.name
    if isinstance(error, MissingExtra):
        return finding_of(error, "extra-not-installed", name)
    if isinstance(error, SourceDenied):
        return finding_of(error, "unreadable", name, "give the service's user read permission")
    if isinstance(error, SourceUnavailable):
        if fault.optional:
            return finding_of(error, "optional-missing", name, "nothing, if that is meant", "note")
        return finding_of(
            error, "missing", name, f"make it, or write optional:{name} if the service can start without it"
        )
    if name == "environment":
        return finding_of(error, "malformed-variable", name)
    if isinstance(error, ConfigurationError):
        return finding_of(error, "malformed", name, "mend it; the last good content stays in force until then")
    return finding_of(error, "unusable-source", name, "mend the source's URL")
