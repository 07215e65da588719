"""The session's state machine, walked through every way to depth 8."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from herz.errors import DocumentMalformed, HerzError, HistoryBroken, RevisionExpired, SourceDenied, SourceUnavailable
from herz.sources.base import Standing
from herz.watch.backoff import EXPONENTIAL, FIXED, Policy
from herz.watch.core import TRANSITIONS, Core, Says, State, Verdict, judged

ERRORS = [
    SourceUnavailable("gone"),
    SourceDenied("no"),
    RevisionExpired("compacted"),
    DocumentMalformed("bad"),
    HistoryBroken("again"),
]
PROOF_S = 5.0


def core(policy: Policy = EXPONENTIAL, *, proof_s: float | None = PROOF_S, chance: float = 0.5) -> Core:
    return Core(policy, proof_s=proof_s, chance=lambda: chance, now=0.0)


def moves(at: Core, now: float) -> Iterator[Callable[[Core], object]]:
    """What may happen next, as the driver calls it."""
    if at.state in (State.IDLE, State.RETRY):
        yield lambda c: c.attempt(now)
    if at.state in (State.FAILED, State.BACKOFF):
        yield lambda c: c.retry(now)
    if at.state is State.FAILED:
        yield lambda c: c.back_off(now)
    if at.state is State.PENDING:
        yield lambda c: c.opened(now)
        yield lambda c: c.caught(ERRORS[-1])
    if at.state is State.ACTIVE:
        yield lambda c: c.proven(now)
    if at.state in (State.PENDING, State.ACTIVE):
        for error in ERRORS:
            yield partial(_failed, error=error, now=now)
    yield lambda c: c.stop(now)


def _failed(at: Core, error: HerzError, now: float) -> float:
    return at.failed(error, now)


def test_no_way_of_eight_steps_breaks_the_rules_of_the_session() -> None:
    reached: dict[tuple[object, ...], tuple[Core, float]] = {(): (core(), 0.0)}
    walked: set[State] = set()
    steps = 0
    for _ in range(8):
        after: dict[tuple[object, ...], tuple[Core, float]] = {}
        for before, then in reached.values():
            for pause in (0.1, 6.0, 20.0):
                now = then + pause
                for move in moves(before, now):
                    at = copy.copy(before)
                    answer = move(at)
                    steps += 1
                    if isinstance(answer, float):
                        assert 0 <= answer <= 65
                        assert at.state is State.FAILED
                    if at.state is not before.state:
                        assert at.state in TRANSITIONS[before.state]
                    says = at.says(now)
                    if says is Says.CURRENT:
                        assert now - at.proven_s <= PROOF_S
                        assert not at.rewound
                    if before.rewound:
                        assert at.rewound or at.state is State.ACTIVE
                    if at.retries < before.retries:
                        assert before.state is State.ACTIVE
                        assert now - before.since_s >= EXPONENTIAL.healthy_s
                    walked.add(at.state)
                    key = (at.state, type(at.error), at.retries, at.rewound, now - at.proven_s, now - at.since_s)
                    after[key] = (at, now)
        reached = after
    assert walked == set(State)
    assert steps > 10_000


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_left(state: State) -> None:
    assert TRANSITIONS[state]


def failing(session: Core, error: HerzError, now: float) -> float:
    if session.state is State.IDLE:
        session.attempt(now)
    wait = session.failed(error, now)
    session.retry(now + wait)
    session.attempt(now + wait)
    return wait


def test_retries_wait_as_the_table_says_then_full_jitter_at_the_cap() -> None:
    session = core(chance=0.25)
    waits = [failing(session, ERRORS[0], 0.0) for _ in range(10)]
    assert waits == [1.25, 2.25, 4.25, 8.25, 16.25, 32.25, 64.25, 64.25, 16.0, 16.0]
    assert session.degraded


def test_the_fixed_policy_waits_five_seconds_and_is_degraded_after_three() -> None:
    session = core(FIXED)
    assert [failing(session, ERRORS[0], 0.0) for _ in range(3)] == [5, 5, 5]
    assert not session.degraded
    assert failing(session, ERRORS[0], 0.0) == 5
    assert session.degraded


def test_the_first_reconnect_after_a_healthy_while_is_immediate_and_not_counted() -> None:
    session = core()
    failing(session, ERRORS[0], 0.0)
    session.opened(2.0)
    assert session.failed(ERRORS[0], 2.0 + EXPONENTIAL.healthy_s) == 0
    assert session.retries == 0


def test_a_flapping_watch_is_not_tried_again_at_once() -> None:
    session = core()
    session.attempt(0.0)
    waits = []
    for _ in range(4):
        session.opened(0.0)
        waits.append(session.failed(ERRORS[0], 0.5))
        session.retry(1.0)
        session.attempt(1.0)
    assert waits == [1.5, 2.5, 4.5, 8.5]


def test_refused_credentials_say_halted_and_are_tried_at_the_cap_only() -> None:
    session = core(chance=0.5)
    assert failing(session, SourceDenied("wrong password"), 0.0) == 32.0
    assert session.says(0.0) is Says.HALTED
    session.opened(40.0)
    assert session.says(40.0) is Says.CURRENT


def test_it_says_stale_once_the_deadline_of_a_sign_of_life_has_passed() -> None:
    session = core()
    session.attempt(0.0)
    session.opened(0.0)
    session.proven(3.0)
    assert session.says(8.0) is Says.CURRENT
    assert session.says(8.1) is Says.STALE


def test_a_place_that_may_be_silent_is_stale_only_while_it_cannot_be_watched() -> None:
    session = core(proof_s=None)
    session.attempt(0.0)
    session.opened(0.0)
    assert session.says(10_000.0) is Says.CURRENT
    session.failed(ERRORS[0], 10_000.0)
    assert session.says(10_000.0) is Says.STALE


@pytest.mark.parametrize(
    ("standing", "verdict"),
    [
        (Standing("a", 12, True), Verdict.RELEASE),
        (Standing("a", 10, True), Verdict.RELEASE),
        (Standing("a", 9, True), Verdict.REWOUND),
        (Standing("a", 9, None), Verdict.REWOUND),
        (Standing("a", 12, None), Verdict.EXPIRED),
        (Standing("a", 12, False), Verdict.REWOUND),
    ],
)
def test_a_resumed_watch_is_believed_only_when_the_place_tells_the_same_story(standing, verdict) -> None:
    assert judged(standing, 10) is verdict
