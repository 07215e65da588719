"""Proofs on request: which instances are meant, and the verdict on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from herz.errors import SourceUnavailable, UsageError
from herz.release.atomicity import Verdict
from herz.release.channel import STABLE
from herz.release.member import Member
from herz.release.record import Record
from herz.server.hub import Hub
from herz.server.rollouts.book import Book
from herz.server.rollouts.observing import members_of
from herz.server.rollouts.verify import Verifier
from herz.store.plane import checked_instance, place

WINDOW_S: Final = 2.0
WINDOW_MOST_S: Final = 60.0


class Question(Record, frozen=True, kw_only=True):
    """What is to be proved: that these instances run `config_version`, whole, started with `patch_id` (None: any).

    `cohorts` and `instances` say whom is meant; without both it is everybody who reports. `window_s` is how long
    instances have to answer. `allow_overrides` names keys that they may decide themselves.
    """

    config_version: int
    patch_id: str | None = None
    cohorts: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    window_s: float = WINDOW_S
    allow_overrides: tuple[str, ...] = ()


class Proofs:
    """Answers questions with verdicts; nothing is remembered from one to the next."""

    def __init__(self, hub: Hub, book: Book, verifier: Verifier) -> None:
        self._hub, self._book, self._verifier = hub, book, verifier

    async def verify(self, app: str, namespace: str, question: Question) -> Verdict:
        """The verdict; a `Problem` 404 for a release that does not exist.

        `SourceUnavailable` while this server cannot tell which instances there are.
        """
        place(app, namespace)
        if not 0 < question.window_s <= WINDOW_MOST_S:
            raise UsageError(f"a window of {question.window_s:g} s", remedy=f"give seconds, at most {WINDOW_MOST_S:g}")
        release = await self._book.release(app, namespace, question.config_version)
        freshness = self._hub.freshness
        if not freshness.current:
            raise SourceUnavailable(
                "this server does not know which instances there are now",
                where=freshness.reason,
                remedy="try again when its store answers",
            )
        proof = await self._verifier.verify(
            app,
            namespace,
            release=release,
            members=tuple(self._meant(app, namespace, question)),
            patch_id=question.patch_id,
            window_s=question.window_s,
            allow_overrides=question.allow_overrides,
        )
        return proof.verdict

    def _meant(self, app: str, namespace: str, question: Question) -> Iterable[Member]:
        known = {member.instance: member for member in members_of(self._hub.namespace(app, namespace))}
        if not question.cohorts and not question.instances:
            return [member for member in known.values() if member.report is not None]
        named = {checked_instance(instance) for instance in question.instances}
        found = [
            member
            for member in known.values()
            if member.instance in named
            or (member.cohort in question.cohorts and (member.cohort != STABLE or member.report is not None))
        ]
        # Somebody who is named and not there is not verified either.
        return [*found, *(Member(instance) for instance in sorted(named - known.keys()))]
