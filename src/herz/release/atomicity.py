"""The proof that a batch runs one release, whole: what instances answered, against what the centre holds.

A verdict counts answers to one question with a nonce of its own, taken between two readings of the channel. Nobody is
taken at an older word, nobody who is silent passes, and a channel that moved meanwhile makes it worthless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import field
from msgspec.structs import replace

from herz.model.key import covers
from herz.model.meaning import Kind, same
from herz.release.channel import Channel, Pointer, Release, ReleaseRef
from herz.release.member import Member, membership
from herz.release.record import Record
from herz.release.report import Answer, Explained, Report, Status


class What(StrEnum):
    """In what an instance differs, worst first."""

    MOVED = "moved"
    """The channel changed while the question was open, or does not point to the release."""
    OVERRIDE = "override"
    """Another layer of the instance decides a key that the release sets, with another meaning."""
    VALUE = "value"
    """A key that was asked for is another there."""
    PATCH_ID = "patch_id"
    VERSION = "config_version"
    DIGEST = "digest"
    FINGERPRINT = "fingerprint"
    STATUS = "status"
    UNREACHABLE = "unreachable"
    """It did not answer this question in time."""


class Difference(Record, frozen=True, kw_only=True):
    """One way in which one instance does not run what it should. `str()` of it is a line for people.

    `values` and `origins` are (of the release, of the instance), for `key`, where they are known; secrets are masked by
    whoever reported them. `instance` is empty when it is about the channel.
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

    @property
    def says(self) -> str:
        """The difference without who differs."""
        if self.key is None:
            return _SAYS[self.what].format(expected=self.expected, actual=self.actual)
        released_at, here_at = self.origins or (None, None)
        return f"{self.key} is {_placed(self.actual, here_at)}, released is {_placed(self.expected, released_at)}"

    def __str__(self) -> str:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return f"{self.instance or 'the channel'}{f' ({labels})' if labels else ''}: {self.says}"


class Verdict(Record, frozen=True, kw_only=True):
    """Whether every member runs `config_version` with `patch_id`, whole. `str()` of it is for people.

    `members` were asked, `membership` says who (see `herz.release.member.membership`), `answered` of them did.
    `differences` come worst first, and may be fewer than there were: `found` counts them, `differing` the instances.
    """

    verified: bool
    config_version: int
    nonce: str
    members: int
    answered: int
    differing: int = 0
    found: int = 0
    membership: str = ""
    patch_id: str | None = None
    differences: tuple[Difference, ...] = ()
    time: datetime | None = None
    took_ms: float = 0.0

    def brief(self, limit: int = 20) -> Verdict:
        """The same with at most `limit` differences, for a record that must stay small."""
        return self if len(self.differences) <= limit else replace(self, differences=self.differences[:limit])

    @property
    def summary(self) -> str:
        """One line: what was verified, or how many differ."""
        what = f"release {self.config_version}{f' with patch {self.patch_id}' if self.patch_id else ''}"
        if self.verified:
            return f"verified: all {self.members} instances run {what}"
        if not self.members:
            return f"not verified: there is no instance to run {what}"
        if not self.differing:
            return f"not verified: the channel does not hold {what}"
        return f"not verified: {self.differing} of {self.members} instances do not run {what}"

    @property
    def reason(self) -> str:
        """One line: the summary, and the worst difference."""
        return f"{self.summary}; {self.differences[0]}" if self.differences else self.summary

    def __str__(self) -> str:
        lines = [f"{self.summary} ({self.answered} answered, {self.took_ms:.0f} ms)"]
        lines += [f"  {difference}" for difference in self.differences]
        more = self.found - len(self.differences)
        return "\n".join([*lines, *([f"  and {more} more differences"] if more > 0 else [])])


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
    """What `answers` (by instance) prove of `members`.

    Each member must have answered `nonce` itself, run `patch_id` (None: any) and the release's version, digest and
    fingerprint, APPLIED, without overriding a key of the release (but `allowed_overrides`, which cover the keys under
    them). The pointers of the members' cohorts must be the release both before and after. `released` holds what the
    release says of keys that were asked for as well: where an answer explains them otherwise, both values and origins
    are named. No members: not verified.
    """
    asked = tuple(members)
    found: list[Difference] = []
    answered = differing = 0
    for member in asked:
        answer = answers.get(member.instance)
        if answer is None or not _is_answer(answer, nonce, member.instance):
            differences = [_difference(member.labels, member.instance, What.UNREACHABLE, "an answer", "none")]
        else:
            answered += 1
            differences = [
                *_report(answer.report, release, patch_id),
                *_keys(answer, allowed_overrides, released or {}),
            ]
        differing += bool(differences)
        found.extend(differences)
    for cohort in sorted({member.cohort for member in asked}):
        found.extend(_pointer(cohort, channel_before, channel_after, release))
    found.sort(key=lambda one: (_WORST.index(one.what), one.instance))
    return Verdict(
        verified=bool(asked) and not found,
        config_version=release.number,
        nonce=nonce,
        members=len(asked),
        answered=answered,
        differing=differing,
        found=len(found),
        membership=membership(member.instance for member in asked),
        patch_id=patch_id,
        differences=tuple(found),
        time=time,
        took_ms=took_ms,
    )


def _is_answer(answer: Answer, nonce: str, instance: str) -> bool:
    return (answer.nonce, answer.instance, answer.report.instance) == (nonce, instance, instance)


def _report(report: Report, release: Release | ReleaseRef, patch_id: str | None) -> Iterator[Difference]:
    """How a report differs from the release. Another version has another content: that is one difference, not three."""
    if patch_id is not None and report.patch_id != patch_id:
        yield _difference(report.labels, report.instance, What.PATCH_ID, patch_id, report.patch_id or "none")
    for what, expected, actual in (
        (What.VERSION, str(release.number), "none" if report.config_version is None else str(report.config_version)),
        (What.DIGEST, release.digest, report.digest or "none"),
        (What.FINGERPRINT, release.fingerprint, report.fingerprint or "none"),
    ):
        if expected != actual:
            yield _difference(report.labels, report.instance, what, expected, actual)
            break
    if report.status is not Status.APPLIED:
        says = f"{report.status}: {report.error}" if report.error else str(report.status)
        yield _difference(report.labels, report.instance, What.STATUS, str(Status.APPLIED), says)


def _keys(answer: Answer, allowed: Collection[str], released: Mapping[str, Explained]) -> Iterator[Difference]:
    """The keys that are another at an instance than in the release."""
    report = answer.report
    overridden = set()
    for override in report.overrides:
        overridden.add(override.key)
        if not any(covers(key, override.key) for key in allowed):
            values = Explained(key=override.key, value=override.released, origin=override.released_at)
            here = Explained(key=override.key, value=override.value, origin=override.origin)
            yield _key(report, What.OVERRIDE, values, here)
    for here in answer.explained:
        there = released.get(here.key)
        if there is None or here.key in overridden or any(covers(key, here.key) for key in allowed):
            continue
        if not any(same(there.value, here.value, kind) for kind in _KINDS):
            yield _key(report, What.VALUE, there, here)


def _key(report: Report, what: What, released: Explained, here: Explained) -> Difference:
    return Difference(
        instance=report.instance,
        what=what,
        expected=_written(released.value),
        actual=_written(here.value),
        labels=report.labels,
        key=here.key,
        values=(released.value, here.value),
        origins=(released.origin, here.origin),
    )


def _pointer(cohort: str, before: Channel, after: Channel, release: Release | ReleaseRef) -> Iterator[Difference]:
    """Whether the centre held the release for a cohort the whole time."""
    was, is_now = before.of(cohort), after.of(cohort)
    for pointer in (was, is_now) if was != is_now else (was,):
        held = pointer.release
        if held is None or (held.number, held.digest, held.fingerprint) != (
            release.number,
            release.digest,
            release.fingerprint,
        ):
            yield _difference({}, "", What.MOVED, f"{cohort} at {release.number}", _at(cohort, pointer))
            return
    if was != is_now:
        yield _difference({}, "", What.MOVED, _at(cohort, was), f"{_at(cohort, is_now)} meanwhile")


def _at(cohort: str, pointer: Pointer) -> str:
    prepares = f", preparing {pointer.prepare.number}" if pointer.prepare is not None else ""
    return f"{cohort} at {'nothing' if pointer.release is None else pointer.release.number}{prepares}"


def _difference(labels: Mapping[str, str], instance: str, what: What, expected: str, actual: str) -> Difference:
    return Difference(instance=instance, what=what, expected=expected, actual=actual, labels=dict(labels))


def _written(value: str | None) -> str:
    return "not set" if value is None else repr(value)


def _placed(value: str, origin: str | None) -> str:
    return value if origin is None else f"{value} ({origin})"


_KINDS: Final = (None, Kind("duration"), Kind("size"))
"""Texts mean the same if they do so as anything: whether `3s` is a duration, no schema says here."""
_WORST: Final = tuple(What)
_SAYS: Final[Mapping[What, str]] = {
    What.MOVED: "it is {actual}, expected {expected}",
    What.PATCH_ID: "runs patch {actual}, expected {expected}",
    What.VERSION: "runs release {actual}, expected {expected}",
    What.DIGEST: "runs content {actual}, released is {expected}",
    What.FINGERPRINT: "runs fingerprint {actual}, released is {expected}",
    What.STATUS: "is {actual}",
    What.UNREACHABLE: "did not answer in time",
    What.OVERRIDE: "decides a key itself",
    What.VALUE: "has another value",
}
