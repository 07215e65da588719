"""The throttle of logins: who fails must wait, longer each time; nobody else has to.

Failures are counted for each user name at each client address, for each address, and for each name from everywhere.
The last is what stops guessing from a thousand addresses, and what somebody could use to keep a user out: so it waits
no longer than a minute. And what others do, at this address or with this name, does not hold for a user at an address
from which they have logged in before.

Each server counts for itself, in memory. Counting in the store would let anybody on the network write there as fast as
they can send; with n servers a guesser gets n times the attempts, which are few all the same.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from herz.server.clock import Clock
from herz.server.problems import Problem

KEPT: Final = 20_000
"""Counters of each kind; those not touched for longest are forgotten first."""
TRUSTED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Rule:
    """After `free` failures the wait is `first_s`, doubled with each further one up to `most_s`.

    Failures are forgotten `forget_s` after the last one.
    """

    free: int
    first_s: float
    most_s: float
    forget_s: float = 3600.0

    def wait_s(self, failures: int) -> float:
        """For how long nobody may try after so many failures."""
        return 0.0 if failures < self.free else min(self.most_s, self.first_s * 2.0 ** min(failures - self.free, 30))


PAIR: Final = Rule(free=5, first_s=1.0, most_s=900.0)
ADDRESS: Final = Rule(free=30, first_s=1.0, most_s=300.0)
NAME: Final = Rule(free=30, first_s=1.0, most_s=60.0)


class Counters:
    """Failures by a key, under one rule."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._failures: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def wait_s(self, key: Hashable, now: float) -> float:
        """For how long the next attempt is refused."""
        failures, last = self._failures.get(key, (0, now))
        if now - last >= self._rule.forget_s:
            return 0.0
        return max(0.0, last + self._rule.wait_s(failures) - now)

    def failed(self, key: Hashable, now: float) -> None:
        """Count a failure."""
        failures, last = self._failures.pop(key, (0, now))
        self._failures[key] = (1 if now - last >= self._rule.forget_s else failures + 1, now)
        while len(self._failures) > KEPT:
            self._failures.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Start anew."""
        self._failures.pop(key, None)

    def take_back(self, key: Hashable) -> None:
        """One failure less: what was counted ahead turned out well."""
        found = self._failures.get(key)
        if found is not None:
            self._failures[key] = (max(0, found[0] - 1), found[1])


class Throttle:
    """Counts the failures that this server has seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs, self._addresses, self._names = Counters(PAIR), Counters(ADDRESS), Counters(NAME)
        self._trusted: OrderedDict[tuple[str, str], None] = OrderedDict()

    def admit(self, name: str, address: str) -> None:
        """Let an attempt begin; `TooMany` where it has to wait. One of the three methods below ends it.

        For its name it counts as a failure until then, so that many guesses that are sent at once are many.
        """
        name, network, now = name.casefold()[:128], network_of(address), self._clock.monotonic()
        wait_s = self._pairs.wait_s((name, network), now)
        if (name, network) not in self._trusted:
            wait_s = max(wait_s, self._addresses.wait_s(network, now), self._names.wait_s(name, now))
        if wait_s > 0:
            raise TooMany(wait_s)
        self._pairs.failed((name, network), now)
        self._names.failed(name, now)

    def admit_address(self, address: str) -> None:
        """The same for an attempt without a name, of which `failed` tells when it turned out wrong."""
        wait_s = self._addresses.wait_s(network_of(address), self._clock.monotonic())
        if wait_s > 0:
            raise TooMany(wait_s)

    def failed(self, address: str) -> None:
        """An attempt turned out wrong."""
        self._addresses.failed(network_of(address), self._clock.monotonic())

    def succeeded(self, name: str, address: str) -> None:
        """An attempt turned out well."""
        name, network = name.casefold()[:128], network_of(address)
        self._pairs.forget((name, network))
        self._names.take_back(name)
        self._trusted.pop((name, network), None)
        self._trusted[name, network] = None
        while len(self._trusted) > TRUSTED:
            self._trusted.popitem(last=False)

    def undecided(self, name: str, address: str) -> None:
        """An attempt was neither: the store did not answer, or the server was busy."""
        name, network = name.casefold()[:128], network_of(address)
        self._pairs.take_back((name, network))
        self._names.take_back(name)


class TooMany(Problem):
    """An attempt has to wait."""

    def __init__(self, wait_s: float) -> None:
        seconds = max(1, round(wait_s + 0.5))
        super().__init__(
            429,
            "too-many-attempts",
            "there were too many attempts to log in",
            remedy=f"wait {seconds} s, then try again",
            headers={"retry-after": str(seconds)},
        )


def network_of(address: str) -> str:
    """What counts as one client: an address, of IPv6 the /64 that a household or a machine has whole."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
