"""Providers: what is declared, and the graph of what is built from what."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NoReturn

from herz.errors import CircularDependency, MissingProvider, UsageError
from herz.live.binding import Binding
from herz.live.injection import (
    UNRESOLVED,
    Need,
    Parameter,
    is_async,
    label,
    parameters_of,
    place_of,
    provided_by,
    resolve,
    short,
    wanted_of,
)
from herz.live.reach import PrefixIndex
from herz.model.document import Event
from herz.model.key import Path, relaxed

Overrun = Literal["force", "defer"]
"""What happens to an old object that is still held at its drain limit: closed all the same, or waited for."""


class Properties:
    """A model class bound at a prefix."""

    __slots__ = ("at", "binding", "model", "place", "relaxed")

    def __init__(self, binding: Binding[Any], place: str) -> None:
        self.binding = binding
        self.model: Any = binding.model
        self.at = binding.at
        self.place = place
        self.relaxed: Path = tuple(map(relaxed, binding.path))

    @property
    def name(self) -> str:
        """The model's name."""
        return short(self.model)

    def __repr__(self) -> str:
        return f"<Properties {self.name} at {self.at!r}>"


class Provider:
    """A class or factory in the refresh scope, and how its objects live.

    `grace_s` is how long a replaced object stays open for those who read it a moment ago; `drain_s` how long pins
    and leases may keep it open, after which `overrun` decides; `build_s` and `close_s` limit one construction and one
    close. `close` takes the object; by default its `aclose` or `close` is called. `validate` takes a new object
    before it is used, and refuses it by raising.
    """

    def __init__(
        self,
        factory: Callable[..., Any],
        provides: Any,
        *,
        eager: bool = False,
        grace_s: float = 1.0,
        drain_s: float = 30.0,
        overrun: Overrun = "force",
        build_s: float = 30.0,
        close_s: float = 10.0,
        close: Callable[[Any], Any] | None = None,
        validate: Callable[[Any], Any] | None = None,
    ) -> None:
        if overrun not in ("force", "defer"):
            raise UsageError(f"overrun={overrun!r} of {label(factory)}", remedy='use "force" or "defer"')
        self.factory = factory
        self.provides = provides
        self.name = short(provides)
        self.label = label(factory)
        self.place = place_of(factory)
        self.is_async = is_async(factory)
        self.needs_loop = self.is_async or inspect.iscoroutinefunction(validate)
        self.eager = eager
        self.grace_s, self.drain_s, self.overrun = grace_s, drain_s, overrun
        self.build_s, self.close_s = build_s, close_s
        self.close, self.validate = close, validate
        self.parameters: tuple[Parameter, ...] = parameters_of(factory)
        self.needs: tuple[Need, ...] = ()
        self.settled = False
        self.chain: tuple[Provider, ...] = ()
        """The scoped providers that an object is built from, directly or not, in order of building, itself last."""
        self.models: tuple[Any, ...] = ()
        """The properties models that an object is built from, directly or not."""

    def arguments(self, values: Mapping[Any, Any], handle: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
        """What the factory is called with."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for need in self.needs:
            value = handle(need.wanted) if need.handle else values[need.wanted]
            if need.positional:
                positional.append(value)
            else:
                named[need.parameter] = value
        return positional, named

    def __repr__(self) -> str:
        return f"<Provider {self.label} of {self.name}>"


OPTIONS: Final = "options of a scoped provider: eager, grace_s, drain_s, overrun, build_s, close_s, close, validate"


class Providers:
    """Everything declared; each class is provided once.

    What can be found wrong when something is declared is: `CircularDependency`, `MissingProvider`, `UsageError`, and
    then nothing was declared. Annotations that name what is not defined yet are looked at again with each
    declaration, at latest by `settle`.
    """

    def __init__(self) -> None:
        self.properties: dict[Any, Properties] = {}
        self.scoped: dict[Any, Provider] = {}
        self.order: tuple[Provider, ...] = ()
        """Every scoped provider, each after those it is built from."""
        self.settled = False
        self._index: PrefixIndex[Properties] = PrefixIndex()

    def add_properties(self, model: Any, at: str, *, strict: bool = False, restart_only: bool = False) -> Properties:
        """Bind `model` at the prefix `at`."""
        self._refuse_second(model, place_of(model))
        binding = Binding(model, at, strict=strict, restart_only=restart_only, localns=self._names())
        properties = self.properties[model] = Properties(binding, place_of(model))
        try:
            self._resolve()
        except BaseException:
            del self.properties[model]
            self._resolve(rollback=True)
            raise
        self._index.add(binding.path, properties)
        return properties

    def withdraw(self, properties: Properties) -> None:
        """Undo `add_properties`, before anything was built from it."""
        del self.properties[properties.model]
        self._index.remove(properties.binding.path, properties)

    def add(self, factory: Callable[..., Any], *, provides: Any = None, **options: Any) -> Provider:
        """Put `factory`, a class or a function, into the refresh scope."""
        names = self._names()
        if isinstance(factory, type):  # its name is not bound yet while it is being decorated
            names.setdefault(factory.__name__, factory)
        provides = provided_by(factory, names) if provides is None else provides
        self._refuse_second(provides, place_of(factory))
        try:
            provider = self.scoped[provides] = Provider(factory, provides, **options)
        except TypeError as error:
            raise UsageError(f"{label(factory)}: {error}", remedy=OPTIONS) from None
        try:
            self._resolve()
        except BaseException:
            del self.scoped[provides]
            self._resolve(rollback=True)
            raise
        return provider

    def settle(self) -> None:
        """Resolve every annotation; from now on each declaration must resolve at once."""
        self.settled = True
        try:
            self._resolve()
        except BaseException:
            self.settled = False
            raise

    def reached(self, events: Iterable[Event]) -> list[Properties]:
        """The properties that the events touch."""
        return self._index.reached(events)

    def above(self, path: Path) -> list[Properties]:
        """The properties that are bound at `path` or above it."""
        return self._index.above(path)

    def elsewhere(self, binding: Binding[Any]) -> Callable[[Path], bool]:
        """Tells whether another binding than `binding` reads a key, or keys below it: then it is unknown to nobody.

        What stands under a prefix inside that of `binding` is left for the model that is bound there to judge.
        """
        depth = len(binding.path)

        def known(path: Path) -> bool:
            names = tuple(map(relaxed, path))
            return any(
                one.binding.reads(path) or (len(one.relaxed) > depth and names[: len(one.relaxed)] == one.relaxed)
                for one in list(self.properties.values())
                if one.binding is not binding
            )

        return known

    def knows(self, wanted: Any) -> bool:
        """Whether something provides `wanted`."""
        try:
            return wanted in self.properties or wanted in self.scoped
        except TypeError:  # an annotation that cannot be hashed
            return False

    # --- resolving --------------------------------------------------------------------------------

    def _names(self) -> dict[str, Any]:
        declared = (*self.properties, *self.scoped)
        return {one.__name__: one for one in declared if hasattr(one, "__name__")}

    def _refuse_second(self, provides: Any, place: str) -> None:
        first = self.properties.get(provides) or self.scoped.get(provides)
        if first is not None:
            raise UsageError(
                f"{short(provides)} is provided twice: at {first.place} and at {place}",
                remedy="declare it once, or give one of them provides= with a class of its own",
            )

    def _resolve(self, *, rollback: bool = False) -> None:
        """Fill in the needs that can be, and check what they amount to."""
        names = self._names()
        for provider in self.scoped.values():
            if not provider.settled or rollback:
                self._resolve_needs(provider, names)
        self._order()

    def _resolve_needs(self, provider: Provider, names: Mapping[str, Any]) -> None:
        needs: list[Need] = []
        settled = True
        for one in provider.parameters:
            annotation = resolve(provider.factory, one.annotation, names)
            wanted, handle = (annotation, False) if annotation is UNRESOLVED else wanted_of(annotation)
            if wanted is not UNRESOLVED and self.knows(wanted):
                needs.append(Need(one.name, wanted, handle, one.positional))
                continue
            # Somebody may still declare it: what is optional, only named, or reached through a handle can wait.
            if not self.settled and (one.optional or handle or wanted is UNRESOLVED):
                settled = False
                continue
            if not one.optional:
                provider.needs = tuple(needs)
                self._missing(provider, one, wanted, handle)
        provider.needs, provider.settled = tuple(needs), settled

    def _missing(self, provider: Provider, one: Parameter, wanted: Any, handle: bool) -> NoReturn:
        way = self._way_to(provider)
        if wanted is inspect.Parameter.empty:
            path = [*way, f"{provider.label}({one.name})"]
            raise MissingProvider(
                f"{' -> '.join(path)} -> nothing says what {one.name!r} is",
                path=path,
                remedy="annotate it with a class that Herz provides, or give it a default",
            )
        name = str(one.annotation) if wanted is UNRESOLVED else short(wanted)
        path = [*way, f"{provider.label}({one.name}: {f'Handle[{name}]' if handle else name})"]
        remedy = (
            f"define {name} where {provider.label} can see it, or declare it before the start"
            if wanted is UNRESOLVED
            else "decorate it with @herz.properties(prefix)"
            if _looks_like_model(wanted)
            else f"decorate it with @herz.refresh_scope, before {provider.label}, or give {one.name!r} a default"
        )
        raise MissingProvider(" -> ".join([*path, f"nothing provides {name}"]), path=[*path, name], remedy=remedy)

    def _way_to(self, provider: Provider) -> list[str]:
        """Who asks for `provider`, outermost first, each with the parameter: one way, where there are several."""
        way: list[str] = []
        wanted, seen = provider.provides, {provider.provides}
        while True:
            for user in self.scoped.values():
                need = next((need for need in user.needs if need.wanted == wanted and not need.handle), None)
                if need is not None and user.provides not in seen:
                    way.insert(0, f"{user.label}({need.parameter}: {short(wanted)})")
                    wanted = user.provides
                    seen.add(wanted)
                    break
            else:
                return way

    def _order(self) -> None:
        done: dict[Any, Provider] = {}
        for provider in self.scoped.values():
            self._visit(provider, done, [])
        self.order = tuple(done.values())

    def _visit(self, provider: Provider, done: dict[Any, Provider], trail: list[tuple[Provider, str]]) -> None:
        if provider.provides in done:
            return
        above = [one for one, _ in trail]
        if provider in above:
            cycle = trail[above.index(provider) :]
            raise CircularDependency(
                " -> ".join([step for _, step in cycle] + [provider.label]) + ": these need each other",
                path=[*(one.name for one, _ in cycle), provider.name],
                remedy=f"let one of them take a handle, {_handle_hint(cycle)}, or move what they share to a third",
            )
        chain: dict[Provider, None] = {}
        models: dict[Any, None] = {}
        for need in provider.needs:
            if need.handle:
                continue
            inner = self.scoped.get(need.wanted)
            if inner is None:
                models[need.wanted] = None
                continue
            self._visit(inner, done, [*trail, (provider, f"{provider.label}({need.parameter}: {inner.name})")])
            chain.update(dict.fromkeys(inner.chain))
            models.update(dict.fromkeys(inner.models))
        provider.chain = (*chain, provider)
        provider.models = tuple(models)
        done[provider.provides] = provider


def _handle_hint(cycle: list[tuple[Provider, str]]) -> str:
    inside = cycle[-1][1].partition("(")[2].rstrip(")")
    parameter, _, wanted = inside.partition(": ")
    return f"{parameter}: Handle[{wanted}]"


def _looks_like_model(wanted: Any) -> bool:
    from herz.live.binding.families import is_model

    return is_model(wanted)
