"""One instance as the control plane sees it: where it was put, and what it says it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

from herz.release.channel import STABLE
from herz.release.report import Report


class Member(NamedTuple):
    """One instance of a namespace: its mailbox (`cohort`, `rollout`) and its report, None while it has vanished."""

    instance: str
    cohort: str = STABLE
    rollout: str | None = None
    report: Report | None = None

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that it reports; none while it has vanished."""
        return {} if self.report is None else self.report.labels


def membership(instances: Iterable[str]) -> str:
    """What proves later who was in a batch when it was frozen: `sha256:<hex>` over the sorted names."""
    return f"sha256:{sha256(chr(10).join(sorted(instances)).encode('utf-8', 'surrogatepass')).hexdigest()}"
