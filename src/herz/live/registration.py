"""A listener's place in a dispatcher, and its way out."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import wait as wait_all
from types import TracebackType
from typing import Any, Self

from herz.errors import UsageError
from herz.live.audience import Audience
from herz.live.delivery import Mailbox

Listener = Callable[[Any], object]


class Registration:
    """One listener under one name, from `Dispatcher.register` until `cancel`.

    Also a context manager that cancels at its end.
    """

    def __init__(
        self, name: str, listener: Listener, mailbox: Mailbox | None, cancel: Callable[[Registration], None]
    ) -> None:
        self.name = name
        self.listener = listener
        self.active = True
        self.mailbox = mailbox
        self._cancel = cancel
        self._under_way: list[weakref.ref[Audience]] = []
        self._over = threading.Event()

    @property
    def backlog(self) -> int:
        """Events that wait for this listener; always 0 for one that is called while firing."""
        return 0 if self.mailbox is None else self.mailbox.backlog

    def cancel(self) -> None:
        """Start no further call. Never waits; twice is harmless; allowed inside any listener.

        A fire that begins after `cancel` has returned does not call the listener. Nor does one that
        is under way and has not come to it, on this thread or another; what waits in its queue is
        dropped. Only a call that another thread has entered already goes on: see `wait`.
        """
        self._cancel(self)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether, within `timeout_s` seconds, the last call is over: then what it uses may be closed.

        To be called after `cancel`. False when time is up; always so inside a fire that would have
        called the listener, since that fire cannot end meanwhile. An exception that somebody keeps with its
        traceback keeps the fire's frame, and counts as one that is under way.
        """
        if self.active:
            raise UsageError(f"listener of {self.name!r} is still registered", remedy="cancel it before waiting")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._over.wait(timeout_s):
            return False
        if self.mailbox is None:
            return True
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return not wait_all([self.mailbox.mark()], left).not_done

    def watch(self, audiences: list[Audience]) -> None:
        """For the dispatcher, when cancelling: the fires that may still call are those that hold one of `audiences`."""
        self._under_way = [weakref.ref(audience, self._left) for audience in audiences]

    def _left(self, _: object) -> None:
        if all(audience() is None for audience in self._under_way):
            self._over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<Registration {self.name!r} {self.listener!r}{'' if self.active else ' cancelled'}>"
