"""Runner: user code, run where it belongs and with a time limit, so that it never stops the engine.

Synchronous factories and closes run in daemon threads of their own, coroutines on the application's loop when there is
one (clients and pools fail across loops), else on the engine's. What overruns its limit is abandoned: a coroutine is
cancelled, a thread cannot be, and is remembered by name.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from herz.errors import NotRunning

if TYPE_CHECKING:
    import asyncio


class Job:
    """One call of user code that is under way; `future` has its outcome."""

    __slots__ = ("_loop", "_task", "future", "name", "started", "where")

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where
        self.started = time.monotonic()
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # from now on a waiter that gives up cannot cancel it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        """Ask a coroutine to end. A thread runs on."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def call(self, call: Callable[[], Any]) -> None:
        """Run it in this thread."""
        try:
            result = call()
        except BaseException as error:  # also SystemExit: it must not end a thread in silence
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def _begin(self, call: Callable[[], Any], context: contextvars.Context) -> None:
        assert self._loop is not None  # noqa: S101  set by the only caller
        self._task = self._loop.create_task(_awaited(call), name=self.name, context=context)
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.future.set_exception(NotRunning(f"{self.name} was cancelled on its event loop"))
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class Runner:
    """Runs user code for a scope. `engine` is the engine's loop, `application` the one captured by `async with`."""

    def __init__(self) -> None:
        self.engine: asyncio.AbstractEventLoop | None = None
        self.application: asyncio.AbstractEventLoop | None = None
        self._hung: dict[Any, Job] = {}

    def attach(self, engine: asyncio.AbstractEventLoop | None) -> None:
        """Use `engine` where there is no application's loop."""
        self.engine = engine

    def capture(self, application: asyncio.AbstractEventLoop | None) -> None:
        """Run coroutines on `application` from now on; None when it ends."""
        self.application = application

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop for async user code. `NotRunning` when it is closed."""
        loop = self.application or self.engine
        if loop is None:
            raise NotRunning("there is no event loop to run async code on", remedy="start Herz first")
        if loop.is_closed():
            which = "application's" if loop is self.application else "engine's"
            raise NotRunning(
                f"the {which} event loop is closed",
                remedy="leave `async with herz` before the loop that entered it ends",
            )
        return loop

    def on_own_loop(self) -> bool:
        """Whether the caller runs on the loop for async user code, so that waiting for that code would never end."""
        return _running() is not None and _running() is (self.application or self.engine)

    def start(
        self,
        call: Callable[[], Any],
        *,
        name: str,
        on_loop: bool = False,
        context: contextvars.Context | None = None,
    ) -> Job:
        """Begin `call`, on the loop or in a new daemon thread, in `context` or a copy of the caller's."""
        context = contextvars.copy_context() if context is None else context
        if on_loop:
            loop = self.loop
            job = Job(name, "the application's loop" if loop is self.application else "the engine's loop")
            job._loop = loop
            if loop is _running():
                job._begin(call, context)
            else:
                loop.call_soon_threadsafe(job._begin, call, context)
            return job
        job = Job(name, f"thread {name!r}")
        try:
            threading.Thread(target=context.run, args=(job.call, call), name=name, daemon=True).start()
        except RuntimeError:  # the interpreter ends: from Python 3.12 on there are no new threads then
            context.run(job.call, call)
        return job

    async def run(
        self,
        call: Callable[[], Any],
        *,
        name: str,
        limit_s: float,
        on_loop: bool = False,
        context: contextvars.Context | None = None,
    ) -> Any:
        """The result of `call`; an awaitable that a thread returns is awaited on the loop. `TimeoutError` after it."""
        deadline = time.monotonic() + limit_s
        job = self.start(call, name=name, on_loop=on_loop, context=context)
        result = await self.outcome(job, limit_s)
        if inspect.isawaitable(result):
            left = deadline - time.monotonic()
            result = await self.outcome(self.start(lambda: result, name=name, on_loop=True, context=context), left)
        return result

    async def outcome(self, job: Job, limit_s: float) -> Any:
        """The result of `job`. `TimeoutError` when it takes longer, and then it is abandoned."""
        if not await settled(job.future, limit_s):
            job.cancel()
            raise TimeoutError(f"{job.name} took longer than {limit_s:g} s and was abandoned in {job.where}")
        return job.future.result()

    # --- what hangs -------------------------------------------------------------------------------

    def hung(self, key: Any) -> Job | None:
        """The abandoned job of `key` that still runs, if one does."""
        job = self._hung.get(key)
        if job is not None and job.future.done():
            self._hung.pop(key, None)
            return None
        return job

    def abandon(self, key: Any, job: Job) -> None:
        """Give `job` up, and remember it for as long as it runs."""
        job.cancel()
        if not job.future.done():
            self._hung[key] = job

    def hanging(self) -> tuple[str, ...]:
        """What was abandoned and still runs, and where."""
        now = time.monotonic()
        return tuple(
            f"{job.name} in {job.where}, since {now - job.started:.0f} s"
            for job in list(self._hung.values())
            if not job.future.done()
        )

    def forked(self) -> None:
        """In a forked child: no loop and no thread came along."""
        self.engine = self.application = None
        self._hung = {}


async def settled(future: Future[Any], limit_s: float) -> bool:
    """Wait until `future` is done, at most `limit_s`; whether it is. Its outcome is left in it."""
    import asyncio

    if future.done():
        return True
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def wake(_: Future[Any]) -> None:
        # The loop may have ended meanwhile; then nobody waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if waiting.done() else waiting.set_result(None))

    future.add_done_callback(wake)
    await asyncio.wait({waiting}, timeout=max(limit_s, 0))
    return future.done()


async def _awaited(call: Callable[[], Any]) -> Any:
    result = call()
    return await result if isinstance(result, Awaitable) else result


def _running() -> asyncio.AbstractEventLoop | None:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
