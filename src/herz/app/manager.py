"""The configuration manager: load first, then watch, and tell of it in events.

It is another face of the engine that `Herz` is, for programs that want a life cycle and events rather than objects:

    LOADING (`init` was called) → LOADED (`ConfigLoadedEvent`) → WATCHING (each change a `ConfigChangeEvent`)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from herz.app.events import Applied, Phase, Present
from herz.app.herz import Herz
from herz.live.dispatcher import is_async
from herz.model.change import ChangeSet
from herz.model.snapshot import Snapshot

_EVENT: Final = "config"


@dataclass(frozen=True)
class ConfigLoadedEvent:
    """The first configuration is complete and valid, and in force; nothing is watched yet."""

    snapshot: Snapshot


@dataclass(frozen=True)
class ConfigChangeEvent:
    """One revision of one source has been put in force; `changes` is what it changed, by meaning."""

    changes: ChangeSet

    @property
    def source(self) -> str:
        """Who changed."""
        return self.changes.source

    @property
    def revision(self) -> int:
        """The source's revision: a zxid, where it is ZooKeeper."""
        return self.changes.revision

    @property
    def keys(self) -> tuple[str, ...]:
        """The changed keys, in order."""
        return self.changes.keys

    @property
    def reset(self) -> bool:
        """Whether values in between may have been missed, as it must be told where a place keeps no history.

        So it is with ZooKeeper when changes come faster than they can be read, and after a cut. `changes` then leads
        from what was in force to what is.
        """
        return self.changes.reset


ConfigEvent: TypeAlias = ConfigLoadedEvent | ConfigChangeEvent
L = TypeVar("L", bound=Callable[[Any], Any])


class ConfigManager:
    """Holds the configuration of `sources`: complete and valid before `init` returns, current from then on.

    It takes what `Herz` takes. A lost session is opened again and its watches registered anew by themselves; each
    change is told once, however often that happens. `herz` is the `Herz` underneath, for typed classes and refreshed
    objects.
    """

    def __init__(self, *sources: Any, **options: Any) -> None:
        self._herz = Herz(*sources, **options)
        self._numbers = itertools.count()
        self._removed: set[int] = set()
        self._kept: list[tuple[Callable[[Any], Any], int]] = []
        # On Herz's own thread, in the order in which it says so: one queue for both kinds keeps that order.
        self._herz.events.register("loaded", self._said)
        self._herz.events.register("applied", self._said)

    @property
    def herz(self) -> Herz:
        """The engine underneath."""
        return self._herz

    @property
    def state(self) -> Phase:
        """NEW, LOADING, LOADED, WATCHING, STOPPING or STOPPED."""
        return self._herz.state

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force, at one moment."""
        return self._herz.snapshot

    def get(self, key: str, default: Any = None) -> Any:
        """The value in force at `key`, or `default`."""
        return self._herz.snapshot.get(key, default)

    # --- life ---------------------------------------------------------------------------------

    def init(self) -> Self:
        """Load everything, blocking, then register the watches in the background.

        `ConfigLoadError` when the first configuration is not complete and valid; the manager can be initialised again.
        """
        self._herz.start()
        return self

    async def ainit(self) -> Self:
        """`init` for an asynchronous application, whose running loop then runs its async listeners."""
        await self._herz.astart()
        return self

    def close(self) -> None:
        """Stop watching, and let listeners hear what was applied. Harmless when it does not run."""
        self._herz.stop()

    async def aclose(self) -> None:
        """`close` for an asynchronous application."""
        await self._herz.astop()

    def __enter__(self) -> Self:
        return self.init()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.ainit()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- events -------------------------------------------------------------------------------

    def add_listener(self, listener: L, *kinds: type) -> L:
        """Call `listener(event)` with every event of `kinds`, by default all: each once, in order, one at a time.

        It has a queue of its own: one that raises or hangs holds up nobody. It may be `async def`.
        """
        number = next(self._numbers)
        self._kept.append((listener, number))
        wanted = kinds or (ConfigLoadedEvent, ConfigChangeEvent)
        self._herz._listening(_EVENT, lambda inner: self._heard(inner, wanted, number))(listener)
        return listener

    def on(self, *kinds: type) -> Callable[[L], L]:
        """`add_listener` as a decorator: `@manager.on(ConfigChangeEvent)`."""
        return lambda listener: self.add_listener(listener, *kinds)

    def remove_listener(self, listener: Callable[[Any], Any]) -> None:
        """Call `listener` no more. Harmless when it was never added."""
        self._removed.update(number for known, number in self._kept if known == listener)
        self._kept = [(known, number) for known, number in self._kept if known != listener]

    def _heard(
        self, listener: Callable[[Any], Any], wanted: tuple[type, ...], number: int
    ) -> Callable[[Snapshot | Applied | Present], Any]:
        """`listener` for what Herz says; the change set is made in the listener's own thread, and only once."""

        def event_of(said: Snapshot | Applied | Present) -> ConfigEvent | None:
            kind = ConfigLoadedEvent if isinstance(said, Snapshot) else ConfigChangeEvent
            if number in self._removed or not issubclass(kind, wanted):
                return None
            return ConfigLoadedEvent(said) if isinstance(said, Snapshot) else ConfigChangeEvent(said.change_set)

        if is_async(listener):

            async def hear_async(said: Snapshot | Applied | Present) -> None:
                if (event := event_of(said)) is not None:
                    await listener(event)

            return hear_async

        def hear(said: Snapshot | Applied | Present) -> None:
            if (event := event_of(said)) is not None:
                listener(event)

        return hear

    def _said(self, said: Snapshot | Applied | Present) -> None:
        self._herz.events.fire(_EVENT, said)
