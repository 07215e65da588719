"""Instances in miniature: they follow a channel straight from a store, report and answer, and misbehave when told to.

They speak the protocol of a real instance and hold no configuration, so that a thousand of them fit a test, and each of
their faults is one switch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from herz.errors import HerzError, LeaseLost
from herz.release.channel import Channel, Mailbox, ReleaseRef
from herz.release.record import decode, encode
from herz.release.report import Answer, Ask, AskKind, Asks, Explained, Override, Rehearsed, Report, Status
from herz.store.base import Compare, Entry, KeyEvent, Put, Store, Txn
from herz.store.plane import (
    LIVE,
    answer_key,
    asks_key,
    channel_key,
    mailbox_key,
    place,
    report_key,
)

WRONG = "sha256:" + "0" * 64
"""A fingerprint that nothing has."""


@dataclass
class Faults:
    """What an instance does wrong. Times are seconds; release numbers say for which release, None for every."""

    build_fails: bool = False
    apply_fails: bool = False
    silent: bool = False
    """Hears everything and says nothing more: neither reports nor answers."""
    mute: bool = False
    """Answers no question."""
    lies: bool = False
    """Reports the version that it should run, and runs another fingerprint: only its answers show that."""
    runs_wrong: bool = False
    """Runs another fingerprint, and says so."""
    replays: bool = False
    """Answers with what it answered first, under the old nonce."""
    ignores_commit: bool = False
    slow_s: float = 0.0


async def orders(
    store: Store, app: str, namespace: str
) -> AsyncGenerator[tuple[dict[str, Entry], Sequence[KeyEvent]], None]:
    """All keys that tell instances what to run, at first and after each change, with the events that changed them."""
    prefix = f"{LIVE}{place(app, namespace)}/"
    found = await store.range(prefix)
    entries = {entry.key: entry for entry in found.entries}
    yield entries, ()
    async with store.watch(prefix, found.revision) as items:
        async for item in items:
            for event in (events := getattr(item, "events", ())):
                if event.entry.version:
                    entries[event.entry.key] = event.entry
                else:
                    entries.pop(event.entry.key, None)
            if events:
                yield entries, events


class Follower:
    """One instance; `run` follows until cancelled. `ran` is every release number that it ran, in order."""

    def __init__(
        self,
        store: Store,
        app: str,
        namespace: str,
        instance: str,
        *,
        labels: Mapping[str, str] | None = None,
        patch_id: str | None = None,
        overrides: tuple[Override, ...] = (),
        ttl_s: float = 5.0,
        flipped: Callable[[Follower], None] = lambda follower: None,
    ) -> None:
        self.app, self.namespace, self.instance = app, namespace, instance
        self.labels, self.patch_id, self.overrides = dict(labels or {}), patch_id, overrides
        self.faults = Faults()
        self.running: ReleaseRef | None = None
        self.ran: list[int | None] = []
        self.cohort = "stable"
        self.values: dict[str, tuple[str, str]] = {}
        """What it explains: value and origin by key."""
        self.answered = 0
        self.begun = asyncio.Event()
        """Set once it runs a release."""
        self._store, self._ttl_s, self._flipped = store, ttl_s, flipped
        self._lease: int | None = None
        self._rehearsed: Rehearsed | None = None
        self._failed: int | None = None
        self._nonces: set[str] = set()
        self._first: Answer | None = None
        self._reported: bytes | None = None

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[Follower]:
        """It runs while this lasts; its report is gone at the end."""
        task = asyncio.create_task(self.run(), name=f"follower {self.instance}")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is not None:
                raise task.exception() or AssertionError
            if self._lease is not None:
                with suppress(HerzError):
                    await self._store.revoke(self._lease)

    async def run(self) -> None:
        """Follow, for ever; begins anew when the store breaks off."""
        while True:
            try:
                self._lease = (await self._store.grant(self._ttl_s)).id
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._keep(self._lease))
                    tasks.create_task(self._follow())
            except* (LeaseLost, HerzError):
                self._lease = self._reported = None
                await asyncio.sleep(0.05)

    async def _keep(self, lease: int) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            await self._store.keep_alive(lease)

    async def _follow(self) -> None:
        async with aclosing(orders(self._store, self.app, self.namespace)) as told:
            async for entries, _ in told:
                await self._obey(entries)

    def _read(self, entries: Mapping[str, Entry], key: str, kind: type[Any]) -> Any:
        entry = entries.get(key)
        return kind() if entry is None else decode(entry.value, kind, key)

    async def _obey(self, entries: Mapping[str, Entry]) -> None:
        channel: Channel = self._read(entries, channel_key(self.app, self.namespace), Channel)
        self.cohort = self._read(entries, mailbox_key(self.app, self.namespace, self.instance), Mailbox).cohort
        pointer = channel.of(self.cohort)
        wanted = pointer.prepare
        done = self._rehearsed
        if wanted is not None and (done is None or (done.digest, done.rollout) != (wanted.digest, pointer.rollout)):
            await asyncio.sleep(self.faults.slow_s)
            error = "there is no such driver" if self.faults.build_fails else None
            self._rehearsed = Rehearsed(
                number=wanted.number,
                digest=wanted.digest,
                fingerprint=wanted.fingerprint,
                error=error,
                rollout=pointer.rollout,
            )
        elif wanted is None and pointer.release != self.running:
            self._rehearsed = None
        if pointer.release != self.running and not self.faults.ignores_commit:
            if self.faults.apply_fails and pointer.release is not None and self.running is not None:
                self._failed = pointer.release.number
            else:
                self.running, self._failed = pointer.release, None
                self.begun.set()
                self.ran.append(None if pointer.release is None else pointer.release.number)
                self._flipped(self)
        await self.report()
        for ask in self._read(entries, asks_key(self.app, self.namespace), Asks).open:
            if ask.nonce not in self._nonces and ask.concerns(self.instance, self.cohort):
                self._nonces.add(ask.nonce)
                await self._answer(ask)

    def said(self, *, honest: bool = False) -> Report:
        """What it says of itself; `honest` is what it says to a question."""
        wrong = self.faults.runs_wrong or (self.faults.lies and honest)
        ref = self.running
        return Report(
            instance=self.instance,
            app=self.app,
            namespace=self.namespace,
            status=Status.APPLIED if self._failed is None else Status.FAILED,
            error=None if self._failed is None else "it cannot be applied here",
            target=self._failed,
            time=datetime.now(UTC),
            patch_id=self.patch_id,
            config_version=None if ref is None else ref.number,
            digest=None if ref is None else ref.digest,
            fingerprint=None if ref is None else WRONG if wrong else ref.fingerprint,
            labels=self.labels,
            overrides=self.overrides,
            rehearsed=self._rehearsed,
            cohort=self.cohort,
        )

    async def report(self) -> None:
        """Write what it runs, if that is another thing than before."""
        report = self.said()
        same = encode(replace(report, time=datetime.min))
        if self.faults.silent or self._lease is None or same == self._reported:
            return
        await self._store.put(report_key(self.app, self.namespace, self.instance), encode(report), lease=self._lease)
        self._reported = same

    async def _answer(self, ask: Ask) -> None:
        if self.faults.silent or self.faults.mute or self._lease is None:
            return
        explained: tuple[Explained, ...] = ()
        if ask.kind is AskKind.EXPLAIN:
            known = {key: self.values[key] for key in ask.keys if key in self.values}
            explained = tuple(Explained(key=key, value=value, origin=at) for key, (value, at) in known.items())
        answer = Answer(nonce=ask.nonce, instance=self.instance, report=self.said(honest=True), explained=explained)
        if self._first is None:
            self._first = answer
        elif self.faults.replays:
            answer = self._first
        key = answer_key(self.app, self.namespace, ask.nonce, self.instance)
        await self._store.txn(Txn((Compare.absent(key),), (Put(key, encode(answer), self._lease),)))
        self.answered += 1
