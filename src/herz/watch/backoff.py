"""Back-off: how long a session waits before it tries again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

CAP_EXPONENT: Final = 6
RETRIES: Final = 8
"""Retries after which a session counts as degraded; it keeps trying at the cap for ever."""
HEALTHY_S: Final = 30.0
"""Seconds a session must have been active before its retries count from zero again."""

MENDABLE_S: Final = 1.0
"""Seconds between two readings of a source that is there but cannot be understood."""


def delay_s(retry: int, random: Callable[[], float]) -> float:
    """Seconds before retry `retry` (from 0): `2**min(retry, 6)` plus up to one of jitter, full jitter once degraded.

    `random` gives numbers from 0 to 1. Full jitter (anything up to the cap) spreads a fleet that lost
    its server together (M. Brooker, "Exponential Backoff And Jitter", 2015).
    """
    if retry >= RETRIES:
        return float(2**CAP_EXPONENT) * random()
    return float(2 ** min(retry, CAP_EXPONENT)) + random()
