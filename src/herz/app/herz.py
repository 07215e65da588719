"""Herz: the one object that an application holds."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from herz.app.bootstrap import Wanted
from herz.app.engine import Engine
from herz.app.events import Phase, Present, Rejected
from herz.app.health import Health
from herz.app.listeners import Listeners, under
from herz.app.models import Models
from herz.app.runtime import Runtime
from herz.errors import NotRunning, UsageError
from herz.live.dispatcher import Dispatcher
from herz.live.draining import Notice
from herz.live.handle import Handle
from herz.live.pinning import Lease, Pin
from herz.live.runner import Runner
from herz.live.scope import Scope
from herz.model.snapshot import Snapshot
from herz.sources.base import Source

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
        self._wanted = Wanted(
            specs=sources,
            arguments=tuple(arguments),
            environment=os.environ if environment is None else environment,
            environment_prefix=environment_prefix,
            base_folders=tuple(os.fspath(folder) for folder in base_folders),
            profiles=None if profiles is None else tuple(profiles),
            secret_patterns=tuple(secret_patterns),
            last_good=None if last_good is None else os.fspath(last_good),
        )
        self._engine = Engine()
        self._runner = Runner()
        self._dispatcher = Dispatcher()
        self._scope = Scope(self._runner, on_event=self._noticed)
        self._strict = strict
        self._listeners = Listeners(self._dispatcher, self._runner)
        self._runtime: Runtime | None = None
        self._phase = Phase.NEW
        self._moved = threading.Condition()
        self._starting: Future[None] | None = None
        _alive.add(self)

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
            self._scope.declare_properties(
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
            self._scope.declare(declared, **options)
            return declared

        return declare if factory is None else declare(factory)

    def on_change(self, prefix: str | Callable[..., Any] = "", *, replay: bool = False) -> Any:
        """Call the listener with each applied revision's `ChangeSet` under `prefix`, once and in order.

        Each listener has a queue of its own: one that raises or hangs holds up nobody. An `async def`
        runs on the application's loop.

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

    def _listening(self, event: str, wrap: Callable[[Any], Any], *, replay: bool = False) -> Callable[[Any], Any]:
        def declare(listener: Any) -> Any:
            try:
                loop = None if self._runtime is None else self._engine.loop
            except NotRunning:  # it ends in this very moment
                loop = None
            self._listeners.add(event, wrap(listener), replay=replay, loop=loop, here=self._engine.here)
            return listener

        return declare

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Load, then watch. Returns when the first configuration is complete and valid; `ConfigLoadError` otherwise."""
        self._begin(None)
        try:
            self._engine.call(self._start())
        except BaseException:
            self._abandon()
            raise
        return self

    async def astart(self) -> Self:
        """`start` for an asynchronous application, whose running loop then runs its async factories and listeners."""
        self._begin(asyncio.get_running_loop())
        try:
            await self._engine.await_(self._start())
        except BaseException:
            self._abandon()
            raise
        return self

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if self._runtime is not None:
            raise UsageError("Herz is running already", remedy="start it once, at the outermost place")
        if self._scope.stopped:
            self._scope = self._scope.successor()
        self._engine.start()
        self._runner.attach(self._engine.loop)
        self._runner.capture(loop)
        models = Models(self._scope.providers)
        self._listeners.attach()
        self._runtime = Runtime(self._wanted, self._scope, models, self._dispatcher, phase=self._become)

    async def _start(self) -> None:
        runtime = self._running()
        await runtime.load()
        updater = runtime.updater
        self._listeners.loaded(lambda: Present(updater.generation, updater.composition))
        runtime.watch()

    def _abandon(self) -> None:
        self._become(Phase.STOPPED)
        self._engine.stop()
        self._runtime = None

    def stop(self) -> None:
        """Stop watching, close every object in reverse order of building. Harmless when it is not running."""
        if self._runtime is None:
            return
        runtime = self._running()
        try:
            self._engine.call(runtime.stop())
        finally:
            self._abandon()

    async def astop(self) -> None:
        """`stop` for an asynchronous application."""
        runtime = self._runtime
        if runtime is None:
            return
        try:
            await self._engine.await_(runtime.stop())
        finally:
            await asyncio.to_thread(self._abandon)

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

    def _become(self, phase: Phase) -> None:
        if phase is not self._phase:
            with self._moved:
                self._phase = phase
                self._moved.notify_all()
            self._dispatcher.fire("state", phase)

    def _running(self) -> Runtime:
        if self._starting is not None and not self._engine.here:
            self._starting.result(START_LIMIT_S)
            self._starting = None
        if self._runtime is None:
            raise NotRunning("Herz is not running", remedy="use it inside `with herz:` or `async with herz:`")
        return self._runtime

    def _noticed(self, notice: Notice) -> None:
        logger.warning("%s", notice.message, exc_info=notice.error)
        self._dispatcher.fire("notice", notice)

    # --- reading ------------------------------------------------------------------------------

    def get(self, wanted: type[T]) -> T:
        """The current instance of a properties class or scoped object, built now if it never was; honours a pin."""
        return self._scope.get(wanted)

    async def aget(self, wanted: type[T]) -> T:
        """`get` that awaits an asynchronous factory."""
        return await self._scope.aget(wanted)

    def handle(self, wanted: type[T]) -> Handle[T]:
        """An object whose `current` is always the newest: one attribute read, no lock. It does not honour a pin."""
        return self._scope.handle(wanted)

    def lease(self, wanted: type[T]) -> Lease[T]:
        """A context manager over the current instance, which is not closed while it is held."""
        return self._scope.lease(wanted)

    def pin(self) -> Pin:
        """Everything inside sees one generation: `with herz.pin() as generation: generation.get(X)`."""
        return self._scope.pin()

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
        return self._scope.snapshot

    @property
    def state(self) -> Phase:
        """NEW, LOADING, LOADED, WATCHING, STOPPING or STOPPED."""
        return self._phase

    @property
    def freshness(self) -> str:
        """CURRENT when every source is followed and accepted; else REFUSED, STALE, FROZEN or NOT_RUNNING."""
        return self.health().freshness

    @property
    def events(self) -> Dispatcher:
        """Where `loaded`, `applied`, `rejected`, `session` and `state` are fired, on Herz's own thread."""
        return self._dispatcher

    @property
    def scope(self) -> Scope:
        """The refresh scope: its graph, reports and stale holders."""
        return self._scope

    @property
    def wanted(self) -> Wanted:
        """What it was made to read."""
        return self._wanted

    @property
    def runtime(self) -> Runtime:
        """What runs now: feeds, settings, recent changes. `NotRunning` outside start and stop."""
        return self._running()

    def health(self) -> Health:
        """One row for each source, and what somebody should look at. From any thread, at any time."""
        runtime = None if self._runtime is None else self._running()
        if runtime is None:
            return Health(str(self._phase), "NOT_RUNNING", 0, (), ())
        return runtime.health(self._phase)

    # --- acting -------------------------------------------------------------------------------

    def refresh(self) -> list[str]:
        """Look at every source now, watched or not; put in force what changed; the changed keys, sorted.

        Raises what was refused, after everything else was applied. `UsageError` from inside a factory or
        while frozen.
        """
        self._scope.refuse_inside_factory("refresh")
        if self._runner.on_own_loop():
            raise UsageError(
                "refresh() would block the event loop that async factories are rebuilt on",
                remedy="use `await herz.arefresh()` here",
            )
        return list(self._engine.call(self._running().refresh()))

    async def arefresh(self) -> list[str]:
        """`refresh` without blocking the application's loop."""
        self._scope.refuse_inside_factory("refresh")
        return list(await self._engine.await_(self._running().refresh()))

    def freeze(self) -> None:
        """Stand still: changes are noticed and wait, until `thaw`. Health says so."""
        self._engine.loop.call_soon_threadsafe(self._running().updater.freeze, True)
        self._running().updater.frozen = True

    def thaw(self) -> None:
        """Take up what waited."""
        self._engine.loop.call_soon_threadsafe(self._running().updater.freeze, False)

    def accept(self, source: str | None = None) -> tuple[str, ...]:
        """Take a source that was suddenly emptied as meant, by default any; the places that were accepted, often none.

        `source` is its name in health; `UsageError` when none has it, or while frozen. Raises what is refused without
        what was there, a required key for example; the last good configuration stays then.
        """
        self._scope.refuse_inside_factory("accept")
        return self._engine.call(self._running().accept(source))

    async def aaccept(self, source: str | None = None) -> tuple[str, ...]:
        """`accept` without blocking the application's loop."""
        self._scope.refuse_inside_factory("accept")
        return await self._engine.await_(self._running().accept(source))

    def wait_for(
        self, wanted: int | Callable[[Snapshot], bool], timeout: float | None = None, *, source: str | None = None
    ) -> Snapshot:
        """Block until a revision is in force, or a predicate holds for what is; the snapshot that did it.

        A number is a revision of `source` (by its name in health), by default of the only source that is
        not local. `TimeoutError` after `timeout` seconds.
        """
        holds = self._condition(wanted, source)
        runtime = self._running()
        deadline = None if timeout is None else time.monotonic() + timeout
        with runtime.updater.published:
            while not holds(runtime.updater.snapshot):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"not in force after {timeout} s; {runtime.updater.snapshot!r} is")
                if self._runtime is not runtime:
                    raise NotRunning("Herz was stopped meanwhile")
                runtime.updater.published.wait(min(left, 1.0) if left is not None else 1.0)
            return runtime.updater.snapshot

    async def await_for(
        self,
        wanted: int | Callable[[Snapshot], bool],
        timeout: float | None = None,  # noqa: ASYNC109 - as wait_for
        *,
        source: str | None = None,
    ) -> Snapshot:
        """`wait_for` without blocking the application's loop."""
        return await asyncio.to_thread(self.wait_for, wanted, timeout, source=source)

    def _condition(self, wanted: int | Callable[[Snapshot], bool], source: str | None) -> Callable[[Snapshot], bool]:
        if callable(wanted):
            return wanted
        names = [feed.name for feed in self._running().feeds if not feed.source.local]
        if source is None and len(names) != 1:
            raise UsageError("which source's revision?", remedy=f"pass source=, one of {', '.join(names)}")
        name = names[0] if source is None else source
        return lambda snapshot: snapshot.revisions.get(name, -1) >= wanted

    # --- faces --------------------------------------------------------------------------------

    def actuator(self, **options: Any) -> Any:
        """The actuator as an ASGI application: `app.mount("/actuator", herz.actuator())`."""
        from herz.actuator.asgi import Actuator

        return Actuator(self, **options)

    def wsgi_actuator(self, **options: Any) -> Any:
        """The actuator as a WSGI application, for Flask and Django."""
        from herz.actuator.wsgi import WsgiActuator

        return WsgiActuator(self, **options)

    # --- fork ---------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        if self._runtime is None:
            return
        # Never collected here: what the parent's tasks do at their end is not for this process.
        _left_to_parent.append((self._runtime, self._engine.loop))
        self._engine.forget()
        self._runtime = None
        self._moved = threading.Condition()
        self._phase = Phase.NEW
        self._scope.forked()
        self._begin(None)
        # Not waited for: locks that other fork handlers hold may only be released when this one has returned.
        self._starting = self._engine.submit(self._start())
        self._starting.add_done_callback(_say_if_it_failed)


def _say_if_it_failed(started: Future[None]) -> None:
    if not started.cancelled() and (error := started.exception()) is not None:
        logger.critical("after a fork: %s", error, exc_info=error)


_alive: weakref.WeakSet[Herz] = weakref.WeakSet()
_left_to_parent: list[object] = []


def _children_start_anew() -> None:
    for herz in list(_alive):
        herz._after_fork()


if hasattr(os, "register_at_fork"):
    # Handlers run in the order of registration, and this one starts a thread that uses executors: theirs, which makes
    # their lock anew, must have run before it. Importing the module registers it.
    importlib.import_module("concurrent.futures.thread")
    os.register_at_fork(after_in_child=_children_start_anew)
