"""What is released, and who runs it: read page by page, of any number of releases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from herz.errors import StoreCorrupt, UsageError
from herz.release.approval import ApprovalState, Policy
from herz.release.channel import Channel, Release
from herz.release.content import Content
from herz.release.difference import KeyDifference
from herz.release.record import Record
from herz.release.rollout_record import Phase
from herz.server.approvals import Approvals
from herz.server.audit import Audit
from herz.server.clock import Clock
from herz.server.contents import Contents
from herz.server.drafts import Draft, Drafts, compared
from herz.server.policies import Policies
from herz.server.problems import not_found
from herz.server.reading import Readings
from herz.server.schemas import Schemas
from herz.server.settings import ServerSettings
from herz.server.stored import revision_of, stored
from herz.store.base import Compare, Entry, Store
from herz.store.plane import (
    APPS,
    channel_key,
    checked_name,
    counter_key,
    fleet_prefix,
    place,
    release_key,
    releases_prefix,
    rollout_counter_key,
    rollout_key,
)

PAGE: Final = 50
PAGE_MOST: Final = 500
_LAST_NUMBER: Final = 10**10 - 1


class Namespaces(Record, frozen=True, kw_only=True):
    """An application and its namespaces, in order."""

    app: str
    namespaces: tuple[str, ...]


class Overview(Record, frozen=True, kw_only=True):
    """How a namespace stands: `newest` is the last release, `draft` is without its content.

    `policy` says what must be approved before it is live; where there is one, `approval` how it stands with the draft.
    """

    app: str
    namespace: str
    channel: Channel
    channel_revision: int = 0
    newest: Release | None = None
    draft: Draft | None = None
    instances: int = 0
    rollout: str | None = None
    policy: Policy | None = None
    approval: ApprovalState | None = None


class _Newest(Record, frozen=True, kw_only=True):
    """The counter of rollouts: only the newest can be under way."""

    newest: int = 0


class Standing(Record, frozen=True, kw_only=True):
    """As much of a rollout as tells whether it is over; a record leaves out the phase that it begins with."""

    phase: Phase = Phase.PENDING


class Releases:
    """The releases and channels of all namespaces in a store, for reading; and who may stand in their way."""

    def __init__(self, store: Store, contents: Contents, audit: Audit, clock: Clock, settings: ServerSettings) -> None:
        self._store, self._contents, self._audit, self._clock = store, contents, audit, clock
        self.readings = Readings()
        self.schemas = Schemas(store, audit, settings)
        self.drafts = Drafts(store, contents, self.readings, audit, clock, self.schemas)
        self.policies = Policies(store, audit)
        self.approvals = Approvals(store, contents, audit, clock, self.drafts, self.policies)

    async def apps(self) -> tuple[Namespaces, ...]:
        """Every application with a draft, a schema or a release."""
        found: dict[str, list[str]] = {}
        async for app, namespace in self._places(APPS):
            found.setdefault(app, []).append(namespace)
        return tuple(Namespaces(app=app, namespaces=tuple(sorted(names))) for app, names in sorted(found.items()))

    async def namespaces(self, app: str) -> tuple[str, ...]:
        """The namespaces of an application with a draft, a schema or a release."""
        prefix = f"{APPS}{checked_name(app, 'an application')}/"
        return tuple(sorted([namespace async for _, namespace in self._places(prefix)]))

    async def _places(self, prefix: str) -> AsyncIterator[tuple[str, str]]:
        after: str | None = None
        while True:
            page = await self._store.range(prefix, limit=1, after=after)
            if not page.entries:
                return
            app, _, rest = page.entries[0].key.removeprefix(APPS).partition("/")
            namespace = rest.partition("/")[0]
            yield app, namespace
            after = f"{APPS}{app}/{namespace}0"  # behind the last key of the namespace: 0 follows the slash

    async def overview(self, app: str, namespace: str) -> Overview:
        """How a namespace stands; a `Problem` 404 when nothing was ever written there."""
        channel, revision = await self.channel(app, namespace)
        newest = await self._newest(app, namespace)
        draft = await self.drafts.facts(app, namespace)
        policy = await self.policies.get(app, namespace)
        known = revision or newest is not None or draft is not None or policy is not None
        if not known and await self.schemas.get(app, namespace) is None:
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
            policy=policy,
            approval=await self.approvals.of_draft(app, namespace, draft)
            if policy is not None and draft is not None
            else None,
        )

    async def channel(self, app: str, namespace: str) -> tuple[Channel, int]:
        """The channel and the revision that last changed it; an empty one and 0 where nothing was published."""
        entry = await self._store.get(channel_key(app, namespace))
        return channel_in(entry), revision_of(entry)

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
            before = number_in(await self._store.get(counter_key(app, namespace))) + 1
        first = max(1, before - min(limit, PAGE_MOST))
        if before <= first or before > _LAST_NUMBER + 1:
            return ()
        page = await self._store.range(
            releases_prefix(app, namespace), after=release_key(app, namespace, first - 1), limit=before - first
        )
        found = (stored(entry, Release) for entry in page.entries)
        return tuple(release for release in reversed(tuple(found)) if release.number < before)

    async def has_released(self, app: str, namespace: str, digest: str) -> bool:
        """Whether one of the newest 500 releases is of this content."""
        return any(one.digest == digest for one in await self.releases(app, namespace, limit=PAGE_MOST))

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
        return (await self.flight(app, namespace))[0]

    async def flight(self, app: str, namespace: str) -> tuple[str | None, Compare]:
        """The rollout that is under way, and the condition that none has begun since."""
        key = rollout_counter_key(app, namespace)
        counter = await self._store.get(key)
        unchanged = Compare.unchanged(key, revision_of(counter))
        if counter is None:
            return None, unchanged
        rollout = f"r{stored(counter, _Newest).newest}"
        entry = await self._store.get(rollout_key(app, namespace, rollout))
        return None if entry is None or stored(entry, Standing).phase.over else rollout, unchanged

    async def _newest(self, app: str, namespace: str) -> Release | None:
        number = number_in(await self._store.get(counter_key(app, namespace)))
        return await self.release(app, namespace, number) if number else None

    async def _count(self, prefix: str) -> int:
        count, after = 0, None
        while True:
            page = await self._store.range(prefix, limit=1000, after=after)
            count += len(page.entries)
            if not page.more:
                return count
            after = page.entries[-1].key


def channel_in(entry: Entry | None) -> Channel:
    """The channel in an entry; an empty one where there is none."""
    return Channel() if entry is None else stored(entry, Channel)


def number_in(entry: Entry | None) -> int:
    """The counter in an entry; 0 where there is none."""
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
