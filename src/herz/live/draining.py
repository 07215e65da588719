"""Draining: old objects are closed when nobody can be using them any more, in reverse order of dependency.

Everything that keeps an object open is counted here, under one lock that is never held while user code runs. It is
reentrant, for the collector may end somebody's pin while we hold it.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from herz.errors import UsageError
from herz.live.generation import Instance, Objects, State
from herz.live.pinning import Lease, Pin
from herz.live.runner import Runner, settled

if TYPE_CHECKING:
    import asyncio

AT_ONCE: Final = float("-inf")
"""As the moment of leaving: every limit is over."""


class Notice(NamedTuple):
    """Something about the life of objects that an operator should hear of.

    `kind`: `overrun` (held beyond `drain_s`; `holders` says by whom), `given-up` (too many generations alive),
    `close-failed`, `late` (an abandoned construction ended after all; its object was closed).
    """

    kind: Literal["overrun", "given-up", "close-failed", "late"]
    provides: str
    message: str
    holders: tuple[str, ...] = ()
    error: BaseException | None = None


class Draining:
    """Counts who holds what, and closes what nobody does.

    `clock` gives seconds; `notify` hears every `Notice`, on any thread. At most `max_generations` are kept alive by
    pins: beyond that the oldest is given up.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        clock: Callable[[], float],
        notify: Callable[[Notice], object],
        max_generations: int,
    ) -> None:
        if max_generations < 1:
            raise UsageError(f"max_generations={max_generations}", remedy="allow at least the current generation")
        self.runner = runner
        self.clock = clock
        self.notify = notify
        self.max_generations = max_generations
        self.forked()

    def forked(self) -> None:
        """Start with nothing: in a forked child, the objects belong to the parent."""
        self.lock = threading.RLock()
        self.live: list[Objects] = []
        """The current set of objects and those that are held, oldest first."""
        self.retired: dict[Instance, None] = {}
        """What has left the current generation and is not closed, oldest first."""
        self._owned: Counter[int] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._closes: set[asyncio.Task[None]] = set()
        self._deadline: float | None = None

    # --- counting (the lock is held by the caller where the name begins with an underscore) ---------

    def built(self, instance: Instance) -> None:
        """Count a new object; a factory may return one that is open already, which is then closed once, at last."""
        with self.lock:
            self._owned[id(instance.value)] += 1

    def publish(self, objects: Objects, old: Objects | None) -> None:
        """`objects` are current from now on, and `old` no longer."""
        with self.lock:
            objects.state = State.CURRENT
            self.live.append(objects)
            for instance in list(objects.instances.values()):
                instance.generations += 1
            if old is None:
                return
            old.state = State.PINNED
            kept = set(objects.instances.values())
            self._retire([one for one in old.instances.values() if one not in kept], self.clock())
            self._release_if_free(old)
            while len(self.live) > self.max_generations:
                self._give_up(self.live[0])
        self.wake()

    def retire(self, instances: Iterable[Instance], *, left_at: float | None = None) -> None:
        """`instances` have left the current generation, or never were in it."""
        with self.lock:
            self._retire(instances, self.clock() if left_at is None else left_at)
        self.wake()

    def _retire(self, instances: Iterable[Instance], left_at: float) -> None:
        for instance in instances:
            if not instance.closing:
                instance.left_at = left_at
                self.retired[instance] = None

    def hold(self, objects: Objects) -> None:
        """Keep `objects` alive during a construction."""
        with self.lock:
            objects.holds += 1

    def unhold(self, objects: Objects) -> None:
        """End one `hold`."""
        with self.lock:
            objects.holds -= 1
            self._release_if_free(objects)

    def unpin(self, objects: Objects, pin: Pin) -> None:
        """End one pin."""
        with self.lock:
            objects.pins.discard(pin)
            self._release_if_free(objects)

    def unlease(self, instance: Instance, lease: Lease[Any]) -> None:
        """End one lease."""
        with self.lock:
            instance.leases.discard(lease)
        if instance.left_at is not None:
            self.wake()

    def _release_if_free(self, objects: Objects) -> None:
        if objects.state is State.PINNED and not objects.pins and not objects.holds:
            self._release(objects)

    def _release(self, objects: Objects) -> None:
        objects.state = State.RELEASED
        self.live.remove(objects)
        for instance in list(objects.instances.values()):
            instance.generations -= 1
        self.wake()

    def _give_up(self, objects: Objects) -> None:
        holders = tuple(pin.holder for pin in list(objects.pins))
        self._release(objects)
        self._say(
            Notice(
                "given-up",
                "",
                f"more than {self.max_generations} generations are alive; generation {objects.number} was given up,"
                f" though pinned by {', '.join(holders) or 'a construction that goes on'}: pin for less long",
                holders,
            )
        )

    def _say(self, notice: Notice) -> None:
        """Tell it from the engine's loop, for the lock may be held here."""
        loop = self._loop
        if loop is None or loop.is_closed():
            self._tell(notice)
        else:
            loop.call_soon_threadsafe(self._tell, notice)

    def _tell(self, notice: Notice) -> None:
        # A listener that fails must not stop the draining.
        with contextlib.suppress(Exception):
            self.notify(notice)

    # --- closing ----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look again, soon, on the engine's loop."""
        loop, event = self._loop, self._wake
        if loop is not None and event is not None and (self.retired or self._deadline is not None):
            # A loop that is closed has nobody to wake.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

    async def run(self) -> None:
        """Close what can be closed, until cancelled or, after `stop`, until nothing is left."""
        import asyncio

        wake = asyncio.Event()
        self._loop, self._wake = asyncio.get_running_loop(), wake
        try:
            while not (self._deadline is not None and not self.retired and not self.live):
                self._wake.clear()
                due, next_at = self._due(self.clock())
                for instance in due:
                    task = asyncio.create_task(self._close(instance), name=f"herz close {instance.provider.name}")
                    self._closes.add(task)
                    task.add_done_callback(self._closes.discard)
                await self._sleep(next_at)
        finally:
            if self._wake is wake:  # else it is the parent's run, collected in a forked child that has a run of its own
                self._loop = self._wake = self._deadline = None

    async def _sleep(self, until: float | None) -> None:
        import asyncio

        assert self._wake is not None  # noqa: S101  set by the only caller
        try:
            await asyncio.wait_for(self._wake.wait(), None if until is None else max(until - self.clock(), 0.001))
        except TimeoutError:
            return

    def _due(self, now: float) -> tuple[list[Instance], float | None]:
        """What is to be closed now, and when to look again at the latest."""
        due: list[Instance] = []
        moments: list[float] = []
        with self.lock:
            stopping = self._deadline is not None
            forced = self._deadline is not None and now >= self._deadline
            if forced:
                for objects in list(self.live):
                    self._release(objects)
            elif self._deadline is not None:
                moments.append(self._deadline)
            for instance in list(self.retired):
                # What was built from it is closed first; that wakes us again.
                if instance.closing or instance.dependents:
                    continue
                left_at = AT_ONCE if stopping or instance.left_at is None else instance.left_at
                provider = instance.provider
                if not instance.generations and not instance.leases:
                    if now >= left_at + provider.grace_s:
                        due.append(instance)
                    else:
                        moments.append(left_at + provider.grace_s)
                elif forced:
                    self._overrun(instance, force=True)
                    due.append(instance)
                elif not stopping and not instance.overrun:
                    if now < left_at + provider.drain_s:
                        moments.append(left_at + provider.drain_s)
                        continue
                    self._overrun(instance, force=provider.overrun == "force")
                    if provider.overrun == "force":
                        due.append(instance)
            for instance in due:
                instance.closing = True
        return due, min(moments, default=None)

    def holders(self, instance: Instance) -> tuple[str, ...]:
        """Who keeps `instance` open: function and place of each lease and pin."""
        with self.lock:
            leases = [f"a lease taken in {lease.holder}" for lease in list(instance.leases)]
            pins = [
                f"a pin taken in {pin.holder}"
                for objects in self.live
                if objects.state is not State.CURRENT and instance in objects.instances.values()
                for pin in list(objects.pins)
            ]
        return (*leases, *pins)

    def _overrun(self, instance: Instance, *, force: bool) -> None:
        instance.overrun = True
        provider, holders = instance.provider, self.holders(instance)
        what = "is closed all the same" if force else "stays open until they end"
        limit = f"{provider.drain_s:g} s after it was replaced" if self._deadline is None else "at the stop"
        self._say(
            Notice(
                "overrun",
                provider.name,
                f"{provider.name} of generation {instance.number} is still held {limit}, by"
                f" {', '.join(holders) or 'a construction'}; it {what}",
                holders,
            )
        )

    async def _close(self, instance: Instance) -> None:
        import asyncio

        provider = instance.provider
        try:
            with self.lock:
                self._owned[id(instance.value)] -= 1
                last = self._owned[id(instance.value)] <= 0
                if last:
                    del self._owned[id(instance.value)]
            if last:
                await self._call_close(instance)
        except (Exception, asyncio.CancelledError) as error:
            self._say(
                Notice(
                    "close-failed",
                    provider.name,
                    f"closing {provider.name} of generation {instance.number} failed: {type(error).__name__}: {error}",
                    error=error,
                )
            )
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            with self.lock:
                for one in instance.inputs:
                    one.dependents -= 1
                self.retired.pop(instance, None)
            instance.closed.set_result(None)
            if self._wake is not None:
                self._wake.set()

    async def _call_close(self, instance: Instance) -> None:
        close = close_of(instance)
        if close is None:
            return
        provider = instance.provider
        # What an async factory made is bound to the loop, so that even its plain close() is called there.
        on_loop = provider.is_async or inspect.iscoroutinefunction(getattr(close, "func", close))
        await self.runner.run(close, name=f"herz close {provider.name}", limit_s=provider.close_s, on_loop=on_loop)

    async def closed(self, instances: Iterable[Instance]) -> None:
        """Wait until `instances`, which nobody holds, are closed; each close has its own limit."""
        for instance in instances:
            await settled(instance.closed, instance.provider.close_s * 2)

    def stop(self, limit_s: float) -> None:
        """Have everything closed: what is free now, the rest after `limit_s`, whoever holds it. `run` then ends."""
        with self.lock:
            self._deadline = self.clock() + limit_s
            for objects in list(self.live):
                self._retire(list(objects.instances.values()), AT_ONCE)
                objects.state = State.PINNED
                self._release_if_free(objects)
        self.wake()

    def discard_late(self, instance: Instance) -> None:
        """Close an object whose construction had been given up."""
        provider = instance.provider
        what = f"{provider.name} was built after its construction had been given up"
        if self._loop is not None:
            self._say(Notice("late", provider.name, f"{what}; it is closed"))
            self.retire([instance], left_at=AT_ONCE)
            return
        close = close_of(instance)  # after the stop there is this thread only
        if close is None or provider.is_async or inspect.iscoroutinefunction(getattr(close, "func", close)):
            self._say(Notice("late", provider.name, f"{what}, and after the stop; it is dropped"))
        else:
            self._say(Notice("late", provider.name, f"{what}, and after the stop; it is closed"))
            close()


def close_of(instance: Instance) -> Callable[[], Any] | None:
    """What closes an object: its provider's `close`, its `aclose`, its `close`, or nothing."""
    value, provider = instance.value, instance.provider
    if provider.close is not None:
        return partial(provider.close, value)
    for name in ("aclose", "close"):
        found = getattr(value, name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    return None
