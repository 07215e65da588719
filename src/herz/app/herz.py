"""Herz: the one object that an application holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from herz.app.events import Phase, Rejected
from herz.app.life import Life
from herz.app.listeners import under
from herz.app.wanted import Wanted
from herz.errors import HerzError, UsageError
from herz.live.dispatcher import Dispatcher
from herz.live.handle import Handle
from herz.live.pinning import Lease, Pin
from herz.live.scope import Scope
from herz.model.snapshot import Snapshot

if TYPE_CHECKING:
    from herz.app.health import Health
    from herz.app.runtime import Runtime
    from herz.sources.base import Source
    from herz.watch.session import Transition

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])

logger = logging.getLogger("herz")

START_LIMIT_S = 120.0
"""How long a call in a forked child waits for the start that goes on in the background."""


class Herz:
    """Hot configuration: reads `sources`, keeps them current, and rebuilds what was made from them.

    A source is a path, a folder, a glob, `classpath:…`, a URL (`sqlite:///herz.db#app`), a mapping or a
    `Source`; later ones win, then the environment (names with `__`, or those that start with
    `environment_prefix`), then `arguments` (`--key=value`). `optional:` before a path or URL lets the
    application start without it. `profiles` (by default `HERZ_PROFILES`) choose `name-<profile>.yml`
    variants. `base_folders` are where `classpath:` looks. `strict` makes an unknown key under a bound
    prefix an error. `last_good` is a file that keeps a copy for a start while sources are down.

    Use it as `with herz:` or `async with herz:`. The latter's loop runs all asynchronous user code.
    Any thread may read; reading takes no lock.
    """

    def __init__(
        self,
        *sources: str | os.PathLike[str] | Mapping[str, Any] | Source,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        environment_prefix: str = "",
        base_folders: Sequence[str | os.PathLike[str]] = (),
        profiles: Sequence[str] | None = None,
        secret_patterns: Sequence[str] = (),
        strict: bool = False,
        last_good: str | os.PathLike[str] | None = None,
    ) -> None:
        wanted = Wanted(
            specs=sources,
            arguments=tuple(arguments),
            environment=os.environ if environment is None else environment,
            environment_prefix=environment_prefix,
            base_folders=tuple(os.fspath(folder) for folder in base_folders),
            profiles=None if profiles is None else tuple(profiles),
            secret_patterns=tuple(secret_patterns),
            last_good=None if last_good is None else os.fspath(last_good),
        )
        self._life = Life(wanted)
        self._strict = strict

    # --- declaring ----------------------------------------------------------------------------

    def properties(
        self, prefix: str = "", *, strict: bool | None = None, restart_only: bool = False
    ) -> Callable[[type[T]], type[T]]:
        """Bind the class to the keys under `prefix`: typed, immutable, replaced whole when one of them changes.

        The class is a pydantic model, a dataclass, an attrs class or a msgspec struct. `restart_only`:
        changes are reported as waiting for a restart, and not taken. Everything is bound and validated
        at the start; declared later, at once.
        """

        def declare(model: type[T]) -> type[T]:
            self._life.scope.declare_properties(
                model, prefix, strict=self._strict if strict is None else strict, restart_only=restart_only
            )
            return model

        return declare

    @overload
    def refresh_scope(self, factory: C, /, **options: Any) -> C: ...
    @overload
    def refresh_scope(self, factory: None = None, /, **options: Any) -> Callable[[C], C]: ...
    def refresh_scope(self, factory: Any = None, /, **options: Any) -> Any:
        """Build the class (or call the factory) from what its parameters are annotated with, again when that changes.

        A factory, plain or async, provides what its return annotation names. Options: `eager` (build
        at the start), `build_s`, `grace_s`, `drain_s` (seconds), `overrun` (`"force"` or `"defer"`),
        `close` (instead of the object's own `close` or `aclose`), `provides`. Cycles and missing providers
        raise `CircularDependency` and `MissingProvider` here, with the path drawn.
        """

        def declare(declared: Any) -> Any:
            self._life.scope.declare(declared, **options)
            return declared

        return declare if factory is None else declare(factory)

    def on_change(self, prefix: str | Callable[..., Any] = "", *, replay: bool = False) -> Any:
        """Call the listener with each applied revision's `ChangeSet` under `prefix`, once and in order.

        Each listener has a queue of its own: one that raises or hangs holds up nobody. An `async def`
        runs on the application's loop. One that is 16,384 revisions behind gets, in place of them, one change set
        that is marked `reset`, with every key as it is then.

        `replay`: it first gets the present state, once at each start, as one change set with every key under `prefix`:
        `before` is `ABSENT`, `reset` is True, `source` is empty. It is called so too when there is no key. What is
        applied from then on follows; nothing is missing between the two, and nothing is told twice.
        """
        if callable(prefix):
            return self.on_change(replay=replay)(prefix)
        return self._listening("applied", lambda listener: under(prefix, listener), replay=replay)

    def on_rejected(self, listener: Callable[[Rejected], Any]) -> Callable[[Rejected], Any]:
        """Call the listener with every revision that is refused."""
        return self._listening("rejected", lambda inner: inner)(listener)  # type: ignore[no-any-return]

    def on_session(self, listener: Callable[[Transition], Any]) -> Callable[[Transition], Any]:
        """Call the listener with every step of every source's watch session: its state, what it says, and why."""
        return self._listening("session", lambda inner: inner)(listener)  # type: ignore[no-any-return]

    def _listening(self, event: str, wrap: Callable[[Any], Any], *, replay: bool = False) -> Callable[[Any], Any]:
        def declare(listener: Any) -> Any:
            life = self._life
            life.listeners.add(event, wrap(listener), replay=replay, loop=life.loop(), here=life.engine.here)
            return listener

        return declare

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Load, then watch. Returns when the first configuration is complete and valid; `ConfigLoadError` otherwise.

        A start that fails or is interrupted leaves nothing open, and may be tried again.
        """
        self._life.start()
        return self

    async def astart(self) -> Self:
        """`start` for an asynchronous application, whose running loop then runs its async factories and listeners."""
        await self._life.astart()
        return self

    def stop(self) -> None:
        """Stop watching, close every object in reverse order of building. Harmless when it is not running."""
        self._life.stop()

    async def astop(self) -> None:
        """`stop` for an asynchronous application. It goes on to its end also when it is cancelled."""
        await self._life.astop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await self.astart()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.astop()

    # --- reading ------------------------------------------------------------------------------

    def get(self, wanted: type[T]) -> T:
        """The current instance of a properties class or scoped object, built now if it never was; honours a pin."""
        return self._life.scope.get(wanted)

    async def aget(self, wanted: type[T]) -> T:
        """`get` that awaits an asynchronous factory."""
        return await self._life.scope.aget(wanted)

    def handle(self, wanted: type[T]) -> Handle[T]:
        """An object whose `current` is always the newest: one attribute read, no lock. It does not honour a pin."""
        return self._life.scope.handle(wanted)

    def lease(self, wanted: type[T]) -> Lease[T]:
        """A context manager over the current instance, which is not closed while it is held."""
        return self._life.scope.lease(wanted)

    def pin(self) -> Pin:
        """Everything inside sees one generation: `with herz.pin() as generation: generation.get(X)`."""
        return self._life.scope.pin()

    def provider(self, wanted: type[T]) -> Callable[[], T]:
        """A function without parameters that answers `get(wanted)`: for `fastapi.Depends(herz.provider(X))`."""

        def provide() -> T:
            return self.get(wanted)

        return provide

    def aprovider(self, wanted: type[T]) -> Callable[[], Awaitable[T]]:
        """`provider` for objects with asynchronous factories."""

        async def provide() -> T:
            return await self.aget(wanted)

        return provide

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force, at one moment; the pinned one inside a pin."""
        return self._life.scope.snapshot

    @property
    def state(self) -> Phase:
        """NEW, LOADING, LOADED, WATCHING, STOPPING or STOPPED."""
        return self._life.phase

    @property
    def freshness(self) -> str:
        """CURRENT when every source is followed and accepted; else REFUSED, STALE, FROZEN or NOT_RUNNING."""
        return self.health().freshness

    @property
    def events(self) -> Dispatcher:
        """Where `loaded`, `applied`, `rejected`, `session` and `state` are fired, on Herz's own thread."""
        return self._life.dispatcher

    @property
    def scope(self) -> Scope:
        """The refresh scope: its graph, reports and stale holders."""
        return self._life.scope

    @property
    def wanted(self) -> Wanted:
        """What it was made to read."""
        return self._life.wanted

    @property
    def runtime(self) -> Runtime:
        """What runs now: feeds, settings, recent changes. `NotRunning` outside start and stop."""
        return self._life.running()

    def health(self) -> Health:
        """One row for each source, and what somebody should look at. From any thread, at any time."""
        runtime, error = None, None
        try:
            runtime = None if self._life.runtime is None else self._life.running()
        except HerzError as failed:  # a forked child could not start again
            error = failed
        if runtime is None:
            from herz.app.health import Health, Notice

            why = () if error is None else (Notice(error.what, error.remedy or "start it anew"),)
            return Health(str(self._life.phase), "NOT_RUNNING", 0, (), why)
        return runtime.health(self._life.phase)

    # --- acting -------------------------------------------------------------------------------

    def refresh(self) -> list[str]:
        """Look at every source now, watched or not; put in force what changed; the changed keys, sorted.

        Raises what was refused, after everything else was applied. `UsageError` from inside a factory or
        while frozen.
        """
        self._life.scope.refuse_inside_factory("refresh")
        if self._life.runner.on_own_loop():
            raise UsageError(
                "refresh() would block the event loop that async factories are rebuilt on",
                remedy="use `await herz.arefresh()` here",
            )
        return list(self._life.engine.call(self._life.running().refresh()))

    async def arefresh(self) -> list[str]:
        """`refresh` without blocking the application's loop."""
        self._life.scope.refuse_inside_factory("refresh")
        return list(await self._life.engine.await_(self._life.running().refresh()))

    def freeze(self) -> None:
        """Stand still: changes are noticed and wait, until `thaw`. Health says so."""
        self._life.engine.loop.call_soon_threadsafe(self._life.running().updater.freeze, True)
        self._life.running().updater.frozen = True

    def thaw(self) -> None:
        """Take up what waited."""
        self._life.engine.loop.call_soon_threadsafe(self._life.running().updater.freeze, False)

    def accept(self, source: str | None = None) -> tuple[str, ...]:
        """Take a source that was suddenly emptied as meant, by default any; the places that were accepted, often none.

        `source` is its name in health; `UsageError` when none has it, or while frozen. Raises what is refused without
        what was there, a required key for example; the last good configuration stays then.
        """
        self._life.scope.refuse_inside_factory("accept")
        return self._life.engine.call(self._life.running().accept(source))

    async def aaccept(self, source: str | None = None) -> tuple[str, ...]:
        """`accept` without blocking the application's loop."""
        self._life.scope.refuse_inside_factory("accept")
        return await self._life.engine.await_(self._life.running().accept(source))

    def wait_for(
        self, wanted: int | Callable[[Snapshot], bool], timeout: float | None = None, *, source: str | None = None
    ) -> Snapshot:
        """Block until a revision is in force, or a predicate holds for what is; the snapshot that did it.

        A number is a revision of `source` (by its name in health), by default of the only source that is
        not local. One that is refused for what is written in it raises that refusal, at once: it will not come into
        force. One that could not be built is tried again by itself, and waited for. `TimeoutError` after `timeout`
        seconds names what stands in the way: a refusal, which is its cause, a source out of reach, a freeze.
        """
        from herz.app.waiting import wait

        runtime = self._life.running()
        return wait(runtime, wanted, timeout, source, lambda: self._life.runtime is runtime)

    async def await_for(
        self,
        wanted: int | Callable[[Snapshot], bool],
        timeout: float | None = None,  # noqa: ASYNC109 - as wait_for
        *,
        source: str | None = None,
    ) -> Snapshot:
        """`wait_for` without blocking the application's loop."""
        import asyncio

        return await asyncio.to_thread(self.wait_for, wanted, timeout, source=source)

    # --- faces --------------------------------------------------------------------------------

    def actuator(self, **options: Any) -> Any:
        """The actuator as an ASGI application: `app.mount("/actuator", herz.actuator())`."""
        from herz.actuator.asgi import Actuator

        return Actuator(self, **options)

    def wsgi_actuator(self, **options: Any) -> Any:
        """The actuator as a WSGI application, for Flask and Django."""
        from herz.actuator.wsgi import WsgiActuator

        return WsgiActuator(self, **options)
