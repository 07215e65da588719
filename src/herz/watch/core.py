"""The watch session's decisions, without I/O: what happened goes in, what to do next comes out.

    IDLE → PENDING → ACTIVE → FAILED → BACKOFF → RETRY → PENDING …

Nothing here knows a store, a clock or a task: times are handed in, so that every way through can be
walked by a test. What the session says about its data stands beside the state: CURRENT while the place has
proved within its deadline that nothing is missing, STALE otherwise, REWOUND from the moment that the place was
caught telling another story than before until it was read again, HALTED while only people can mend it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Final

from herz.errors import ConfigurationError, HerzError, RevisionExpired, SourceDenied
from herz.model.document import Revision
from herz.sources.base import Standing
from herz.watch.backoff import EXPONENTIAL, MENDABLE_S, Policy


class State(StrEnum):
    """What a session is doing. `TRANSITIONS` lists what may follow what."""

    IDLE = "IDLE"
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    BACKOFF = "BACKOFF"
    RETRY = "RETRY"


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.IDLE: frozenset({State.PENDING}),
    State.PENDING: frozenset({State.ACTIVE, State.FAILED, State.IDLE}),
    State.ACTIVE: frozenset({State.FAILED, State.IDLE}),
    State.FAILED: frozenset({State.BACKOFF, State.RETRY, State.IDLE}),
    State.BACKOFF: frozenset({State.RETRY, State.IDLE}),
    State.RETRY: frozenset({State.PENDING, State.IDLE}),
}
"""The legal transitions; any session goes back to IDLE when it is stopped."""


class Says(StrEnum):
    """What a session says about its data."""

    CURRENT = "CURRENT"
    STALE = "STALE"
    REWOUND = "REWOUND"
    HALTED = "HALTED"


class Verdict(Enum):
    """What to do with a watch that stands again."""

    RELEASE = "take what it brings"
    EXPIRED = "read again: history does not reach back"
    REWOUND = "read again, and call it a new epoch: the place went back, or is another one"


def judged(standing: Standing, after: Revision) -> Verdict:
    """Whether a watch resumed behind `after` may be believed.

    A store restored from a backup keeps its names, members and terms, so only what it holds can tell: a newest
    revision below ours, or other content at ours.
    """
    if standing.revision < after or standing.matches is False:
        return Verdict.REWOUND
    return Verdict.EXPIRED if standing.matches is None else Verdict.RELEASE


class Core:
    """The state of one session. Every method takes the time it happens at, in seconds of any one clock.

    `proof_s` is how long the place may say nothing; None where silence is normal (files).
    """

    def __init__(
        self, policy: Policy = EXPONENTIAL, *, proof_s: float | None = None, chance: Callable[[], float], now: float
    ) -> None:
        self.policy = policy
        self.proof_s = proof_s
        self.state = State.IDLE
        self.since_s = now
        self.proven_s = now
        """When the place last proved what it holds; the first reading before a session counts as proof."""
        self.error: HerzError | None = None
        self.retries = 0
        self.rewound = False
        self.reconnects = 0
        self._chance = chance

    @property
    def degraded(self) -> bool:
        """Whether the retries are spent: it keeps trying, but somebody should look. Not while the watch stands."""
        return self.retries > self.policy.retries and self.state is not State.ACTIVE

    def healthy(self, now: float) -> bool:
        """Whether the watch has stood for so long that earlier retries count no more."""
        return self.state is State.ACTIVE and now - self.since_s >= self.policy.healthy_s

    def says(self, now: float) -> Says:
        """What to tell about the data that this session brought."""
        if self.rewound:
            return Says.REWOUND
        if self.state is not State.ACTIVE and isinstance(self.error, SourceDenied):
            return Says.HALTED
        if self.proof_s is None:
            fresh = self.state is State.ACTIVE or self.error is None
        else:
            fresh = now - self.proven_s <= self.proof_s
        return Says.CURRENT if fresh else Says.STALE

    def _become(self, state: State, now: float) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"  # noqa: S101  the table is the law
        self.state, self.since_s = state, now

    def attempt(self, now: float) -> None:
        """Connecting, reading and verifying begin."""
        self._become(State.PENDING, now)

    def caught(self, error: HerzError) -> None:
        """The place went back in time. It says so until it was read again and a watch stands on that."""
        self.rewound, self.error = True, error

    def opened(self, now: float, *, current: bool = True) -> None:
        """The watch stands, and what it brings may be taken. `current` when everything has been read just now."""
        if self.state is not State.ACTIVE:
            self._become(State.ACTIVE, now)
        self.error, self.rewound = None, False
        if current:
            self.proven_s = now

    def proven(self, now: float) -> None:
        """The place showed that it has handed on everything so far."""
        self.proven_s = now

    def failed(self, error: HerzError, now: float) -> float:
        """The attempt or the watch ended with `error`; the seconds to wait, 0 to try again at once."""
        healthy = self.healthy(now)
        self._become(State.FAILED, now)
        self.error = error
        if healthy:
            self.retries = 0
            wait_s = 0.0
        elif isinstance(error, ConfigurationError):
            # What is malformed is there to be read, and mended by hand: look again soon, however often it was.
            self.retries += 1
            wait_s = MENDABLE_S
        elif isinstance(error, RevisionExpired) and self.retries == 0:
            self.retries = 1
            wait_s = 0.0
        else:
            # Refused credentials are mended by people: nobody gains from trying fast.
            retry = self.policy.retries if isinstance(error, SourceDenied) else self.retries
            wait_s = self.policy.wait_s(retry, self._chance)
            self.retries += 1
        return wait_s

    def back_off(self, now: float) -> None:
        """The wait begins."""
        self._become(State.BACKOFF, now)

    def retry(self, now: float) -> None:
        """The wait is over."""
        self._become(State.RETRY, now)
        self.reconnects += 1

    def stop(self, now: float) -> None:
        """Nothing is followed any more."""
        if self.state is not State.IDLE:
            self._become(State.IDLE, now)
