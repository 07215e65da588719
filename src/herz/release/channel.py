"""Who runs what: releases, the channel that points at them, and what one instance is told.

An instance belongs to a cohort; a cohort's pointer says which release its instances run, and which one they build
already without using it. All pointers of a namespace are one document, so that a commit, and a rollback of every batch,
is one write. An instance without a cohort, or of a cohort that the channel does not know, is stable.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import field

from herz.release.record import Record

STABLE: Final = "stable"
"""The cohort of everybody who is in no batch of a rollout."""


class Release(Record, frozen=True, kw_only=True):
    """An immutable version of a namespace's configuration. `number` counts from 1 within the namespace.

    `author` made it a release; `authors` wrote what in it had not been live before (None: an older version made it, and
    only its author is known). `digest` addresses its content. `fingerprint` is the release fingerprint of the merged
    layers, which every instance that runs it computes as well. `patch_id` is the program that it is meant for, None for
    any.
    """

    app: str
    namespace: str
    number: int
    digest: str
    fingerprint: str
    author: str
    message: str
    time: datetime
    patch_id: str | None = None
    git_commit: str | None = None
    parent: int | None = None
    authors: tuple[str, ...] | None = None

    @property
    def writers(self) -> tuple[str, ...]:
        """Who wrote it, as far as that is known."""
        return (self.author,) if self.authors is None else self.authors

    @property
    def version(self) -> str:
        """The name people use: `pay/default@13`."""
        return f"{self.app}/{self.namespace}@{self.number}"

    @property
    def ref(self) -> ReleaseRef:
        """What a pointer holds."""
        return ReleaseRef(number=self.number, digest=self.digest, fingerprint=self.fingerprint, patch_id=self.patch_id)


class ReleaseRef(Record, frozen=True, kw_only=True):
    """A release as pointers name it: enough to fetch its content and to prove what runs."""

    number: int
    digest: str
    fingerprint: str
    patch_id: str | None = None


class Pointer(Record, frozen=True, kw_only=True):
    """What a cohort runs (`release`, None before the first one) and what it builds without using it yet (`prepare`)."""

    release: ReleaseRef | None = None
    prepare: ReleaseRef | None = None
    rollout: str | None = None
    """The rollout that moves this pointer, if one does."""


class Channel(Record, frozen=True, kw_only=True):
    """All pointers of a namespace."""

    stable: Pointer = Pointer()
    cohorts: dict[str, Pointer] = field(default_factory=dict)

    def of(self, cohort: str | None) -> Pointer:
        """The pointer of a cohort; that of `stable` where it has none of its own."""
        return self.stable if cohort is None else self.cohorts.get(cohort, self.stable)


class Mailbox(Record, frozen=True, kw_only=True):
    """What the control plane has written for one instance: the cohort that it was put in, kept over restarts."""

    cohort: str = STABLE
    rollout: str | None = None
