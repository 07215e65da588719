"""What is decided in each phase on the way forward, when nothing speaks against going on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from herz.release.atomicity import Verdict
from herz.release.channel import STABLE
from herz.release.cohort import chosen
from herz.release.member import Member, membership
from herz.release.rollout_ends import promotion, rollback
from herz.release.rollout_facts import (
    Field,
    applied,
    begun,
    elapsed_s,
    field_of,
    named,
    names,
    noticed,
    patched,
    pointing,
    same_members,
)
from herz.release.rollout_record import (
    ASSIGN_MAX,
    Act,
    Batch,
    CheckResult,
    Decision,
    Order,
    Phase,
    Rollout,
    Seen,
    in_cohort,
)
from herz.release.statistics import Outcome

HERZ: Final = "herz"
"""Who pauses when no person does."""
FRESH_LOOKS: Final = 3
"""Intervals of `Plan.check_s` after which the result of a check says nothing any more."""


def pending(rollout: Rollout, seen: Seen) -> Decision:
    """Choose the members of the batch, a transaction's worth at a time."""
    if rollout.paused is not None:
        return Decision(rollout)
    field = field_of(rollout, seen)
    left_s = rollout.plan.prepare_s - elapsed_s(rollout, seen)
    shrunk = field.total < rollout.total and rollout.hurried < rollout.batch
    if shrunk and left_s > 0:  # after a restart of ours it takes a while until all report again
        text = f"{rollout.total} instances matched before, fewer report now"
        return Decision(replace(rollout, waiting=text), look_again_s=left_s)
    if not field.mine and not field.free:
        done = not shrunk if field.before else rollout.allow_empty
        return promotion(rollout, seen) if done else _nobody(rollout, seen)
    gone = tuple((member.instance, STABLE) for member in field.mine if member.report is None)
    if gone:
        return Decision(rollout, assign=gone[:ASSIGN_MAX], look_again_s=0)
    wanted = _size(rollout, field) - field.before - len(field.mine)
    if wanted > 0:
        picked = _picked(rollout, field.free, min(wanted, ASSIGN_MAX))
        return Decision(
            replace(rollout, waiting=None),
            assign=tuple((instance, rollout.cohort) for instance in picked),
            look_again_s=0,
        )
    if rollout.deployer is not None and rollout.patch_id is not None:
        return Decision(begun(rollout, Phase.DEPLOYING, seen.now), look_again_s=0)
    return _frozen(rollout, seen, field)


def deploying(rollout: Rollout, seen: Seen) -> Decision:
    """Wait until every member runs the patch. One that was replaced under another name is replaced in the batch too."""
    if rollout.paused is not None:
        return Decision(rollout)
    field = field_of(rollout, seen)
    without = [member.instance for member in field.mine if not patched(member, rollout)]
    if not without:
        return _frozen(rollout, seen, field) if field.mine else Decision(begun(rollout, Phase.PENDING, seen.now))
    gone = [member.instance for member in field.mine if member.report is None]
    fresh = [member.instance for member in field.free if patched(member, rollout)]
    swaps = min(len(gone), len(fresh), ASSIGN_MAX // 2)
    if swaps:
        left = tuple((instance, STABLE) for instance in gone[:swaps])
        joined = tuple((instance, rollout.cohort) for instance in chosen(fresh, rollout.id, swaps))
        return Decision(rollout, assign=left + joined, look_again_s=0)
    left_s = rollout.plan.deploy_s - elapsed_s(rollout, seen)
    if left_s <= 0:
        why = f"patch {rollout.patch_id} was not installed within {rollout.plan.deploy_s:g} s at {named(without)}"
        return rollback(rollout, seen, why)
    return Decision(rollout, act=(Act.DEPLOY,), members=tuple(without), look_again_s=left_s)


def preparing(rollout: Rollout, seen: Seen) -> Decision:
    """Wait until every member has built the release; then move the pointer."""
    batch, members = _batch(rollout, seen)
    release = rollout.release
    missing: list[str] = []
    for member in members:
        done = None if member.report is None else member.report.rehearsed
        if (
            done is None
            or (done.number, done.digest) != (release.number, release.digest)
            or done.rollout not in (None, rollout.id)
        ):
            missing.append(member.instance)
        elif done.error is not None:
            return rollback(rollout, seen, f"{member.instance} cannot build the release: {done.error}")
        elif done.fingerprint != release.fingerprint:
            built = f"{member.instance} built {done.fingerprint}, released was {release.fingerprint}"
            return rollback(rollout, seen, built)
    if rollout.paused is not None:
        return Decision(rollout)
    if missing:
        return _awaited(rollout, seen, rollout.plan.prepare_s, "did not build the release", missing)
    if not same_members(members, batch):
        return rollback(rollout, seen, _tampered(batch))
    after = begun(rollout, Phase.COMMITTING, seen.now, batches=_with(rollout, replace(batch, committed=True)))
    return Decision(after, pointing(after, seen.channel), look_again_s=0)


def committing(rollout: Rollout, seen: Seen) -> Decision:
    """Wait until every member reports the release in force."""
    batch, members = _batch(rollout, seen)
    missing = [member.instance for member in members if not applied(member, rollout)]
    if missing:
        return _awaited(rollout, seen, rollout.plan.commit_s, "did not apply the release", missing)
    if not same_members(members, batch):
        return rollback(rollout, seen, _tampered(batch))
    return Decision(begun(rollout, Phase.VERIFYING, seen.now), look_again_s=0)


def verifying(rollout: Rollout, seen: Seen) -> Decision:
    """Believe a verdict of this step about exactly these members, and nothing else."""
    batch, members = _batch(rollout, seen)
    if seen.verdict is None or seen.verdict_step != rollout.step:
        if any(member.report is None for member in members):  # it may be restarting; asking now would find it missing
            return Decision(begun(rollout, Phase.COMMITTING, seen.now), look_again_s=0)
        everyone = tuple(member.instance for member in members)
        left_s = rollout.plan.verify_s - elapsed_s(rollout, seen)
        if left_s <= 0:
            return rollback(rollout, seen, f"no verdict on batch {batch.number} within {rollout.plan.verify_s:g} s")
        return Decision(rollout, act=(Act.ASK,), members=everyone, look_again_s=left_s)
    verdict = seen.verdict.brief()
    batches = _with(rollout, replace(batch, verdict=verdict))
    if not verdict.verified:
        return rollback(replace(rollout, batches=batches), seen, f"batch {batch.number}: {verdict.reason}")
    if not _about(verdict, rollout, batch):
        return rollback(rollout, seen, f"the verdict is not about release and members of batch {batch.number}")
    return Decision(begun(rollout, Phase.BAKING, seen.now, batches=batches), look_again_s=0)


def baking(rollout: Rollout, seen: Seen) -> Decision:
    """Watch a verified batch for a while; go on when nothing is wrong, and ask a person when that cannot be told."""
    plan = rollout.plan
    results = {result.name: result for result in seen.checks if result.step == rollout.step}
    failed = [result for result in results.values() if result.outcome is Outcome.FAIL]
    rollout = _kept(rollout, results)
    if failed:
        return rollback(rollout, seen, f"check {failed[0].name} failed: {failed[0].detail or 'it does not say why'}")
    if rollout.hurried >= rollout.batch:
        return _next(rollout, seen)
    act = (Act.CHECK,) if rollout.checks else ()
    if rollout.paused is not None:
        return Decision(rollout, act=act, look_again_s=plan.check_s if act else None)
    elapsed = elapsed_s(rollout, seen)
    doubt = _doubt(rollout, seen, results)
    if elapsed < plan.bake_s:
        return Decision(rollout, act=act, look_again_s=min([plan.bake_s - elapsed, *([plan.check_s] if act else [])]))
    if not doubt:
        return _next(rollout, seen)
    waiting = replace(rollout, waiting=doubt)
    if elapsed >= plan.longest_bake_s:
        text = f"batch {rollout.batch} is inconclusive after {elapsed:.0f} s: {doubt}; promote, resume or abort"
        paused = replace(waiting, paused=Order(by=HERZ, at=seen.now, message=text))
        return Decision(noticed(paused, "paused", text, seen.now), look_again_s=0)
    return Decision(waiting, act=act, look_again_s=min(plan.longest_bake_s - elapsed, plan.check_s))


def _nobody(rollout: Rollout, seen: Seen) -> Decision:
    """There is no instance to prove anything with."""
    wanted = ", ".join(f"{name}={value}" for name, value in sorted(rollout.selector.items()))
    text = f"no {'further ' if rollout.batches else ''}instance {f'matches {wanted}' if wanted else 'reports'}"
    left_s = rollout.plan.prepare_s - elapsed_s(rollout, seen)
    waiting = replace(rollout, waiting=text)
    if left_s > 0:
        return Decision(waiting, look_again_s=left_s)
    paused = replace(waiting, paused=Order(by=HERZ, at=seen.now, message=text))
    return Decision(noticed(paused, "paused", f"{text}; start one and resume, promote, or abort", seen.now))


def _size(rollout: Rollout, field: Field) -> int:
    """How many members the batches up to this one have together."""
    sizes = rollout.plan.sizes(field.total)
    later = sizes[min(rollout.batch, len(sizes)) - 1 :]
    return next((size for size in later if size > field.before), field.total)


def _picked(rollout: Rollout, free: Sequence[Member], count: int) -> tuple[str, ...]:
    """Who joins the batch: in the order of hashes, and first those that have the patch where nobody installs it."""
    if rollout.patch_id is None or rollout.deployer is not None:
        return chosen((member.instance for member in free), rollout.id, count)
    ready = {member.instance for member in free if patched(member, rollout)}
    first = chosen(ready, rollout.id, count)
    rest = (member.instance for member in free if member.instance not in ready)
    return first + chosen(rest, rollout.id, count - len(first))


def _frozen(rollout: Rollout, seen: Seen, field: Field) -> Decision:
    """Membership is settled: the cohort gets a pointer, to what its members run and to what they are to build."""
    batch = Batch(
        number=rollout.batch,
        cohort=rollout.cohort,
        size=len(field.mine),
        membership=membership(member.instance for member in field.mine),
        frozen=seen.now,
        last=not field.free,
    )
    after = begun(rollout, Phase.PREPARING, seen.now, batches=(*rollout.batches, batch), total=field.total)
    return Decision(after, pointing(after, seen.channel), look_again_s=0)


def _next(rollout: Rollout, seen: Seen) -> Decision:
    """The batch is done: the next one, or everybody."""
    if rollout.batches[-1].last:
        return promotion(rollout, seen)
    return Decision(begun(rollout, Phase.PENDING, seen.now, batch=rollout.batch + 1), look_again_s=0)


def _kept(rollout: Rollout, results: Mapping[str, CheckResult]) -> Rollout:
    """The record with what each check said last: people see it while the batch bakes, and it is the evidence."""
    batch = rollout.batches[-1]
    before = {one.name: one for one in batch.checks}  # whoever drove before us looked as well
    checks = tuple({**before, **results}.values())
    return (
        rollout if checks == batch.checks else replace(rollout, batches=_with(rollout, replace(batch, checks=checks)))
    )


def _doubt(rollout: Rollout, seen: Seen, results: Mapping[str, CheckResult]) -> str | None:
    """Why the batch cannot be called good: members of any batch that are away, checks that do not pass."""
    cohorts = {batch.cohort for batch in rollout.batches}
    away = names(member for member in seen.members if member.cohort in cohorts and not applied(member, rollout))
    if away:
        return f"{named(away)} does not report the release in force"
    for check in rollout.checks:
        result = results.get(check.name)
        if result is None or _stale(result, rollout, seen):
            return f"check {check.name} has no result"
        if result.outcome is not Outcome.PASS:
            return f"check {check.name}: {result.detail or result.outcome}"
    return None


def _stale(result: CheckResult, rollout: Rollout, seen: Seen) -> bool:
    return result.time is not None and (seen.now - result.time).total_seconds() > FRESH_LOOKS * rollout.plan.check_s


def _awaited(rollout: Rollout, seen: Seen, window_s: float, what: str, missing: Sequence[str]) -> Decision:
    """Wait for `missing` until the window has run out, then roll back."""
    left_s = window_s - elapsed_s(rollout, seen)
    if left_s <= 0:
        return rollback(rollout, seen, f"{named(missing)} {what} within {window_s:g} s")
    return Decision(rollout, look_again_s=left_s)


def _batch(rollout: Rollout, seen: Seen) -> tuple[Batch, list[Member]]:
    """The frozen batch in work, and who is in it by the mailboxes."""
    batch = rollout.batches[-1]
    return batch, list(in_cohort(seen.members, batch.cohort))


def _with(rollout: Rollout, batch: Batch) -> tuple[Batch, ...]:
    return (*rollout.batches[:-1], batch)


def _about(verdict: Verdict, rollout: Rollout, batch: Batch) -> bool:
    return (verdict.config_version, verdict.patch_id, verdict.membership) == (
        rollout.release.number,
        rollout.patch_id,
        batch.membership,
    )


def _tampered(batch: Batch) -> str:
    return f"the members of batch {batch.number} are not those that were frozen: somebody changed mailboxes"


PHASES: Final[Mapping[Phase, Callable[[Rollout, Seen], Decision]]] = {
    Phase.PENDING: pending,
    Phase.DEPLOYING: deploying,
    Phase.PREPARING: preparing,
    Phase.COMMITTING: committing,
    Phase.VERIFYING: verifying,
    Phase.BAKING: baking,
}
"""What decides in which phase."""
