"""The values of a rollout: its record, what is observed of it, and what is decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec import field

from herz.release.atomicity import Verdict
from herz.release.channel import Channel, ReleaseRef
from herz.release.member import Member
from herz.release.plan import Plan
from herz.release.record import Record
from herz.release.statistics import Outcome
from herz.release.trend import Point

ASSIGN_MAX: Final = 100
"""Mailboxes written by one decision: a transaction takes 128 operations."""
NAMED_MAX: Final = 20
"""Instances that a record names; of more it says how many."""


class Phase(StrEnum):
    """Where a rollout is. The first six follow each other for each batch."""

    PENDING = "PENDING"
    """The members of the batch are chosen, and their mailboxes written."""
    DEPLOYING = "DEPLOYING"
    """The deployer installs the patch at the members."""
    PREPARING = "PREPARING"
    """Membership is frozen; the members build the release without using it."""
    COMMITTING = "COMMITTING"
    """The pointer has moved; the members flip."""
    VERIFYING = "VERIFYING"
    """The members are asked what they run."""
    BAKING = "BAKING"
    """Verified; checks watch it for a while."""
    PROMOTING = "PROMOTING"
    """`stable` has moved and the cohorts are gone; everybody follows, and mailboxes are removed."""
    PROMOTED = "PROMOTED"
    ROLLING_BACK = "ROLLING_BACK"
    """The cohorts are gone from the channel; members return to stable, and mailboxes are removed."""
    ROLLED_BACK = "ROLLED_BACK"

    @property
    def over(self) -> bool:
        """Whether nothing more is decided."""
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK)

    @property
    def forward(self) -> bool:
        """Whether it is still on its way to be promoted: it can be paused, aborted and forced."""
        return self not in (Phase.PROMOTING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK)


class Act(StrEnum):
    """What the driver does beside the transaction. Each may be repeated: after a crash it is."""

    DEPLOY = "deploy"
    """Have the deployer install the patch at `Decision.members` that do not report it yet."""
    ASK = "ask"
    """Ask `Decision.members` under a fresh nonce and judge; the verdict goes into `Seen`, with `Rollout.step`."""
    CHECK = "check"
    """Run the checks that are due; results go into `Seen`, with `Rollout.step`."""
    ALERT = "alert"
    """Send `Rollout.notices`, then write `herz.release.rollout.told(...)`: at least once each."""


class Check(Record, frozen=True, kw_only=True):
    """A health or metric check as data: `kind` names who runs it, `options` are its own."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


class CheckResult(Record, frozen=True, kw_only=True):
    """What one check said when it was last looked at, at `step` of the rollout.

    `points` show what a metric saw, since the batch was verified.
    """

    name: str
    outcome: Outcome
    step: int
    detail: str = ""
    time: datetime | None = None
    points: tuple[Point, ...] = ()


class Order(Record, frozen=True, kw_only=True):
    """What a person (or Herz itself: `by` is "herz") wants of a rollout."""

    by: str
    at: datetime
    message: str = ""


class Notice(Record, frozen=True, kw_only=True):
    """What somebody must be told. Stands in the record until it was sent, so that a crash loses none."""

    number: int
    kind: str
    """`paused`, `rolling-back`, `rolled-back`, `promoted`, `forced`."""
    text: str
    at: datetime


class Batch(Record, frozen=True, kw_only=True):
    """A batch whose membership is frozen: the instances with `cohort` in their mailboxes, `size` of them.

    `membership` proves that they are still the same. `committed`: the pointer of its cohort has moved. `verdict` is the
    evidence that it runs the release, `checks` what each last said. `last`: nobody else matched when it was
    frozen.
    """

    number: int
    cohort: str
    size: int
    membership: str
    frozen: datetime
    last: bool = False
    committed: bool = False
    verdict: Verdict | None = None
    checks: tuple[CheckResult, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether there is proof that every member runs the release."""
        return self.verdict is not None and self.verdict.verified


class Rollout(Record, frozen=True, kw_only=True):
    """A rollout as it is stored, the whole of its state beside channel and mailboxes.

    `stable` is what the channel's stable pointer was when it began; nobody else may move it meanwhile. `batch` (from 1)
    is the one in work, `batches` those whose membership is frozen. `since` is when `phase` began, `step` counts such
    beginnings: verdicts and results of checks belong to one step. `total` is how many instances match. `waiting` says
    what it waits for, `reason` why it is rolled back. `unconfirmed` names who has not reported the outcome at its end.
    `selector` limits who may be in a batch; promotion is for everybody.
    """

    id: str
    app: str
    namespace: str
    release: ReleaseRef
    stable: ReleaseRef | None
    plan: Plan
    author: str
    created: datetime
    since: datetime
    message: str = ""
    selector: dict[str, str] = field(default_factory=dict)
    patch_id: str | None = None
    deployer: dict[str, Any] | None = None
    checks: tuple[Check, ...] = ()
    allow_overrides: tuple[str, ...] = ()
    allow_empty: bool = False
    approved_by: tuple[str, ...] = ()
    """Who had approved the release when it began, where that was needed."""

    phase: Phase = Phase.PENDING
    batch: int = 1
    batches: tuple[Batch, ...] = ()
    step: int = 0
    total: int = 0
    waiting: str | None = None
    reason: str | None = None
    unconfirmed: tuple[str, ...] = ()
    unconfirmed_count: int = 0
    notices: tuple[Notice, ...] = ()
    noticed: int = 0

    paused: Order | None = None
    aborted: Order | None = None
    forced: Order | None = None
    hurried: int = 0
    """Batches up to this one are not baked: a person promoted them."""

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.phase.over

    @property
    def cohort(self) -> str:
        """The cohort of the batch in work."""
        return cohort_of(self.id, self.batch)

    @property
    def frozen(self) -> Batch | None:
        """The batch in work, once its membership is frozen."""
        return self.batches[-1] if self.batches and self.batches[-1].number == self.batch else None


class Seen(NamedTuple):
    """What was observed, of one moment: everything read of the store is of one revision, not older than the record's.

    `members` are all instances of the namespace that report or have a mailbox. `verdict` and `checks` count only if
    they are of the record's `step`. `attended` is when this driver took over: windows count from then, for time in
    which nobody drove does not.
    """

    now: datetime
    channel: Channel
    members: Sequence[Member]
    verdict: Verdict | None = None
    verdict_step: int = -1
    checks: Sequence[CheckResult] = ()
    attended: datetime | None = None


class Decision(NamedTuple):
    """What follows from what was seen: one transaction, then `act`.

    `rollout`, `channel` (None: as it is) and `assign` are written in ONE transaction, guarded by the revisions at which
    rollout and channel were seen. `assign` holds (instance, cohort); `stable` means that its mailbox is removed.
    `members` are those that DEPLOY and ASK concern. `look_again_s` is when to decide again at the latest though nothing
    was observed, 0 at once; None when only something new can change the decision.
    """

    rollout: Rollout
    channel: Channel | None = None
    assign: tuple[tuple[str, str], ...] = ()
    act: tuple[Act, ...] = ()
    members: tuple[str, ...] = ()
    look_again_s: float | None = None

    def writes(self, before: Rollout) -> bool:
        """Whether there is anything to write, where the record was `before`."""
        return self.channel is not None or bool(self.assign) or self.rollout != before


def cohort_of(rollout: str, batch: int) -> str:
    """The cohort of a rollout's batch: `r7-b2`."""
    return f"{rollout}-b{batch}"


def in_cohort(members: Sequence[Member], cohort: str) -> Iterator[Member]:
    """Those whose mailbox says `cohort`."""
    return (member for member in members if member.cohort == cohort)
