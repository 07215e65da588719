"""Refresh: from one generation to the next, in two phases, all or nothing.

Phase one binds what the events reach, keeps what means the same, and builds what is built from something else than
before. Whatever fails, the candidate is closed and the generation in force has not noticed. Phase two publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from herz.errors import BindingError, NotRunning, UsageError
from herz.live.draining import AT_ONCE
from herz.live.generation import Generation, InForce, Instance, Objects
from herz.live.providers import Properties, Provider
from herz.model.key import Path, join
from herz.model.snapshot import Snapshot
from herz.model.tree import lookup, spelled

if TYPE_CHECKING:
    from herz.live.scope import Scope


class Refresh(NamedTuple):
    """What one refresh did; durations in milliseconds.

    `rebuilt` and `kept` name scoped objects, `bindings` the models that were replaced with their prefixes
    (`ServiceConfig at herz.service`). `waiting` lists the keys whose new value waits for a restart, `unknown` one
    line for each key under a prefix that no field reads; both for everything that is in force.
    """

    generation: int
    rebuilt: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    bind_ms: float = 0.0
    build_ms: float = 0.0
    swap_ms: float = 0.0

    @property
    def duration_ms(self) -> float:
        """The time worked, without any wait between the phases."""
        return self.bind_ms + self.build_ms + self.swap_ms


class Rebound(NamedTuple):
    """One model at a new snapshot."""

    one: InForce
    changed: bool
    unknown: tuple[str, ...]
    waiting: tuple[str, ...]


def bind(properties: Properties, snapshot: Snapshot, elsewhere: Callable[[Path], bool]) -> InForce:
    """A model filled from `snapshot`. `BindingError` names every key that does not fit."""
    binding, composed = properties.binding, snapshot.composed
    path = spelled(composed.tree, binding.path)
    bound = binding.bind(
        lookup(composed.tree, path), place=composed.locate, secret=composed.secrets, elsewhere=elsewhere, at=path
    )
    return InForce(properties, bound, path)


def rebind(
    old: InForce | None, properties: Properties, snapshot: Snapshot, elsewhere: Callable[[Path], bool]
) -> Rebound:
    """The same, but the instance in use stays where the new one means the same, and so do restart-only fields."""
    fresh = bind(properties, snapshot, elsewhere)
    unknown = fresh.bound.unknown
    if old is None:
        return Rebound(fresh, True, unknown, ())
    binding, bound = properties.binding, fresh.bound
    waiting: tuple[str, ...] = ()
    if binding.restart_only:
        pending = binding.pending_restart(old.bound.value, bound.value)
        waiting = tuple([join((*fresh.path, *path)) for path in pending])
        bound = binding.hold(old.bound, bound)
    if binding.same(old.bound.value, bound.value):
        return Rebound(old, False, unknown, waiting)
    return Rebound(InForce(properties, bound, fresh.path), True, unknown, waiting)


def rebind_all(
    old: Generation | None, reached: Iterable[Properties], snapshot: Snapshot, scope: Scope
) -> dict[Any, Rebound]:
    """Every model that was reached, at `snapshot`; one `BindingError` for all the problems together."""
    found: dict[Any, Rebound] = {}
    errors: list[BindingError] = []
    for properties in reached:
        before = None if old is None else old.objects.bound.get(properties.model)
        try:
            found[properties.model] = rebind(
                before, properties, snapshot, scope.providers.elsewhere(properties.binding)
            )
        except BindingError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        problems = [problem for error in errors for problem in (error.problems or (str(error),))]
        raise BindingError("\n".join(problems), problems=problems, where=errors[0].where) from errors[0]
    return found


class Prepared:
    """A candidate that is built and validated, and that nobody uses yet: `commit` it or `discard` it."""

    def __init__(self, scope: Scope, generation: Generation, rebound: dict[Any, Rebound], bind_ms: float) -> None:
        self._scope = scope
        self._old = scope.current
        self._rebound = rebound
        self._bind_ms = bind_ms
        self._build_ms = 0.0
        self._built: list[Provider] = []
        self._open = True
        self._swap_ms = 0.0
        self.is_built = False
        """Whether nothing is under construction for it."""
        self.generation = generation
        """The candidate generation."""

    @property
    def changes_nothing(self) -> bool:
        """Whether every object stays, so that only the snapshot is exchanged."""
        return self.generation.objects is self._old.objects

    async def build(self) -> None:
        """Build whatever the candidate still misses. Raises what the factory raised; the candidate is discarded."""
        started = perf_counter()
        self.is_built = False
        try:
            while missing := self._missing():
                for provider in missing:
                    self._built += await self._scope.builder.abuild(self.generation, provider, candidate=True)
        except Exception:
            await self.discard()
            raise
        except BaseException:
            self._drop()
            raise
        else:
            self.is_built = True
        finally:
            self._build_ms += (perf_counter() - started) * 1000

    def _missing(self) -> list[Provider]:
        """What must be built before the candidate may be published, in order of building.

        That is: what is built in the old generation (somebody may have used it first only now) and would be built
        from other objects in the new one, and what is eager. What would be built from the same ones is taken over.
        """
        scope, old, new = self._scope, self._old.objects, self.generation.objects
        missing: list[Provider] = []
        with scope.draining.lock:
            for properties in list(scope.providers.properties.values()):
                if properties.model not in new.bound:  # declared since
                    before = old.bound.get(properties.model)
                    elsewhere = scope.providers.elsewhere(properties.binding)
                    new.put(rebind(before, properties, self.generation.snapshot, elsewhere).one)
            for provider in scope.providers.order:
                if provider.provides in new.instances:
                    continue
                instance = old.instances.get(provider.provides)
                if instance is None:
                    if provider.eager:
                        missing.append(provider)
                elif new.fits(instance):
                    new.add(instance)
                else:
                    missing.append(provider)
        return missing

    async def commit(self) -> Refresh:
        """Publish the candidate: one reference assignment, then the handles.

        It waits only if somebody used an object for the first time since the candidate was prepared, which must then
        be built for it as well. What follows the `await` runs in the same step of the loop as the publishing.
        `BuildError` when that fails, and nothing was published. `NotRunning` after the stop.
        """
        try:
            while not self._publish():
                await self.build()
        except BindingError:  # a model declared meanwhile fits the old configuration, not the new one
            await self.discard()
            raise
        return self._report()

    def _publish(self) -> bool:
        self._require_open()
        started = perf_counter()
        scope = self._scope
        with scope.draining.lock:
            if not self.changes_nothing and self._missing():
                return False
            scope.publish(self)
        self._swap_ms = (perf_counter() - started) * 1000
        self._close()
        return True

    async def discard(self) -> None:
        """Close what was built for the candidate, last built first, and forget it."""
        if self._open:
            await self._scope.draining.closed(self._drop())

    def _drop(self) -> list[Instance]:
        self._close()
        fresh = self.fresh()
        self._scope.draining.retire(fresh, left_at=AT_ONCE)
        return fresh

    def fresh(self) -> list[Instance]:
        """The objects that were built for the candidate."""
        if self.changes_nothing:
            return []
        old = set(self._old.objects.instances.values())
        return [one for one in self.generation.objects.instances.values() if one not in old]

    def changed_models(self) -> list[Any]:
        """The models whose instance is another than before."""
        return [model for model, one in self._rebound.items() if one.changed]

    def _require_open(self) -> None:
        if not self._open:
            if self._scope.stopped:
                raise NotRunning("the candidate was discarded: Herz stops")
            raise UsageError("this candidate was committed or discarded already", remedy="prepare another")

    def _close(self) -> None:
        self._open = False
        self._scope.forget(self)

    def _report(self) -> Refresh:
        objects, generation = self.generation.objects, self.generation
        rebuilt = tuple(dict.fromkeys([one.name for one in self._built])) if self._built else ()
        kept = objects.names
        if rebuilt:
            built = set(self._built)
            kept = tuple(one.provider.name for one in list(objects.instances.values()) if one.provider not in built)
        bindings: tuple[str, ...] = ()
        if self._rebound:
            bindings = tuple(
                f"{one.one.properties.name} at {one.one.properties.at or 'the root'}"
                for one in self._rebound.values()
                if one.changed
            )
        return Refresh(
            generation.number,
            rebuilt,
            kept,
            bindings,
            tuple(chain.from_iterable(generation.waiting.values())),
            tuple(chain.from_iterable(generation.unknown.values())),
            self._bind_ms,
            self._build_ms,
            self._swap_ms,
        )


def candidate(scope: Scope, snapshot: Snapshot, rebound: dict[Any, Rebound]) -> Generation:
    """The next generation as far as it is known before anything is built."""
    old = scope.current
    unknown, waiting = old.unknown, old.waiting
    if not rebound:
        return Generation(snapshot, old.objects, unknown, waiting)
    unknown, waiting, bound, changed = {**unknown}, {**waiting}, {**old.objects.bound}, False
    for model, one in rebound.items():
        unknown[model], waiting[model], bound[model] = one.unknown, one.waiting, one.one
        changed |= one.changed
    return Generation(snapshot, Objects(snapshot.generation, bound) if changed else old.objects, unknown, waiting)
