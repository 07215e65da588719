"""What instances say of themselves: what they run, not what they have fetched; and their answers to questions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import field

from herz.release.record import Record


class Status(StrEnum):
    """Where an instance is with what its pointer says."""

    APPLYING = "APPLYING"
    APPLIED = "APPLIED"
    FAILED = "FAILED"


class Override(Record, frozen=True, kw_only=True):
    """A key that the release sets and that another layer of the instance decides, with another meaning.

    Values as text, secrets masked; `origin` is where the value that wins was written.
    """

    key: str
    value: str
    origin: str
    released: str
    released_at: str


class Rehearsed(Record, frozen=True, kw_only=True):
    """The outcome of building a release without using it: the acknowledgement of PREPARE.

    `fingerprint` is what the instance computed over the documents it built from. `unbuilt` names objects that are only
    built on first use, and so prove nothing yet.
    """

    number: int
    digest: str
    fingerprint: str
    unbuilt: tuple[str, ...] = ()
    error: str | None = None
    rollout: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it was built whole."""
        return self.error is None


class Report(Record, frozen=True, kw_only=True):
    """What one instance runs at `time`, by its own clock. Written after the swap, under a lease.

    `config_version` is the number of the release in force, None before the first; `digest` its content. `fingerprint`
    is computed over the shared documents in force, `effective` over everything. `error` says why `status` is FAILED.
    `graph` addresses the dependency graph of its objects. `target` is the number of the release that `status` speaks
    of, the one that its pointer named: FAILED with target 13 failed to apply 13, while `config_version` may be 12
    still.
    """

    instance: str
    app: str
    namespace: str
    status: Status
    time: datetime
    patch_id: str | None = None
    config_version: int | None = None
    digest: str | None = None
    fingerprint: str | None = None
    effective: str | None = None
    generation: int = 0
    error: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    rehearsed: Rehearsed | None = None
    cohort: str | None = None
    graph: str | None = None
    started: datetime | None = None
    target: int | None = None


class AskKind(StrEnum):
    """What instances may be asked."""

    PROBE = "probe"
    """What do you run now? The answer is a report."""
    EXPLAIN = "explain"
    """What are these keys here, and who says so?"""
    BUILD = "build"
    """Build this content, do not use it, and say how that went."""


class Ask(Record, frozen=True, kw_only=True):
    """A question to the instances of a namespace; `nonce` is new each time, so that no old answer can pass.

    `cohorts` or `instances` limit who answers; both empty means everybody.
    """

    nonce: str
    kind: AskKind = AskKind.PROBE
    cohorts: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    digest: str | None = None
    until: datetime | None = None
    """Nobody waits for answers that come later, by the asker's clock."""
    sources: bool = False
    """Tell the sources and their watch sessions as well.

    No kind of its own: whoever does not know a kind cannot read any of the questions that stand, and whoever does not
    know a field answers without it.
    """

    def concerns(self, instance: str, cohort: str) -> bool:
        """Whether `instance` is to answer."""
        if not self.cohorts and not self.instances:
            return True
        return instance in self.instances or cohort in self.cohorts


class Asks(Record, frozen=True, kw_only=True):
    """All questions that stand in a namespace at the moment."""

    open: tuple[Ask, ...] = ()


class Explained(Record, frozen=True, kw_only=True):
    """One key at one instance: what it is there (as text, secrets masked) and where that was written."""

    key: str
    value: str | None
    origin: str | None
    overrode: tuple[str, ...] = ()


class SourceStep(Record, frozen=True, kw_only=True):
    """One step of a watch session, `age_s` seconds before it was told: the state that it led to, and what made it."""

    state: str
    says: str
    age_s: float
    retries: int = 0
    reason: str | None = None


class SourceState(Record, frozen=True, kw_only=True):
    """One source of a process and the watch session that follows it, at one moment.

    `state` is the session's, `says` what it says of its data: CURRENT, STALE, REWOUND, HALTED, or REFUSED where
    something newer cannot be used. `age_s` counts since the place last proved what it holds. `revision` is the one in
    force, None where that has no meaning. `retries` counts since it was last healthy, the other numbers since the
    start. `steps` are the last ones, newest first.
    """

    name: str
    state: str
    says: str
    age_s: float
    kind: str = ""
    revision: int | None = None
    retries: int = 0
    reconnects: int = 0
    resets: int = 0
    rewinds: int = 0
    broken: int = 0
    degraded: bool = False
    error: str | None = None
    steps: tuple[SourceStep, ...] = ()


class Answer(Record, frozen=True, kw_only=True):
    """What one instance answered to one question, from what it runs at that moment."""

    nonce: str
    instance: str
    report: Report
    explained: tuple[Explained, ...] = ()
    rehearsed: Rehearsed | None = None
    rebuilt: tuple[str, ...] = ()
    """For `build`: the objects that were built anew."""
    sources: tuple[SourceState, ...] = ()
    """Where they were asked for. Every instance has one at least: none means that it does not know the question."""


class Graph(Record, frozen=True, kw_only=True):
    """Which objects of a program depend on what: for telling before a release what it will rebuild.

    `properties` maps a bound model to its prefix, `objects` a scoped object to the names it is built from.
    """

    properties: dict[str, str] = field(default_factory=dict)
    objects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
