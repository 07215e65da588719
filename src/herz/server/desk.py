"""The desk: where drafts become releases, and the channel is pointed at them.

Every act is one transaction that compares all it was decided on, together with its entry in the audit log; so any
number of servers on one store act at once, and the slower one looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from herz.errors import UsageError
from herz.release.approval import Publication
from herz.release.channel import Channel, Pointer, Release
from herz.release.content import Content
from herz.release.record import Record, encode
from herz.server.approvals import Judged, Subject, published, subject_of
from herz.server.audit import By
from herz.server.drafts import Draft, StoredDraft, busy, checked_message
from herz.server.problems import Problem
from herz.server.releases import Releases, channel_in, number_in
from herz.server.rollouts.alerts import glass_broken
from herz.server.stored import revision_of
from herz.server.validation import Validation, validated
from herz.store.base import Compare, Entry, Operation, Put, Txn
from herz.store.plane import channel_key, counter_key, draft_key, place, release_key

_ATTEMPTS: Final = 50
_WORD_LENGTH: Final = 200


class Moved(Record, frozen=True, kw_only=True):
    """A channel that was pointed elsewhere: by which revision of the store, and how it is then."""

    revision: int
    release: Release
    channel: Channel


class Desk(Releases):
    """Makes releases, and points channels at them."""

    async def create(
        self,
        app: str,
        namespace: str,
        *,
        by: By,
        message: str,
        patch_id: str | None = None,
        git_commit: str | None = None,
        expect: int | None = None,
        publish: bool = True,
        force: bool = False,
    ) -> Release:
        """Make the draft a release, and point the channel at it unless `publish` is False.

        A `Problem` 422 with every fault when it is not valid, 409 when the draft is not at revision `expect`, when a
        rollout is under way, or when it is not approved. `force` ends the rollout and goes past the approval (not the
        faults: what instances cannot read helps nobody).
        """
        message = checked_message(message, required=True)
        for what, word in (("patch id", patch_id), ("commit", git_commit)):
            _check_word(what, word)
        for _ in range(_ATTEMPTS):
            channel_entry = await self._store.get(channel_key(app, namespace))
            channel = channel_in(channel_entry)
            past, free = list[str](), list[Compare]()
            if publish:
                past, unchanged = await self._check_free(app, namespace, channel, force)
                free.append(unchanged)
            draft = await self.drafts.get(app, namespace)
            _check_expected(draft, expect)
            content = draft.content or Content()
            schema = await self.schemas.get(app, namespace)
            _check_valid(await validated(content, self.readings, schema, keys=self.schemas.keys))
            judged: Judged | None = None
            if publish:
                subject = Subject(draft.digest, draft.authors, None)
                judged = await self._check_approved(app, namespace, subject, channel, force, past)
                free += judged.compares
            counter = await self._store.get(counter_key(app, namespace))
            release = Release(
                app=app,
                namespace=namespace,
                number=number_in(counter) + 1,
                digest=draft.digest,
                fingerprint=(await self.readings.of(content)).fingerprint,
                author=by.actor,
                message=message,
                time=self._clock.now(),
                patch_id=patch_id,
                git_commit=git_commit,
                parent=draft.base,
                authors=draft.authors,
            )
            held, touched = self._contents.holding(draft.digest)
            then: list[Operation] = [
                touched,
                Put(counter_key(app, namespace), b"%d" % release.number),
                Put(release_key(app, namespace, release.number), encode(release)),
                Put(draft_key(app, namespace), encode(_rebased(draft, release.number, live=publish))),
            ]
            if judged is not None:
                then += self._pointing(release, judged, by, message, past)
            result = await self._audit.commit(
                Txn(
                    (
                        held,
                        Compare.unchanged(draft_key(app, namespace), draft.revision),
                        Compare.unchanged(counter_key(app, namespace), revision_of(counter)),
                        Compare.unchanged(channel_key(app, namespace), revision_of(channel_entry)),
                        *free,
                    ),
                    then,
                ),
                by,
                "release.published" if publish else "release.created",
                release.version,
                message=message,
                details=_told(release) | _agreed(judged),
                forced=bool(past),
            )
            if result.succeeded:
                return release
        raise busy(app, namespace)

    async def publish(
        self, app: str, namespace: str, number: int, *, by: By, message: str, force: bool = False
    ) -> Moved:
        """Point the channel at a release.

        A `Problem` 409 while a rollout is under way or it is not approved: `force` ends the one and passes the other.
        """
        message = checked_message(message, required=True)
        release = await self.release(app, namespace, number)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(channel_key(app, namespace))
            past, free = await self._check_free(app, namespace, channel_in(entry), force)
            judged = await self._check_approved(app, namespace, subject_of(release), channel_in(entry), force, past)
            moved = await self._move(release, entry, by, "release.published", message, judged, (free,), past=past)
            if moved is not None:
                return moved
        raise busy(app, namespace)

    async def rollback(
        self, app: str, namespace: str, to: int, *, by: By, message: str, expect: int | None = None
    ) -> Moved:
        """Point the channel at an older release and reset the draft to it, both in one write.

        What was live before needs no approval; a `Problem` 409 where it was not and is not approved.
        The content that the draft had stays readable as its `kept`. `expect` is the draft's revision that was seen.
        """
        message = checked_message(message, required=True)
        release = await self.release(app, namespace, to)
        key = draft_key(app, namespace)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(channel_key(app, namespace))
            _, free = await self._check_free(app, namespace, channel_in(entry), force=False)
            judged = await self._check_approved(app, namespace, subject_of(release), channel_in(entry), False, [])
            draft = await self.drafts.facts(app, namespace)
            _check_expected(draft, expect)
            reset = StoredDraft(
                digest=release.digest,
                author=by.actor,
                time=self._clock.now(),
                base=release.number,
                message=message,
                kept=draft.digest if draft is not None and draft.digest != release.digest else None,
                authors=(),
            )
            seen = Compare.unchanged(key, 0 if draft is None else draft.revision)
            moved = await self._move(
                release, entry, by, "release.rolled-back", message, judged, (free, seen), (Put(key, encode(reset)),)
            )
            if moved is not None:
                return moved
        raise busy(app, namespace)

    async def _move(
        self,
        release: Release,
        entry: Entry | None,
        by: By,
        action: str,
        message: str,
        judged: Judged,
        compares: tuple[Compare, ...],
        further: tuple[Put, ...] = (),
        *,
        past: Sequence[str] = (),
    ) -> Moved | None:
        """The channel pointed at `release`; None when somebody else was quicker."""
        key, before = channel_key(release.app, release.namespace), channel_in(entry)
        held, touched = self._contents.holding(release.digest)
        then = [touched, *further, *self._pointing(release, judged, by, message, past)]
        result = await self._audit.commit(
            Txn(
                (Compare.unchanged(key, revision_of(entry)), held, *compares, *judged.compares),
                then,
            ),
            by,
            action,
            release.version,
            message=message,
            details={
                **_told(release),
                **_agreed(judged),
                "before": None if before.stable.release is None else before.stable.release.number,
            },
            forced=bool(past),
        )
        return Moved(revision=result.revision, release=release, channel=_pointed(release)) if result.succeeded else None

    def _pointing(self, release: Release, judged: Judged, by: By, message: str, past: Sequence[str]) -> list[Put]:
        """The writes that make `release` stable, kept as proof that it was; loud where it is `past` a rule."""
        now = self._clock.now()
        told = Publication(time=now, by=by.actor, approved_by=judged.state.approved_by, forced=bool(past))
        writes = [
            Put(channel_key(release.app, release.namespace), encode(_pointed(release))),
            published(release.ref, release.app, release.namespace, told),
        ]
        return [*writes, glass_broken(release, by.actor, message, now, past)] if past else writes

    async def _check_approved(
        self, app: str, namespace: str, subject: Subject, channel: Channel, force: bool, past: list[str]
    ) -> Judged:
        """How it stands with the approval of what is to become stable; adds to `past` where `force` passes it.

        A `Problem` 409 where it is not approved and may not.
        """
        judged = await self.approvals.judged(app, namespace, subject, channel.stable.release)
        if judged.past(force):
            past.append(f"without the approval that {', '.join(judged.state.layers)} needs")
        return judged

    async def _check_free(self, app: str, namespace: str, channel: Channel, force: bool) -> tuple[list[str], Compare]:
        """What this act overrides, a rollout under way or nothing, and the condition that none has begun since.

        A `Problem` 409 when there is one and it may not.
        """
        moving = [pointer.rollout for pointer in (channel.stable, *channel.cohorts.values()) if pointer.rollout]
        rollout, unchanged = await self.flight(app, namespace)
        rollout = rollout or next(iter(moving), None)
        if rollout is None and not channel.cohorts:
            return [], unchanged
        if not force:
            raise Problem(
                409,
                "rollout-in-flight",
                f"rollout {rollout} of {place(app, namespace)} is under way; nothing was changed",
                remedy="wait for it or abort it; force ends it, and says so in the audit log",
                rollout=rollout,
            )
        return ["while a rollout was under way"], unchanged


def _pointed(release: Release) -> Channel:
    """Everybody runs `release`. Cohorts of a rollout are gone, so that nobody is left behind."""
    return Channel(stable=Pointer(release=release.ref))


def _rebased(draft: Draft, number: int, *, live: bool) -> StoredDraft:
    """The draft once it is release `number`. Whose work it was matters no more once it is live."""
    return StoredDraft(
        digest=draft.digest,
        author=draft.author,
        time=draft.time,
        base=number,
        message=draft.message,
        kept=draft.kept,
        authors=() if live else draft.authors,
    )


def _told(release: Release) -> dict[str, Any]:
    return {
        "number": release.number,
        "digest": release.digest,
        "fingerprint": release.fingerprint,
        "patch_id": release.patch_id,
        "git_commit": release.git_commit,
    }


def _agreed(judged: Judged | None) -> dict[str, Any]:
    """What the audit log keeps of an approval, where the layers that change need one."""
    if judged is None or not judged.state.layers:
        return {}
    state = judged.state
    return {
        "layers": state.layers,
        "approved_by": state.approved_by,
        "authors": state.authors,
        "was_stable": state.was_stable,
    }


def _check_word(what: str, word: str | None) -> None:
    if word is not None and (not word.strip() or len(word) > _WORD_LENGTH or not word.isprintable()):
        raise UsageError(f"{word[:_WORD_LENGTH]!r} is no {what}", remedy="leave it out, or write it in one line")


def _check_expected(draft: Draft | None, expect: int | None) -> None:
    actual = 0 if draft is None else draft.revision
    if expect is not None and actual != expect:
        raise Problem(
            409,
            "conflict",
            f"the draft is at revision {actual}, not {expect}; nothing was changed",
            remedy="look at what was changed since, then decide again",
            expected=expect,
            actual=actual,
        )


def _check_valid(validation: Validation) -> None:
    if not validation.ok:
        count = len(validation.problems)
        raise Problem(
            422,
            "invalid",
            f"the draft has {count} {'fault' if count == 1 else 'faults'}; nothing was released",
            where=validation.problems[0].where,
            remedy="mend each of them; herz draft validate lists them",
            problems=list(validation.problems),
        )
