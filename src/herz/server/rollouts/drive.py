"""Driving one rollout: look, decide, write the decision in one transaction, do what follows from it, wait, again.

Nothing is kept here that matters: whoever takes over reads the record and goes on. What is done outside (deploying,
asking, checking) runs beside the loop, so that an order to abort, or a member that fails, is obeyed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from herz.errors import HerzError, LeaseLost, NotRunning
from herz.release.approval import Publication
from herz.release.atomicity import Verdict
from herz.release.channel import STABLE, Mailbox
from herz.release.member import Member
from herz.release.record import encode
from herz.release.rollout import Act, Check, CheckResult, Decision, Phase, Rollout, Seen, abort, decide, told
from herz.server.approvals import published
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.hub import Hub, Namespace
from herz.server.rollouts.book import Stored, alerts_of, stored
from herz.server.rollouts.observing import members_of, placed
from herz.server.rollouts.rosters import writing, written
from herz.server.rollouts.verify import Proof
from herz.server.rollouts.witness import Witness
from herz.server.work import Held
from herz.store.base import Compare, Delete, Get, Operation, Put, Store, Txn
from herz.store.plane import channel_key, mailbox_key, rollout_key

_log = logging.getLogger("herz")

HERZ: Final = By("herz")
"""Who acts when no person does."""
RETRY_S: Final = 0.1
"""Seconds between attempts while the store does not answer."""
RETRY_MOST_S: Final = 2.0
BLIND_S: Final = 0.2
"""Seconds between looks while the server cannot prove that it sees everything."""
VERDICT_MARGIN_S: Final = 0.25
"""What is left of the window for a verdict once the round of questions is over."""


class Acting(Protocol):
    """What a rollout has done outside of the store."""

    async def ask(self, rollout: Rollout, members: tuple[Member, ...], window_s: float) -> Proof:
        """Ask `members` what they run, and judge."""

    async def deploy(self, rollout: Rollout, members: tuple[Member, ...]) -> None:
        """Have the patch installed at `members`; any `HerzError` when that failed."""

    async def look(self, check: Check, rollout: Rollout, members: tuple[Member, ...], now: datetime) -> CheckResult:
        """What one check says now."""


class Drive:
    """One rollout in flight, for as long as `run` runs: until it is over, or the lease is lost."""

    def __init__(
        self, begun: Stored, *, store: Store, hub: Hub, audit: Audit, held: Held, acting: Acting, clock: Clock
    ) -> None:
        self.record, self.revision = begun
        self._store, self._hub, self._audit, self._held = store, hub, audit, held
        self._acting, self._clock = acting, clock
        self._key = rollout_key(self.record.app, self.record.namespace, self.record.id)
        self._channel_key = channel_key(self.record.app, self.record.namespace)
        self._live = 0
        """What the hub must have seen before the next look: the last write of what it follows that we know of."""
        self._caught_up = False
        self._attended, self._begin_s = clock.now(), clock.monotonic()
        self._wake = asyncio.Event()
        self._looking_s = 0.0
        """How long the last look took."""
        self._tasks: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._verdict: tuple[int, Verdict] | None = None
        self._witness = Witness(None)
        self._results: dict[str, CheckResult] = {}
        self._looked_s: dict[tuple[int, str], float] = {}

    def __repr__(self) -> str:
        return f"Drive({self._key!r}, {self.record.phase})"

    def tell(self, found: Stored) -> None:
        """The record is another one now: somebody ordered something, or it is our own write."""
        if found.revision > self.revision:
            self.record, self.revision = found
            self._wake.set()

    def hurry(self) -> None:
        """Something was observed."""
        self._wake.set()

    def _now(self) -> datetime:
        """The time of day, counted on from when we took over: a clock that is set meanwhile ends no bake."""
        return self._attended + timedelta(seconds=self._clock.monotonic() - self._begin_s)

    @property
    def waits_for_the_hub(self) -> bool:
        """Whether the hub has still to learn what was written last."""
        return not self._caught_up or self._hub.revision <= self._live

    async def run(self) -> None:
        """Drive it until it is over. `LeaseLost` when somebody else does from now on."""
        failures = 0
        try:
            while not self.record.over:
                self._wake.clear()
                try:
                    wait_s = await self._step()
                    failures = 0
                except (LeaseLost, NotRunning):
                    raise
                except Exception as error:
                    level = logging.WARNING if isinstance(error, HerzError) else logging.ERROR
                    known = isinstance(error, HerzError)
                    _log.log(level, "herz: %s is tried again: %s", self._key, error, exc_info=None if known else error)
                    wait_s = min(RETRY_S * 2**failures, RETRY_MOST_S)
                    failures = min(failures + 1, 10)
                await self._until(wait_s)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _until(self, wait_s: float | None) -> None:
        """Wait until something happens, at most `wait_s`; None is for ever.

        A large batch's reports come one after another. So that they do not each cost a look at all members, looking
        takes half of the time at most.
        """
        if wait_s is None or wait_s > 0:
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
                    await asyncio.sleep(self._looking_s)
            except TimeoutError:
                return

    # --- one step -----------------------------------------------------------------------------------

    async def _step(self) -> float | None:
        """Decide once; the seconds until it must be decided again though nothing happens."""
        if not self._caught_up:
            await self._catch_up()
            self._caught_up = True
        if self._hub.revision < self._live:
            return None  # the hub says when it knows what we have written
        if not self._hub.freshness.current and self.record.aborted is None:
            return BLIND_S  # who cannot see does not go on
        namespace = self._hub.namespace(self.record.app, self.record.namespace)
        record, revision = self.record, self.revision
        begin_s = self._clock.monotonic()
        seen = self._seen(namespace)
        self._witness.look(record, seen.members, seen.now)
        decision = decide(record, seen)
        self._looking_s = self._clock.monotonic() - begin_s
        if decision.writes(record):
            await self._write(record, revision, namespace.channel_revision, decision, seen)
            return 0
        self._drop_acts()
        self._act(decision, seen)
        return decision.look_again_s

    async def _catch_up(self) -> None:
        """Wait until the hub knows at least what whoever drove before us wrote last."""
        app, name = self.record.app, self.record.namespace
        self._witness = Witness(await written(self._store, self.record))
        revision, channel_revision, mailboxes = await placed(self._store, app, name)
        while self._hub.revision < revision:
            self._wake.clear()
            namespace = self._hub.namespace(app, name)
            if namespace.channel_revision == channel_revision and namespace.mailboxes == mailboxes:
                return
            await self._wake.wait()

    def _seen(self, namespace: Namespace) -> Seen:
        step, verdict = self._verdict if self._verdict is not None else (-1, None)
        return Seen(
            now=self._now(),
            channel=namespace.channel,
            members=tuple(members_of(namespace)),
            verdict=verdict,
            verdict_step=step,
            checks=tuple(self._results.values()),
            attended=self._attended,
        )

    async def _write(
        self, before: Rollout, revision: int, channel_revision: int, decision: Decision, seen: Seen
    ) -> None:
        """Write a decision, all of it or nothing: it counts only if record, channel and lease are as they were seen."""
        after = told(decision.rollout, decision.rollout.noticed)
        compares = [
            self._held.fence,
            Compare.unchanged(self._key, revision),
            Compare.unchanged(self._channel_key, channel_revision),
        ]
        then: list[Operation] = [Put(self._key, encode(after)), *alerts_of(before, decision.rollout)]
        if decision.channel is not None:
            then.append(Put(self._channel_key, encode(decision.channel)))
            if decision.channel.stable.release == after.release:
                then.append(published(after.release, after.app, after.namespace, self._publication(after)))
        then.extend(self._mailbox(instance, cohort) for instance, cohort in decision.assign)
        roster = self._witness.roster(before, after, seen.members, decision.channel or seen.channel)
        if roster is not None:
            then += writing(after, roster)
        txn = Txn(compares, then, (Get(self._held.key), Get(self._key)))
        if self._held.lost:
            raise LeaseLost(f"{self._held.key} was lost", remedy="the rollout goes on at its next holder")
        if after.phase is before.phase and after.batch == before.batch:
            result = await self._store.txn(txn)
        else:
            result = await self._audit.commit(
                txn,
                HERZ,
                f"rollout.{after.phase.lower().replace('_', '-')}",
                f"{after.app}/{after.namespace} {after.id}",
                message=after.reason or "",
                details=_told(before, after),
                forced=after.forced is not None and after.phase is Phase.PROMOTING,
            )
        if result.succeeded:
            self.record, self.revision = after, result.revision
            if decision.channel is not None or decision.assign:
                self._live = result.revision
            return
        holder, record = result.results
        if not holder or holder[0].create_revision != self._held.revision:
            raise LeaseLost(f"{self._held.key} is held by somebody else", remedy="they drive the rollout now")
        if record:
            self.tell(stored(record[0]))
        if record and record[0].mod_revision == revision:  # so it was the channel, which the hub has not seen yet
            self._live = max(self._live, await self._moved_at())

    def _publication(self, after: Rollout) -> Publication:
        """That the release is stable: everybody runs it from now on."""
        return Publication(
            time=self._now(),
            by=after.author if after.forced is None else after.forced.by,
            approved_by=after.approved_by,
            forced=after.forced is not None,
            rollout=after.id,
        )

    async def _moved_at(self) -> int:
        entry = await self._store.get(self._channel_key)
        return 0 if entry is None else entry.mod_revision

    def _mailbox(self, instance: str, cohort: str) -> Operation:
        key = mailbox_key(self.record.app, self.record.namespace, instance)
        if cohort == STABLE:
            return Delete(key)
        return Put(key, encode(Mailbox(cohort=cohort, rollout=self.record.id)))

    # --- what is done outside -------------------------------------------------------------------------

    def _drop_acts(self) -> None:
        """End what was begun for a step that is over."""
        for (step, name), task in list(self._tasks.items()):
            if step != self.record.step:
                task.cancel()
                del self._tasks[step, name]
        self._looked_s = {key: at for key, at in self._looked_s.items() if key[0] == self.record.step}

    def _act(self, decision: Decision, seen: Seen) -> None:
        record = self.record
        everyone = tuple(seen.members)
        chosen = {*decision.members}
        concerned = tuple(member for member in everyone if member.instance in chosen)
        for act in decision.act:
            if act is Act.ASK:
                window_s = max(VERDICT_MARGIN_S, (decision.look_again_s or 0.0) - VERDICT_MARGIN_S)
                self._begin("ask", partial(self._ask, record, concerned, window_s))
            elif act is Act.DEPLOY:
                self._begin("deploy", partial(self._deploy, record, concerned))
            elif act is Act.CHECK:
                for check in self._due(record):
                    self._begin(f"check {check.name}", partial(self._look, check, record, everyone, seen.now))

    def _begin(self, name: str, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it in a task, unless that was begun for this step; a check begins again once it has ended."""
        key = (self.record.step, name)
        known = self._tasks.get(key)
        if known is None or (known.done() and name.startswith("check ")):
            self._tasks[key] = asyncio.create_task(self._acted(name, act()), name=f"herz-rollout {self._key} {name}")

    async def _acted(self, name: str, act: Awaitable[None]) -> None:
        try:
            await act
        except (LeaseLost, NotRunning) as error:
            _log.info("herz: %s: %s was left: %s", self._key, name, error)
        except Exception as error:  # decided without it, when its window is over
            known = isinstance(error, HerzError)
            _log.error("herz: %s: %s failed: %s", self._key, name, error, exc_info=None if known else error)
            if name == "ask":
                await asyncio.sleep(RETRY_S)
                self._tasks.pop((self.record.step, name), None)  # asked again
        finally:
            self._wake.set()

    async def _ask(self, record: Rollout, members: tuple[Member, ...], window_s: float) -> None:
        proof = await self._acting.ask(record, members, window_s)
        self._verdict = (record.step, proof.verdict)
        self._witness.proved(record, proof, self._now())

    async def _deploy(self, record: Rollout, members: tuple[Member, ...]) -> None:
        try:
            await self._acting.deploy(record, members)
        except HerzError as error:
            await self._abort(record, str(error))

    async def _look(self, check: Check, record: Rollout, members: tuple[Member, ...], now: datetime) -> None:
        self._looked_s[record.step, check.name] = self._clock.monotonic()
        self._results[check.name] = await self._acting.look(check, record, members, now)

    def _due(self, record: Rollout) -> Iterator[Check]:
        now_s = self._clock.monotonic()
        for check in record.checks:
            looked_s = self._looked_s.get((record.step, check.name))
            if looked_s is None or now_s - looked_s >= record.plan.check_s * 0.95:
                yield check

    async def _abort(self, record: Rollout, message: str) -> None:
        """Have the rollout go back, because of what was found outside of it."""
        while record.step == self.record.step and self.record.phase.forward and self.record.aborted is None:
            before, revision = self.record, self.revision
            after = abort(before, HERZ.actor, self._now(), message)
            done = await self._audit.commit(
                Txn((self._held.fence, Compare.unchanged(self._key, revision)), (Put(self._key, encode(after)),)),
                HERZ,
                "rollout.abort",
                f"{before.app}/{before.namespace} {before.id}",
                message=message,
            )
            if done.succeeded:
                return self.tell(Stored(after, done.revision))
            found = await self._store.get(self._key)
            if found is None or found.mod_revision == revision:
                raise LeaseLost(f"{self._held.key} is held by somebody else", remedy="they drive the rollout now")
            self.tell(stored(found))


def _told(before: Rollout, after: Rollout) -> dict[str, Any]:
    """What the audit log keeps of a step."""
    facts: dict[str, Any] = {"from": before.phase, "batch": after.batch, "release": after.release.number}
    batch = after.frozen
    if batch is not None:
        facts |= {"members": batch.size, "membership": batch.membership}
        if batch.verdict is not None and batch.verdict != (before.frozen and before.frozen.verdict):
            facts["verdict"] = msgspec.to_builtins(batch.verdict.brief(5))
    return facts
