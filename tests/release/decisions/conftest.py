"""One rollout on a stage: what is seen of it is set by the test, what is decided is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from herz.release.atomicity import Verdict
from herz.release.channel import STABLE, Channel, Pointer, ReleaseRef
from herz.release.member import Member, membership
from herz.release.plan import Plan, PlanKind
from herz.release.report import Rehearsed, Report, Status
from herz.release.rollout import CheckResult, Decision, Phase, Rollout, Seen, decide, told
from herz.release.statistics import Outcome

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OLD = ReleaseRef(number=12, digest="sha256:old", fingerprint="sha256:f-old")
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")
HALVES = Plan(kind=PlanKind.EXPLICIT, percent=(50,), bake_s=10, bake_max_s=40, prepare_s=60, commit_s=30)


def report(instance: str, release: ReleaseRef = OLD, **fields: Any) -> Report:
    return Report(
        **{
            "instance": instance,
            "app": "pay",
            "namespace": "default",
            "status": Status.APPLIED,
            "time": T0,
            "config_version": release.number,
            "digest": release.digest,
            "fingerprint": release.fingerprint,
            **fields,
        }
    )


def rehearsed(**fields: Any) -> Rehearsed:
    return replace(Rehearsed(number=NEW.number, digest=NEW.digest, fingerprint=NEW.fingerprint), **fields)


def fleet(count: int) -> tuple[str, ...]:
    return tuple(f"pay-{number}" for number in range(count))


class Scene:
    """A rollout, its channel and its fleet: `go` decides and applies, as a driver would."""

    def __init__(self, *instances: str, **fields: Any) -> None:
        self.rollout = Rollout(
            **{
                "id": "r1",
                "app": "pay",
                "namespace": "default",
                "release": NEW,
                "stable": OLD,
                "plan": HALVES,
                "author": "ann",
                "created": T0,
                "since": T0,
                **fields,
            }
        )
        self.channel = Channel(stable=Pointer(release=OLD))
        self.instances = {instance: Member(instance, report=report(instance)) for instance in instances}
        self.seen = Seen(T0, self.channel, ())

    def decide(self, after_s: float = 0.0, **seen: Any) -> Decision:
        fields = {"now": self.rollout.since + timedelta(seconds=after_s), "channel": self.channel, **seen}
        return decide(self.rollout, self.seen._replace(members=tuple(self.instances.values()), **fields))

    def go(self, after_s: float = 0.0, **seen: Any) -> Decision:
        decision = self.decide(after_s, **seen)
        self.rollout = told(decision.rollout, decision.rollout.noticed)
        self.channel = decision.channel or self.channel
        for instance, cohort in decision.assign:
            rollout = None if cohort == STABLE else self.rollout.id
            self.instances[instance] = self.instances[instance]._replace(cohort=cohort, rollout=rollout)
        return decision

    def until(self, phase: Phase) -> Scene:
        """Everybody does what it should until `phase` begins."""
        for _ in range(1000):
            if self.rollout.phase is phase:
                return self
            verdict = Verdict(
                verified=True,
                config_version=NEW.number,
                nonce="n",
                members=1,
                answered=1,
                patch_id=self.rollout.patch_id,
                membership=membership(self.members),
            )
            checks = [
                CheckResult(name=check.name, outcome=Outcome.PASS, step=self.rollout.step)
                for check in self.rollout.checks
            ]
            baked = 10.0 if self.rollout.phase is Phase.BAKING else 0.0
            self.go(baked, verdict=verdict, verdict_step=self.rollout.step, checks=checks)
            self.follow()
        raise AssertionError(f"it stays {self.rollout.phase}: {self.rollout.waiting}")

    @property
    def members(self) -> list[str]:
        return [member.instance for member in self.instances.values() if member.cohort == self.rollout.cohort]

    def says(self, instance: str, of: Report | None) -> None:
        self.instances[instance] = self.instances[instance]._replace(report=of)

    def follow(self) -> None:
        for name, member in self.instances.items():
            pointer = self.channel.of(member.cohort)
            if member.report is not None and pointer.release is not None:
                built = rehearsed() if pointer.prepare else None
                patch = self.rollout.patch_id
                labels = member.report.labels
                self.says(name, report(name, pointer.release, rehearsed=built, patch_id=patch, labels=labels))

    # for tests, which get this class as their `stage`
    report = staticmethod(report)
    rehearsed = staticmethod(rehearsed)
    fleet = staticmethod(fleet)


@pytest.fixture(scope="session")
def stage() -> type[Scene]:
    return Scene
