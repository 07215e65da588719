"""Events to listeners, safe from any number of threads, for the price of a loop."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_all
from typing import TYPE_CHECKING, Any

from herz.errors import NotRunning, UsageError
from herz.live.audience import UNSET, Audience, Call, Gate, newest, retire, silence
from herz.live.delivery import LoopMailbox, Mailbox, ThreadMailbox, after_fork
from herz.live.registration import Listener, Registration

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

ErrorHandler = Callable[[str, Listener, Any, BaseException], object]


class Dispatcher:
    """Once `register` has returned, every event fired afterwards reaches that listener.

    Registering, cancelling and firing are linearizable, from any number of threads. Firing takes no
    lock, never waits for a registration, and is a dictionary look-up, an attribute store and a loop;
    registrations pay for its safety (`herz.live.audience` says how, and what it relies on).

    Order. A listener hears the events of one firing thread in the order of firing. Fires that overlap
    on several threads have no order, and a listener called while firing may then run on several
    threads at once; with `queue=True` or as `async def` it is called one event at a time. Within a fire
    listeners are called in the order of registration. A listener that fires is heard first: the inner
    event goes to all its listeners before the outer one goes to the next. A listener registered by a
    listener does not hear the event under way, unless by `replay`.

    Failure. What a listener raises goes to `on_error(name, listener, event, error)`, by default the
    log, and the next listener is called. Only KeyboardInterrupt and SystemExit pass through `fire`. An
    event is never printed: it may hold secrets.

    The last event of each name is kept for replay, so names should be few.
    """

    def __init__(self, *, on_error: ErrorHandler | None = None, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._audiences: dict[str, Audience] = {}
        self._former: dict[str, list[weakref.ref[Audience]]] = {}
        self._on_error: ErrorHandler = log_error if on_error is None else on_error
        self._loop = loop
        self._closed = False
        self._lock = threading.Lock()
        after_fork(self)

    # --- firing -------------------------------------------------------------------------------

    def fire(self, name: str, event: Any) -> None:
        """Make `event` the state of `name` and call each listener, in the order of registration.

        Returns when those called while firing have returned and the others have it in their queue.
        """
        try:
            audience = self._audiences[name]
        except KeyError:
            audience = self._open(name)
        audience.state = event
        for listener in audience.listeners:
            try:
                listener(event)
            except BaseException as error:
                self._contain(name, listener, event, error)

    def current(self, name: str, default: Any = None) -> Any:
        """The latest event fired for `name`, or `default`."""
        audience = self._audiences.get(name)
        state = UNSET if audience is None else newest(audience)[1]
        return default if state is UNSET else state

    def _open(self, name: str) -> Audience:
        return self._audiences.setdefault(name, Audience(name, self._contain, [], ()))

    def _contain(self, name: str, listener: Any, event: Any, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise error
        self._report(name, listener.listener if isinstance(listener, Gate) else listener, event, error)

    def _report(self, name: str, listener: Any, event: Any, error: BaseException) -> None:
        try:
            self._on_error(name, listener, event, error)
        except Exception:
            logger.exception("the error handler failed on an error of listener %r of %r", listener, name)
            log_error(name, listener, event, error)

    # --- registering --------------------------------------------------------------------------

    def register(
        self,
        name: str,
        listener: Listener,
        *,
        replay: bool = False,
        queue: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Registration:
        """Have `listener(event)` called for every event fired for `name` from now on.

        `replay`: first the current state, if there is any, exactly once; an event that overlaps the
        registration is heard either live or in that state. A listener called while firing hears the
        state on this thread before `register` returns, and then what was fired meanwhile.

        `queue`: call it on a thread of its own, in order: for listeners that may be slow or hang.

        `loop`: call it on that event loop, in order, one call at a time. An `async def` listener
        always runs on a loop: this one, the dispatcher's, or the one running here, else UsageError.

        The same listener may be registered twice and is then called twice. Raises NotRunning after
        `close`. Not for signal handlers.
        """
        mailbox = self._mailbox(name, listener, queue, loop)
        registration = Registration(name, listener, mailbox, self._cancel)
        sink: Call = listener if mailbox is None else mailbox.put
        gate = Gate(listener, sink) if replay else None
        with self._lock:
            if self._closed:
                raise NotRunning(f"cannot register for {name!r}: the dispatcher is closed")
            former = newest(self._open(name))[0]
            successor, state = self._succeed(
                former, [*former.listeners, gate or sink], (*former.registrations, registration)
            )
        if gate is not None:
            try:
                gate.open(state, functools.partial(self._deliver, registration, sink))
            except BaseException:  # KeyboardInterrupt: what the gate holds back would never be heard
                registration.cancel()
                raise
            with self._lock:
                if registration.active:
                    for audience in self._holding(registration):
                        audience.replace(registration, sink)
        del successor  # held until here, so that `wait` counts the replay as a call under way
        return registration

    def _mailbox(
        self, name: str, listener: Listener, queue: bool, loop: asyncio.AbstractEventLoop | None
    ) -> Mailbox | None:
        import asyncio

        if loop is None and not is_async(listener):
            return ThreadMailbox(name, listener, self._report) if queue else None
        if loop is None:
            loop = self._loop
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise UsageError(
                    f"async listener {listener!r} of {name!r} has no event loop to run on",
                    remedy="pass loop=, or register it while the loop runs",
                ) from None
        return LoopMailbox(name, listener, self._report, loop)

    def _deliver(self, registration: Registration, sink: Call, event: Any) -> None:
        if not registration.active:
            return
        try:
            sink(event)
        except BaseException as error:
            self._contain(registration.name, registration.listener, event, error)

    def _cancel(self, registration: Registration) -> None:
        with self._lock:
            if not registration.active:
                return
            registration.active = False
            former = newest(self._open(registration.name))[0]
            holding = self._holding(registration)
            index = former.registrations.index(registration)
            self._succeed(
                former,
                former.listeners[:index] + former.listeners[index + 1 :],
                former.registrations[:index] + former.registrations[index + 1 :],
            )
            for audience in holding:
                audience.replace(registration, silence)
            registration.watch(holding)
        if registration.mailbox is not None:
            registration.mailbox.cancel()

    def _succeed(
        self, former: Audience, listeners: list[Call], registrations: tuple[Registration, ...]
    ) -> tuple[Audience, Any]:
        """Put a new audience in the place of `former`. Returns it, and the state `former` ended with."""
        name = former.name
        successor = Audience(name, self._contain, listeners, registrations)
        state = retire(former, successor)
        self._audiences[name] = successor
        # Fires under way keep their audience alive; nothing else does.
        alive = [former_ for former_ in self._former.get(name, ()) if former_() is not None]
        self._former[name] = [*alive, weakref.ref(former)]
        return successor, state

    def _holding(self, registration: Registration) -> list[Audience]:
        """The audiences with `registration`: the newest, and those that a fire under way still has."""
        name = registration.name
        audiences = [audience() for audience in self._former.get(name, ())] + [newest(self._open(name))[0]]
        return [found for found in audiences if found is not None and registration in found.registrations]

    # --- draining and closing -----------------------------------------------------------------

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Whether, within `timeout_s` seconds, all queued before this call has been handled."""
        import asyncio

        marks = [asyncio.wrap_future(mark) for mark in self._marks()]
        if not marks:
            return True
        return not (await asyncio.wait(marks, timeout=timeout_s))[1]

    def close(self, timeout_s: float = 5.0) -> bool:
        """Let the queues empty for up to `timeout_s` seconds, then cancel every registration.

        What has not been delivered by then is reported to `on_error` as NotRunning, one event at a
        time, and makes the result False. Raises UsageError on a loop that has events to
        handle itself: `await drain()` first, there.
        """
        marks = self._begin_to_close()
        in_time = not wait_all(marks, timeout_s).not_done
        return self._cancel_all("the dispatcher was closed") == 0 and in_time

    async def aclose(self, timeout_s: float = 5.0) -> bool:
        """As `close`, without blocking the event loop."""
        self._closed = True
        in_time = await self.drain(timeout_s)
        return self._cancel_all("the dispatcher was closed") == 0 and in_time

    def _begin_to_close(self) -> list[Future[None]]:
        import asyncio

        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        for mailbox in self._mailboxes():
            if isinstance(mailbox, LoopMailbox) and mailbox.loop is running and mailbox.busy:
                raise UsageError(
                    f"close() would wait for {mailbox.listener!r}, which needs this very event loop",
                    remedy="use `await dispatcher.aclose()`",
                )
        self._closed = True
        return self._marks()

    def _cancel_all(self, reason: str) -> int:
        with self._lock:
            self._closed = True
            registrations = self._registrations()
        lost = 0
        for registration in registrations:
            mailbox = registration.mailbox
            if mailbox is not None:
                lost += mailbox.give_up(reason)
            registration.cancel()
        return lost

    def _registrations(self) -> list[Registration]:
        return [found for audience in list(self._audiences.values()) for found in newest(audience)[0].registrations]

    def _mailboxes(self) -> list[Mailbox]:
        return [found.mailbox for found in self._registrations() if found.mailbox is not None]

    def _marks(self) -> list[Future[None]]:
        return [mailbox.mark() for mailbox in self._mailboxes()]

    def restart(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


def is_async(listener: Any) -> bool:
    """Whether calling `listener` gives a coroutine: `async def`, partial of it, or async `__call__`."""
    while isinstance(listener, functools.partial):
        listener = listener.func
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(getattr(listener, "__call__", None))  # noqa: B004


def log_error(name: str, listener: Listener, event: object, error: BaseException) -> None:
    """The default `on_error`: one record at level ERROR, with the traceback and without the event."""
    logger.error(
        "listener %r failed on an event of %r (%s); the other listeners were called",
        listener,
        name,
        type(event).__name__,
        exc_info=error,
    )
