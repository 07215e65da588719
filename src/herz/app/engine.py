"""The engine: one thread with an event loop of its own, which does all of Herz's work in the background.

A blocked application loop never delays a change, and there is one implementation for synchronous and
asynchronous applications: their faces hand coroutines to this loop and wait in their own way.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from herz.errors import NotRunning, UsageError
from herz.threads import DaemonThreads

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Engine:
    """A daemon thread that runs an event loop from `start` to `stop`."""

    def __init__(self, name: str = "herz") -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The engine's loop. `NotRunning` before `start` and after `stop`."""
        if self._loop is None:
            raise NotRunning("Herz is not running", remedy="use it inside `with herz:` or `async with herz:`")
        return self._loop

    @property
    def here(self) -> bool:
        """Whether the caller runs on the engine's thread."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Start the thread; returns when its loop runs."""
        ready: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=self._name, daemon=True)
        self._thread.start()
        self._loop = ready.result()

    def _run(self, ready: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        import asyncio

        loop, threads = asyncio.new_event_loop(), DaemonThreads()
        asyncio.set_event_loop(loop)
        loop.set_default_executor(threads)

        async def main() -> None:
            self._stopped = asyncio.Event()
            ready.set_result(loop)
            await self._stopped.wait()

        # Not `asyncio.run`, which needs a new thread at its end; there is none to be had when the interpreter ends.
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(_ended(asyncio.all_tasks(loop)))
            loop.run_until_complete(loop.shutdown_asyncgens())
            threads.shutdown()
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `coroutine` on the engine's loop."""
        import asyncio

        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except BaseException:
            coroutine.close()
            raise

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run `coroutine` on the engine's loop and wait for it. `UsageError` on the engine's own thread."""
        if self.here:
            coroutine.close()
            raise UsageError(
                "this would wait for itself: it was called on Herz's own thread", remedy="await it instead"
            )
        future = self.submit(coroutine)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    async def await_(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the engine's loop and await it from another loop."""
        import asyncio

        return await asyncio.wrap_future(self.submit(coroutine))

    def stop(self, limit_s: float = 10.0) -> None:
        """End the loop, what still runs on it, and the thread, which is waited for. Harmless when it does not run."""
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._stopped.set)
        if thread is not threading.current_thread():
            thread.join(limit_s)

    def forget(self) -> None:
        """Drop the thread without touching it: a forked child inherits its name, not the thread."""
        self._loop = self._thread = None


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait for their end; what one of them raises then is logged by the loop.

    One that is being cancelled already is closing what it had opened: a second time would interrupt that.
    """
    import asyncio

    for task in tasks:
        if not task.cancelling():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "a task failed while the engine ended", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)
