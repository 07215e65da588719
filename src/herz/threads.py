"""Threads for calls that block, which work until the process ends and never keep it from ending.

`ThreadPoolExecutor` refuses work from the moment the main thread has returned, although threads that are no
daemons may serve for hours from then on, and joins its workers at the end, however long they take.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LAST_S: Final = 5.0
"""How long `shutdown` waits at most for what still runs."""

Work = Callable[[], None]


class DaemonThreads(ThreadPoolExecutor):
    """An executor of up to `most` daemon threads; started when needed, in order of asking. Not for use after a fork.

    Where no thread can be started any more, at the interpreter's very end, the caller's thread does the work.
    """

    def __init__(self, most: int | None = None, name: str = "herz-blocking") -> None:
        most = min(32, (os.cpu_count() or 1) + 4) if most is None else most
        super().__init__(most, thread_name_prefix=name)
        self._most, self._name = most, name
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._busy = 0
        self._over = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn` called. `RuntimeError` after `shutdown`."""
        future: Future[T] = Future()

        def work() -> None:
            _call(future, fn, args, kwargs)

        with self._guard:
            if self._over:
                raise RuntimeError("these threads were shut down")
            self._busy += 1
            if self._busy <= len(self._workers) or len(self._workers) >= self._most or self._more():
                self._work.put(work)
                return future
            self._busy -= 1
        work()
        return future

    def _more(self) -> bool:
        """Start one more thread; whether there is one to do the work."""
        thread = threading.Thread(target=self._run, name=f"{self._name}_{len(self._workers)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return bool(self._workers)
        self._workers.append(thread)
        return True

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            with self._guard:
                self._busy -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work and end the threads when what was asked for is done; `wait` for that, at most `LAST_S`."""
        with self._guard:
            self._over = True
            workers, self._workers = self._workers, []
            for _ in workers:
                self._work.put(None)
        deadline = time.monotonic() + LAST_S
        for thread in workers if wait else ():
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


def _call(future: Future[T], fn: Callable[..., T], args: Any, kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:  # also SystemExit: it is for whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
