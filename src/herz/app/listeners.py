"""Listeners: what an application wants to hear of, registered once in each process and told the state at each start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Final

from herz.app.events import Applied, Present
from herz.live.delivery import after_fork
from herz.live.dispatcher import Dispatcher, is_async
from herz.live.registration import Registration
from herz.live.runner import Runner
from herz.model.change import ChangeSet

if TYPE_CHECKING:
    import asyncio

GLANCE_S: Final = 0.25
"""How often whoever waits for a registration looks whether Herz was stopped meanwhile."""


class Listener:
    """One declared listener: under which event, and whether it is told the present state first."""

    __slots__ = ("call", "event", "registration", "replay", "told")

    def __init__(self, event: str, call: Callable[[Any], Any], *, replay: bool) -> None:
        self.event, self.call, self.replay = event, call, replay
        self.registration: Registration | None = None
        self.told = False


class Listeners:
    """Every listener of one `Herz`, from its declaration on, over any number of starts.

    The state is told on the engine's loop, in one step with the registration. Changes are put in force and announced in
    one step of that same loop, so none can fall between, and none can be both in the state and announced.
    """

    def __init__(self, dispatcher: Dispatcher, runner: Runner) -> None:
        self._dispatcher, self._runner = dispatcher, runner
        self._all: list[Listener] = []
        self._present: Callable[[], Present] | None = None
        self.restart()
        after_fork(self)

    def restart(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    # --- declaring ----------------------------------------------------------------------------

    def add(
        self,
        event: str,
        call: Callable[[Any], Any],
        *,
        replay: bool,
        loop: asyncio.AbstractEventLoop | None,
        here: bool,
    ) -> None:
        """Declare `call`. While Herz runs `loop` is the engine's, and `here` says that this is its thread.

        Once this has returned, whatever is put in force afterwards is heard. On the engine's own thread, which may be
        in the middle of announcing something, a listener that is to be told the state is registered a moment later.
        """
        listener = Listener(event, call, replay=replay)
        self._all.append(listener)
        if loop is None:
            return
        if not replay:
            self._register(listener)
        elif here:
            loop.call_soon(self._register_and_tell, listener)
        else:
            self._wait(loop, listener)

    def _wait(self, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        done: Future[None] = Future()

        def register() -> None:
            try:
                self._register_and_tell(listener)
            except BaseException as error:
                done.set_exception(error)
                raise
            done.set_result(None)

        try:
            loop.call_soon_threadsafe(register)
        except RuntimeError:  # stopped meanwhile: the next start registers it
            return
        while not loop.is_closed():
            try:
                return done.result(GLANCE_S)
            except TimeoutError:
                continue
            except CancelledError:
                return

    def _register(self, listener: Listener) -> None:
        loop = self._runner.loop if is_async(listener.call) else None
        with self._lock:
            known = listener.registration
            if known is not None:
                if loop is None or getattr(known.mailbox, "loop", None) is loop:
                    return
                known.cancel()  # its loop was that of an earlier start, or of the process that was forked
            listener.registration = self._dispatcher.register(
                listener.event, listener.call, queue=loop is None, loop=loop
            )

    def _register_and_tell(self, listener: Listener) -> None:
        self._register(listener)
        self._tell(listener)

    # --- each start ---------------------------------------------------------------------------

    def attach(self) -> None:
        """Register everything for a start that is about to load; nothing is told before `loaded`."""
        self._present = None
        for listener in list(self._all):
            listener.told = False
            self._register(listener)

    def loaded(self, present: Callable[[], Present]) -> None:
        """Tell the state to those who asked for it, now and when they are declared later. On the engine's loop."""
        self._present = present
        for listener in list(self._all):
            self._register_and_tell(listener)  # one may have been declared since `attach`

    def _tell(self, listener: Listener) -> None:
        """Put the state into the listener's queue, once in each life, before anything that is announced after it."""
        registration = listener.registration
        if not listener.replay or listener.told or self._present is None or registration is None:
            return
        assert registration.mailbox is not None  # noqa: S101  every listener here has a queue of its own
        listener.told = True
        registration.mailbox.put(self._present())


def under(prefix: str, listener: Callable[[ChangeSet], Any]) -> Callable[[Applied | Present], Any]:
    """`listener` for what happens under `prefix`: called when something did, and with the state in any case."""
    if is_async(listener):

        async def hear_async(event: Applied | Present) -> None:
            found = event.change_set.under(prefix)
            if found.changes or isinstance(event, Present):
                await listener(found)

        return hear_async

    def hear(event: Applied | Present) -> None:
        found = event.change_set.under(prefix)
        if found.changes or isinstance(event, Present):
            listener(found)

    return hear
