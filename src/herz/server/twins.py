"""Twins: two processes that go by one name. Each takes the other's stream, and neither proves what the other runs."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import structs

from herz.release.report import Report, Status

REMEMBERED_S: Final = 60.0
"""For how long a name counts as contested after its processes were last seen to take turns."""


class Twins:
    """Tells who reports in turns with another process of the same name, by when each was started.

    A process that was started anew has a start of its own, and the one before it never comes back: a start that does,
    after another one, is of a process that was there all the time.
    """

    def __init__(self) -> None:
        self._starts: dict[str, tuple[datetime | None, datetime | None]] = {}
        self._contested: dict[str, float] = {}

    def judged(self, key: str, report: Report, now_s: float) -> Report:
        """`report` as it is to be believed: FAILED, with what to do, while another process has the same name."""
        last, before = self._starts.get(key, (None, None))
        if report.started != last:
            if last is not None and report.started == before:
                self._contested[key] = now_s
            self._starts[key] = report.started, last
        since_s = self._contested.get(key)
        if since_s is None:
            return report
        if now_s - since_s > REMEMBERED_S:
            del self._contested[key]
            return report
        what = f"two processes are called {report.instance}, and take turns; give each a HERZ_INSTANCE of its own"
        return structs.replace(report, status=Status.FAILED, error=what)

    def forget(self, key: str) -> None:
        """Nobody of that name is connected any more."""
        self._starts.pop(key, None)
        self._contested.pop(key, None)
