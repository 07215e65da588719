"""Gates for other tools: Argo Rollouts asks for a verdict as JSON, Flagger takes any 2xx for a yes.

https://argo-rollouts.readthedocs.io/en/stable/analysis/web/ and https://docs.flagger.app/usage/webhooks
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import field

from herz.errors import UsageError
from herz.release.atomicity import Verdict
from herz.release.record import Record
from herz.release.rollout import Phase, Rollout
from herz.server.rollouts.book import Book
from herz.server.rollouts.proofs import WINDOW_S, Proofs, Question


class Measurement(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What Argo's `web` provider reads with `jsonPath: "{$.ok}"`; `ok` and `verified` are the same here."""

    ok: bool
    verified: bool
    config_version: int
    patch_id: str | None
    members: int
    answered: int
    differing: int
    reason: str
    took_ms: float


def measurement(verdict: Verdict) -> Measurement:
    """A verdict as a metric."""
    return Measurement(
        ok=verdict.verified,
        verified=verdict.verified,
        config_version=verdict.config_version,
        patch_id=verdict.patch_id,
        members=verdict.members,
        answered=verdict.answered,
        differing=verdict.differing,
        reason=verdict.reason,
        took_ms=verdict.took_ms,
    )


class Hook(StrEnum):
    """The types of Flagger's webhooks that make a decision."""

    CONFIRM_ROLLOUT = "confirm-rollout"
    PRE_ROLLOUT = "pre-rollout"
    ROLLOUT = "rollout"
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"
    CONFIRM_PROMOTION = "confirm-promotion"
    POST_ROLLOUT = "post-rollout"
    ROLLBACK = "rollback"


class Canary(Record, frozen=True, kw_only=True):
    """What Flagger sends. `metadata` is what the webhook's definition says, as text.

    `app` (default: the canary's name), `namespace` (default: `default`), `config_version`, `patch_id`, `cohorts`,
    `instances`, `allow_overrides` (each separated by commas), `window_s`, and `token` where the server wants one.
    """

    name: str
    namespace: str = ""
    phase: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> str:
        """The application that is meant."""
        return self.metadata.get("app", self.name)

    @property
    def place(self) -> str:
        """The namespace of Herz that is meant; Flagger's own namespace is Kubernetes's."""
        return self.metadata.get("namespace", "default")

    def question(self) -> Question | None:
        """What is to be proved, None where no release is named."""
        version = self.metadata.get("config_version")
        if version is None:
            return None
        try:
            return Question(
                config_version=int(version),
                patch_id=self.metadata.get("patch_id"),
                cohorts=self._list("cohorts"),
                instances=self._list("instances"),
                allow_overrides=self._list("allow_overrides"),
                window_s=float(self.metadata.get("window_s", WINDOW_S)),
            )
        except ValueError as error:
            raise UsageError(f"metadata of {self.name}: {error}", remedy="give numbers as text") from error

    def _list(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.metadata.get(name, "").split(",") if part.strip())


class Answer(NamedTuple):
    """Whether it is a yes, and why."""

    go: bool
    reason: str


class Gates:
    """Answers Flagger's questions from verdicts and from the namespace's newest rollout."""

    def __init__(self, book: Book, proofs: Proofs) -> None:
        self._book, self._proofs = book, proofs

    async def flagger(self, hook: Hook, canary: Canary) -> Answer:
        """Whether `hook` is a yes. For `rollback` a yes means: roll the canary back."""
        if hook is Hook.POST_ROLLOUT:
            return Answer(True, "noted")
        newest = await self._book.newest(canary.app, canary.place)
        if hook is Hook.ROLLBACK:
            back = newest is not None and newest.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
            return Answer(back, (newest.reason or "rolled back") if back and newest is not None else "nothing is wrong")
        question = canary.question()
        if hook in (Hook.CONFIRM_ROLLOUT, Hook.PRE_ROLLOUT):
            if question is not None:  # the release must exist
                await self._book.release(canary.app, canary.place, question.config_version)
            return _untroubled(newest)
        if question is not None:
            verdict = await self._proofs.verify(canary.app, canary.place, question)
            return Answer(verdict.verified, verdict.reason)
        answer = _untroubled(newest)
        if hook is Hook.CONFIRM_PROMOTION and answer.go and newest is not None and newest.phase is not Phase.PROMOTED:
            return Answer(False, f"rollout {newest.id} is {newest.phase}")
        if newest is None:
            return Answer(False, "no rollout and no config_version: there is nothing to prove")
        return answer


def _untroubled(rollout: Rollout | None) -> Answer:
    """Whether nothing speaks against going on."""
    if rollout is None:
        return Answer(True, "no rollout is in flight")
    if rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return Answer(False, f"rollout {rollout.id}: {rollout.reason or 'rolled back'}")
    if rollout.paused is not None:
        return Answer(False, f"rollout {rollout.id} is paused by {rollout.paused.by}")
    return Answer(True, f"rollout {rollout.id} is {rollout.phase}")
