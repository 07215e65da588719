"""Which instances of a fleet are wanted, in which order, and how many there are of each kind.

Several thousand are looked through with every key that is pressed, so what is not shown is not made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request

from herz.errors import UsageError
from herz.release.channel import Pointer
from herz.release.report import Status
from herz.server.console.application import number_of
from herz.server.hub import Namespace
from herz.server.instances import Instance, agrees, instance_of
from herz.server.registered import Registered

STATES: Final = ("failed", "applying", "differs", "well")
"""What an instance may be, the worst first: `differs` has applied something else than it should run."""
ORDERS: Final = ("name", "state", "age")
CHOICES: Final = 200
"""Labels and patches that are offered."""
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """All of it must hold. `labels` are `zone=eu`, or `zone` for whatever has that label."""

    q: str = ""
    state: str = ""
    labels: tuple[str, ...] = ()
    release: str = ""
    patch: str = ""
    cohort: str = ""
    differs: str = ""
    sort: str = "name"

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Filter:
        """What a query asks for; `UsageError` for what it cannot mean."""
        query = request.query_params
        found = {
            name: str(query.get(name) or "").strip()
            for name in ("q", "state", "release", "patch", "cohort", "differs", "sort")
        }
        if found["state"] not in ("", *STATES):
            raise UsageError(f"state={found['state'][:50]!r}", remedy=f"one of {', '.join(STATES)}")
        if found["sort"] not in ("", *ORDERS):
            raise UsageError(f"sort={found['sort'][:50]!r}", remedy=f"one of {', '.join(ORDERS)}")
        if found["differs"] not in ("", "true", "false"):
            raise UsageError(f"differs={found['differs'][:50]!r}", remedy="true or false")
        if found["release"] not in ("", "none"):
            number_of(found["release"])
        found["sort"] = found["sort"] or "name"
        labels = tuple(text.strip() for text in query.getall("label", []) if text.strip())
        return cls(labels=labels, **found)

    @property
    def any(self) -> bool:
        """Whether anything is left out by it."""
        return bool(self.q or self.state or self.labels or self.release or self.patch or self.cohort or self.differs)


class Found(NamedTuple):
    """The names that a filter lets through, in order.

    `states` counts those that all of the filter holds for but its state.
    """

    names: list[str]
    states: Counter[str]
    total: int


class Choices(NamedTuple):
    """What a fleet runs and is called, to choose a filter from."""

    releases: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as the table has it."""

    one: Instance
    state: str
    should: int | None
    foreign: bool
    """It says that it runs the release that it should, with another fingerprint."""


def state_of(report: Registered, pointer: Pointer) -> str:
    """How an instance stands; one of `STATES`."""
    if report.status is Status.FAILED:
        return "failed"
    if report.status is Status.APPLYING:
        return "applying"
    return "well" if agrees(report, pointer) else "differs"


def found(there: Namespace, wanted: Filter) -> Found:
    """Look through the instances of a namespace."""
    words = wanted.q.lower().split()
    labels = [text.partition("=") for text in wanted.labels]
    release = None if wanted.release in ("", "none") else number_of(wanted.release)
    states: Counter[str] = Counter()
    kept: list[tuple[str, str]] = []
    for name, (report, _, _) in there.reports.items():
        if wanted.release and report.config_version != release:
            continue
        if wanted.patch and report.patch_id != wanted.patch:
            continue
        if labels and not all(_labelled(report, *label) for label in labels):
            continue
        mailbox = there.mailboxes.get(name)
        cohort = "stable" if mailbox is None else mailbox.cohort
        if wanted.cohort and cohort != wanted.cohort:
            continue
        if words:
            text = _text(report, cohort)
            if not all(word in text for word in words):
                continue
        state = state_of(report, there.channel.of(cohort))
        if wanted.differs and (state != "well") is not (wanted.differs == "true"):
            continue
        states[state] += 1
        if not wanted.state or state == wanted.state:
            kept.append((name, state))
    return Found(names=_sorted(there, kept, wanted.sort), states=states, total=len(there.reports))


def choices(there: Namespace) -> Choices:
    """What there is to choose from; of labels and patches the first 200."""
    releases: set[int | None] = set()
    patches: set[str] = set()
    labels: dict[str, None] = {}
    for report, _, _ in there.reports.values():
        releases.add(report.config_version)
        if report.patch_id:
            patches.add(report.patch_id)
        if len(labels) < CHOICES:
            labels.update(dict.fromkeys([f"{key}={value}" for key, value in report.labels.items()]))
    return Choices(
        releases=tuple("none" if one is None else str(one) for one in sorted(releases, key=lambda one: -(one or 0))),
        patches=tuple(sorted(patches)[:CHOICES]),
        labels=tuple(sorted(labels)[:CHOICES]),
    )


def _labelled(report: Registered, key: str, equals: str, value: str) -> bool:
    return report.labels.get(key) == value if equals else key in report.labels


def _text(report: Registered, cohort: str) -> str:
    """What is looked through for words."""
    labels = " ".join([f"{key}={value}" for key, value in report.labels.items()])
    return (
        f"{report.instance} {labels} @{report.config_version} {cohort} {report.patch_id} {report.fingerprint} "
        f"{report.server} {report.error}"
    ).lower()


def _sorted(there: Namespace, kept: list[tuple[str, str]], order: str) -> list[str]:
    kept.sort()
    if order == "state":
        kept.sort(key=lambda one: STATES.index(one[1]))
    elif order == "age":
        kept.sort(key=lambda one: heard(there.reports[one[0]].value) or _LONG_AGO)
    return [name for name, _ in kept]


def heard(report: Registered) -> datetime | None:
    """When the report was received, by the server's clock; by the instance's own where no server received it."""
    time = report.received or report.time
    return time if time.tzinfo is not None else None


def rows(there: Namespace, names: list[str]) -> Iterator[Row]:
    """The instances of these names; those that have gone meanwhile are left out."""
    for name in names:
        report = there.reports.get(name)
        if report is None:
            continue
        pointer = there.pointer(name)
        ref = pointer.release
        yield Row(
            one=instance_of(there, report.value),
            state=state_of(report.value, pointer),
            should=None if ref is None else ref.number,
            foreign=ref is not None
            and report.value.config_version == ref.number
            and report.value.fingerprint is not None
            and report.value.fingerprint != ref.fingerprint,
        )
