"""The life of one `Herz`: its engine, its runtime, and what becomes of them at a start, a stop, a fork and the end."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from herz.app.engine import Engine
from herz.app.events import Phase, Present
from herz.app.listeners import Listeners
from herz.app.models import Models
from herz.app.process import enroll
from herz.app.wanted import Wanted
from herz.errors import NotRunning, UsageError
from herz.live.dispatcher import Dispatcher
from herz.live.draining import Notice
from herz.live.runner import Runner
from herz.live.scope import Scope

if TYPE_CHECKING:
    import asyncio

    from herz.app.runtime import Runtime

logger = logging.getLogger("herz")

START_LIMIT_S = 120.0
"""How long a call in a forked child waits for the start that goes on in the background."""


UNDO_LIMIT_S = 10.0
"""How long a start that failed or was given up waits for what it had opened to be closed."""


class Life:
    """Starts and stops, any number of times in turn; each has a `scope` of its own, with the same declarations."""

    def __init__(self, wanted: Wanted) -> None:
        # What reads sources is imported with the first Herz: not for a program that only might want one, and not in
        # `astart`, where it would hold up the application's loop.
        from herz.app.runtime import Runtime

        self.wanted = wanted
        self._make = Runtime
        self.engine = Engine()
        self.runner = Runner()
        self.dispatcher = Dispatcher()
        self.scope = Scope(self.runner, on_event=self._noticed)
        self.listeners = Listeners(self.dispatcher, self.runner)
        self.runtime: Runtime | None = None
        """What runs, if anything; in a forked child it may not have loaded yet: `running` waits for that."""
        self.phase = Phase.NEW
        self._starting: Future[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        enroll(self)

    def running(self) -> Runtime:
        """What runs now. `NotRunning` outside start and stop."""
        if self._starting is not None and not self.engine.here:
            self._starting.result(START_LIMIT_S)
            self._starting = None
        if self.runtime is None:
            raise NotRunning("Herz is not running", remedy="use it inside `with herz:` or `async with herz:`")
        return self.runtime

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The engine's loop while it runs."""
        try:
            return None if self.runtime is None else self.engine.loop
        except NotRunning:  # it ends in this very moment
            return None

    # --- start and stop -----------------------------------------------------------------------

    def start(self) -> None:
        """`Herz.start`."""
        self._begin(None)
        try:
            self.engine.call(self._start())
        except BaseException:
            self._undo()
            raise

    async def astart(self) -> None:
        """`Herz.astart`."""
        import asyncio

        self._begin(asyncio.get_running_loop())
        try:
            await self.engine.await_(self._start())
        except BaseException:
            await asyncio.to_thread(self._undo)
            raise

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if self.runtime is not None:
            raise UsageError("Herz is running already", remedy="start it once, at the outermost place")
        if self.scope.stopped:
            self.scope = self.scope.successor()
        self._beginning = None
        self.engine.start()
        self.runner.attach(self.engine.loop)
        self.runner.capture(loop)
        models = Models(self.scope.providers)
        self.listeners.attach()
        self.runtime = self._make(self.wanted, self.scope, models, self.dispatcher, phase=self._become)

    async def _start(self) -> None:
        import asyncio

        self._beginning = asyncio.current_task()
        runtime = self.running()
        await runtime.load()
        updater = runtime.updater
        self.listeners.loaded(lambda: Present(updater.generation, updater.composition))
        runtime.watch()

    def _undo(self) -> None:
        """Take back a start that failed, or that was given up, be it in the moment in which it succeeded."""
        try:
            self.engine.call(self._undone(), UNDO_LIMIT_S)
        except Exception as error:  # why the start failed is what the caller is told
            logger.warning("not everything that the start had opened could be closed: %r", error)
        finally:
            self._abandon()

    async def _undone(self) -> None:
        import asyncio

        if self._beginning is not None:
            await asyncio.wait({self._beginning})
        if self.phase.running and self.runtime is not None:
            await self.runtime.stop(held_s=0.0)

    def _abandon(self, limit_s: float = 10.0) -> None:
        self._become(Phase.STOPPED)
        self.engine.stop(limit_s)
        self.runtime = None

    def stop(self) -> None:
        """`Herz.stop`."""
        if self.runtime is None:
            return
        runtime = self.running()
        try:
            self.engine.call(runtime.stop())
        finally:
            self._abandon()

    async def astop(self) -> None:
        """`Herz.astop`; it goes on to its end also when the caller gives up waiting for that."""
        import asyncio

        if self.runtime is not None:
            await asyncio.shield(asyncio.to_thread(self.stop))

    def _become(self, phase: Phase) -> None:
        if phase is self.phase:
            return
        self.phase = phase
        if self.runtime is not None:
            self.runtime.nudge()
        self.dispatcher.fire("state", phase)

    def _noticed(self, notice: Notice) -> None:
        logger.warning("%s", notice.message, exc_info=notice.error)
        self.dispatcher.fire("notice", notice)

    # --- what the process does ----------------------------------------------------------------

    def _leave(self, limit_s: float) -> None:
        runtime, deadline = self.runtime, time.monotonic() + limit_s
        if runtime is None:
            return
        try:
            if self._starting is not None:  # in a forked child that ends at once
                self._starting.exception(limit_s)
            # Whoever still holds something is a thread that is being left, and will not give it back.
            self.engine.call(runtime.stop(held_s=0.0), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            logger.warning("the program ends although not everything could be closed within %g s", limit_s)
        finally:
            self._abandon(max(0.1, deadline - time.monotonic()))

    def _after_fork(self) -> None:
        if self.runtime is None:
            return
        # Never collected here: what the parent's tasks do at their end is not for this process.
        _left_to_parent.append((self.runtime, self.engine.loop))
        self.engine.forget()
        self.runtime = None
        self.phase = Phase.NEW
        self.scope.forked()
        self._begin(None)
        # Not waited for: locks that other fork handlers hold may only be released when this one has returned.
        self._starting = self.engine.submit(self._start())
        self._starting.add_done_callback(_say_if_it_failed)


def _say_if_it_failed(started: Future[None]) -> None:
    if not started.cancelled() and (error := started.exception()) is not None:
        logger.critical("after a fork: %s", error, exc_info=error)


_left_to_parent: list[object] = []
