"""A lease as its holder may count it: lost at a deadline of our own, never later than the server's.

The server starts a lease's time when it receives a sign of life, which is after we sent it. So a deadline counted
from the moment of sending comes first, however late the answer was (etcd's server looks for expired leases
every 500 ms and does not tell the holder). The clock must not jump and should count the time that the machine
was suspended, as `herz.store.clock` does on Linux.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from herz.errors import LeaseLost

RENEWALS: Final = 3
"""Signs of life within one time to live, so that two may fail."""

EARLY_S: Final = 0.001
"""A lease counts as lost so much before its deadline: timers are not exact, and early is the safe side."""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease, the time it was last asked for (`sent_s`) and the seconds that were granted then (`ttl_s`)."""

    id: int
    ttl_s: float
    sent_s: float

    @property
    def deadline_s(self) -> float:
        """From here on it counts as lost."""
        return self.sent_s + self.ttl_s

    @property
    def due_s(self) -> float:
        """When the next sign of life is due."""
        return self.sent_s + self.ttl_s / RENEWALS

    def lost(self, now_s: float) -> bool:
        """Whether its time has passed."""
        return self.deadline_s - now_s <= EARLY_S

    def left_s(self, now_s: float) -> float:
        """The seconds until it counts as lost; 0 from then on."""
        return max(0.0, self.deadline_s - now_s)

    def prolonged(self, ttl_s: float, sent_s: float, now_s: float) -> HeldLease:
        """The lease after a keep-alive sent at `sent_s` was answered at `now_s` with `ttl_s` seconds.

        `LeaseLost` when no time was granted, or the answer came after that time, or after our deadline: what
        hung on the lease may be gone by then.
        """
        if ttl_s <= 0:
            raise LeaseLost(
                f"lease {self.id}: the store granted {ttl_s:g} s", remedy="a new one is asked for and registered"
            )
        if self.lost(now_s) or now_s >= sent_s + ttl_s:
            raise LeaseLost(
                f"lease {self.id}: the answer came {now_s - sent_s:.3g} s after it was asked for",
                remedy="a new one is asked for and registered",
            )
        return replace(self, ttl_s=ttl_s, sent_s=sent_s)
