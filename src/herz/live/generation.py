"""Generations: what is in force together, and the objects built from it."""

from __future__ import annotations

from concurrent.futures import Future
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from herz.live.binding import Bound
from herz.live.providers import Properties, Provider
from herz.model.key import Path
from herz.model.snapshot import Snapshot

if TYPE_CHECKING:
    from herz.live.construction import Construction
    from herz.live.pinning import Lease, Pin


class InForce(NamedTuple):
    """A model as it is in force: what is declared, what was bound, and the prefix as the tree spells it."""

    properties: Properties
    bound: Bound[Any]
    path: Path


class Instance:
    """One built object, and everything that keeps it from being closed.

    It may be closed once it has left the current generation (`left_at`), no live generation contains it
    (`generations`), nothing built from it is open (`dependents`), and no lease is out.
    """

    __slots__ = (
        "__weakref__",
        "built_from",
        "closed",
        "closing",
        "dependents",
        "generations",
        "inputs",
        "leases",
        "left_at",
        "number",
        "overrun",
        "provider",
        "value",
    )

    def __init__(
        self, provider: Provider, value: Any, inputs: tuple[Instance, ...], built_from: tuple[Any, ...], number: int
    ) -> None:
        self.provider = provider
        self.value = value
        self.inputs = inputs
        self.built_from = built_from
        """Every object it was built from, properties included, in the order of `provider.needs`."""
        self.number = number
        """The generation it was built for."""
        self.generations = 0
        self.dependents = 0
        self.leases: set[Lease[Any]] = set()
        self.left_at: float | None = None
        self.overrun = False
        self.closing = False
        self.closed: Future[None] = Future()
        """Done when its close has ended, well or not."""

    def __repr__(self) -> str:
        return f"<Instance of {self.provider.name}, generation {self.number}>"


class State(Enum):
    """Where a set of objects is on its way."""

    CANDIDATE = "candidate"
    CURRENT = "current"
    PINNED = "pinned"
    """No longer current, held by a pin or by a construction for it."""
    RELEASED = "released"


class Objects:
    """The bound models and built objects of one generation, or of several between which none of them changed.

    `values` answers reads: class → object. An object that is built on first use is added to it later.
    """

    __slots__ = ("bound", "building", "holds", "instances", "names", "number", "pins", "state", "values")

    def __init__(self, number: int, bound: dict[Any, InForce]) -> None:
        self.number = number
        self.bound = bound
        self.values: dict[Any, Any] = {model: one.bound.value for model, one in bound.items()}
        self.instances: dict[Any, Instance] = {}
        self.building: dict[Any, Construction] = {}
        self.names: tuple[str, ...] = ()
        self.pins: set[Pin] = set()
        self.holds = 0
        self.state = State.CANDIDATE

    def add(self, instance: Instance) -> None:
        """Contain `instance` from now on."""
        provides = instance.provider.provides
        self.instances[provides] = instance
        self.values[provides] = instance.value
        self.names = (*self.names, instance.provider.name)

    def put(self, one: InForce) -> None:
        """Contain a model that was declared later."""
        self.bound[one.properties.model] = one
        self.values[one.properties.model] = one.bound.value

    def fits(self, instance: Instance) -> bool:
        """Whether `instance` is what would be built here: everything it was built from is the same object."""
        return self.same(instance.provider, instance.built_from)

    def same(self, provider: Provider, built_from: tuple[Any, ...]) -> bool:
        """Whether `provider` would build from exactly these objects here."""
        values = self.values
        wanted = (need.wanted for need in provider.needs if not need.handle)
        return all(values.get(one, self) is made for one, made in zip(wanted, built_from, strict=True))


class Generation:
    """What is in force together, published by one reference assignment. `number` is its snapshot's, 0 before the start.

    `unknown` holds the warnings about keys nobody reads, `waiting` the keys whose change waits for a restart, by
    model.
    """

    __slots__ = ("constructing", "number", "objects", "snapshot", "unknown", "values", "waiting")

    def __init__(
        self,
        snapshot: Snapshot | None,
        objects: Objects,
        unknown: dict[Any, tuple[str, ...]],
        waiting: dict[Any, tuple[str, ...]],
        constructing: str | None = None,
    ) -> None:
        self.number = 0 if snapshot is None else snapshot.generation
        self.snapshot = cast(Snapshot, snapshot)  # nothing reads that of number 0
        self.objects = objects
        self.values = objects.values
        self.unknown = unknown
        self.waiting = waiting
        self.constructing = constructing
        """Inside a factory: the name of what is being built. Nothing can be read then but the snapshot."""

    def __repr__(self) -> str:
        return f"<Generation {self.number}: {len(self.values)} objects>"


def nothing() -> Generation:
    """What is in force before the start and after the stop."""
    return Generation(None, Objects(0, {}), {}, {})
