"""Load balancers: which instance of a service to call, from what the cache knows.

None of them hands out an instance that the cache has seen leave: the choice is checked against the newest
snapshot once more, which is the moment at which it counts as made. An instance that leaves after that is what
every client of a network must expect.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Final, Generic, TypeVar

from herz.discovery.cache import NOBODY, Members, ServiceCache, ServiceSnapshot
from herz.discovery.instance import Instance
from herz.errors import SourceUnavailable, UsageError

STRIDE: Final = 1 << 20
"""Round robins of different processes start at places up to this far apart, so as not to call the same one first."""


class Table:
    """What a balancer prepares for one set of instances: those with a weight above 0, in the order of their names."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.instances = tuple(instance for instance in members.instances if instance.weight > 0)
        self.total = sum(instance.weight for instance in self.instances)


TableT = TypeVar("TableT", bound=Table)


class LoadBalancer(ABC, Generic[TableT]):
    """Chooses instances of one service; may be shared by threads and tasks.

    `pending` counts the calls that are under way through `pick`.
    """

    def __init__(self, cache: ServiceCache, service: str | None = None) -> None:
        name = service or cache.service
        if name is None:
            raise UsageError("the cache follows every service", remedy='say which: RoundRobin(cache, "payments")')
        if cache.service not in (None, name):
            raise UsageError(f"the cache follows {cache.service!r}, not {name!r}", remedy="watch the service you need")
        self.service = name
        self._cache = cache
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], int] = {}
        self._table = self._prepared(NOBODY)
        cache.attach(self)
        self.notify(cache.snapshot)

    def notify(self, snapshot: ServiceSnapshot) -> None:
        """A new set of instances: prepare for it here, on the cache's event loop, rather than in somebody's call."""
        members = snapshot.services.get(self.service, NOBODY)
        if members is not self._table.members:
            self._table = self._prepared(members)

    def choose(self, key: str | bytes | None = None) -> Instance:
        """An instance to call now; `SourceUnavailable` when there is none. `key` is for those that hash."""
        with self._lock:
            return self._chosen(key)

    def pick(self, key: str | bytes | None = None) -> AbstractContextManager[Instance]:
        """`with balancer.pick() as instance`: chosen on entering, and counted as pending until the end of the block."""
        return self._picked(key)

    @contextmanager
    def _picked(self, key: str | bytes | None) -> Iterator[Instance]:
        with self._lock:
            instance = self._chosen(key)
            stay = (instance.name, instance.joined)
            self._pending[stay] = self._pending.get(stay, 0) + 1
        try:
            yield instance
        finally:
            with self._lock:
                left = self._pending[stay] - 1
                if left:
                    self._pending[stay] = left
                else:
                    del self._pending[stay]

    def pending(self, instance: Instance) -> int:
        """The calls of `instance` that are under way through this balancer."""
        return self._pending.get((instance.name, instance.joined), 0)

    def _chosen(self, key: str | bytes | None) -> Instance:
        cache, service = self._cache, self.service
        while True:
            members = cache.members(service)
            table = self._table
            if table.members is not members:
                self._table = table = self._prepared(members)
            if not table.instances:
                raise self._nobody(members)
            instance = self._select(table, key)
            now = cache.members(service)
            if now is members or now.by_name.get(instance.name) is instance:
                return instance
            # It left or changed while we were choosing. Each round takes microseconds and needs a new snapshot to fail.

    def _nobody(self, members: Members) -> SourceUnavailable:
        freshness = self._cache.freshness
        instances = len(members.instances)
        what = "no instance" if not instances else f"{instances} instances, all of them with weight 0"
        stand = f"the cache is {freshness.says}, {freshness.age_s:.3g} s after the last proof"
        return SourceUnavailable(
            f"service {self.service!r} has {what}", where=stand, remedy="wait until one has registered"
        )

    @abstractmethod
    def _prepared(self, members: Members) -> TableT:
        """What choosing from `members` needs; called by any thread, even twice for the same set."""

    @abstractmethod
    def _select(self, table: TableT, key: str | bytes | None) -> Instance:
        """One of `table.instances`, which is not empty. Called with the balancer's lock held."""


class RoundRobin(LoadBalancer[Table]):
    """Each instance in turn, in the order of their names; weights above 0 do not matter."""

    def __init__(
        self, cache: ServiceCache, service: str | None = None, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._turn = count(int(chance() * STRIDE))
        super().__init__(cache, service)

    def _prepared(self, members: Members) -> Table:
        return Table(members)

    def _select(self, table: Table, key: str | bytes | None) -> Instance:
        return table.instances[next(self._turn) % len(table.instances)]


class WeightedRoundRobin(LoadBalancer[Table]):
    """Each instance as often as its weight says, spread as evenly as can be.

    The smooth weighted round robin of nginx (its change "Upstream: smooth weighted round-robin balancing", 2012):
    everyone gains its weight, the richest is chosen and pays the total. With weights 5, 1, 1 the order is
    a a b a c a a, not a a a a a b c. Costs one step for each instance.
    """

    def __init__(self, cache: ServiceCache, service: str | None = None) -> None:
        self._credit: dict[str, float] = {}
        super().__init__(cache, service)

    def _prepared(self, members: Members) -> Table:
        return Table(members)

    def _select(self, table: Table, key: str | bytes | None) -> Instance:
        before, credit, best = self._credit, dict[str, float](), table.instances[0]
        for instance in table.instances:
            credit[instance.name] = before.get(instance.name, 0.0) + instance.weight
            if credit[instance.name] > credit[best.name]:
                best = instance
        credit[best.name] -= table.total
        self._credit = credit
        return best


class LeastPending(LoadBalancer[Table]):
    """The one of two chosen at random that has fewer calls under way, relative to its weight.

    Two choices are exponentially better than one, and unlike the least of all they do not send every client to the same
    instance (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996/2001). Counts the
    calls of this balancer alone, so use `pick`.
    """

    def __init__(
        self, cache: ServiceCache, service: str | None = None, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._chance = chance
        super().__init__(cache, service)

    def _prepared(self, members: Members) -> Table:
        return Table(members)

    def _select(self, table: Table, key: str | bytes | None) -> Instance:
        instances = table.instances
        first = int(self._chance() * len(instances))
        if len(instances) == 1:
            return instances[0]
        second = int(self._chance() * (len(instances) - 1))
        one, other = instances[first], instances[second + (second >= first)]
        return one if self._load(one) <= self._load(other) else other

    def _load(self, instance: Instance) -> float:
        return (self.pending(instance) + 1) / instance.weight
