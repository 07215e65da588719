"""What Herz tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from herz.errors import HerzError
from herz.merge.diff import changes
from herz.model.change import ChangeSet
from herz.model.document import Event
from herz.model.tree import EMPTY, differences

if TYPE_CHECKING:
    from herz.merge.composition import Composition


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


@dataclass(eq=False)  # freezing would cost each change a microsecond; a struct, programs that only declare an import
class Applied:
    """One revision that was applied, with `count` leaves. Its change set, with places and causes, is made when wanted.

    `made_of` is what it is made of: the events, and the composition after them.
    """

    source: str
    revision: int
    generation: int
    reset: bool
    count: int
    made_of: tuple[tuple[Event, ...], Composition] | None
    origin: str
    epoch: int = 0

    @cached_property
    def change_set(self) -> ChangeSet:
        """What changed, by meaning, as listeners get it."""
        made_of = self.made_of
        if made_of is None:  # another thread has made it in this very moment
            return self.change_set
        events, composition = made_of
        return ChangeSet(
            self.source,
            self.revision,
            changes(events, composition.hidden, composition.locate, self.origin),
            reset=self.reset,
            generation=self.generation,
            epoch=self.epoch,
        )

    def whole(self) -> Present | None:
        """What stands for this revision and all before it, as a reset; None once `compact` has let go of that."""
        return self.made_of and Present(self.generation, self.made_of[1], self.source, self.revision, self.epoch)

    def compact(self) -> None:
        """Make the change set now and let go of all else, for it may wait long: a composition keeps its documents."""
        if self.change_set is not None:
            self.made_of = None


@dataclass(frozen=True)
class Present:
    """What was in force at one moment, as a change set from nothing: what a listener with `replay` hears first.

    So does one that was too slow, in place of all that it had not heard; then `source` and `revision` say up to where.
    """

    generation: int
    composition: Composition
    source: str = ""
    revision: int = 0
    epoch: int = 0

    def whole(self) -> Present:
        """Itself."""
        return self

    @cached_property
    def change_set(self) -> ChangeSet:
        """Every key, `before` absent; `reset`, for it stands for all that came before."""
        events = [Event(*difference) for difference in differences(EMPTY, self.composition.tree)]
        found = changes(events, self.composition.hidden, self.composition.locate, "")
        return ChangeSet(self.source, self.revision, found, reset=True, generation=self.generation, epoch=self.epoch)
