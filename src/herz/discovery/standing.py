"""Where a registration stands, and what it tells of that.

REGISTERING → REGISTERED ⇄ RENEWING
     ↑            └→ LOST ←┘   LOST → REGISTERING
REPLACED and DEREGISTERED end it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Registered(StrEnum):
    """Where a registration stands."""

    REGISTERING = "REGISTERING"
    REGISTERED = "REGISTERED"
    RENEWING = "RENEWING"
    LOST = "LOST"
    REPLACED = "REPLACED"
    DEREGISTERED = "DEREGISTERED"


TRANSITIONS: Final[dict[Registered, frozenset[Registered]]] = {
    Registered.REGISTERING: frozenset({Registered.REGISTERED, Registered.LOST, Registered.DEREGISTERED}),
    Registered.REGISTERED: frozenset({Registered.RENEWING, Registered.LOST, Registered.DEREGISTERED}),
    Registered.RENEWING: frozenset(
        {Registered.REGISTERED, Registered.LOST, Registered.REPLACED, Registered.DEREGISTERED}
    ),
    Registered.LOST: frozenset({Registered.REGISTERING, Registered.DEREGISTERED}),
    Registered.REPLACED: frozenset(),
    Registered.DEREGISTERED: frozenset({Registered.REGISTERING}),
}
"""The legal transitions."""


@dataclass(frozen=True, slots=True)
class RegistrationEvent:
    """One step of a registration, on its clock: in `state` since `since_s`; `reason` says why where there is one."""

    state: Registered
    at_s: float
    since_s: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RegistrationHealth:
    """How a registration stands: since `age_s` seconds in `state`, for `reason`.

    `renewed_s` is the age of the last sign of life that the store answered, `left_s` what is left of the lease.
    """

    state: Registered
    age_s: float
    reason: str | None
    lease: int | None
    renewed_s: float | None
    left_s: float
