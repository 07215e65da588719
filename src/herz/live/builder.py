"""Building: objects made once, from the objects of one generation, whoever asks first.

An object is built on first use in the caller's thread, for a candidate in a thread of the runner, and by an async
factory on the loop. Concurrent callers wait for the one construction. Who waits longer than `build_s` gives it up:
it is named, its result is closed should it still come, and it is not begun again while it hangs.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Final

from herz.errors import BuildError, HerzError, NotRunning, UsageError
from herz.live.construction import Construction
from herz.live.draining import AT_ONCE, Draining
from herz.live.generation import Generation, Instance, Objects, State
from herz.live.handle import Handle, point
from herz.live.masking import masked
from herz.live.pinning import Unpinned
from herz.live.providers import Provider
from herz.live.runner import Runner, settled

NOTHING: Final = Objects(0, {})
"""What can be read inside a factory: nothing; its parameters are what it is built from."""


class Builder:
    """Builds what is missing from sets of objects.

    `handle` gives the handle of a class, `handles` those that exist, to be pointed at what is built for the current
    generation. `pinned` is the scope's context variable.
    """

    def __init__(
        self,
        runner: Runner,
        draining: Draining,
        pinned: contextvars.ContextVar[Any],
        handle: Callable[[Any], Handle[Any]],
        handles: dict[Any, Handle[Any]],
    ) -> None:
        self.runner = runner
        self.draining = draining
        self.pinned = pinned
        self.handle = handle
        self.handles = handles
        self.stopped = False
        self._under_way: set[Construction] = set()

    def forked(self) -> None:
        """In a forked child: what was under way goes on in the parent only."""
        self._under_way = set()

    # --- asking -----------------------------------------------------------------------------------

    def build(self, generation: Generation, provider: Provider) -> None:
        """Build `provider`'s object, and what it needs, in the caller's thread; coroutines on their loop.

        `BuildError` when a factory fails or overruns. `UsageError` where waiting would block the loop that the factory
        needs.
        """
        objects = generation.objects
        if self.runner.on_own_loop():
            self._refuse_on_loop(objects, provider)
        self.draining.hold(objects)
        try:
            for step in provider.chain:
                construction, mine = self._claim(generation, step)
                if construction is None:
                    continue
                if mine and not step.is_async:
                    construction.job.call(lambda: self._work(construction))  # noqa: B023  called at once
                    if isinstance(construction.error, (KeyboardInterrupt, SystemExit)):
                        raise construction.error
                elif mine:
                    self._start(construction)
                self._wait(construction)
        finally:
            self.draining.unhold(objects)

    async def abuild(
        self, generation: Generation, provider: Provider, *, candidate: bool = False
    ) -> tuple[Provider, ...]:
        """The same without blocking the loop it is awaited on; which objects had to be built.

        For a candidate, cancelling gives the construction up.
        """
        objects = generation.objects
        built: list[Provider] = []
        self.draining.hold(objects)
        try:
            for step in provider.chain:
                construction, mine = self._claim(generation, step)
                if construction is None:
                    continue
                if mine:
                    self._start(construction)
                try:
                    await settled(construction.future, construction.left_s)
                except BaseException:
                    if candidate:
                        self._give_up(construction, NotRunning("the refresh was stopped"))
                    raise
                self._outcome(construction)
                built.append(step)
        finally:
            self.draining.unhold(objects)
        return tuple(built)

    def _refuse_on_loop(self, objects: Objects, provider: Provider) -> None:
        for step in provider.chain:
            if step.provides not in objects.instances and step.needs_loop:
                raise UsageError(
                    f"{provider.name} is not built yet, and building it on this event loop would wait for the loop"
                    f" itself: {step.label} is async",
                    remedy=f"use `await herz.aget({provider.name})` here, or declare it eager",
                )

    def _claim(self, generation: Generation, provider: Provider) -> tuple[Construction | None, bool]:
        """The construction to wait for, and whether the caller is to begin it; None when the object is there."""
        objects, provides = generation.objects, provider.provides
        with self.draining.lock:
            if provides in objects.instances:
                return None, False
            if self.stopped:
                raise NotRunning(f"{provider.name} is not built any more: Herz stops")
            construction = objects.building.get(provides)
            if construction is not None:
                return construction, False
            if objects.state is State.RELEASED:
                raise UsageError(
                    f"generation {objects.number} has ended, so that {provider.name} cannot be built in it",
                    remedy="pin for less long, or raise max_generations",
                )
            hung = self.runner.hung(provider)
            if hung is not None:
                raise BuildError(
                    f"{provider.name} is not built again while {hung.name} hangs in {hung.where}",
                    where=provider.place,
                    remedy="give what it waits for a time limit of its own",
                )
            construction = objects.building[provides] = Construction(provider, generation)
            for one in construction.inputs:
                one.dependents += 1
            self._under_way.add(construction)
            return construction, True

    # --- building ---------------------------------------------------------------------------------

    def _start(self, construction: Construction) -> None:
        provider = construction.provider
        name = f"herz build {provider.name}"
        context = contextvars.copy_context()
        try:
            if provider.is_async:
                job = self.runner.start(lambda: self._awork(construction), name=name, on_loop=True, context=context)
            else:
                job = self.runner.start(lambda: self._work(construction), name=name, context=context)
        except HerzError as error:
            self._fail(construction, error)
            return
        construction.job = job
        # A loop that ends cancels its tasks, perhaps before this one has begun.
        job.future.add_done_callback(lambda future: self._ended(construction, future))

    def _ended(self, construction: Construction, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self._fail(construction, error)

    def _work(self, construction: Construction) -> None:
        """Call the factory in this thread."""
        inside, token = self._enter(construction)
        try:
            value = self._call(construction)
            if inspect.isawaitable(value):
                raise UsageError(f"{construction.provider.label} returned an awaitable", remedy="write `async def`")
            validation = self._validation(construction, value)
            if validation is not None:
                self._validate_on_loop(construction, value, validation)
                return
        except BaseException as error:
            self._fail(construction, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._succeed(construction, value)
        finally:
            inside.held = None
            self.pinned.reset(token)

    async def _awork(self, construction: Construction) -> None:
        """Await the factory on this loop."""
        inside, token = self._enter(construction)
        try:
            value = await self._call(construction)
            validation = self._validation(construction, value)
            if validation is not None:
                await self._validated(construction, value, validation)
                return
        except BaseException as error:
            self._fail(construction, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._succeed(construction, value)
        finally:
            inside.held = None
            self.pinned.reset(token)

    def _validation(self, construction: Construction, value: Any) -> Awaitable[Any] | None:
        """What is still to be awaited before `value` may be used."""
        provider = construction.provider
        if value is None:
            raise UsageError(f"{provider.label} returned None", remedy="return the object")
        if provider.validate is None:
            return None
        try:
            found = provider.validate(value)
        except BaseException:
            self._throw_away(construction, value)
            raise
        return found if inspect.isawaitable(found) else None

    def _validate_on_loop(self, construction: Construction, value: Any, validation: Awaitable[Any]) -> None:
        try:
            job = self.runner.start(
                lambda: self._validated(construction, value, validation),
                name=f"herz validate {construction.provider.name}",
                on_loop=True,
            )
        except HerzError:
            self._throw_away(construction, value)
            raise
        job.future.result()

    async def _validated(self, construction: Construction, value: Any, validation: Awaitable[Any]) -> None:
        try:
            await validation
        except BaseException as error:
            self._throw_away(construction, value)
            self._fail(construction, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._succeed(construction, value)

    def _throw_away(self, construction: Construction, value: Any) -> None:
        """Close an object that will not be used."""
        instance = Instance(construction.provider, value, (), construction.built_from, construction.generation.number)
        self.draining.built(instance)
        self.draining.retire([instance], left_at=AT_ONCE)

    def _enter(self, construction: Construction) -> tuple[Unpinned, contextvars.Token[Any]]:
        """Let the factory see the snapshot it is built from, and nothing else of the scope."""
        generation = construction.generation
        inside = Unpinned(Generation(generation.snapshot, NOTHING, {}, {}, construction.provider.name))
        return inside, self.pinned.set(inside)

    def _call(self, construction: Construction) -> Any:
        provider, objects = construction.provider, construction.generation.objects
        positional, named = provider.arguments(objects.values, self.handle)
        return provider.factory(*positional, **named)

    # --- ending -----------------------------------------------------------------------------------

    def _succeed(self, construction: Construction, value: Any) -> None:
        provider, generation = construction.provider, construction.generation
        with self.draining.lock:
            late = construction.future.done()
            inputs = () if late else construction.inputs
            instance = Instance(provider, value, inputs, construction.built_from, generation.number)
            self.draining.built(instance)
            if not late:
                self._place(construction, instance)
                self._settle(construction)
        if late:
            self.draining.discard_late(instance)

    def _place(self, construction: Construction, instance: Instance) -> None:
        """Put a new object where it is waited for."""
        wanted = False
        for objects in construction.targets:
            if objects.state is State.RELEASED:
                continue
            objects.add(instance)
            if objects.state is State.CANDIDATE:
                wanted = True
                continue
            instance.generations += 1
            if objects.state is State.CURRENT:
                wanted = True
                handle = self.handles.get(construction.provider.provides)
                if handle is not None:
                    point(handle, instance.value)
        if not wanted:
            self.draining.retire([instance])

    def _fail(self, construction: Construction, error: BaseException) -> None:
        with self.draining.lock:
            if construction.future.done():
                return
            construction.error = error
            for one in construction.inputs:
                one.dependents -= 1
            self._settle(construction)
        self.draining.wake()

    def carry(self, old: Objects, new: Objects) -> None:
        """Have what is under way for `old` serve `new` as well, where it would be built from the same objects."""
        for provides, construction in list(old.building.items()):
            if provides not in new.instances and new.same(construction.provider, construction.built_from):
                construction.targets.append(new)
                new.building[provides] = construction

    def _settle(self, construction: Construction) -> None:
        for objects in construction.targets:
            objects.building.pop(construction.provider.provides, None)
        self._under_way.discard(construction)
        construction.future.set_result(None)

    def _give_up(self, construction: Construction, reason: BaseException) -> None:
        self._fail(construction, reason)
        self.runner.abandon(construction.provider, construction.job)

    def stop(self, reason: BaseException) -> None:
        """Give up whatever is under way, and begin nothing more."""
        self.stopped = True
        for construction in list(self._under_way):
            self._give_up(construction, reason)

    def _wait(self, construction: Construction) -> None:
        with contextlib.suppress(TimeoutError):
            construction.future.result(max(construction.left_s, 0))
        self._outcome(construction)

    def _outcome(self, construction: Construction) -> None:
        """Return when the object is there, else raise why not."""
        provider = construction.provider
        if not construction.future.done():
            self._give_up(
                construction,
                TimeoutError(
                    f"it took longer than {provider.build_s:g} s and was given up in {construction.job.where}"
                ),
            )
        error = construction.error
        if error is None:
            return
        if self.stopped and isinstance(error, NotRunning):
            raise NotRunning(error.what, remedy=error.remedy) from error
        told = masked(f"{type(error).__name__}: {error}", provider, construction.generation)
        raise BuildError(f"{provider.name} could not be built: {told}", where=provider.place) from error
