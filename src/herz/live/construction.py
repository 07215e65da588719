"""A construction: one object being built from the objects of one generation."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from herz.live.generation import Generation
from herz.live.providers import Provider
from herz.live.runner import Job


class Construction:
    """One object under construction, for one or more sets of objects that will contain it."""

    __slots__ = ("built_from", "error", "future", "generation", "inputs", "job", "provider", "started", "targets")

    def __init__(self, provider: Provider, generation: Generation) -> None:
        objects = generation.objects
        self.provider = provider
        self.generation = generation
        self.targets = [objects]
        wanted = [need.wanted for need in provider.needs if not need.handle]
        self.built_from = tuple(objects.values[one] for one in wanted)
        self.inputs = tuple(dict.fromkeys(objects.instances[one] for one in wanted if one in objects.instances))
        self.future: Future[None] = Future()
        self.future.set_running_or_notify_cancel()
        self.started = time.monotonic()
        self.job = Job(f"herz build {provider.name}", f"thread {threading.current_thread().name!r}")
        """Where it is built: in the caller's thread, unless it is started elsewhere."""
        self.error: BaseException | None = None

    @property
    def left_s(self) -> float:
        """Seconds until it overruns."""
        return self.provider.build_s - (time.monotonic() - self.started)
