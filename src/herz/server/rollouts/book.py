"""The book of rollouts: starting one, reading them, and writing what people order of them.

A namespace has one rollout in flight at most: the newest one, until its record says that it is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import field

from herz.errors import Conflict, UsageError
from herz.release.channel import Channel, Release
from herz.release.plan import Plan
from herz.release.record import Record, decode, encode
from herz.release.rollout import Check, Rollout
from herz.server.approvals import Approvals, subject_of
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.problems import Problem, not_found
from herz.server.rollouts.alerts import Alert, posted
from herz.store.base import Compare, Entry, Get, Put, Store, Txn
from herz.store.plane import channel_key, release_key, rollout_counter_key, rollout_key

PAGE: Final = 50
"""Rollouts that are listed at once, unless asked otherwise."""
CHECKS: Final = 10
"""Checks that a rollout may have: its record holds what each said of every batch."""
RECORD_BYTES: Final = 64 * 1024
"""What a rollout may hold when it begins; it grows by its batches."""
_ATTEMPTS: Final = 20
_TOGETHER: Final = 5


class Wish(Record, frozen=True, kw_only=True):
    """What a rollout is to be: a release, in which steps, to whom, with which program, watched by what.

    `deployer` names a hook of the server. Without `patch_id` it is the release's own, if that has one.
    """

    release: int
    plan: Plan = Plan()
    selector: dict[str, str] = field(default_factory=dict)
    patch_id: str | None = None
    checks: tuple[Check, ...] = ()
    deployer: str | None = None
    allow_overrides: tuple[str, ...] = ()
    allow_empty: bool = False
    message: str = ""


class Counter(Record, frozen=True, kw_only=True):
    """The number of a namespace's newest rollout; 0 before the first."""

    newest: int = 0


class Stored(NamedTuple):
    """A rollout and the revision that last wrote it."""

    value: Rollout
    revision: int


def stored(entry: Entry) -> Stored:
    """The rollout in an entry; `DocumentMalformed` when it is none."""
    return Stored(decode(entry.value, Rollout, f"{entry.key}@{entry.mod_revision}"), entry.mod_revision)


class Book:
    """The rollouts in a store. Whatever is ordered here is in the audit log, in the same transaction."""

    def __init__(self, store: Store, audit: Audit, clock: Clock, approvals: Approvals) -> None:
        self._store, self._audit, self._clock, self._approvals = store, audit, clock, approvals

    async def start(self, app: str, namespace: str, wish: Wish, by: By) -> Rollout:
        """Begin a rollout; whoever holds the lease drives it from here.

        `Conflict` while another one is in flight, a `Problem` 404 for a release that does not exist, 409 for one that
        is not approved, `UsageError` for a wish that makes no sense. Its promotion needs no approval again.
        """
        plan = wish.plan.checked()
        if len(wish.checks) > CHECKS or len({check.name for check in wish.checks}) < len(wish.checks):
            raise UsageError(
                f"{len(wish.checks)} checks", remedy=f"name at most {CHECKS}, each otherwise; one may look at several"
            )
        if len(encode(wish)) > RECORD_BYTES:
            raise UsageError(f"a rollout of {len(encode(wish)):,} bytes", remedy=f"say it in {RECORD_BYTES:,}")
        for _ in range(_ATTEMPTS):
            release = await self.release(app, namespace, wish.release)
            channel, at = await self._channel(app, namespace)
            counter, counted = await self._counter(app, namespace)
            await self._refuse_second(app, namespace, counter.newest)
            if channel.stable.release is not None and channel.stable.release.number == release.number:
                raise UsageError(f"{release.version} is stable already", remedy="roll out another release")
            judged = await self._approvals.judged(app, namespace, subject_of(release), channel.stable.release)
            judged.past(force=False)
            now = self._clock.now()
            number = counter.newest + 1
            rollout = Rollout(
                id=f"r{number}",
                app=app,
                namespace=namespace,
                release=release.ref,
                stable=channel.stable.release,
                plan=plan,
                author=by.actor,
                created=now,
                since=now,
                message=wish.message,
                selector=wish.selector,
                patch_id=wish.patch_id if wish.patch_id is not None else release.patch_id,
                deployer=None if wish.deployer is None else {"name": wish.deployer},
                checks=wish.checks,
                allow_overrides=wish.allow_overrides,
                allow_empty=wish.allow_empty,
                approved_by=judged.state.approved_by,
            )
            done = await self._audit.commit(
                Txn(
                    (
                        Compare.unchanged(rollout_counter_key(app, namespace), counted),
                        Compare.unchanged(channel_key(app, namespace), at),
                        *judged.compares,
                    ),
                    (
                        Put(rollout_counter_key(app, namespace), encode(Counter(newest=number))),
                        Put(rollout_key(app, namespace, rollout.id), encode(rollout)),
                    ),
                ),
                by,
                "rollout.start",
                f"{app}/{namespace} {rollout.id}",
                message=wish.message,
                details={
                    "release": release.number,
                    "patch_id": rollout.patch_id,
                    "plan": msgspec.to_builtins(plan),
                    "approved_by": rollout.approved_by,
                },
            )
            if done.succeeded:
                return rollout
        raise Conflict("the channel moves all the time", key=channel_key(app, namespace), remedy="try again")

    async def find(self, app: str, namespace: str, rollout: str) -> Stored:
        """One rollout; a `Problem` 404 when there is none."""
        entry = await self._store.get(rollout_key(app, namespace, rollout))
        if entry is None:
            raise not_found(f"{app}/{namespace} has no rollout {rollout}", remedy="see the list of its rollouts")
        return stored(entry)

    async def all(
        self, app: str, namespace: str, *, before: int | None = None, limit: int = PAGE
    ) -> tuple[Rollout, ...]:
        """The rollouts of a namespace, the newest first, at most `limit`; those with a number below `before`."""
        counter, _ = await self._counter(app, namespace)
        newest = counter.newest if before is None else min(counter.newest, before - 1)
        numbers = range(newest, max(0, newest - limit), -1)
        found: list[Rollout] = []
        for start in range(0, len(numbers), _TOGETHER):  # a record may be large
            gets = [Get(rollout_key(app, namespace, f"r{number}")) for number in numbers[start : start + _TOGETHER]]
            read = await self._store.txn(Txn(then=gets))
            found += [stored(entry).value for entries in read.results for entry in entries]
        return tuple(found)

    async def newest(self, app: str, namespace: str) -> Rollout | None:
        """The newest rollout, in flight or over; None before the first."""
        counter, _ = await self._counter(app, namespace)
        return (await self.find(app, namespace, f"r{counter.newest}")).value if counter.newest else None

    async def in_flight(self, app: str, namespace: str) -> Rollout | None:
        """The rollout in flight, if there is one."""
        newest = await self.newest(app, namespace)
        return None if newest is None or newest.over else newest

    async def order(
        self,
        app: str,
        namespace: str,
        rollout: str,
        change: Callable[[Rollout], Rollout],
        action: str,
        by: By,
        *,
        message: str = "",
        forced: bool = False,
        compares: tuple[Compare, ...] = (),
    ) -> Rollout:
        """Write what somebody orders of a rollout: `change` of its record as it is now; `UsageError` as that raises.

        `Conflict` when `compares` do not hold, or somebody else writes it all the time.
        """
        for _ in range(_ATTEMPTS):
            before = await self.find(app, namespace, rollout)
            if before.value.over:
                raise Problem(
                    409,
                    "over",
                    f"rollout {rollout} is over: {before.value.phase}",
                    remedy="start another one",
                    phase=before.value.phase,
                )
            after = change(before.value)
            if after == before.value:
                return after
            key = rollout_key(app, namespace, rollout)
            done = await self._audit.commit(
                Txn((Compare.unchanged(key, before.revision), *compares), (Put(key, encode(after)),)),
                by,
                action,
                f"{app}/{namespace} {rollout}",
                message=message,
                details={"phase": before.value.phase, "batch": before.value.batch},
                forced=forced,
            )
            if done.succeeded:
                return after
            if compares and (await self.find(app, namespace, rollout)).revision == before.revision:
                break
        raise Conflict(
            f"{rollout} was written by others all the time",
            key=rollout_key(app, namespace, rollout),
            remedy="try again",
        )

    async def release(self, app: str, namespace: str, number: int) -> Release:
        """One release; a `Problem` 404 when there is none."""
        entry = await self._store.get(release_key(app, namespace, number)) if 0 < number < 10**10 else None
        if entry is None:
            raise not_found(f"{app}/{namespace} has no release {number}", remedy="see the list of its releases")
        return decode(entry.value, Release, f"{entry.key}@{entry.mod_revision}")

    async def _channel(self, app: str, namespace: str) -> tuple[Channel, int]:
        entry = await self._store.get(channel_key(app, namespace))
        if entry is None:
            return Channel(), 0
        return decode(entry.value, Channel, f"{entry.key}@{entry.mod_revision}"), entry.mod_revision

    async def _counter(self, app: str, namespace: str) -> tuple[Counter, int]:
        entry = await self._store.get(rollout_counter_key(app, namespace))
        if entry is None:
            return Counter(), 0
        return decode(entry.value, Counter, f"{entry.key}@{entry.mod_revision}"), entry.mod_revision

    async def _refuse_second(self, app: str, namespace: str, newest: int) -> None:
        if not newest:
            return
        other = (await self.find(app, namespace, f"r{newest}")).value
        if not other.over:
            raise Conflict(
                f"rollout {other.id} of release {other.release.number} is in flight ({other.phase})",
                key=rollout_key(app, namespace, other.id),
                remedy="wait until it is over, or abort it",
            )


def alerts_of(before: Rollout, after: Rollout) -> tuple[Put, ...]:
    """The writes that have people told of what `after` has to tell and `before` had not."""
    known = {notice.number for notice in before.notices}
    return tuple(
        posted(
            Alert(
                kind=notice.kind,
                app=after.app,
                namespace=after.namespace,
                rollout=after.id,
                release=after.release.number,
                text=notice.text,
                time=notice.at,
                author=None if after.forced is None else after.forced.by,
            ),
            f"{after.id}-{notice.number}",
        )
        for notice in after.notices
        if notice.number not in known
    )
