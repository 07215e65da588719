"""The desk: where drafts become releases, and the channel is pointed at them.

Every act is one transaction that compares all it was decided on, together with its entry in the audit log; so any
number of servers on one store act at once, and the slower one looks again.
"""

from __future__ import annotations

from typing import Any, Final

from herz.errors import StoreCorrupt, UsageError
from herz.release.channel import Channel, Pointer, Release
from herz.release.content import Content
from herz.release.difference import KeyDifference
from herz.release.record import Record, encode
from herz.release.rollout_record import Phase
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.contents import Contents
from herz.server.drafts import Draft, Drafts, StoredDraft, busy, checked_message, compared
from herz.server.problems import Problem, not_found
from herz.server.reading import Readings
from herz.server.rollouts.alerts import glass_broken
from herz.server.schemas import Schemas
from herz.server.settings import ServerSettings
from herz.server.stored import revision_of, stored
from herz.server.validation import Validation, validated
from herz.store.base import Compare, Entry, Operation, Put, Store, Txn
from herz.store.plane import (
    APPS,
    DEFAULT_NAMESPACE,
    channel_key,
    checked_name,
    counter_key,
    draft_key,
    fleet_prefix,
    place,
    release_key,
    releases_prefix,
    rollouts_prefix,
)

PAGE: Final = 50
PAGE_MOST: Final = 500
_ATTEMPTS: Final = 50
_LAST_NUMBER: Final = 10**10 - 1
_WORD_LENGTH: Final = 200


class Namespaces(Record, frozen=True, kw_only=True):
    """An application and its namespaces, in order."""

    app: str
    namespaces: tuple[str, ...]


class Overview(Record, frozen=True, kw_only=True):
    """How a namespace stands: `newest` is the last release, `draft` is without its content."""

    app: str
    namespace: str
    channel: Channel
    channel_revision: int = 0
    newest: Release | None = None
    draft: Draft | None = None
    instances: int = 0
    rollout: str | None = None


class Moved(Record, frozen=True, kw_only=True):
    """A channel that was pointed elsewhere: by which revision of the store, and how it is then."""

    revision: int
    release: Release
    channel: Channel


class _Standing(Record, frozen=True, kw_only=True):
    """As much of a rollout as tells whether it is over."""

    id: str
    phase: Phase


class Desk:
    """Releases, channels and drafts of all namespaces in a store."""

    def __init__(self, store: Store, contents: Contents, audit: Audit, clock: Clock, settings: ServerSettings) -> None:
        self._store, self._contents, self._audit, self._clock = store, contents, audit, clock
        self.readings = Readings()
        self.schemas = Schemas(store, audit, settings)
        self.drafts = Drafts(store, contents, self.readings, audit, clock, self.schemas)

    # --- reading

    async def apps(self) -> tuple[Namespaces, ...]:
        """Every application with a draft, a schema or a release."""
        found: dict[str, list[str]] = {}
        after: str | None = None
        while True:
            page = await self._store.range(APPS, limit=1, after=after)
            if not page.entries:
                return tuple(
                    Namespaces(app=app, namespaces=tuple(sorted(names))) for app, names in sorted(found.items())
                )
            app, _, rest = page.entries[0].key.removeprefix(APPS).partition("/")
            namespace = rest.partition("/")[0]
            found.setdefault(app, []).append(namespace)
            after = f"{APPS}{app}/{namespace}0"  # behind the last key of the namespace: 0 follows the slash

    async def overview(self, app: str, namespace: str) -> Overview:
        """How a namespace stands; a `Problem` 404 when nothing was ever written there."""
        channel, revision = await self.channel(app, namespace)
        newest = await self._newest(app, namespace)
        draft = await self.drafts.facts(app, namespace)
        if not revision and newest is None and draft is None and await self.schemas.get(app, namespace) is None:
            raise not_found(f"there is nothing at {place(app, namespace)}", remedy="write a draft: herz draft write")
        return Overview(
            app=app,
            namespace=namespace,
            channel=channel,
            channel_revision=revision,
            newest=newest,
            draft=draft,
            instances=await self._count(fleet_prefix(app, namespace)),
            rollout=await self.in_flight(app, namespace),
        )

    async def channel(self, app: str, namespace: str) -> tuple[Channel, int]:
        """The channel and the revision that last changed it; an empty one and 0 where nothing was published."""
        entry = await self._store.get(channel_key(app, namespace))
        return _channel(entry), revision_of(entry)

    async def release(self, app: str, namespace: str, number: int) -> Release:
        """One release; a `Problem` 404 when there is none of this number."""
        if not 0 < number <= _LAST_NUMBER:
            raise UsageError(f"{number} is no number of a release", remedy="they count from 1")
        entry = await self._store.get(release_key(app, namespace, number))
        if entry is None:
            raise not_found(
                f"there is no release {number} of {place(app, namespace)}", remedy="list them: herz release list"
            )
        return stored(entry, Release)

    async def releases(
        self, app: str, namespace: str, *, before: int | None = None, limit: int = PAGE
    ) -> tuple[Release, ...]:
        """The releases below number `before`, the newest first, at most `limit`."""
        if before is None:
            before = _number(await self._store.get(counter_key(app, namespace))) + 1
        first = max(1, before - min(limit, PAGE_MOST))
        if before <= first or before > _LAST_NUMBER + 1:
            return ()
        page = await self._store.range(
            releases_prefix(app, namespace), after=release_key(app, namespace, first - 1), limit=before - first
        )
        found = (stored(entry, Release) for entry in page.entries)
        return tuple(release for release in reversed(tuple(found)) if release.number < before)

    async def content(self, app: str, namespace: str, number: int) -> Content:
        """What a release holds."""
        return await self._contents.read((await self.release(app, namespace, number)).digest)

    async def difference(self, app: str, namespace: str, before: int, after: int) -> tuple[KeyDifference, ...]:
        """What differs between two releases, key by key."""
        return await compared(
            self.readings, await self.content(app, namespace, before), await self.content(app, namespace, after)
        )

    async def in_flight(self, app: str, namespace: str) -> str | None:
        """The rollout that is under way, None when there is none."""
        after: str | None = None
        while True:
            page = await self._store.range(rollouts_prefix(app, namespace), after=after, limit=200)
            for entry in page.entries:
                standing = stored(entry, _Standing)
                if not standing.phase.over:
                    return standing.id
            if not page.more:
                return None
            after = page.entries[-1].key

    # --- releasing

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

        A `Problem` 422 with every fault when it is not valid, 409 when the draft is not at revision `expect`, or when a
        rollout is under way, which `force` ends (not the faults: what instances cannot read helps nobody).
        """
        message = checked_message(message, required=True)
        for what, word in (("patch id", patch_id), ("commit", git_commit)):
            _check_word(what, word)
        for _ in range(_ATTEMPTS):
            channel_entry = await self._store.get(channel_key(app, namespace))
            if publish:
                forced = await self._check_free(app, namespace, _channel(channel_entry), force)
            else:
                forced = False
            draft = await self.drafts.get(app, namespace)
            _check_expected(draft, expect)
            content = draft.content or Content()
            schema = await self.schemas.get(app, namespace)
            _check_valid(await validated(content, self.readings, schema, keys=self.schemas.keys))
            counter = await self._store.get(counter_key(app, namespace))
            release = Release(
                app=app,
                namespace=namespace,
                number=_number(counter) + 1,
                digest=draft.digest,
                fingerprint=(await self.readings.of(content)).fingerprint,
                author=by.actor,
                message=message,
                time=self._clock.now(),
                patch_id=patch_id,
                git_commit=git_commit,
                parent=draft.base,
            )
            held, touched = self._contents.holding(draft.digest)
            then: list[Operation] = [
                touched,
                Put(counter_key(app, namespace), b"%d" % release.number),
                Put(release_key(app, namespace, release.number), encode(release)),
                Put(draft_key(app, namespace), encode(_rebased(draft, release.number))),
            ]
            if publish:
                then.append(Put(channel_key(app, namespace), encode(_pointed(release))))
            if forced:
                then.append(glass_broken(release, by.actor, message, self._clock.now()))
            result = await self._audit.commit(
                Txn(
                    (
                        held,
                        Compare.unchanged(draft_key(app, namespace), draft.revision),
                        Compare.unchanged(counter_key(app, namespace), revision_of(counter)),
                        Compare.unchanged(channel_key(app, namespace), revision_of(channel_entry)),
                    ),
                    then,
                ),
                by,
                "release.published" if publish else "release.created",
                release.version,
                message=message,
                details=_told(release),
                forced=forced,
            )
            if result.succeeded:
                return release
        raise busy(app, namespace)

    async def publish(
        self, app: str, namespace: str, number: int, *, by: By, message: str, force: bool = False
    ) -> Moved:
        """Point the channel at a release. `Problem` 409 while a rollout is under way, unless `force` ends it."""
        message = checked_message(message, required=True)
        release = await self.release(app, namespace, number)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(channel_key(app, namespace))
            forced = await self._check_free(app, namespace, _channel(entry), force)
            moved = await self._move(release, entry, by, "release.published", message, forced)
            if moved is not None:
                return moved
        raise busy(app, namespace)

    async def rollback(
        self, app: str, namespace: str, to: int, *, by: By, message: str, expect: int | None = None
    ) -> Moved:
        """Point the channel at an older release and reset the draft to it, both in one write.

        The content that the draft had stays readable as its `kept`. `expect` is the draft's revision that was seen.
        """
        message = checked_message(message, required=True)
        release = await self.release(app, namespace, to)
        key = draft_key(app, namespace)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(channel_key(app, namespace))
            await self._check_free(app, namespace, _channel(entry), force=False)
            draft = await self.drafts.facts(app, namespace)
            _check_expected(draft, expect)
            reset = StoredDraft(
                digest=release.digest,
                author=by.actor,
                time=self._clock.now(),
                base=release.number,
                message=message,
                kept=draft.digest if draft is not None and draft.digest != release.digest else None,
            )
            further = (
                Compare.unchanged(key, 0 if draft is None else draft.revision),
                Put(key, encode(reset)),
            )
            moved = await self._move(release, entry, by, "release.rolled-back", message, False, further)
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
        forced: bool,
        further: tuple[Compare, Put] | None = None,
    ) -> Moved | None:
        """The channel pointed at `release`; None when somebody else was quicker."""
        key, before = channel_key(release.app, release.namespace), _channel(entry)
        channel = _pointed(release)
        held, touched = self._contents.holding(release.digest)
        compares, then = [Compare.unchanged(key, revision_of(entry)), held], [Put(key, encode(channel)), touched]
        if further is not None:
            compares.append(further[0])
            then.append(further[1])
        if forced:
            then.append(glass_broken(release, by.actor, message, self._clock.now()))
        result = await self._audit.commit(
            Txn(compares, then),
            by,
            action,
            release.version,
            message=message,
            details={
                **_told(release),
                "before": None if before.stable.release is None else before.stable.release.number,
            },
            forced=forced,
        )
        return Moved(revision=result.revision, release=release, channel=channel) if result.succeeded else None

    async def _check_free(self, app: str, namespace: str, channel: Channel, force: bool) -> bool:
        """Whether this act overrides a rollout under way; a `Problem` 409 when there is one and it may not."""
        moving = [pointer.rollout for pointer in (channel.stable, *channel.cohorts.values()) if pointer.rollout]
        rollout = await self.in_flight(app, namespace) or next(iter(moving), None)
        if rollout is None and not channel.cohorts:
            return False
        if not force:
            raise Problem(
                409,
                "rollout-in-flight",
                f"rollout {rollout} of {place(app, namespace)} is under way; nothing was changed",
                remedy="wait for it or abort it; force ends it, and says so in the audit log",
                rollout=rollout,
            )
        return True

    async def _newest(self, app: str, namespace: str) -> Release | None:
        number = _number(await self._store.get(counter_key(app, namespace)))
        return await self.release(app, namespace, number) if number else None

    async def _count(self, prefix: str) -> int:
        count, after = 0, None
        while True:
            page = await self._store.range(prefix, limit=1000, after=after)
            count += len(page.entries)
            if not page.more:
                return count
            after = page.entries[-1].key


def namespace_of(name: str | None) -> str:
    """The namespace that `name` means: `default` where none is named."""
    return DEFAULT_NAMESPACE if name is None else checked_name(name, "a namespace")


def _pointed(release: Release) -> Channel:
    """Everybody runs `release`. Cohorts of a rollout are gone, so that nobody is left behind."""
    return Channel(stable=Pointer(release=release.ref))


def _rebased(draft: Draft, number: int) -> StoredDraft:
    return StoredDraft(
        digest=draft.digest, author=draft.author, time=draft.time, base=number, message=draft.message, kept=draft.kept
    )


def _told(release: Release) -> dict[str, Any]:
    return {
        "number": release.number,
        "digest": release.digest,
        "fingerprint": release.fingerprint,
        "patch_id": release.patch_id,
        "git_commit": release.git_commit,
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


def _channel(entry: Entry | None) -> Channel:
    return Channel() if entry is None else stored(entry, Channel)


def _number(entry: Entry | None) -> int:
    if entry is None:
        return 0
    try:
        return int(entry.value)
    except ValueError:
        raise StoreCorrupt(
            "the counter of releases is not a number",
            where=f"{entry.key}@{entry.mod_revision}",
            remedy="write the number of the newest release there",
        ) from None
