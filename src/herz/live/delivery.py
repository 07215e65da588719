"""Delivery apart from the firing thread: one ordered queue per listener.

A listener that is slow or hangs holds up its own queue and nothing else: the firing thread never waits. A queue that
grows says so in the log, at 1,000 events and at each doubling, and `Registration.backlog` tells its length. It is
bounded for events that can stand for all before them: when `MOST` wait, the newest one is asked for its
`whole()`, which takes the place of all of them. Other events are never dropped.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from herz.errors import NotRunning

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

BACKLOG_WARNING = 1_000
COMPACT_FROM = 64
"""Events that wait as they are; those that come behind them are told to `compact()` themselves, if they can."""

MOST = 16_384
"""Events that wait at most for one listener, where the newest can stand for all of them."""

Report = Callable[[str, Any, Any, BaseException], None]


def _whole(event: Any) -> Any:
    """What stands for `event` and all before it; None where nothing does."""
    whole = getattr(event, "whole", None)
    return None if whole is None else whole()


class _Marker:
    """A place in a queue: `reached` is done once everything put before it has been handled."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached: Future[None] = Future()

    def reach(self) -> None:
        if self.reached.set_running_or_notify_cancel():  # false when whoever waited has been cancelled
            self.reached.set_result(None)


class Mailbox:
    """One listener's events in the order they were put; at most one call at a time.

    `put` takes no lock and never waits. The consumer is woken when the mailbox was idle: `put`
    appends and then looks at `_awake`, the consumer clears `_awake` and then looks at the queue, so
    one of them always sees the other.
    """

    def __init__(self, name: str, listener: Any, report: Report) -> None:
        self.name = name
        self.listener = listener
        self.report = report
        self.cancelled = False
        self._pending: deque[Any] = deque()
        self._awake = False
        self._warn_at = BACKLOG_WARNING
        # Listeners see the context variables of the place that registered them, not of whichever
        # thread fires: a pin taken there must not reach them.
        self._context = contextvars.copy_context()

    @property
    def backlog(self) -> int:
        """Events that wait; the one being handled is not counted."""
        return len(self._pending)

    def put(self, event: Any) -> None:
        """Queue one event; handled after all that were put before by the same thread."""
        before = self._last()
        if len(self._pending) >= MOST and (whole := _whole(event)) is not None:
            self._fold()
            before, event = None, whole
        self._pending.append(event)
        if not self._awake:
            self._awake = True
            self._wake()
        # Not this event: other queues may be about to be put it, and to ask for its `whole()`.
        if len(self._pending) - 1 > COMPACT_FROM and (compact := getattr(before, "compact", None)) is not None:
            compact()
        if len(self._pending) >= self._warn_at:
            self._warn_at *= 2
            logger.warning(
                "listener %r of %r is %d events behind; it harms nobody, but memory grows until it catches up",
                self.listener,
                self.name,
                len(self._pending),
            )

    def _last(self) -> Any:
        try:
            return self._pending[-1]
        except IndexError:
            return None

    def _fold(self) -> None:
        """Drop what waits and can be stood for; anything else stays, in its order."""
        kept, dropped = list[Any](), 0
        while (item := self._next()) is not None:
            if hasattr(item[0], "whole"):
                dropped += 1
            else:
                kept.append(item[0])
        self._pending.extend(kept)
        logger.warning(
            "listener %r of %r was too slow: it gets the state, marked as a reset, in place of %d events",
            self.listener,
            self.name,
            dropped + 1,
        )

    def mark(self) -> Future[None]:
        """Done once everything put before has been handled, cancelled or given up."""
        marker = _Marker()
        self.put(marker)
        return marker.reached

    def cancel(self) -> None:
        """Drop what waits and start no further call."""
        self.cancelled = True

    def give_up(self, reason: str) -> int:
        """Report each event that waits as undelivered. Returns how many."""
        lost = 0
        while (item := self._next()) is not None:
            (event,) = item
            if type(event) is _Marker:
                event.reach()
                continue
            lost += 1
            self._undelivered(event, reason)
        return lost

    def _undelivered(self, event: Any, reason: str) -> None:
        error = NotRunning(
            f"event for {self.name!r} was not delivered to {self.listener!r}: {reason}",
            remedy="cancel the registration, or drain the dispatcher before its loop or process ends",
        )
        self.report(self.name, self.listener, event, error)

    def _next(self) -> tuple[Any] | None:
        try:
            return (self._pending.popleft(),)
        except IndexError:
            return None

    def _skips(self, event: Any) -> bool:
        """Whether `event` needs no call: a marker, or anything once cancelled."""
        if type(event) is _Marker:
            event.reach()
            return True
        return self.cancelled

    def _rests(self) -> bool:
        """Go idle unless something came in meanwhile."""
        self._awake = False
        if not self._pending:
            self._warn_at = BACKLOG_WARNING
            return True
        self._awake = True
        return False

    def _wake(self) -> None:
        raise NotImplementedError


class ThreadMailbox(Mailbox):
    """Calls the listener on a daemon thread of its own, started by the first event.

    A thread for each, not a pool: as many hanging listeners as a pool has workers would stop all
    the others. The thread ends with the registration, or when the mailbox is collected. A forked
    child starts its own; what was queued at the fork is handled in both processes.
    """

    def __init__(self, name: str, listener: Any, report: Report) -> None:
        super().__init__(name, listener, report)
        self.restart()

    def restart(self) -> None:
        """Forget the thread, which did not survive a fork."""
        self._bell: SimpleQueue[bool] = SimpleQueue()
        self._thread: dict[str, threading.Thread] = {}
        self._awake = False
        _after_fork.add(self)

    def cancel(self) -> None:
        """As above, and end the thread."""
        super().cancel()
        self._bell.put(True)

    def _wake(self) -> None:
        if not self._thread:
            thread = threading.Thread(
                target=_work, args=(weakref.ref(self), self._bell), name=f"herz listener {self.name}", daemon=True
            )
            if self._thread.setdefault("thread", thread) is thread:  # one of several firing threads
                weakref.finalize(self, self._bell.put, True).atexit = False
                try:
                    thread.start()
                except RuntimeError:  # the interpreter ends: from Python 3.12 on there are no new threads then
                    self._thread.clear()
                    self.handle()
                    return
        self._bell.put(True)

    def leave(self) -> None:
        """End of the thread. A mark put from now on starts another; one put before is answered here."""
        self._thread.clear()
        self.handle()

    def handle(self) -> None:
        """Handle all that is queued, on the thread."""
        while True:
            while (item := self._next()) is not None:
                (event,) = item
                if self._skips(event):
                    continue
                try:
                    self._context.run(self.listener, event)
                except BaseException as error:  # also SystemExit: a listener must not end its own thread
                    self.report(self.name, self.listener, event, error)
                    del error
                del event, item
            if self._rests():
                return


def _work(mailbox: weakref.ref[ThreadMailbox], bell: SimpleQueue[bool]) -> None:
    """The thread of one mailbox; while idle it holds the bell only, so the mailbox can be collected."""
    while True:
        bell.get()
        found = mailbox()
        if found is None:
            return
        found.handle()
        if found.cancelled:
            found.leave()
            return
        del found


class LoopMailbox(Mailbox):
    """Calls the listener on an event loop, as a task that runs while there are events.

    The loop may be that of another thread. When the loop is closed, or cancels the task as
    `asyncio.run` does at its end, what was queued is reported as undelivered.
    """

    def __init__(self, name: str, listener: Any, report: Report, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name, listener, report)
        self.loop = loop
        self._task: asyncio.Task[None] | None = None

    def put(self, event: Any) -> None:
        """As above; reported as undelivered when the loop is closed."""
        super().put(event)
        if self.loop.is_closed() and self._pending:
            self._wake()  # a wake-up that the loop took but never ran would leave the event in silence

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            self._awake = False
            self.give_up("its event loop is closed")

    @property
    def busy(self) -> bool:
        """Whether events wait or one is being handled."""
        return self._awake or bool(self._pending)

    def _start(self) -> None:
        if self._task is None:
            self._task = self.loop.create_task(self._handle(), name=f"herz listener {self.name}", context=self._context)

    async def _handle(self) -> None:
        import asyncio

        task = asyncio.current_task()
        try:
            while True:
                while (item := self._next()) is not None:
                    (event,) = item
                    if self._skips(event):
                        continue
                    try:
                        result = self.listener(event)
                        if inspect.isawaitable(result):
                            await result
                    except asyncio.CancelledError as error:
                        if task is not None and task.cancelling():
                            self._undelivered(event, "its task was cancelled while it ran")
                            raise
                        self.report(self.name, self.listener, event, error)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        self.report(self.name, self.listener, event, error)
                if self._rests():
                    return
        except BaseException:
            self._awake = False
            self.give_up("its event loop is ending")
            raise
        finally:
            self._task = None


_after_fork: weakref.WeakSet[Any] = weakref.WeakSet()
"""What has a lock or a thread that does not survive a fork; each has `restart()`."""


def after_fork(holder: Any) -> None:
    """Have `holder.restart()` called in each forked child, while `holder` lives."""
    _after_fork.add(holder)


def _restart_all() -> None:
    for holder in list(_after_fork):
        holder.restart()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_restart_all)
