"""The driver of all rollouts in flight: at work on the server that holds the lease, woken by what is observed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from herz.errors import DocumentMalformed, HerzError, LeaseLost, NotRunning, SourceError
from herz.server.audit import Audit
from herz.server.clock import Clock
from herz.server.hub import Happened, Hub
from herz.server.releases import Standing
from herz.server.rollouts.alerts import Alert, Alerts, Target
from herz.server.rollouts.book import stored
from herz.server.rollouts.drive import HERZ, Acting, Drive
from herz.server.work import Held
from herz.store.base import Entry, EventType, Store, Txn
from herz.store.plane import ROLLOUTS

_log = logging.getLogger("herz")

DUTY: Final = "rollouts"
"""The lease that its holder drives under."""
PAGE: Final = 200
RETRY_MOST_S: Final = 2.0


class Driver:
    """Drives rollouts whenever its server holds the lease; made once for a server."""

    def __init__(
        self,
        *,
        store: Store,
        hub: Hub,
        audit: Audit,
        clock: Clock,
        acting: Acting,
        targets: Iterable[Target] = (),
    ) -> None:
        self._store, self._hub, self._audit, self._clock, self._acting = store, hub, audit, clock, acting
        self._targets = tuple(targets)
        self._drives: dict[str, Drive] = {}
        self._rewound = asyncio.Event()
        hub.on_rewind(lambda reason: self._rewound.set())
        hub.on_change(self._happened)
        hub.on_proof(self._proved)

    @property
    def driven(self) -> tuple[Drive, ...]:
        """What is driven here at the moment."""
        return tuple(self._drives.values())

    async def work(self, held: Held) -> None:
        """Drive everything in flight and send alerts, as long as the lease is held; for `held_forever`."""
        self._rewound.clear()
        alerts = Alerts(self._store, self._targets, _Undelivered(self._audit, held))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_again("alerts", alerts.run))
                tasks.create_task(_again("rollouts", lambda: self._follow(held, tasks)))
                tasks.create_task(self._until_rewound())
        except BaseExceptionGroup as group:
            error = _first(group)
            if isinstance(error, Exception) and not isinstance(error, HerzError):
                _log.error("herz: driving rollouts failed in an unexpected way", exc_info=error)
                error = SourceError(f"driving rollouts: {error!r}", remedy="it begins anew; look into the server's log")
            raise error from group
        finally:
            self._drives = {}

    async def _until_rewound(self) -> None:
        """End the work once the store went back: what is held of it here, the right to do it as well, may never be."""
        await self._rewound.wait()
        raise SourceError("the store went back in time, or is another one", remedy="rollouts go on from what is there")

    async def _follow(self, held: Held, tasks: asyncio.TaskGroup) -> None:
        revision = None
        after = None
        while True:
            page = await self._store.range(ROLLOUTS, after=after, revision=revision, limit=PAGE)
            for entry in page.entries:
                self._found(entry, held, tasks)
            revision = page.revision
            if not page.more:
                break
            after = page.entries[-1].key
        async with self._store.watch(ROLLOUTS, revision) as items:
            async for item in items:
                for event in getattr(item, "events", ()):
                    if event.type is EventType.PUT:
                        self._found(event.entry, held, tasks)

    def _found(self, entry: Entry, held: Held, tasks: asyncio.TaskGroup) -> None:
        try:
            known = self._drives.get(entry.key)
            if known is None and msgspec.json.decode(entry.value, type=Standing).phase.over:
                return
            rollout = stored(entry)
        except (DocumentMalformed, msgspec.DecodeError) as error:
            _log.error("herz: a rollout cannot be read, and is not driven: %s (%s)", error, entry.key)
            return
        if known is not None:
            known.tell(rollout)
            return
        drive = self._drives[entry.key] = Drive(
            rollout,
            store=self._store,
            hub=self._hub,
            audit=self._audit,
            held=held,
            acting=self._acting,
            clock=self._clock,
        )
        tasks.create_task(self._driven(entry.key, drive), name=f"herz-rollout {entry.key}")

    async def _driven(self, key: str, drive: Drive) -> None:
        try:
            await drive.run()
        finally:
            self._drives.pop(key, None)

    def _happened(self, happened: Happened) -> None:
        for drive in self._drives.values():
            if (drive.record.app, drive.record.namespace) == (happened.namespace.app, happened.namespace.name):
                drive.hurry()

    def _proved(self) -> None:
        for drive in self._drives.values():
            if drive.waits_for_the_hub:
                drive.hurry()


class _Undelivered:
    """Writes an alert that nobody took into the audit log."""

    def __init__(self, audit: Audit, held: Held) -> None:
        self._audit, self._held = audit, held

    async def __call__(self, alert: Alert, why: str) -> None:
        target = f"{alert.app}/{alert.namespace}" + (f" {alert.rollout}" if alert.rollout is not None else "")
        details = {"kind": alert.kind, "title": alert.title, "why": why}
        await self._audit.commit(Txn((self._held.fence,)), HERZ, "alert.undelivered", target, details=details)


async def _again(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again whenever the store fails it, without letting go of the lease."""
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        begin = loop.time()
        try:
            await work()
        except (LeaseLost, NotRunning):
            raise
        except (SourceError, BaseExceptionGroup) as error:
            found = _first(error) if isinstance(error, BaseExceptionGroup) else error
            if isinstance(found, LeaseLost | NotRunning) or not isinstance(found, SourceError):
                raise found from error
            failures = failures + 1 if loop.time() - begin < RETRY_MOST_S else 1
            _log.warning("herz: following %s breaks off, and is tried again: %s", what, found)
            await asyncio.sleep(min(0.1 * 2.0**failures, RETRY_MOST_S) * random.uniform(0.5, 1))  # noqa: S311  no secret


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of a group that says most: that the lease is lost, then any of Herz's, then whatever there is."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(error.exceptions)
        else:
            leaves.append(error)
    for kind in (LeaseLost, NotRunning, HerzError):
        for error in leaves:
            if isinstance(error, kind):
                return error
    return leaves[0]
