"""Firing an event to ten listeners, and registering while others fire: `python -m benchmarks.dispatcher`."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks._report import Row, bootstrap_ratio_interval, interleave, print_table
from herz.live.dispatcher import Dispatcher

LISTENERS = 10
FIRES = 1_000
REPEATS = 400
THREADS = 8
RACES = 1_000_000
SWITCH_S = 1e-5  # the default of 5 ms lets a thread run some hundred races undisturbed


class Unsafe(Dispatcher):
    """The dispatcher with its safety removed: no lock, no retiring, no gate. `fire` has the same bytecode."""

    def register(self, name: str, listener: Any, **_: Any) -> Any:
        audience = self._open(name)
        audience.listeners = [*audience.listeners, listener]

    def unregister(self, name: str, listener: Any) -> None:
        audience = self._open(name)
        audience.listeners = [other for other in audience.listeners if other is not listener]

    def fire(self, name: str, event: Any) -> None:
        """As in the class above."""
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


class Locked(Dispatcher):
    """A lock around firing instead, as is common: a slow listener stops every other thread."""

    def __init__(self) -> None:
        super().__init__()
        self._firing = threading.Lock()

    def fire(self, name: str, event: Any) -> None:
        with self._firing:
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


class Simple:
    """What one would write by hand for one thread: a dictionary of lists and of last events."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Any]] = {}
        self._last: dict[str, Any] = {}

    def register(self, name: str, listener: Any) -> None:
        self._listeners.setdefault(name, []).append(listener)

    def fire(self, name: str, event: Any) -> None:
        self._last[name] = event
        for listener in self._listeners.get(name, ()):
            try:
                listener(event)
            except Exception as error:
                print(error, file=sys.stderr)


def listener_of_its_own() -> Callable[[Any], None]:
    def listener(event: Any) -> None:
        return None

    return listener


def firing(fire: Callable[[str, Any], object]) -> Callable[[], None]:
    def run() -> None:
        event = object()
        for _ in range(FIRES):
            fire("config", event)

    return run


def plain_loop(listeners: list[Callable[[Any], None]]) -> Callable[[], None]:
    def fire(event: Any) -> None:
        for listener in listeners:
            try:
                listener(event)
            except Exception as error:
                print(error, file=sys.stderr)

    def run() -> None:
        event = object()
        for _ in range(FIRES):
            fire(event)

    return run


def peers(listeners: list[Callable[[Any], None]]) -> tuple[dict[str, Callable[[], None]], list[str]]:
    """Runs of the peers that are installed, and the names of those that are not."""
    runs: dict[str, Callable[[], None]] = {}
    missing: list[str] = []
    try:
        from pyee.base import EventEmitter

        emitter = EventEmitter()
        for listener in listeners:
            emitter.on("config", listener)
        runs["pyee"] = firing(emitter.emit)
    except ImportError:
        missing.append("pyee")
    try:
        from psygnal import SignalInstance

        instance = SignalInstance((object,))
        for listener in listeners:
            instance.connect(listener)
        runs["psygnal"] = firing(lambda _, event: instance.emit(event))
    except ImportError:
        missing.append("psygnal")
    try:
        from blinker import Signal

        signal = Signal()
        for listener in listeners:
            signal.connect(listener)
        runs["blinker"] = firing(lambda _, event: signal.send(event))
    except ImportError:
        missing.append("blinker")
    return runs, missing


def race(dispatcher: Any, races: int) -> tuple[int, float]:
    """Register, fire, see whether it was heard, cancel; on eight threads under one name. Missed, seconds."""
    missed: list[int] = []
    start = threading.Barrier(THREADS + 1)

    def work() -> None:
        lost = 0
        start.wait()
        for _ in range(races // THREADS):
            heard: list[Any] = []
            listener = heard.append
            event = object()
            registration = dispatcher.register("config", listener)
            dispatcher.fire("config", event)
            if event not in heard:
                lost += 1
            if registration is None:
                dispatcher.unregister("config", listener)
            else:
                registration.cancel()
        missed.append(lost)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        for thread in threads:
            thread.start()
        start.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(missed) == THREADS, "a racing thread failed"
    return sum(missed), time.perf_counter() - began


def run(*, repeats: int = REPEATS, races: int = RACES) -> list[Row]:
    listeners = [listener_of_its_own() for _ in range(LISTENERS)]
    runs: dict[str, Callable[[], None]] = {"plain": plain_loop(listeners)}
    for name, kind in {"herz": Dispatcher, "unsafe": Unsafe, "locked": Locked, "simple": Simple}.items():
        dispatcher: Any = kind()
        for listener in listeners:
            dispatcher.register("config", listener)
        runs[name] = firing(dispatcher.fire)
    others, missing = peers(listeners)
    # The price of safety is a matter of a few percent: peers of several times the length stay out of its rounds.
    samples = interleave(runs, repeats)
    peer_samples = interleave({"plain": runs["plain"], **others}, max(20, repeats // 8))

    def ns(values: list[float]) -> float:
        return statistics.median(values) / FIRES * 1e9

    def row(name: str, what: str, reference: str, limit: float | None) -> Row:
        ratio, low, high = bootstrap_ratio_interval(samples[what], samples[reference])
        return Row(
            name,
            ns(samples[what]),
            "ns",
            ratio,
            "" if limit is None else f"≤ {limit} ×",
            None if limit is None else high <= limit,
            f"of {LABELS[reference]}; 95 % interval {low:.3f} to {high:.3f}",
        )

    same = Dispatcher.fire.__code__.co_code == Unsafe.fire.__code__.co_code
    rows = [
        Row("plain loop with try, 10 listeners", ns(samples["plain"]), "ns", 1.0, note="the reference"),
        row("dispatcher fire, 10 listeners", "herz", "plain", 1.2),
        row("price of safety", "herz", "unsafe", 1.03),
        Row(
            "bytecode of fire, with and without safety",
            float(len(Dispatcher.fire.__code__.co_code)),
            "bytes",
            target="equal",
            ok=same,
        ),
        row("price over a hand-written dispatcher for one thread", "herz", "simple", None),
        row("a lock around firing instead", "locked", "unsafe", None),
    ]
    for name in others:
        ratio, low, high = bootstrap_ratio_interval(peer_samples[name], peer_samples["plain"])
        note = f"of the plain loop; 95 % interval {low:.2f} to {high:.2f}"
        rows.append(Row(name, ns(peer_samples[name]), "ns", ratio, note=note))
    rows += [Row(name, float("nan"), "", note="not installed: pip install 'herz[bench]'") for name in missing]
    lost, seconds = race(Dispatcher(), races)
    rows.append(
        Row(
            f"missed in {races:,} register/fire races, {THREADS} threads",
            lost,
            "missed",
            target="0",
            ok=lost == 0,
            note=f"{seconds:.1f} s",
        )
    )
    lost, seconds = race(Unsafe(), races // 50)
    rows.append(
        Row(
            f"missed without safety, {races // 50:,} races",
            lost,
            "missed",
            note=f"{seconds:.1f} s; for comparison, varies with the scheduler",
        )
    )
    return rows


LABELS = {
    "plain": "the plain loop",
    "unsafe": "the same class with its safety removed",
    "simple": "a dictionary of lists",
}


if __name__ == "__main__":
    print_table(run())
