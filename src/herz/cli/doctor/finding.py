"""Findings: what is wrong, where, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

from herz.errors import HerzError

Severity = Literal["error", "warning", "note"]

RANKS: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "note": 2}
"""Severities, worst first. An error stops the service or its updates, a warning lets something go wrong unseen, a
note is good to know and no reason for an exit status of 1."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` names its kind and stays the same between versions."""

    code: str
    severity: Severity
    what: str
    where: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """The same as plain data, for JSON."""
        return asdict(self)


def finding_of(error: HerzError, code: str, where: str, remedy: str = "", severity: Severity = "error") -> Finding:
    """What `error` says, as a finding; `where` and `remedy` stand in for what it does not say."""
    return Finding(code, severity, error.what, error.where or where, error.remedy or remedy)
