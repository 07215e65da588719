"""A world small enough to be walked through whole: a rollout of two batches to two instances and one that joins.

`Runs` gives every step from every world, with the real `decide`: the driver may decide early, after baking, or long
after every window has closed, and may die between any two steps; instances build, apply, fail, drift, die, come back
and join; somebody else moves the channel; people pause, resume, promote, abort and force. Times and texts are
abstracted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from herz.errors import UsageError
from herz.release import rollout as rollouts
from herz.release.atomicity import Verdict, judge
from herz.release.channel import STABLE, Channel, Pointer, ReleaseRef
from herz.release.member import Member
from herz.release.plan import Plan, PlanKind
from herz.release.record import encode
from herz.release.report import Answer, Rehearsed, Report, Status
from herz.release.rollout import Act, Check, CheckResult, Decision, Order, Phase, Rollout, Seen, cohort_of
from herz.release.statistics import Outcome

T0 = datetime(2026, 1, 1, tzinfo=UTC)
EARLY, BAKED, LATE = 0.0, 15.0, 5000.0
OLD = ReleaseRef(number=12, digest="sha256:old", fingerprint="sha256:f-old")
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new", patch_id="p")
OTHER = ReleaseRef(number=99, digest="sha256:other", fingerprint="sha256:f-other")
RELEASES = {release.number: release for release in (OLD, NEW, OTHER)}
PLAN = Plan(kind=PlanKind.EXPLICIT, percent=(50,), bake_s=10, bake_max_s=20, check_s=10)


class Instance(NamedTuple):
    """One process. `runs` is what it runs, `reports` what its report says, `box` the batch of its mailbox."""

    alive: bool = True
    box: int = 0
    reports: int = OLD.number
    runs: int = OLD.number
    failed: bool = False
    rehearsed: str = ""
    """"", "ok" or "failed"."""
    patched: bool = False


class World(NamedTuple):
    """Everything there is. `verdict` and `check` are the driver's memory, with whether they are of the current step."""

    record: bytes
    channel: bytes
    instances: tuple[Instance, ...]
    verdict: tuple[bytes, bool] | None = None
    check: tuple[Outcome, bool] | None = None
    proven: frozenset[int] = frozenset()
    """Batches whose members all really ran the release when they were asked: what the record may not invent."""
    luck: int = 1
    """Misfortunes that may still happen."""
    meddled: bool = False


Decide = Callable[[Rollout, Seen], Decision]
Edge = tuple[str, World]


class Runs:
    """All runs of one rollout: where they start, and every step from a world. `checked` is told every new decision."""

    def __init__(
        self,
        decide: Decide,
        checked: Callable[[World, Rollout, Decision], None],
        *,
        luck: int = 0,
        joins: bool = True,
        deployer: bool = False,
    ) -> None:
        self.decide, self.checked = decide, checked
        self.records: dict[bytes, Rollout] = {}
        self.channels: dict[bytes, Channel] = {}
        self.verdicts: dict[bytes, Verdict] = {}
        self._decisions: dict[tuple[object, ...], tuple[Decision, bytes, bytes]] = {}
        self._members: dict[tuple[object, ...], tuple[Member, ...]] = {}
        record = Rollout(
            id="r1",
            app="pay",
            namespace="default",
            release=NEW,
            stable=OLD,
            plan=PLAN,
            author="ann",
            created=T0,
            since=T0,
            checks=(Check(name="errors", kind="prometheus"),),
            patch_id="p" if deployer else None,
            deployer={"command": "install"} if deployer else None,
        )
        self.start = World(
            self.kept(record),
            self.kept_channel(Channel(stable=Pointer(release=OLD))),
            (Instance(), Instance(), *([Instance(alive=False, patched=deployer)] if joins else [])),
            luck=luck,
        )

    # --- values, abstracted and interned -------------------------------------------------------------

    def kept(self, record: Rollout) -> bytes:
        if not record.phase.forward:  # how it came here decides nothing any more
            record = replace(record, aborted=None, hurried=0)
        if record.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            record = replace(record, batches=(), batch=1, forced=None)
        plain = replace(
            record,
            since=T0,
            step=0,
            notices=(),
            noticed=0,
            waiting=None,
            reason=None if record.reason is None else "reason",
            batches=tuple(replace(batch, frozen=T0, checks=()) for batch in record.batches),
            **{
                name: None if getattr(record, name) is None else Order(by=getattr(record, name).by, at=T0)
                for name in ("paused", "aborted", "forced")
            },
        )
        return self._interned(self.records, plain)

    def kept_channel(self, channel: Channel) -> bytes:
        return self._interned(self.channels, channel)

    @staticmethod
    def _interned(known, value) -> bytes:
        key = encode(value)
        known.setdefault(key, value)
        return key

    # --- what the driver sees and does ---------------------------------------------------------------

    def members(self, world: World, *, actual: bool = False) -> tuple[Member, ...]:
        key = (world.instances, actual)
        known = self._members.get(key)
        if known is None:
            known = self._members[key] = tuple(
                Member(
                    name,
                    cohort_of("r1", one.box) if one.box else STABLE,
                    "r1" if one.box else None,
                    _report(name, one, one.runs if actual else one.reports) if one.alive else None,
                )
                for name, one in zip("abc", world.instances, strict=False)
                if one.alive or one.box
            )
        return known

    def decision(self, world: World, after_s: float) -> tuple[Decision, bytes, bytes]:
        """What is decided `after_s` seconds into the phase, and record and channel after it."""
        key = (world.record, world.channel, world.instances, world.verdict, world.check, after_s)
        known = self._decisions.get(key)
        if known is None:
            record = self.records[world.record]
            verdict, fresh = world.verdict or (None, False)
            outcome, current = world.check or (None, False)
            checks = [] if outcome is None else [CheckResult(name="errors", outcome=outcome, step=0 if current else -1)]
            seen = Seen(
                T0 + timedelta(seconds=after_s),
                self.channels[world.channel],
                self.members(world),
                None if verdict is None else self.verdicts[verdict],
                0 if fresh else -1,
                checks,
            )
            decision = self.decide(record, seen)
            self.checked(world, record, decision)
            channel = world.channel if decision.channel is None else self.kept_channel(decision.channel)
            known = self._decisions[key] = decision, self.kept(decision.rollout), channel
        return known

    def decided(self, world: World, after_s: float) -> World:
        """The world after the driver's transaction."""
        decision, record, channel = self.decision(world, after_s)
        instances = world.instances
        if decision.assign:
            boxes = dict(decision.assign)
            instances = tuple(
                one._replace(box=_batch_of(boxes[name])) if name in boxes else one
                for name, one in zip("abc", instances, strict=False)
            )
        same = decision.rollout.step == self.records[world.record].step
        return world._replace(
            record=record,
            channel=channel,
            instances=instances,
            verdict=world.verdict and (world.verdict[0], world.verdict[1] and same),
            check=world.check and (world.check[0], world.check[1] and same),
        )

    def asked(self, world: World, silent: str = "") -> World:
        """The driver asks the members of the batch what they really run, and remembers the verdict."""
        record, channel = self.records[world.record], self.channels[world.channel]
        members = [member for member in self.members(world, actual=True) if member.cohort == record.cohort]
        verdict = judge(
            patch_id=record.patch_id,
            release=NEW,
            nonce="n",
            members=members,
            answers={
                member.instance: Answer(nonce="n", instance=member.instance, report=member.report)
                for member in members
                if member.report is not None and member.instance != silent
            },
            channel_before=channel,
            channel_after=channel,
        )
        proven = world.proven | {record.batch} if verdict.verified else world.proven
        return world._replace(verdict=(self._interned(self.verdicts, verdict), True), proven=proven)

    # --- everything that may happen ------------------------------------------------------------------

    def steps(self, world: World) -> list[Edge]:
        """Every step from `world` that leads elsewhere. The first letter of a step says who takes it.

        `d`: the driver, `i`: an instance, `p`: a person, `x`: a misfortune, or somebody else.
        """
        steps = ((step, self.settled(after)) for step, after in self._steps(world))
        return [edge for edge in steps if edge[1] != world]

    def _steps(self, world: World) -> Iterator[Edge]:
        record, channel = self.records[world.record], self.channels[world.channel]
        for name, after_s in (("early", EARLY), ("baked", BAKED), ("late", LATE)):
            yield f"d decides {name}", self.decided(world, after_s)
        if record.over:
            return
        if record.phase.forward and (record.aborted or record.forced or world.meddled):
            # The next decision ends it whatever else happens, and all else may as well happen before or after.
            return
        act = self.decision(world, EARLY)[0].act
        if Act.ASK in act:
            yield "d asks", self.asked(world)
            if world.luck:
                for name in "ab":
                    yield f"x {name} does not answer", self.asked(world, name)._replace(luck=world.luck - 1)
        if Act.CHECK in act:
            yield "d checks", world._replace(check=(Outcome.PASS, True))
            if world.luck:
                for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
                    yield f"x checks {outcome}", world._replace(check=(outcome, True), luck=world.luck - 1)
        if world.verdict or world.check:
            yield "x the driver dies", world._replace(verdict=None, check=None)
        if not world.meddled:
            moved = replace(channel, stable=Pointer(release=OTHER))
            for how, other in (("moves stable", moved), ("publishes", replace(moved, cohorts={}))):
                yield f"x somebody {how}", world._replace(channel=self.kept_channel(other), meddled=True)
        for index, name in enumerate("abc"[: len(world.instances)]):
            one = world.instances[index]
            for step, after, cost in self._progress(one, channel, Act.DEPLOY in act and bool(one.box)):
                if cost <= world.luck:
                    instances = (*world.instances[:index], after, *world.instances[index + 1 :])
                    yield f"{step} {name}", world._replace(instances=instances, luck=world.luck - cost)
        yield from self._orders(world, record)

    def _progress(self, one: Instance, channel: Channel, deploys: bool) -> Iterator[tuple[str, Instance, int]]:
        if not one.alive:
            yield "i starts", one._replace(alive=True, failed=False, rehearsed=""), 0
            return
        pointer = channel.of(cohort_of("r1", one.box) if one.box else STABLE)
        wanted = OLD.number if pointer.release is None else pointer.release.number
        yield "x dies", one._replace(alive=False), 1
        if pointer.prepare is not None and not one.rehearsed:
            yield "i builds", one._replace(rehearsed="ok"), 0
            yield "x cannot build", one._replace(rehearsed="failed"), 1
        if wanted != one.reports or one.failed:
            yield "i applies", one._replace(reports=wanted, runs=wanted, failed=False, rehearsed=""), 0
        if wanted != one.reports and not one.failed:
            yield "x fails to apply", one._replace(failed=True), 1
        if one.reports == NEW.number and not one.failed:
            yield "x breaks", one._replace(failed=True), 1
        if one.runs == NEW.number:
            yield "x drifts", one._replace(runs=OLD.number), 1
        if deploys and not one.patched:
            yield "i is patched", one._replace(patched=True, rehearsed=""), 0

    def _orders(self, world: World, record: Rollout) -> Iterator[Edge]:
        for name in ("pause", "resume", "promote", "abort", "force"):
            if name == "pause" and record.paused is not None:
                continue
            try:
                ordered = getattr(rollouts, name)(record, "bob", T0, "because")
            except UsageError:
                continue
            fresh = ordered.step == record.step
            yield (
                f"p {name}",
                world._replace(
                    record=self.kept(ordered),
                    verdict=world.verdict and (world.verdict[0], world.verdict[1] and fresh),
                    check=world.check and (world.check[0], world.check[1] and fresh),
                ),
            )

    def settled(self, world: World) -> World:
        """`world` without what decides nothing any more once the rollout ends, so that such worlds are one."""
        record = self.records[world.record]
        if record.phase.forward:
            return world
        promoted = record.phase in (Phase.PROMOTING, Phase.PROMOTED)
        instances = world.instances
        if any(one.rehearsed or one.runs != one.reports for one in instances):
            instances = tuple(one._replace(rehearsed="", runs=one.reports) for one in instances)
        return world._replace(
            instances=instances,
            verdict=None,
            check=None,
            proven=world.proven if promoted else frozenset(),
            luck=0 if record.over else world.luck,
        )


def _report(name: str, one: Instance, number: int) -> Report:
    release = RELEASES[number]
    rehearsed = None
    if one.rehearsed:
        error = "boom" if one.rehearsed == "failed" else None
        rehearsed = Rehearsed(number=NEW.number, digest=NEW.digest, fingerprint=NEW.fingerprint, error=error)
    return Report(
        instance=name,
        app="pay",
        namespace="default",
        status=Status.FAILED if one.failed else Status.APPLIED,
        time=T0,
        patch_id="p" if one.patched else None,
        config_version=number,
        digest=release.digest,
        fingerprint=release.fingerprint,
        error="boom" if one.failed else None,
        rehearsed=rehearsed,
    )


def _batch_of(cohort: str) -> int:
    return 0 if cohort == STABLE else int(cohort.removeprefix("r1-b"))


@pytest.fixture(scope="session")
def runs() -> type[Runs]:
    return Runs
