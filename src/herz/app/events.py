"""What Herz tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from herz.errors import HerzError
from herz.merge.composition import Composition
from herz.merge.diff import changes
from herz.model.change import ChangeSet
from herz.model.document import Event
from herz.model.tree import EMPTY, differences


class Phase(StrEnum):
    """Where a `Herz` is in its life: NEW → LOADING → LOADED → WATCHING → STOPPING → STOPPED."""

    NEW = "NEW"
    LOADING = "LOADING"
    LOADED = "LOADED"
    WATCHING = "WATCHING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"

    @property
    def running(self) -> bool:
        """Whether a configuration is in force and is going to stay: LOADED or WATCHING."""
        return self in (Phase.LOADED, Phase.WATCHING)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that was refused; what was in force before still is."""

    source: str
    revision: int
    error: HerzError


@dataclass(frozen=True)
class Applied:
    """One revision that was applied. Its change set, with places and causes, is made when first asked for."""

    source: str
    revision: int
    generation: int
    reset: bool
    events: tuple[Event, ...]
    composition: Composition
    origin: str

    @cached_property
    def change_set(self) -> ChangeSet:
        """What changed, by meaning, as listeners get it."""
        return ChangeSet(
            self.source,
            self.revision,
            changes(self.events, self.composition.hidden, self.composition.locate, self.origin),
            reset=self.reset,
            generation=self.generation,
        )


@dataclass(frozen=True)
class Present:
    """What was in force at one moment, as a change set from nothing: what a listener with `replay` hears first."""

    generation: int
    composition: Composition

    @cached_property
    def change_set(self) -> ChangeSet:
        """Every key, `before` absent; `reset`, for it stands for all that came before. No one source has made it."""
        events = [Event(*difference) for difference in differences(EMPTY, self.composition.tree)]
        found = changes(events, self.composition.hidden, self.composition.locate, "")
        return ChangeSet("", 0, found, reset=True, generation=self.generation)
