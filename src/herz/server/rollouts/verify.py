"""Verification: what instances run is read at the same time as what the store holds, and both must match.

A round is one question under a fresh nonce, between two linearizable readings of the channel. Answers are only taken
under that nonce, so neither an old report nor a replayed answer counts. What may pass by itself (an instance that is
just coming back, one that is still applying) is asked again until the window closes; nothing else is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from herz.errors import HerzError
from herz.release.atomicity import Difference, Verdict, What, judge
from herz.release.channel import Channel, Release, ReleaseRef
from herz.release.member import Member
from herz.release.record import decode
from herz.release.report import Answer, Ask, AskKind, Explained, Status
from herz.server.asks import WINDOW_S, Asking
from herz.server.clock import Clock
from herz.server.rollouts.tracing import span
from herz.store.base import Store
from herz.store.plane import channel_key

_log = logging.getLogger("herz")

SETTLE_S: Final = 0.4
"""How long an instance that answered may still be on its way, before it counts as different."""
LINGER_S: Final = 0.15
"""How long a round goes on for the sake of a full report, once an answer has proved that it fails."""
PAUSE_S: Final = 0.02
"""Seconds between two rounds."""
READ_S: Final = 0.2
"""How long reading the release may take for that."""
EXPLAIN_S: Final = 0.4
"""How long differing instances have to explain themselves."""
EXPLAINED_KEYS: Final = 1_000
"""Keys that they are asked to explain at most."""
EXPLAINING: Final = 10
"""Instances that are asked to explain."""
ASKED_KEYS: Final = 100
"""Keys of one question; an instance explains no more."""
NAMED: Final = 20
"""Instances that a question names; of more it names the cohorts, for it goes to everybody."""


class Reader(Protocol):
    """Reads what a release holds."""

    async def explained(
        self, app: str, namespace: str, release: ReleaseRef, others: Collection[str], most: int
    ) -> Mapping[str, Explained]:
        """At most so many keys of the release: their values as text, secrets masked, and where they were written.

        Those come first in which the contents with the digests `others` differ from it.
        """


class Proof(NamedTuple):
    """A verdict, and what it was made from: who was asked, each answer, and how many milliseconds that took to come."""

    verdict: Verdict
    asked: tuple[str, ...]
    answers: Mapping[str, Answer]
    took_ms: Mapping[str, float]


class Verifier:
    """Verifies that instances run a release, whole; any number of verifications at the same time.

    `measured` is told of each: application, namespace, whether it was verified, and the seconds that it took.
    """

    def __init__(
        self,
        store: Store,
        asking: Asking,
        reader: Reader,
        clock: Clock,
        measured: Callable[[str, str, bool, float], None],
    ) -> None:
        self._store, self._asking, self._reader, self._clock = store, asking, reader, clock
        self._measured = measured

    async def verify(
        self,
        app: str,
        namespace: str,
        *,
        release: Release | ReleaseRef,
        members: Sequence[Member],
        patch_id: str | None = None,
        window_s: float = 2.0,
        allow_overrides: Sequence[str] = (),
    ) -> Proof:
        """The verdict on `members` and what they answered.

        It comes at the latest when the window closes and those that differ had time to explain.

        `SourceUnavailable` when the store does not answer: then there is no verdict.
        """
        begin_s = self._clock.monotonic()
        with span(
            "herz.verify", {"herz.app": app, "herz.namespace": namespace, "herz.release": release.number}
        ) as mark:
            judged = _Round(release, patch_id, tuple(members), tuple(allow_overrides))
            verdict, answers = await self._rounds(app, namespace, judged, begin_s, window_s)
            if not verdict.verified:
                verdict = await self._explained(app, namespace, judged, verdict, answers)
            took_s = self._clock.monotonic() - begin_s
            verdict = replace(verdict, took_ms=round(took_s * 1000, 3), time=self._clock.now())
            self._measured(app, namespace, verdict.verified, took_s)
            mark(
                {
                    "herz.verified": verdict.verified,
                    "herz.members": verdict.members,
                    "herz.differing": verdict.differing,
                }
            )
        return Proof(verdict, judged.names, answers, judged.took_ms)

    async def _rounds(
        self, app: str, namespace: str, judged: _Round, begin_s: float, window_s: float
    ) -> tuple[Verdict, Mapping[str, Answer]]:
        while True:
            left_s = max(0.0, begin_s + window_s - self._clock.monotonic())
            verdict, answers, quiet = await self._round(app, namespace, judged, left_s)
            now_s = self._clock.monotonic()
            if verdict.verified and quiet:
                return verdict, answers
            if not quiet and verdict.verified:
                verdict = _moved(verdict)
            patience_s = min(window_s, SETTLE_S) if verdict.answered == verdict.members else window_s
            if not judged.may_pass(verdict, answers) or now_s + PAUSE_S >= begin_s + patience_s:
                return verdict, answers
            await asyncio.sleep(PAUSE_S)

    async def _round(
        self, app: str, namespace: str, judged: _Round, window_s: float
    ) -> tuple[Verdict, Mapping[str, Answer], bool]:
        """One question between two readings; the verdict, the answers, and whether the channel was left alone."""
        before, revision = await self._channel(app, namespace)
        answers: Mapping[str, Answer] = {}
        if judged.members and window_s > 0:
            window_s = min(window_s, WINDOW_S)
            judged.begin(self._clock.monotonic)
            answers = await self._asking.ask(app, namespace, judged.question(), judged.names, window_s, judged.look)
        after, later = await self._channel(app, namespace)
        return judged.verdict(answers, before, after), answers, revision == later

    async def _explained(
        self, app: str, namespace: str, judged: _Round, verdict: Verdict, answers: Mapping[str, Answer]
    ) -> Verdict:
        """The verdict with the keys at which instances differ, where they can be asked; it never gets better."""
        puzzling = (What.FINGERPRINT, What.DIGEST, What.VERSION)
        asked = tuple(dict.fromkeys(one.instance for one in verdict.differences if one.what in puzzling))[:EXPLAINING]
        asked = tuple(instance for instance in asked if instance in answers)
        if not asked:
            return verdict
        try:
            others = {answers[instance].report.digest or "" for instance in asked} - {judged.release.digest, ""}
            async with asyncio.timeout(READ_S):  # a rollback waits for this: a huge release is not read for it
                released = await self._reader.explained(app, namespace, _ref(judged.release), others, EXPLAINED_KEYS)
            keys = tuple(released)
            parts = [keys[start : start + ASKED_KEYS] for start in range(0, len(keys), ASKED_KEYS)]
            told = await asyncio.gather(*(self._told(app, namespace, judged, asked, part, released) for part in parts))
        except (HerzError, TimeoutError) as error:
            _log.info("herz: %s cannot be asked to explain themselves: %s", ", ".join(asked), error)
            return verdict
        known = {(one.instance, one.what, one.key) for one in verdict.differences}
        further = [one for part in told for one in part if one.key and (one.instance, one.what, one.key) not in known]
        if not further:
            return verdict
        # They come first: a key, both values and where they were written say more than that a fingerprint differs.
        return replace(verdict, differences=(*further, *verdict.differences), found=verdict.found + len(further))

    async def _told(
        self,
        app: str,
        namespace: str,
        judged: _Round,
        asked: Collection[str],
        keys: Sequence[str],
        released: Mapping[str, Explained],
    ) -> tuple[Difference, ...]:
        """How `asked` explain `keys` otherwise than the release does."""
        question = Ask(nonce="", kind=AskKind.EXPLAIN, instances=tuple(asked), keys=tuple(keys))
        found = await self._asking.ask(app, namespace, question, asked, EXPLAIN_S)
        return judged.explained(found, released).differences

    async def _channel(self, app: str, namespace: str) -> tuple[Channel, int]:
        """The channel as the store has it now, and the revision that wrote it."""
        entry = await self._store.get(channel_key(app, namespace))
        if entry is None:
            return Channel(), 0
        return decode(entry.value, Channel, f"{entry.key}@{entry.mod_revision}"), entry.mod_revision


class _Round:
    """What is asked of whom, and what an answer to it is worth."""

    def __init__(
        self,
        release: Release | ReleaseRef,
        patch_id: str | None,
        members: tuple[Member, ...],
        allowed: tuple[str, ...],
    ) -> None:
        self.release, self.patch_id, self.members, self.allowed = release, patch_id, members, allowed
        self.names = tuple(member.instance for member in members)
        self.took_ms: dict[str, float] = {}
        self._monotonic: Callable[[], float] = lambda: 0.0
        self._begin_s = 0.0

    def begin(self, monotonic: Callable[[], float]) -> None:
        """The question is asked now (again): answers are timed from here."""
        self.took_ms, self._monotonic, self._begin_s = {}, monotonic, monotonic()

    def look(self, answer: Answer) -> float | None:
        """How long others are waited for, when this answer proves that they cannot save it."""
        self.took_ms[answer.instance] = (self._monotonic() - self._begin_s) * 1000
        report = answer.report
        settled = report.status is Status.APPLIED and report.config_version == self.release.number
        wrong = (
            report.status is Status.FAILED
            or (settled and (report.digest, report.fingerprint) != (self.release.digest, self.release.fingerprint))
            or (self.patch_id is not None and report.patch_id != self.patch_id)
        )
        return LINGER_S if wrong else None

    def question(self) -> Ask:
        """The question. Of many instances it names the cohorts; who else answers is not looked at."""
        if len(self.names) <= NAMED:
            return Ask(nonce="", kind=AskKind.PROBE, instances=self.names)
        return Ask(nonce="", kind=AskKind.PROBE, cohorts=tuple(sorted({member.cohort for member in self.members})))

    def verdict(self, answers: Mapping[str, Answer], before: Channel, after: Channel) -> Verdict:
        """What the answers prove."""
        return judge(
            patch_id=self.patch_id,
            release=self.release,
            nonce=_nonce(answers),
            members=self.members,
            answers=answers,
            channel_before=before,
            channel_after=after,
            allowed_overrides=self.allowed,
        )

    def explained(self, answers: Mapping[str, Answer], released: Mapping[str, Explained]) -> Verdict:
        """What explanations add to the answers before."""
        return judge(
            patch_id=self.patch_id,
            release=self.release,
            nonce=_nonce(answers),
            members=[member for member in self.members if member.instance in answers],
            answers=answers,
            channel_before=Channel(),
            channel_after=Channel(),
            allowed_overrides=self.allowed,
            released=released,
        )

    def may_pass(self, verdict: Verdict, answers: Mapping[str, Answer]) -> bool:
        """Whether every difference may be gone a moment later."""
        return bool(self.members) and all(self._passing(one, answers.get(one.instance)) for one in verdict.differences)

    def _passing(self, difference: Difference, answer: Answer | None) -> bool:
        if difference.what in (What.UNREACHABLE, What.MOVED):
            return True
        if answer is None or answer.report.status is Status.FAILED:
            return False
        return difference.what is What.VERSION or answer.report.status is Status.APPLYING


def _moved(verdict: Verdict) -> Verdict:
    """Not verified: the channel was written during the round, even if it holds the same again."""
    change = Difference(instance="", what=What.MOVED, expected="left alone", actual="written while it was asked")
    return replace(verdict, verified=False, differences=(change, *verdict.differences), found=verdict.found + 1)


def _nonce(answers: Mapping[str, Answer]) -> str:
    """The nonce that all of them were gathered under."""
    return next((answer.nonce for answer in answers.values()), "")


def _ref(release: Release | ReleaseRef) -> ReleaseRef:
    return release.ref if isinstance(release, Release) else release
