"""Who hears an event: the listeners of one name between two registrations.

An `Audience` is read by a fire in one step and never changes in length. Registering or cancelling
makes a new audience and *retires* the old one, so all the price of safety is paid there:

* A fire reads the audience, stores its event in `audience.state`, then calls `audience.listeners`.
* Retiring assigns `audience.__class__ = FormerAudience`, whose `__setattr__` receives what a fire
  that was under way stores later, and hands it on to the successors.

So the store of a fire comes either before the retirement, and then the event is in the state that a
new listener is given (or a later one is), or after it, and then it is handed on live to that
listener. It cannot be both or neither, and no sequence number is drawn while firing.

Relied on (CPython with its GIL): one attribute load or store on a slotted object, one `__class__`
assignment, one `list` item load or store, and one `dict` load, store or `setdefault` with `str` or
`int` keys are each indivisible, and a store finds its type's way of storing within that one step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from herz.live.registration import Registration

Call = Callable[[Any], object]
Contain = Callable[[str, Any, Any, BaseException], None]

UNSET: Final[Any] = object()
"""No event yet; `None` may be fired like any other."""

_OPEN: Final[Any] = object()


def silence(event: object) -> None:
    """Takes the place of a listener that was cancelled, also in a fire that is under way."""


class Audience:
    """The listeners of one name, and the last event they were to hear.

    `listeners[i]` is what a fire calls for `registrations[i]`. The length is fixed; an item is only
    ever replaced in place, by `silence` or by the listener whose gate has opened.
    """

    __slots__ = ("__weakref__", "contain", "inherited", "listeners", "name", "registrations", "state", "successor")

    def __init__(
        self, name: str, contain: Contain, listeners: list[Call], registrations: tuple[Registration, ...]
    ) -> None:
        self.name = name
        self.contain = contain
        self.listeners = listeners
        self.registrations = registrations
        self.state: Any = UNSET
        # What the predecessor ended with. Apart from `state`, because an event that is handed on
        # may already be in `state` when the predecessor's end is read.
        self.inherited: Any = UNSET
        self.successor: Audience | None = None

    def replace(self, registration: Registration, call: Call) -> None:
        """Put `call` where `registration` is, seen at once by fires that have not come to it yet."""
        if registration in self.registrations:
            self.listeners[self.registrations.index(registration)] = call


class FormerAudience(Audience):
    """A retired audience: what is stored late is handed on, so that it is heard exactly once."""

    __slots__ = ()

    def __setattr__(self, attribute: str, event: Any) -> None:
        """Only a fire writes here: `state`, with an event that overlapped a registration.

        The event becomes the newest state and goes to each listener added since. The firing
        loop goes on to call the listeners of this audience itself.
        """
        added: list[tuple[Audience, int]] = []
        audience: Audience = self
        while type(audience) is FormerAudience:
            successor = cast(Audience, audience.successor)  # given before it was retired
            added += [(successor, index) for index in range(len(audience.listeners), len(successor.listeners))]
            audience = successor
        # Retired in this very moment? Then this store hands on as well, from there.
        audience.state = event
        for audience, index in added:
            listener = audience.listeners[index]  # looked up now: it may have been cancelled since
            try:
                listener(event)
            except BaseException as error:
                self.contain(self.name, listener, event, error)


def retire(former: Audience, successor: Audience) -> Any:
    """Make `successor` the heir of `former` and return the state at that moment (`UNSET` if none).

    From here on an event stored in `former` reaches what `successor` has added. Callers hold the
    registration lock.
    """
    former.successor = successor
    former.__class__ = FormerAudience
    state = former.state if former.state is not UNSET else former.inherited
    successor.inherited = state
    return state


def newest(audience: Audience) -> tuple[Audience, Any]:
    """The audience that `audience` has led to, and the state now (`UNSET` if nothing was fired)."""
    state = UNSET
    while True:
        if audience.state is not UNSET:
            state = audience.state
        elif audience.inherited is not UNSET:
            state = audience.inherited
        if type(audience) is not FormerAudience or audience.successor is None:
            return audience, state
        audience = audience.successor


class Gate:
    """Keeps live events back until the replayed state has been heard, without a lock.

    Events and the opening compete for the next free position of `log` by `dict.setdefault`, so
    each event is either before the opening, and `open` passes it on in order, or after it, and the
    firing thread passes it on itself: nothing is left behind and nothing overtakes.
    """

    __slots__ = ("listener", "log", "sink")

    def __init__(self, listener: Any, sink: Call) -> None:
        self.listener = listener
        self.sink = sink
        self.log: dict[int, Any] = {}

    def __call__(self, event: Any) -> None:
        """Keep `event` back, or pass it on when the gate is open."""
        box = (event,)  # a new object for each fire: one event object may be fired twice
        position = max(0, len(self.log) - 1)  # never beyond the opening, which is the last position
        while (found := self.log.setdefault(position, box)) is not box:
            if found is _OPEN:
                self.sink(event)
                return
            position += 1

    def open(self, state: Any, deliver: Call) -> None:
        """Deliver `state` (unless `UNSET`), then all that was kept back, then let events pass."""
        if state is not UNSET:
            deliver(state)
        position = 0
        while (box := self.log.setdefault(position, _OPEN)) is not _OPEN:
            deliver(box[0])
            self.log[position] = None
            position += 1
