"""The proof that a batch runs one release, whole: what instances answered, against what the centre holds.

A verdict counts answers to one question with a nonce of its own, taken between two readings of the channel. Nobody is
taken at an older word, nobody who is silent passes, and a channel that moved meanwhile makes it worthless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import field

from herz.release.channel import Channel, Release, ReleaseRef
from herz.release.member import Member
from herz.release.record import Record
from herz.release.report import Answer, Explained


class What(StrEnum):
    """In what an instance differs."""

    UNREACHABLE = "unreachable"
    """It did not answer this question in time."""
    MOVED = "moved"
    """The channel changed while the question was open, or does not point to the release."""
    PATCH_ID = "patch_id"
    VERSION = "config_version"
    DIGEST = "digest"
    STATUS = "status"
    FINGERPRINT = "fingerprint"
    OVERRIDE = "override"
    """Another layer of the instance decides a key that the release sets, with another meaning."""
    VALUE = "value"
    """A key that was asked for is another there."""


class Difference(Record, frozen=True, kw_only=True):
    """One way in which one instance does not run what it should.

    `values` and `origins` are (of the release, of the instance), for `key`, where they are known; secrets are masked
    by whoever reported them. `instance` is empty when it is about the channel as a whole.
    """

    instance: str
    what: What
    expected: str
    actual: str
    labels: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    values: tuple[str | None, str | None] | None = None
    origins: tuple[str | None, str | None] | None = None

    @property
    def container(self) -> str | None:
        """The container it is in, by its label."""
        return self.labels.get("container")


class Verdict(Record, frozen=True, kw_only=True):
    """Whether every member runs `config_version` with `patch_id`, whole. `str()` of it is for people.

    `members` were asked, `membership` says who (see `herz.release.member.membership`), `answered` of them did.
    `differences` holds at most what `brief` left; `differing` counts the instances that differ in all.
    """

    verified: bool
    config_version: int
    nonce: str
    members: int
    answered: int
    differing: int = 0
    membership: str = ""
    patch_id: str | None = None
    differences: tuple[Difference, ...] = ()
    time: datetime | None = None
    took_ms: float = 0.0

    def brief(self, limit: int = 20) -> Verdict:
        """The same with at most `limit` differences, for a record that must stay small."""
        raise NotImplementedError

    def __str__(self) -> str:
        raise NotImplementedError


def judge(
    *,
    patch_id: str | None,
    release: Release | ReleaseRef,
    nonce: str,
    members: Iterable[Member],
    answers: Mapping[str, Answer],
    channel_before: Channel,
    channel_after: Channel,
    allowed_overrides: Collection[str] = (),
    released: Mapping[str, Explained] | None = None,
    time: datetime | None = None,
    took_ms: float = 0.0,
) -> Verdict:
    """What `answers` prove of `members`.

    Each member must have answered `nonce` itself, run `patch_id` (None: any) and the release's version, digest and
    fingerprint, APPLIED, without overriding a key of the release (but `allowed_overrides`, which cover the keys under
    them). The pointers of the members' cohorts must be the release both before and after. `released` holds what the
    release says of keys that were asked for as well: where an answer explains them otherwise, both values and origins
    are named. No members: not verified.
    """
    raise NotImplementedError
