"""Approvals: what must be agreed to before it is live, who has agreed, and whether that is enough.

Whoever publishes asks `judged`, and compares what that was decided on in the transaction of the publication itself: the
policy and the approvals, beside the channel and the draft, which are compared anyway. So a policy that is made, an
approval that is withdrawn, an edit or another publication at the same moment is never overlooked.

That a release was stable before is told by its publications, which are written in the transaction that makes it stable
and never taken away; so there is nothing of it to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from herz.errors import UsageError
from herz.release.approval import (
    Approval,
    ApprovalState,
    GivenApprovals,
    Publication,
    Standing,
    changed,
    people,
    person,
    standings,
    weighed,
)
from herz.release.channel import Channel, Release, ReleaseRef
from herz.release.record import encode
from herz.server.access import Caller
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.contents import Contents
from herz.server.drafts import Draft, Drafts, busy, checked_message
from herz.server.policies import Policies
from herz.server.problems import Problem, not_found
from herz.server.stored import revision_of, stored
from herz.server.tokens import Scope
from herz.store.base import Compare, Delete, Put, Store, Txn
from herz.store.plane import (
    approvals_key,
    channel_key,
    place,
    publication_key,
    publications_prefix,
    release_key,
)

_ATTEMPTS: Final = 50
_GIVEN_MOST: Final = 100
"""How many may approve one content."""
_PUBLICATIONS_MOST: Final = 500


class Subject(NamedTuple):
    """What is to become live: its content, who wrote it, and the number of the release, None for a draft."""

    digest: str
    authors: tuple[str, ...]
    number: int | None


class Judged(NamedTuple):
    """How it stands with a subject, and the conditions that it still stands so."""

    state: ApprovalState
    compares: tuple[Compare, ...]

    def past(self, force: bool) -> bool:
        """Whether a publication overrides the rule; a `Problem` 409 where it is not approved and `force` is False."""
        if not self.state.ok and not force:
            raise approval_needed(self.state)
        return not self.state.ok


class Approvals:
    """The approvals in a store."""

    def __init__(
        self, store: Store, contents: Contents, audit: Audit, clock: Clock, drafts: Drafts, policies: Policies
    ) -> None:
        self._store, self._contents, self._audit, self._clock = store, contents, audit, clock
        self._drafts, self._policies = drafts, policies

    async def state(self, app: str, namespace: str, release: int | None = None) -> ApprovalState:
        """How it stands with a release, by default the draft; a `Problem` 404 where there is none."""
        return await self._state(app, namespace, await self._subject(app, namespace, release))

    async def of_draft(self, app: str, namespace: str, draft: Draft) -> ApprovalState:
        """How it stands with a draft as it was read."""
        return await self._state(app, namespace, Subject(draft.digest, draft.authors, None))

    def may(self, state: ApprovalState, caller: Caller) -> str | None:
        """Why `caller` cannot approve, None when they can."""
        if not caller.may(Scope.APPROVE, state.app):
            return f"the scope {Scope.APPROVE.value} is needed in {state.app}"
        return state.refusal(caller.name)

    async def give(
        self, app: str, namespace: str, release: int | None, *, digest: str, by: By, message: str = ""
    ) -> ApprovalState:
        """Approve a release, or the draft, whose content has the address `digest`; how it stands then.

        A `Problem` 409 where that is another content, or needs no approval; 403 for whoever wrote some of it. Whoever
        has approved it already does so anew, against what is stable now.
        """
        message = checked_message(message, required=False)
        for _ in range(_ATTEMPTS):
            subject = await self._subject(app, namespace, release)
            _check_seen(subject, digest)
            stable = await self._stable(app, namespace)
            state = (await self.judged(app, namespace, subject, stable)).state
            self._check_given(state, by)
            key = approvals_key(app, namespace, subject.digest)
            entry = await self._store.get(key)
            there = GivenApprovals() if entry is None else stored(entry, GivenApprovals)
            others = tuple(one for one in there.given if person(one.by) != person(by.actor))
            if len(others) >= _GIVEN_MOST:
                raise UsageError(f"{len(others)} people have approved it", remedy="these are enough")
            approval = Approval(
                by=by.actor,
                token=by.token,
                time=self._clock.now(),
                message=message,
                layers=state.layers,
                against=None if stable is None else stable.digest,
                against_release=state.against,
            )
            result = await self._audit.commit(
                Txn(
                    (Compare.unchanged(key, revision_of(entry)),),
                    (Put(key, encode(GivenApprovals(given=(*others, approval)))),),
                ),
                by,
                "approval.given",
                _named(state),
                message=message,
                details={"digest": subject.digest, "layers": state.layers, "against": state.against},
            )
            if result.succeeded:
                return await self._state(app, namespace, subject)
        raise busy(app, namespace)

    async def withdraw(
        self, app: str, namespace: str, digest: str, *, by: By, approver: str | None = None, message: str = ""
    ) -> None:
        """Take an approval back: one's own, or that of `approver`. What is live already stays so.

        A `Problem` 404 where there is none.
        """
        key = approvals_key(app, namespace, digest)
        name = by.actor if approver is None else approver
        message = checked_message(message, required=False)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(key)
            there = () if entry is None else stored(entry, GivenApprovals).given
            left = tuple(one for one in there if person(one.by) != person(name))
            if len(left) == len(there):
                raise not_found(f"{name} has not approved this", remedy="list who has: herz approval list")
            write = Put(key, encode(GivenApprovals(given=left))) if left else Delete(key)
            result = await self._audit.commit(
                Txn((Compare.unchanged(key, revision_of(entry)),), (write,)),
                by,
                "approval.withdrawn",
                place(app, namespace),
                message=message,
                details={"digest": digest, "approver": name},
            )
            if result.succeeded:
                return
        raise busy(app, namespace)

    # --- what is about to become live

    async def judged(self, app: str, namespace: str, subject: Subject, stable: ReleaseRef | None) -> Judged:
        """How it stands with `subject` while `stable` is what everybody runs; the channel is compared by the caller."""
        policy, unchanged = await self._policies.current(app, namespace)
        compares = [unchanged]
        layers: tuple[str, ...] = ()
        now: Mapping[str, Standing] = {}
        given: tuple[Approval, ...] = ()
        if policy is not None:
            key = approvals_key(app, namespace, subject.digest)
            entry = await self._store.get(key)
            compares.append(Compare.unchanged(key, revision_of(entry)))
            given = () if entry is None else stored(entry, GivenApprovals).given
            now = await self._standings(None if stable is None else stable.digest)
            layers = changed(policy, now, await self._standings(subject.digest))
        then = {one.against: await self._known(one.against) for one in given}
        found = tuple(weighed(one, layers, subject.authors, then[one.against], now) for one in given)
        was_stable = bool(layers) and await self._was_stable(app, namespace, subject.number)
        need = policy.approvals if policy is not None and layers and not was_stable else 0
        have = people(one.approval.by for one in found if one.counts)
        state = ApprovalState(
            app=app,
            namespace=namespace,
            release=subject.number,
            digest=subject.digest,
            against=None if stable is None else stable.number,
            authors=subject.authors,
            layers=layers,
            was_stable=was_stable,
            needed=need > 0,
            have=have,
            need=need,
            ok=have >= need,
            given=found,
        )
        return Judged(state, tuple(compares))

    async def publications(self, app: str, namespace: str, number: int) -> tuple[Publication, ...]:
        """When a release became stable, the first time first, at most 500 of them."""
        page = await self._store.range(publications_prefix(app, namespace, number), limit=_PUBLICATIONS_MOST)
        return tuple(stored(entry, Publication) for entry in page.entries)

    # --- reading

    async def _state(self, app: str, namespace: str, subject: Subject) -> ApprovalState:
        return (await self.judged(app, namespace, subject, await self._stable(app, namespace))).state

    async def _subject(self, app: str, namespace: str, release: int | None) -> Subject:
        if release is None:
            draft = await self._drafts.facts(app, namespace)
            if draft is None:
                raise not_found(f"{place(app, namespace)} has no draft", remedy="write one: herz draft")
            return Subject(draft.digest, draft.authors, None)
        entry = await self._store.get(release_key(app, namespace, release)) if 0 < release < 10**10 else None
        if entry is None:
            raise not_found(f"there is no release {release} of {place(app, namespace)}", remedy="herz release list")
        return subject_of(stored(entry, Release))

    async def _stable(self, app: str, namespace: str) -> ReleaseRef | None:
        entry = await self._store.get(channel_key(app, namespace))
        return None if entry is None else stored(entry, Channel).stable.release

    async def _standings(self, digest: str | None) -> Mapping[str, Standing]:
        return standings(None if digest is None else await self._contents.manifest(digest))

    async def _known(self, digest: str | None) -> Mapping[str, Standing] | None:
        try:
            return await self._standings(digest)
        except Problem:
            return None

    async def _was_stable(self, app: str, namespace: str, number: int | None) -> bool:
        return number is not None and bool(
            (await self._store.range(publications_prefix(app, namespace, number), limit=1)).entries
        )

    def _check_given(self, state: ApprovalState, by: By) -> None:
        if not state.needed:
            raise Problem(
                409,
                "approval-unneeded",
                f"{_named(state)} needs no approval; nothing was written",
                remedy="it can be published as it is",
            )
        why_not = state.refusal(by.actor)
        if why_not is not None:
            raise Problem(
                403,
                "own-work",
                f"{by.actor} cannot approve {_named(state)}: {why_not}",
                remedy="ask somebody who wrote none of it",
                authors=list(state.authors),
            )


def subject_of(release: Release) -> Subject:
    """A release as what is to become live."""
    return Subject(release.digest, release.writers, release.number)


def published(release: ReleaseRef, app: str, namespace: str, publication: Publication) -> Put:
    """The write that says that a release became stable; it belongs into the transaction that makes it so."""
    return Put(publication_key(app, namespace, release.number, _milliseconds(publication.time)), encode(publication))


def approval_needed(state: ApprovalState) -> Problem:
    """The refusal of what is not approved, with what is missing."""
    whose = f" by somebody other than {', '.join(state.authors)}" if state.authors else ""
    layers = ", ".join(state.layers)
    number = "" if state.release is None else f" {state.release}"
    return Problem(
        409,
        "approval-needed",
        f"{_named(state)} changes {layers}, which needs approval{whose}: {state.have} of {state.need} given; "
        "nothing was changed",
        remedy=f"have it approved: herz approval give{number}; force publishes it without, and tells everybody so",
        release=state.release,
        digest=state.digest,
        layers=list(state.layers),
        have=state.have,
        need=state.need,
        authors=list(state.authors),
    )


def _check_seen(subject: Subject, digest: str) -> None:
    if digest.removeprefix("sha256:") != subject.digest.removeprefix("sha256:"):
        what = "the draft" if subject.number is None else f"release {subject.number}"
        raise Problem(
            409,
            "conflict",
            f"{what} is another content than the one that was looked at; nothing was written",
            remedy="look at it as it is now, then approve that",
            expected=digest,
            actual=subject.digest,
        )


def _named(state: ApprovalState) -> str:
    where = place(state.app, state.namespace)
    return f"the draft of {where}" if state.release is None else f"{where}@{state.release}"


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
