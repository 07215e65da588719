"""Readers see whole generations, without a lock, while generations are exchanged."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from herz.live.handle import Handle
from herz.model.document import Event


@dataclass
class Left:
    value: int = 0


@dataclass
class Right:
    value: int = 0


class Pair:
    def __init__(self, left: Left, right: Right) -> None:
        self.left, self.right = left, right


def config(value: int) -> dict[str, Any]:
    return {"left": {"value": value}, "right": {"value": value}}


async def test_no_read_is_torn_while_generations_are_exchanged(driver: Any) -> None:
    """100,000 reads and more over swaps: an object of a handle is whole, a pin sees one generation."""
    scope = driver.scope
    for model, at in ((Left, "left"), (Right, "right")):
        scope.declare_properties(model, at)
    scope.declare(Pair, eager=True, grace_s=0)
    await driver.open(config(0))
    handle: Handle[Pair] = scope.handle(Pair)
    done, reads, torn, back = threading.Event(), [0, 0], [0, 0], [0, 0]

    def read_handle() -> None:
        last = 0
        while not done.is_set():
            for _ in range(1000):
                pair = handle.current
                if pair.left.value != pair.right.value:
                    torn[0] += 1
                if pair.left.value < last:
                    back[0] += 1
                last = pair.left.value
            reads[0] += 1000

    def read_pinned() -> None:
        last = 0
        while not done.is_set():
            for _ in range(100):
                with scope.pin() as pin:
                    left, right = scope.get(Left), scope.get(Right)
                    if not left.value == right.value == pin.get(Pair).left.value == pin.snapshot["left.value"]:
                        torn[1] += 1
                    if left.value < last:
                        back[1] += 1
                    last = left.value
            reads[1] += 100

    threads = [threading.Thread(target=target) for target in (read_handle, read_pinned)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        for thread in threads:
            thread.start()
        swaps = 0
        deadline = perf_counter() + 30
        while (min(reads) < 20_000 or sum(reads) < 200_000 or swaps < 100) and perf_counter() < deadline:
            swaps += 1
            await driver.refresh(config(swaps))
            await asyncio.sleep(0)
    finally:
        sys.setswitchinterval(interval)
        done.set()
        for thread in threads:
            thread.join()
    assert (torn, back) == ([0, 0], [0, 0])
    assert sum(reads) >= 200_000
    assert swaps >= 100


async def test_a_handle_that_is_filled_has_a_plain_slot(driver: Any) -> None:
    scope = driver.scope
    scope.declare_properties(Left, "left")
    scope.declare_properties(Right, "right")
    scope.declare(Pair)
    await driver.open(config(1))
    handle = scope.handle(Pair)
    assert type(handle) is not Handle
    pair = handle.current  # builds
    assert type(handle) is Handle
    assert type(Handle.current).__name__ == "member_descriptor"
    assert not hasattr(Handle, "__getattr__")
    assert handle.current is pair is scope.get(Pair)
    assert repr(handle) == "<Handle of Pair>"


async def test_a_refresh_that_reaches_no_binding_is_cheap_however_many_objects_there_are(driver: Any) -> None:
    """It touches no thread, and no object: its cost is that of the event alone."""
    scope = driver.scope
    scope.declare_properties(Left, "left")
    for number in range(300):
        kind = type(f"Object{number}", (), {"__init__": lambda self, config: None})
        kind.__init__.__annotations__ = {"config": Left}
        scope.declare(kind, eager=True)
    await driver.open({"left": {"value": 1}, "other": 1})
    threads = threading.active_count()
    durations = []
    for number in range(300):
        snapshot, _ = driver.next({"left": {"value": 1}, "other": number})
        events = [Event(("other",), number, number + 1)]
        started = perf_counter()
        prepared = await scope.prepare(snapshot, events)
        report = await prepared.commit()
        durations.append(perf_counter() - started)
    assert threading.active_count() == threads
    assert len(report.kept) == 300
    assert sorted(durations)[150] < 50e-6  # 10 µs on a quiet machine; `make bench` measures
