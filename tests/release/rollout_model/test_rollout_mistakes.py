"""The walk through all runs can fail: each of these small mistakes in the state machine breaks a promise somewhere."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import replace

from herz.release import rollout as rollouts
from herz.release import rollout_ends, rollout_facts, rollout_phases
from herz.release.rollout import Decision, Phase, decide


def _phase(patch, phase, wrong):
    patch.setitem(rollout_phases.PHASES, phase, partial(wrong, rollout_phases.PHASES[phase]))


def verification_is_skipped(patch):
    def committing(real, rollout, seen):
        decision = real(rollout, seen)
        if decision.rollout.phase is Phase.VERIFYING:
            return decision._replace(rollout=replace(decision.rollout, phase=Phase.BAKING))
        return decision

    _phase(patch, Phase.COMMITTING, committing)


def any_verdict_is_believed(patch):
    def verifying(real, rollout, seen):
        if seen.verdict is None:
            return real(rollout, seen)
        return real(rollout, seen._replace(verdict=replace(seen.verdict, verified=True), verdict_step=rollout.step))

    _phase(patch, Phase.VERIFYING, verifying)


def an_older_verdict_is_believed(patch):
    def verifying(real, rollout, seen):
        return real(rollout, seen._replace(verdict_step=rollout.step))

    patch.setattr(rollout_phases, "_about", lambda verdict, rollout, batch: True)
    _phase(patch, Phase.VERIFYING, verifying)


def no_verdict_in_time_is_taken_for_one(patch):
    def verifying(real, rollout, seen):
        decision = real(rollout, seen)
        if seen.verdict is None and decision.rollout.phase is Phase.ROLLING_BACK:
            return Decision(rollout_facts.begun(rollout, Phase.BAKING, seen.now))
        return decision

    _phase(patch, Phase.VERIFYING, verifying)


def the_patch_is_not_awaited(patch):
    def deploying(real, rollout, seen):
        return rollout_phases._frozen(rollout, seen, rollout_facts.field_of(rollout, seen))

    _phase(patch, Phase.DEPLOYING, deploying)


def prepare_is_not_awaited(patch):
    def preparing(real, rollout, seen):
        batch = replace(rollout.batches[-1], committed=True)
        batches = (*rollout.batches[:-1], batch)
        after = rollout_facts.begun(rollout, Phase.COMMITTING, seen.now, batches=batches)
        return Decision(after, rollout_facts.pointing(after, seen.channel))

    _phase(patch, Phase.PREPARING, preparing)


def a_failed_rehearsal_is_taken_for_one(patch):
    def preparing(real, rollout, seen):
        members = []
        for member in seen.members:
            report = member.report
            if report is not None and report.rehearsed is not None:
                report = replace(report, rehearsed=replace(report.rehearsed, error=None))
            members.append(member._replace(report=report))
        return real(rollout, seen._replace(members=members))

    _phase(patch, Phase.PREPARING, preparing)


def joiners_come_into_a_frozen_batch(patch):
    def preparing(real, rollout, seen):
        free = rollout_facts.field_of(rollout, seen).free
        if free:
            return Decision(rollout, assign=((free[0].instance, rollout.cohort),))
        return real(rollout, seen)

    _phase(patch, Phase.PREPARING, preparing)


def rollback_forgets_earlier_batches(patch):
    def without(rollout, channel):
        return replace(channel, cohorts={key: at for key, at in channel.cohorts.items() if key != rollout.cohort})

    patch.setattr(rollout_ends, "without", without)


def promotion_forgets_the_cohorts(patch):
    patch.setattr(rollout_ends, "without", lambda rollout, channel: channel)


def promotion_forgets_stable(patch):
    def promotion(rollout, seen):
        return rollout_ends.promotion(rollout, seen)._replace(channel=rollout_facts.without(rollout, seen.channel))

    patch.setattr(rollout_phases, "promotion", promotion)


def promotion_comes_after_the_first_batch(patch):
    patch.setattr(rollout_phases, "_next", lambda rollout, seen: rollout_ends.promotion(rollout, seen))


def a_moved_channel_goes_unnoticed(patch):
    patch.setattr(rollouts, "moved", lambda rollout, channel: None)


def an_order_to_abort_waits_for_the_batch(patch):
    against = rollouts._against

    def later(rollout, seen):
        return None if rollout.phase is Phase.VERIFYING else against(rollout, seen)

    patch.setattr(rollouts, "_against", later)


def a_pause_does_not_hold_a_prepared_batch(patch):
    def preparing(real, rollout, seen):
        return real(replace(rollout, paused=None), seen)

    _phase(patch, Phase.PREPARING, preparing)


def failures_go_unnoticed(patch):
    patch.setattr(rollouts, "failure", lambda rollout, seen: None)


def mailboxes_are_left(patch):
    patch.setattr(
        rollouts,
        "promoting",
        lambda rollout, seen: rollout_ends._over(rollout, seen, Phase.PROMOTED, "promoted", "done"),
    )


def windows_never_close(patch):
    def awaited(rollout, seen, window_s, what, missing):
        return Decision(rollout)

    patch.setattr(rollout_phases, "_awaited", awaited)


def rollback_waits_for_the_dead(patch):
    def rolling_back(rollout, seen):
        return real(rollout, seen._replace(now=rollout.since))

    real = rollout_ends.rolling_back
    patch.setattr(rollouts, "rolling_back", rolling_back)


def doubt_bakes_for_ever(patch):
    def baking(real, rollout, seen):
        decision = real(rollout, seen)
        return Decision(rollout) if decision.rollout.paused and not rollout.paused else decision

    _phase(patch, Phase.BAKING, baking)


MISFORTUNE = {"luck": 1, "joins": False}
DEPLOYER = {"deployer": True, "joins": False}
MISTAKES = [
    (verification_is_skipped, DEPLOYER, "the next batch comes after the proof of the last"),
    (any_verdict_is_believed, MISFORTUNE, "the next batch comes after the proof of the last"),
    (an_older_verdict_is_believed, DEPLOYER, "no batch is promoted that was not verified"),
    (no_verdict_in_time_is_taken_for_one, DEPLOYER, "the next batch comes after the proof of the last"),
    (the_patch_is_not_awaited, DEPLOYER, "the patch comes before the release"),
    (prepare_is_not_awaited, {}, "nothing is committed that is not built everywhere"),
    (a_failed_rehearsal_is_taken_for_one, MISFORTUNE, "nothing is committed that could not be built"),
    (joiners_come_into_a_frozen_batch, {}, "membership is frozen"),
    (rollback_forgets_earlier_batches, DEPLOYER, "no cohort points to what is rolled back"),
    (promotion_forgets_the_cohorts, DEPLOYER, "no cohort points to what is rolled back"),
    (promotion_forgets_stable, DEPLOYER, "what is promoted is stable"),
    (promotion_comes_after_the_first_batch, DEPLOYER, "promotion comes after the last batch"),
    (a_moved_channel_goes_unnoticed, DEPLOYER, "what somebody else released is not overwritten"),
    (an_order_to_abort_waits_for_the_batch, DEPLOYER, "an order to abort is obeyed at once"),
    (a_pause_does_not_hold_a_prepared_batch, DEPLOYER, "a paused rollout commits nothing"),
    (failures_go_unnoticed, MISFORTUNE, "nothing is promoted over a member that failed"),
    (mailboxes_are_left, DEPLOYER, "no mailbox is left"),
    (windows_never_close, DEPLOYER, "it need not end"),
    (rollback_waits_for_the_dead, DEPLOYER, "it need not end"),
    (doubt_bakes_for_ever, DEPLOYER, "it need not end"),
]


@pytest.mark.parametrize(("mistake", "kind", "broken"), MISTAKES, ids=[mistake.__name__ for mistake, _, _ in MISTAKES])
def test_a_mistake_is_found(explored, monkeypatch, mistake, kind, broken):
    mistake(monkeypatch)
    with pytest.raises(explored.violation, match=f"^{broken}\\nit begins"):
        explored(decide, **kind)
