"""Back-off: how long a session waits before it tries again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CAP_EXPONENT: Final = 6

MENDABLE_S: Final = 1.0
"""Seconds between two readings of a source that is there but cannot be understood."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a session tries again, and when it counts as degraded.

    With `fixed_s` None retry n waits `delay_s(n)`; otherwise `fixed_s` seconds each time, without jitter. After
    `retries` of them the session is degraded: what is in force stays, and it keeps trying for ever. A
    session that was active for `healthy_s` seconds counts its retries from zero again, and its first reconnect
    is immediate and not counted.
    """

    retries: int = 8
    healthy_s: float = 10.0
    fixed_s: float | None = None

    def wait_s(self, retry: int, chance: Callable[[], float]) -> float:
        """Seconds before retry `retry`, counted from 0."""
        return delay_s(retry, chance) if self.fixed_s is None else self.fixed_s


EXPONENTIAL: Final = Policy()
"""1, 2, 4, 8, 16, 32, 64, 64 seconds, each plus up to one of jitter, and full jitter after that."""
FIXED: Final = Policy(retries=3, fixed_s=5.0)
"""The older policy: every 5 seconds, degraded after 3 retries. A fleet comes back all at once."""
POLICIES: Final = {"exponential": EXPONENTIAL, "fixed": FIXED}
"""What `herz.config.watch.retry` may say."""


def delay_s(retry: int, random: Callable[[], float]) -> float:
    """Seconds before retry `retry` (from 0): `2**min(retry, 6)` plus up to one of jitter, full jitter once degraded.

    `random` gives numbers from 0 to 1. Full jitter (anything up to the cap) spreads a fleet that lost
    its server together (M. Brooker, "Exponential Backoff And Jitter", 2015).
    """
    if retry >= EXPONENTIAL.retries:
        return float(2**CAP_EXPONENT) * random()
    return float(2 ** min(retry, CAP_EXPONENT)) + random()
