"""What waits long for a slow listener takes little room."""

from __future__ import annotations

import threading
from typing import NamedTuple

from herz.live.delivery import COMPACT_FROM
from herz.live.dispatcher import Dispatcher


class Bulky:
    def __init__(self, number: int) -> None:
        self.number = number
        self.compacted = False

    def compact(self) -> None:
        self.compacted = True
        if self.number % 7 == 0:
            raise ValueError("cannot")


def test_events_far_back_in_a_queue_are_compacted_and_every_one_is_heard_in_order():
    problems: list[BaseException] = []
    dispatcher = Dispatcher(on_error=lambda name, listener, event, error: problems.append(error))
    held, heard, over = threading.Event(), list[Bulky](), threading.Event()
    events = [Bulky(number) for number in range(3 * COMPACT_FROM)]

    def listener(event: Bulky) -> None:
        held.wait(10)
        heard.append(event)
        if event is events[-1]:
            over.set()

    dispatcher.register("bulky", listener, queue=True)
    for event in events:
        dispatcher.fire("bulky", event)
    assert not any(event.compacted for event in events[:COMPACT_FROM])
    assert all(event.compacted for event in events[2 * COMPACT_FROM : -1])  # the newest may go to other queues yet
    held.set()
    assert over.wait(10)
    assert heard == events
    assert all(isinstance(error, ValueError) for error in problems)
    assert problems
    dispatcher.close()


class Total(NamedTuple):
    """Stands for all numbers up to its own."""

    upto: int


class Number(NamedTuple):
    number: int

    def whole(self) -> Total:
        return Total(self.number)


def test_a_queue_that_is_full_is_replaced_by_one_event_that_stands_for_all(monkeypatch):
    monkeypatch.setattr("herz.live.delivery.MOST", 100)
    dispatcher = Dispatcher()
    held, began, over = threading.Event(), threading.Event(), threading.Event()
    heard = list[Number | Total]()

    def listener(event: Number | Total) -> None:
        began.set()
        held.wait(10)
        heard.append(event)
        if event in (Number(250), Total(250)):
            over.set()

    registration = dispatcher.register("number", listener, queue=True)
    dispatcher.fire("number", Number(0))
    assert began.wait(10)
    for number in range(1, 251):
        dispatcher.fire("number", Number(number))
        assert registration.backlog <= 101
    held.set()
    assert over.wait(10)
    dispatcher.close()
    covered = 0
    for event in heard:
        if isinstance(event, Total):
            assert event.upto > covered
            covered = event.upto
        else:
            assert event.number == covered or event.number == covered + 1
            covered = event.number
    assert covered == 250
    assert any(isinstance(event, Total) for event in heard)
