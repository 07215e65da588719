"""The service cache: who serves what, as the watch told last; read without a lock, by any thread."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from immutables import Map

from herz.discovery.instance import ROOT, Instance, decoded
from herz.errors import DocumentMalformed
from herz.model.document import Batch, Progress, Reset, Revision
from herz.model.tree import ABSENT
from herz.sources.base import Item
from herz.store.base import Entry

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Happened(StrEnum):
    """What happened to an instance."""

    JOINED = "JOINED"
    CHANGED = "CHANGED"
    LEFT = "LEFT"


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """One instance joined, changed or left, at one revision.

    `instance` is what it is now, or was when it left; `previous` what it was before a change. `synthetic` says that
    the values in between are gone and the event is the difference of two readings.
    """

    what: Happened
    instance: Instance
    revision: Revision
    previous: Instance | None = None
    synthetic: bool = False


class Says(StrEnum):
    """What a cache says of itself."""

    LOADING = "LOADING"
    CURRENT = "CURRENT"
    STALE = "STALE"
    REWOUND = "REWOUND"
    HALTED = "HALTED"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current a cache is. `age_s` is counted from the store's last proof; `reason` says why it is not current."""

    says: Says
    age_s: float
    reason: str | None = None

    @property
    def current(self) -> bool:
        """Whether the store has proved within the deadline that nothing is missing."""
        return self.says is Says.CURRENT


class Members:
    """The instances of one service at one revision; it never changes."""

    __slots__ = ("_instances", "by_name")

    def __init__(self, by_name: Map[str, Instance]) -> None:
        self.by_name = by_name
        self._instances: tuple[Instance, ...] | None = None

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All of them in the order of their names; sorted once, when first asked for."""
        if self._instances is None:
            self._instances = tuple(self.by_name[name] for name in sorted(self.by_name))
        return self._instances


NOBODY: Final = Members(Map())


@dataclass(frozen=True, slots=True, eq=False)
class ServiceSnapshot:
    """All services at one revision.

    `refused` has the keys whose value could not be understood, and why: such an instance is served as it
    was last understood, or not at all. `epoch` counts how often the store went back in time.
    """

    revision: Revision = -1
    epoch: int = 0
    services: Map[str, Members] = field(default_factory=Map)
    refused: Map[str, str] = field(default_factory=Map)


class Informed(Protocol):
    """Somebody who is told of each new set of instances, as balancers are."""

    def notify(self, snapshot: ServiceSnapshot) -> None:
        """A snapshot was published. Called on the event loop that follows the store; must be quick."""


class ServiceCache:
    """The instances that the watch has seen join and not seen leave.

    Reading takes no lock: `snapshot` is one attribute, replaced whole for each revision. Listeners are called in
    order, on the event loop that follows the store, after the snapshot with their change was published. While the
    store cannot be asked, the last known set stays, and `freshness` says STALE.
    """

    def __init__(self, service: str | None = None, root: str = ROOT) -> None:
        self.service = service
        self.snapshot = ServiceSnapshot()
        self.freshness_of: Callable[[], Freshness] = lambda: Freshness(Says.LOADING, 0.0)
        self._root = root
        self._listeners: tuple[Callable[[ServiceEvent], None], ...] = ()
        self._informed: weakref.WeakSet[Informed] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def freshness(self) -> Freshness:
        """How current the cache is, now."""
        return self.freshness_of()

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the services that have instances."""
        return tuple(sorted(self.snapshot.services))

    def members(self, service: str | None = None) -> Members:
        """The instances of one service, by default of the one that is followed."""
        return self.snapshot.services.get(service or self.service or "", NOBODY)

    def instances(self, service: str | None = None) -> tuple[Instance, ...]:
        """The instances of one service in the order of their names; empty when there are none."""
        return self.members(service).instances

    def subscribe(self, listener: Callable[[ServiceEvent], None]) -> Callable[[], None]:
        """Have `listener` called for each event from now on; call the answer to end that.

        Who subscribes first and then reads the snapshot misses nothing: skip events up to its revision. A listener
        that raises is logged, and keeps nothing from the others.
        """
        with self._lock:
            self._listeners += (listener,)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def attach(self, informed: Informed) -> None:
        """Have `informed` notified of each snapshot, as long as it is used elsewhere."""
        with self._lock:
            self._informed.add(informed)

    # --- for the watch ----------------------------------------------------------------------------

    def take(self, item: Item) -> None:
        """Publish what one item of the watch says, then tell everybody."""
        before = self.snapshot
        match item:
            case Progress():
                self.snapshot = ServiceSnapshot(item.revision, before.epoch, before.services, before.refused)
            case Batch():
                steps = [(path[0], None if entry is ABSENT else entry) for path, _, entry in item.events]
                self._publish(*self._after(before, steps, item.revision, before.epoch))
            case Reset():
                entries: Mapping[str, Entry] = item.document.tree
                epoch = before.epoch + item.rewound
                self._publish(*self._read_again(before, entries, item.document.revision, epoch))

    def _after(
        self, before: ServiceSnapshot, steps: list[tuple[str, Entry | None]], revision: Revision, epoch: int
    ) -> tuple[ServiceSnapshot, list[ServiceEvent]]:
        services, refused, events = before.services, before.refused, list[ServiceEvent]()
        for key, entry in steps:
            service, _, name = key.removeprefix(self._root).partition("/")
            members = services.get(service, NOBODY).by_name
            held = members.get(name)
            refused = refused.delete(key) if key in refused else refused
            after = held
            if entry is None:
                after = None
            else:
                try:
                    after = decoded(entry, self._root)
                    after = held if after == held else after
                except DocumentMalformed as error:
                    refused = refused.set(key, str(error))
                    if held is not None and held.joined != entry.create_revision:
                        after = None  # what we know is of an earlier stay
            if after is held:
                continue
            members = members.delete(name) if after is None else members.set(name, after)
            services = services.set(service, Members(members)) if members else services.delete(service)
            events += _steps(held, after, revision)
        return ServiceSnapshot(revision, epoch, services, refused), events

    def _read_again(
        self, before: ServiceSnapshot, entries: Mapping[str, Entry], revision: Revision, epoch: int
    ) -> tuple[ServiceSnapshot, list[ServiceEvent]]:
        gone = [key for key in before.refused if key not in entries]
        gone += [
            key
            for service, members in before.services.items()
            for name in members.by_name
            if (key := f"{self._root}{service}/{name}") not in entries
        ]
        steps = [(key, entries.get(key)) for key in [*sorted(set(gone)), *sorted(entries)]]
        snapshot, events = self._after(before, steps, revision, epoch)
        if before.revision >= 0:
            events = [ServiceEvent(e.what, e.instance, e.revision, e.previous, synthetic=True) for e in events]
        return snapshot, events

    def _publish(self, snapshot: ServiceSnapshot, events: list[ServiceEvent]) -> None:
        known, self.snapshot = self.snapshot.refused, snapshot
        for key, reason in snapshot.refused.items():
            if key not in known:
                _log.warning("herz: not an instance of a service: %s", reason)
        if not events:
            return
        with self._lock:
            informed, listeners = list(self._informed), self._listeners
        for one in informed:
            _told(one.notify, snapshot)
        for event in events:
            for listener in listeners:
                _told(listener, event)


def _steps(before: Instance | None, after: Instance | None, revision: Revision) -> list[ServiceEvent]:
    """The events that lead from one to the other; none when both mean the same."""
    if before is not None and after is not None and before.joined == after.joined:
        changed = not before.same_as(after)
        return [ServiceEvent(Happened.CHANGED, after, revision, before)] if changed else []
    left = [ServiceEvent(Happened.LEFT, before, revision)] if before is not None else []
    return left + ([ServiceEvent(Happened.JOINED, after, revision)] if after is not None else [])


def _told(listener: Callable[[T], None], what: T) -> None:
    try:
        listener(what)
    except Exception:
        _log.exception("herz: a listener of the service cache failed")
