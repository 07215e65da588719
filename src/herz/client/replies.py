"""What the control plane answers, where it is more than a value of `herz.release`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from msgspec import field

from herz.release.channel import STABLE, Channel, Release
from herz.release.content import Content
from herz.release.difference import KeyDifference
from herz.release.record import Record
from herz.release.report import Report
from herz.release.rollout import Rollout

Facts: TypeAlias = dict[str, Any]
"""A JSON object as it came."""


class Draft(Record, frozen=True, kw_only=True):
    """What is being edited: `revision` is that of the store when it was last written, 0 when there is none.

    `base` is the number of the release that it was begun from. `author` wrote it last, `authors` is everybody who wrote
    what in it was never live.
    """

    revision: int = 0
    content: Content = Content()
    base: int | None = None
    author: str = ""
    message: str = ""
    time: datetime | None = None
    digest: str = ""
    authors: tuple[str, ...] = ()


class Instance(Report, frozen=True, kw_only=True):
    """What an instance says that it runs, the cohort it was put in, and whether it runs what its pointer says."""

    assigned: str = STABLE
    agrees: bool = True


class Moved(Record, frozen=True, kw_only=True):
    """A channel that was pointed elsewhere: by which revision of the store, to what, and how it is then."""

    revision: int
    release: Release
    channel: Channel


class Touched(Record, frozen=True, kw_only=True):
    """One instance that would change: from which release, and what of it would be built anew (None: not known)."""

    instance: str
    release: int | None = None
    properties: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None


class Built(Record, frozen=True, kw_only=True):
    """How a dry build went on one instance; nothing of it is in use. `unbuilt` is only built on first use."""

    instance: str
    error: str | None = None
    fingerprint: str | None = None
    rebuilt: tuple[str, ...] = ()
    unbuilt: tuple[str, ...] = ()


class Impact(Record, frozen=True, kw_only=True):
    """What a content would change. `objects` and `properties` say on how many instances each would be built anew.

    `changed` is against what is live; `unknown` counts the instances that have told no graph of their objects.
    """

    digest: str
    changed: tuple[KeyDifference, ...] = ()
    instances: tuple[Touched, ...] = ()
    objects: dict[str, int] = field(default_factory=dict)
    properties: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    rehearsed: Built | None = None


class Problem(Record, frozen=True, kw_only=True):
    """One reason why a draft cannot be released."""

    what: str
    key: str = ""
    where: str | None = None


class Validation(Record, frozen=True, kw_only=True):
    """Whether a draft can be released, and if not, every reason."""

    ok: bool
    problems: tuple[Problem, ...] = ()


class RolloutEvent(Record, frozen=True, kw_only=True):
    """One line of what happens in a rollout: how it is now, or that there is no more to come."""

    type: str
    rollout: Rollout | None = None


class AuditState(Record, frozen=True, kw_only=True):
    """Whether the audit log is whole: `broken_at` is the first entry that does not continue the one before.

    `why` says how it does not; `head` is the hash of the last entry, to be kept elsewhere as an anchor.
    """

    ok: bool
    entries: int = 0
    broken_at: int | None = None
    why: str | None = None
    head: str | None = None
