"""What one thread sees: delivery, failure, re-entrancy, cancelling, replay."""

from __future__ import annotations

import functools
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import NotRunning, UsageError
from herz.live.dispatcher import Dispatcher


def log() -> list[Any]:
    return []


def test_a_listener_hears_what_is_fired_for_its_name_and_nothing_else() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.register("config", heard.append)
    dispatcher.fire("config", 1)
    dispatcher.fire("other", 2)
    dispatcher.fire("config", None)
    assert heard == [1, None]


def test_listeners_are_called_in_the_order_of_registration() -> None:
    dispatcher, order = Dispatcher(), log()
    for number in range(5):
        dispatcher.register("config", functools.partial(lambda number, _: order.append(number), number))
    dispatcher.fire("config", "event")
    assert order == [0, 1, 2, 3, 4]


def test_a_listener_registered_twice_is_called_twice_and_cancelled_one_at_a_time() -> None:
    dispatcher, heard = Dispatcher(), log()
    first = dispatcher.register("config", heard.append)
    dispatcher.register("config", heard.append)
    dispatcher.fire("config", 1)
    first.cancel()
    dispatcher.fire("config", 2)
    assert heard == [1, 1, 2]


# --- failure ------------------------------------------------------------------------------------


def test_a_failing_listener_is_reported_and_the_others_are_called() -> None:
    reports, heard = log(), log()
    dispatcher = Dispatcher(on_error=lambda *report: reports.append(report))
    error = ValueError("no")

    def fails(event: object) -> None:
        raise error

    dispatcher.register("config", heard.append)
    dispatcher.register("config", fails)
    dispatcher.register("config", heard.append)
    dispatcher.fire("config", 7)
    assert heard == [7, 7]
    assert reports == [("config", fails, 7, error)]


def test_a_failure_while_replaying_is_reported_for_the_listener_itself() -> None:
    reports = log()
    dispatcher = Dispatcher(on_error=lambda name, listener, event, error: reports.append((listener, event)))

    def fails(event: object) -> None:
        raise ValueError

    dispatcher.fire("config", 1)
    dispatcher.register("config", fails, replay=True)
    dispatcher.fire("config", 2)
    assert reports == [(fails, 1), (fails, 2)]


def test_an_error_handler_that_fails_harms_no_listener(caplog: pytest.LogCaptureFixture) -> None:
    def handler(*_: object) -> None:
        raise RuntimeError("the handler")

    dispatcher, heard = Dispatcher(on_error=handler), log()
    dispatcher.register("config", lambda _: 1 / 0)
    dispatcher.register("config", heard.append)
    dispatcher.fire("config", 1)
    assert heard == [1]
    assert "ZeroDivisionError" in caplog.text
    assert "the handler" in caplog.text


def test_the_log_names_the_listener_and_never_holds_the_event(caplog: pytest.LogCaptureFixture) -> None:
    def fails(event: object) -> None:
        raise ValueError("wrong")

    dispatcher = Dispatcher()
    dispatcher.register("config", fails)
    with caplog.at_level(logging.ERROR):
        dispatcher.fire("config", "pa55word")
    assert "fails" in caplog.text
    assert "wrong" in caplog.text
    assert "pa55word" not in caplog.text


def test_keyboard_interrupt_passes_through_fire() -> None:
    dispatcher = Dispatcher()

    def interrupted(event: object) -> None:
        raise KeyboardInterrupt

    dispatcher.register("config", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.fire("config", 1)


def test_a_replay_that_is_interrupted_leaves_no_registration() -> None:
    dispatcher, calls = Dispatcher(), log()

    def interrupted(event: object) -> None:
        calls.append(event)
        raise KeyboardInterrupt

    dispatcher.fire("config", 1)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.register("config", interrupted, replay=True)
    dispatcher.fire("config", 2)
    assert calls == [1]


# --- replay -------------------------------------------------------------------------------------


def test_replay_gives_the_latest_event_once_and_then_live_ones() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    dispatcher.register("config", heard.append, replay=True)
    assert heard == [2]
    dispatcher.fire("config", 3)
    assert heard == [2, 3]


def test_replay_before_the_first_event_gives_nothing() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.register("config", heard.append, replay=True)
    assert heard == []
    dispatcher.fire("config", None)
    assert heard == [None]


def test_without_replay_the_past_is_not_heard() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.fire("config", 1)
    dispatcher.register("config", heard.append)
    assert heard == []


def test_one_object_fired_twice_is_heard_twice() -> None:
    dispatcher, heard, event = Dispatcher(), log(), object()
    dispatcher.fire("config", event)
    dispatcher.register("config", heard.append, replay=True)
    dispatcher.fire("config", event)
    dispatcher.fire("config", event)
    assert heard == [event] * 3


def test_what_a_listener_fires_while_it_is_given_the_state_comes_after_the_state() -> None:
    dispatcher, heard = Dispatcher(), log()

    def listener(event: int) -> None:
        if event == 1:
            dispatcher.fire("config", 2)
            dispatcher.fire("config", 3)
        heard.append(event)

    dispatcher.fire("config", 1)
    dispatcher.register("config", listener, replay=True)
    assert heard == [1, 2, 3]


def test_current_is_the_latest_event_also_when_registrations_came_between() -> None:
    dispatcher = Dispatcher()
    assert dispatcher.current("config", "nothing") == "nothing"
    dispatcher.fire("config", None)
    assert dispatcher.current("config", "nothing") is None
    for _ in range(3):
        dispatcher.register("config", lambda _: None).cancel()
    assert dispatcher.current("config", "nothing") is None
    dispatcher.fire("config", 2)
    assert dispatcher.current("config") == 2


# --- re-entrancy --------------------------------------------------------------------------------


def test_an_event_fired_by_a_listener_is_heard_by_all_before_the_outer_one_goes_on() -> None:
    dispatcher, order = Dispatcher(), log()

    def first(event: str) -> None:
        order.append(("first", event))
        if event == "outer":
            dispatcher.fire("config", "inner")

    dispatcher.register("config", first)
    dispatcher.register("config", lambda event: order.append(("second", event)))
    dispatcher.fire("config", "outer")
    assert order == [("first", "outer"), ("first", "inner"), ("second", "inner"), ("second", "outer")]


def test_a_listener_that_fires_for_ever_is_contained() -> None:
    reports = log()
    dispatcher = Dispatcher(on_error=lambda *report: reports.append(report[3]))
    dispatcher.register("config", lambda event: dispatcher.fire("config", event))
    dispatcher.fire("config", 1)
    assert any(isinstance(error, RecursionError) for error in reports)


@pytest.mark.parametrize(("replay", "expected"), [(False, ["next"]), (True, ["now", "next"])])
def test_a_listener_registered_by_a_listener_hears_the_event_under_way_only_by_replay(
    replay: bool, expected: list[str]
) -> None:
    dispatcher, heard = Dispatcher(), log()

    def registers(event: str) -> None:
        if event == "now":
            dispatcher.register("config", heard.append, replay=replay)

    dispatcher.register("config", registers)
    dispatcher.fire("config", "now")
    dispatcher.fire("config", "next")
    assert heard == expected


# --- cancelling ---------------------------------------------------------------------------------


def test_a_cancelled_listener_is_not_called_and_cancelling_twice_is_harmless() -> None:
    dispatcher, heard = Dispatcher(), log()
    registration = dispatcher.register("config", heard.append)
    registration.cancel()
    registration.cancel()
    dispatcher.fire("config", 1)
    assert heard == []
    assert not registration.active


def test_a_listener_cancelled_by_an_earlier_one_is_not_called_in_the_same_fire() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.register("config", lambda _: later.cancel())
    later = dispatcher.register("config", heard.append)
    dispatcher.register("config", lambda _: None)
    dispatcher.fire("config", 1)
    assert heard == []


def test_cancelling_reaches_outer_fires_that_hold_older_audiences() -> None:
    dispatcher, heard = Dispatcher(), log()

    def first(event: int) -> None:
        dispatcher.register("config", lambda _: None)
        if event < 3:
            dispatcher.fire("config", event + 1)
        else:
            victim.cancel()

    dispatcher.register("config", first)
    victim = dispatcher.register("config", heard.append)
    dispatcher.fire("config", 1)
    assert heard == []


def test_a_listener_may_cancel_itself() -> None:
    dispatcher, heard = Dispatcher(), log()

    def once(event: int) -> None:
        heard.append(event)
        registration.cancel()

    registration = dispatcher.register("config", once)
    dispatcher.register("config", heard.append)
    dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    assert heard == [1, 1, 2]


def test_a_listener_may_cancel_itself_while_it_is_given_the_state() -> None:
    dispatcher, heard = Dispatcher(), log()

    class Once:
        def __call__(self, event: int) -> None:
            heard.append(event)
            dispatcher.fire("config", event + 1)
            dispatcher._audiences["config"].registrations[-1].cancel()

    dispatcher.fire("config", 1)
    assert not dispatcher.register("config", Once(), replay=True).active
    dispatcher.fire("config", 3)
    assert heard == [1]


def test_a_registration_is_a_context_manager() -> None:
    dispatcher, heard = Dispatcher(), log()
    with dispatcher.register("config", heard.append):
        dispatcher.fire("config", 1)
    dispatcher.fire("config", 2)
    assert heard == [1]


def test_wait_is_true_at_once_when_nothing_is_firing() -> None:
    dispatcher = Dispatcher()
    registration = dispatcher.register("config", lambda _: None, replay=True)
    dispatcher.fire("config", 1)
    registration.cancel()
    assert registration.wait(0)


def test_wait_inside_a_fire_that_has_the_listener_says_false() -> None:
    dispatcher, results = Dispatcher(), log()

    def cancels(event: int) -> None:
        registration.cancel()
        results.append(registration.wait(0))

    registration = dispatcher.register("config", cancels)
    dispatcher.fire("config", 1)
    assert results == [False]
    assert registration.wait(0)


def test_waiting_for_a_listener_that_is_still_registered_is_an_error() -> None:
    with pytest.raises(UsageError, match="cancel it"):
        Dispatcher().register("config", lambda _: None).wait()


def test_after_close_nothing_is_heard_and_registering_is_refused() -> None:
    dispatcher, heard = Dispatcher(), log()
    dispatcher.register("config", heard.append)
    assert dispatcher.close()
    dispatcher.fire("config", 1)
    assert heard == []
    with pytest.raises(NotRunning):
        dispatcher.register("config", heard.append)


OPERATION = st.one_of(
    st.tuples(st.just("fire"), st.sampled_from("ab")),
    st.tuples(st.just("register"), st.sampled_from("ab"), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
)


@given(st.lists(OPERATION, max_size=40))
def test_any_sequence_does_what_a_list_of_listeners_does(operations: list[tuple]) -> None:
    dispatcher, model, registrations = Dispatcher(), log(), log()
    state: dict[str, int] = {}
    for step, operation in enumerate(operations):
        if operation[0] == "fire":
            state[operation[1]] = step
            dispatcher.fire(operation[1], step)
            for name, active, expected, _ in model:
                if active and name == operation[1]:
                    expected.append(step)
        elif operation[0] == "register":
            heard: list[int] = []
            expected = [state[operation[1]]] if operation[2] and operation[1] in state else []
            model.append([operation[1], True, expected, heard])
            registrations.append(dispatcher.register(operation[1], heard.append, replay=operation[2]))
        elif operation[1] < len(registrations):
            registrations[operation[1]].cancel()
            model[operation[1]][1] = False
    assert all(heard == expected for _, _, expected, heard in model)
    assert all(dispatcher.current(name) == state.get(name) for name in "ab")
