"""Reports as servers keep them: with the server's own time, for an instance's clock may be wrong."""

from __future__ import annotations

from datetime import datetime

from herz.release.report import Report


class Registered(Report, frozen=True, kw_only=True):
    """A report, and when which server received it. Instances that write to the store themselves leave both out."""

    received: datetime | None = None
    server: str | None = None


def registered(report: Report, received: datetime, server: str) -> Registered:
    """`report` as this server keeps it."""
    fields = {name: getattr(report, name) for name in Report.__struct_fields__}
    return Registered(**fields, received=received, server=server)


def skew_s(report: Registered) -> float | None:
    """How many seconds the instance's clock is ahead of the server's, None where its report does not tell."""
    if report.received is None or report.time.tzinfo is None:
        return None
    return (report.time - report.received).total_seconds()
