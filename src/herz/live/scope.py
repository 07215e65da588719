"""The refresh scope: objects that are built from configuration, and replaced together when it changes."""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from herz.errors import BindingError, MissingProvider, NotRunning, UsageError
from herz.live.builder import Builder
from herz.live.draining import Draining, Notice
from herz.live.generation import Generation, InForce, Objects, State, nothing
from herz.live.handle import Handle, empty, point
from herz.live.holders import Holders
from herz.live.injection import short
from herz.live.pinning import Lease, Pin, Unpinned
from herz.live.providers import Provider, Providers
from herz.live.refresh import Prepared, Refresh, bind, candidate, rebind_all
from herz.live.runner import Runner
from herz.model.document import Event
from herz.model.snapshot import Snapshot

if TYPE_CHECKING:
    import asyncio

X = TypeVar("X")
D = TypeVar("D", bound=Callable[..., Any])

_ABSENT: Final[Any] = object()
_UNPINNED: Final = Unpinned()


def _ignore(notice: Notice) -> None:
    """Notices that nobody asked for."""


class Scope:
    """Bound properties and the objects built from them, one generation in force at a time.

    `prepare` and `commit` exchange generations, all or nothing; reading takes no lock. `open`, `prepare`, `commit`,
    `after_fork` and `close` are awaited on the engine's loop, one after the other; everything else may be called from
    any thread. `on_event` hears a `Notice` when draining does not go as it should, on any thread. `clock` gives seconds
    that never go back.
    """

    def __init__(
        self,
        runner: Runner | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_generations: int = 8,
        on_event: Callable[[Notice], object] = _ignore,
    ) -> None:
        self.runner = Runner() if runner is None else runner
        self.providers = Providers()
        self.pinned: contextvars.ContextVar[Any] = contextvars.ContextVar("herz pin", default=_UNPINNED)
        self.draining = Draining(self.runner, clock=clock, notify=on_event, max_generations=max_generations)
        self.holders = Holders(self.draining)
        self._handles: dict[Any, Handle[Any]] = {}
        self.builder = Builder(self.runner, self.draining, self.pinned, self.handle, self._handles)
        self.current: Generation = nothing()
        """The generation in force, replaced by one reference assignment."""
        self.running = self.stopped = False
        self._candidate: Prepared | None = None
        self._settled: asyncio.Event | None = None
        self._drain: asyncio.Task[None] | None = None
        self._pid = os.getpid()
        self._parents: list[object] = []

    # --- declaring --------------------------------------------------------------------------------

    def declare_properties(
        self, model: type[X], at: str, *, strict: bool = False, restart_only: bool = False
    ) -> type[X]:
        """Bind `model` at the prefix `at`; once running, at once, so that what does not fit is told here.

        `UsageError` when it is bound already or no model, `BindingError` when the configuration does not fit.
        """
        properties = self.providers.add_properties(model, at, strict=strict, restart_only=restart_only)
        if self.running:
            generation = self.current
            try:
                self._put(
                    generation, bind(properties, generation.snapshot, self.providers.elsewhere(properties.binding))
                )
            except BindingError:  # else every refresh would be refused for it
                self.providers.withdraw(properties)
                raise
        return model

    def declare(self, factory: D, *, provides: Any = None, **options: Any) -> D:
        """Put a class or a factory into the refresh scope. Options: see `Provider`.

        `CircularDependency`, `MissingProvider`, `UsageError` when what it needs cannot be given.
        """
        self.providers.add(factory, provides=provides, **options)
        return factory

    # --- refreshing -------------------------------------------------------------------------------

    async def open(self, snapshot: Snapshot) -> Refresh:
        """Bind everything, build what is eager, publish. One `BindingError` for all problems; `BuildError`."""
        if self.running or self.stopped:
            raise UsageError("this scope was opened already", remedy="make another")
        self.providers.settle()
        self._attach()
        try:
            prepared = await self._prepare(snapshot, None)
            report = await prepared.commit()
        except BaseException:
            await self._end_draining(0.0)
            raise
        self.running = True
        return report

    async def prepare(self, snapshot: Snapshot, events: Iterable[Event] | None = None) -> Prepared:
        """Phase one: a candidate for `snapshot`, complete and valid, and not in force.

        `events` are all the leaves in which it differs from the last snapshot that was committed, None for any.
        `BindingError` or `BuildError` when it cannot be, and then nothing was changed and what had been built for it is
        closed. One candidate at a time; `UsageError` for a second one, and from inside a factory.
        """
        self.refuse_inside_factory("refresh")
        if not self.running:
            raise NotRunning("the scope is not open", remedy="await open(snapshot) first")
        return await self._prepare(snapshot, events)

    async def _prepare(self, snapshot: Snapshot, events: Iterable[Event] | None) -> Prepared:
        if self._candidate is not None:
            raise UsageError("another candidate is being prepared", remedy="commit or discard that one first")
        started = perf_counter()
        reached = self.providers.properties.values() if events is None else self.providers.reached(events)
        old = self.current if self.current.number else None
        rebound = rebind_all(old, reached, snapshot, self) if reached else {}
        generation = candidate(self, snapshot, rebound)
        if old is None and generation.objects is self.current.objects:
            generation = Generation(snapshot, Objects(snapshot.generation, {}), {}, {})
        prepared = self._candidate = Prepared(self, generation, rebound, (perf_counter() - started) * 1000)
        if prepared.changes_nothing:
            prepared.is_built = True
        else:
            await prepared.build()
        return prepared

    def publish(self, prepared: Prepared) -> None:
        """Put a complete candidate in force; the lock is held, and nothing in here can fail."""
        old, new = self.current, prepared.generation
        self.current = new
        if new.objects is old.objects:
            return
        first = old.number == 0
        self.draining.publish(new.objects, None if first else old.objects)
        self.builder.carry(old.objects, new.objects)
        values = new.values
        for provides, handle in list(self._handles.items()):
            target = values.get(provides, _ABSENT)
            if target is _ABSENT:
                empty(handle)
            else:
                point(handle, target)
        if not first:
            self.holders.note(old, new)

    def forget(self, prepared: Prepared) -> None:
        """`prepared` was committed or discarded."""
        if self._candidate is prepared:
            self._candidate = None
            if self._settled is not None:
                self._settled.set()

    def refuse_inside_factory(self, what: str) -> None:
        """Raise `UsageError` when called by a factory, for which waiting for `what` would never end."""
        held = self.pinned.get().held
        if held is not None and held.constructing is not None:
            raise UsageError(
                f"{what} was asked for while {held.constructing} is being built, and would wait for that",
                remedy="do it after the construction, from a listener or a task",
            )

    # --- reading ----------------------------------------------------------------------------------

    def generation(self) -> Generation:
        """The pinned generation, else the current one."""
        return self.pinned.get().held or self.current

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force, of the pinned generation inside a pin. `NotRunning` before the start."""
        generation = self.generation()
        if generation.number == 0:
            raise NotRunning("there is no configuration", remedy="use it inside `with herz:`")
        return generation.snapshot

    def get(self, provides: type[X]) -> X:
        """The object of `provides`, of the pinned generation inside a pin; built now if it never was.

        `BuildError` when its factory fails, and the next call tries again. `UsageError` where building would block the
        loop it needs (`await aget` there), and inside a factory (take it as a parameter). `NotRunning` before the start
        and after the stop.
        """
        generation: Generation = self.pinned.get().held or self.current
        value = generation.values.get(provides, _ABSENT)
        return value if value is not _ABSENT else self._absent(generation, provides)  # type: ignore[no-any-return]

    def get_from(self, generation: Generation, provides: type[X]) -> X:
        """The same from one generation."""
        value = generation.values.get(provides, _ABSENT)
        return value if value is not _ABSENT else self._absent(generation, provides)  # type: ignore[no-any-return]

    async def aget(self, provides: type[X]) -> X:
        """The same, without blocking the loop, for async factories as well."""
        return await self.aget_from(self.generation(), provides)

    async def aget_from(self, generation: Generation, provides: type[X]) -> X:
        """The same from one generation."""
        value = generation.values.get(provides, _ABSENT)
        if value is not _ABSENT:
            return value  # type: ignore[no-any-return]
        provider = self._provider(generation, provides)
        if provider is None:
            return self._bound_late(generation, provides)  # type: ignore[no-any-return]
        await self.builder.abuild(generation, provider)
        return generation.values[provides]  # type: ignore[no-any-return]

    def _absent(self, generation: Generation, provides: Any) -> Any:
        provider = self._provider(generation, provides)
        if provider is None:
            return self._bound_late(generation, provides)
        self.builder.build(generation, provider)
        return generation.values[provides]

    def _provider(self, generation: Generation, provides: Any) -> Provider | None:
        """Who builds it; None for properties."""
        if generation.constructing is not None:
            raise UsageError(
                f"{short(provides)} was asked for while {generation.constructing} is being built",
                remedy=f"take it as a parameter, annotated with {short(provides)}, so that changes reach the object",
            )
        if not self.providers.knows(provides):
            raise MissingProvider(
                f"nothing provides {short(provides)}",
                path=[short(provides)],
                remedy="decorate it with @herz.refresh_scope, or @herz.properties(prefix)",
            )
        if not self.running:
            state = "has stopped" if self.stopped else "has not started"
            raise NotRunning(f"{short(provides)} cannot be had: Herz {state}", remedy="use it inside `with herz:`")
        return self.providers.scoped.get(provides)

    def _bound_late(self, generation: Generation, model: Any) -> Any:
        """A model that was declared after `generation` was published."""
        properties = self.providers.properties[model]
        self._put(generation, bind(properties, generation.snapshot, self.providers.elsewhere(properties.binding)))
        return generation.values[model]

    def _put(self, generation: Generation, one: InForce) -> None:
        model = one.properties.model
        with self.draining.lock:
            if model in generation.values:
                return
            generation.objects.put(one)
            generation.unknown = {**generation.unknown, model: one.bound.unknown}
            if generation.objects.state is State.CURRENT and model in self._handles:
                point(self._handles[model], one.bound.value)

    def handle(self, provides: type[X]) -> Handle[X]:
        """The handle of `provides`, always the same one; `handle.current` is the newest object."""
        handle = self._handles.get(provides)
        if handle is not None:
            return handle
        if not self.providers.knows(provides):
            self._provider(self.current, provides)
        with self.draining.lock:
            handle = self._handles.get(provides)
            if handle is None:
                handle = Handle(provides, self._fill)
                value = self.current.values.get(provides, _ABSENT)
                if value is not _ABSENT:
                    point(handle, value)
                self._handles[provides] = handle
        return handle

    def _fill(self, provides: Any) -> Any:
        self.refuse_inside_factory(f"the current {short(provides)}, which is not built,")
        return self.get_from(self.current, provides)

    def pin(self) -> Pin:
        """`with scope.pin() as g`: everything read inside is of one generation, and stays open."""
        return Pin(self)

    def lease(self, provides: type[X]) -> Lease[X]:
        """`with scope.lease(X) as x`, also `async with`: x is not closed meanwhile."""
        return Lease(self, provides)

    # --- ending -----------------------------------------------------------------------------------

    async def close(self, limit_s: float = 5.0) -> None:
        """Discard a candidate, then close everything in reverse order of dependency.

        Objects that are pinned or leased are waited for, at most `limit_s`; each close has its own limit. Nothing can
        be read afterwards.
        """
        import asyncio

        if self.stopped:
            return
        self.running, self.stopped = False, True
        self.builder.stop(NotRunning("the construction was given up: Herz stops"))
        if self._candidate is not None:
            self._settled = asyncio.Event()
            if self._candidate.is_built:
                await self._candidate.discard()
            else:
                await self._settled.wait()
        with self.draining.lock:
            self.current = nothing()
            for handle in list(self._handles.values()):
                empty(handle)
        await self._end_draining(limit_s)

    def successor(self) -> Scope:
        """A scope that is not open yet, with what was declared in this one, which has been closed, and its handles."""
        scope = Scope(
            self.runner,
            clock=self.draining.clock,
            max_generations=self.draining.max_generations,
            on_event=self.draining.notify,
        )
        scope.providers = self.providers
        scope._handles.update(self._handles)
        for handle in scope._handles.values():
            handle.refill(scope._fill)
        return scope

    async def _end_draining(self, limit_s: float) -> None:
        self.draining.stop(limit_s)
        if self._drain is not None:
            await self._drain
            self._drain = None

    def _attach(self) -> None:
        import asyncio

        self.runner.attach(asyncio.get_running_loop())
        self._drain = asyncio.create_task(self.draining.run(), name="herz draining")

    def forked(self) -> None:
        """In a forked child, at once: the objects belong to the parent, and are neither used nor closed here.

        Bound properties stay readable. Objects are built anew on use, eager ones by `after_fork`.
        """
        old = self.current
        # Never collected here: a finaliser would say good-bye on a connection that the parent goes on using.
        self._parents.append((old, self.draining.live, self.draining.retired, self._candidate, self._drain))
        for objects in self.draining.live:
            for pin in list(objects.pins):
                pin.held = None
        self._pid = os.getpid()
        self.runner.forked()
        self.draining.forked()
        self.builder.forked()
        self._candidate = self._drain = None
        if old.number == 0:
            return
        objects = Objects(old.number, dict(old.objects.bound))
        self.draining.publish(objects, None)
        self.current = Generation(old.snapshot, objects, old.unknown, old.waiting)
        for provides, handle in self._handles.items():
            if provides in objects.values:
                point(handle, objects.values[provides])
            else:
                empty(handle)

    async def after_fork(self, snapshot: Snapshot) -> Refresh:
        """In a forked child, on its own engine's loop: go on with `snapshot`, eager objects built."""
        if self._pid != os.getpid():
            self.forked()
        self._attach()
        prepared = await self._prepare(snapshot, None)
        await prepared.build()
        return await prepared.commit()

    # --- looking ----------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """The graph and what is alive of it, as plain data; no values of configuration."""
        from herz.live.description import describe

        return describe(self)
