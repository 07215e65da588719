"""The throttle: who fails waits longer each time, nobody else does, and a flood fills nothing."""

from __future__ import annotations

import asyncio

import pytest

from herz.server.audit import Audit
from herz.server.door import throttle as module
from herz.server.door.attempts import SINGLE, WINDOW_S, Attempts
from herz.server.door.throttle import ADDRESS, NAME, PAIR, Rule, Throttle, TooMany, network_of

from .conftest import PASSWORD, cookie_of, login


@pytest.fixture
def throttle(clock) -> Throttle:
    return Throttle(clock)


def failed(throttle: Throttle, name: str = "ana", address: str = "192.0.2.1", times: int = 1) -> None:
    for _ in range(times):
        throttle.admit(name, address)
        throttle.failed(address)


def waits(throttle: Throttle, name: str = "ana", address: str = "192.0.2.1") -> int:
    """Seconds that the next attempt has to wait, 0 for none."""
    try:
        throttle.admit(name, address)
    except TooMany as error:
        return int(error.headers["retry-after"])
    throttle.undecided(name, address)
    return 0


def test_a_wait_doubles_up_to_its_most():
    rule = Rule(free=3, first_s=1.0, most_s=10.0)
    assert [rule.wait_s(n) for n in (0, 2, 3, 4, 5, 6, 7, 10_000)] == [0, 0, 1, 2, 4, 8, 10, 10]


def test_some_failures_are_free_and_then_the_wait_grows(throttle, clock):
    failed(throttle, times=PAIR.free)
    seen = []
    for _ in range(4):
        wait = waits(throttle)
        seen.append(wait)
        clock.seconds += wait
        failed(throttle)
    assert seen == sorted(seen)
    assert seen[0] >= 1
    assert seen[-1] >= 4 * seen[0]


def test_who_waited_may_try_again(throttle, clock):
    failed(throttle, times=PAIR.free)
    clock.seconds += waits(throttle)
    assert waits(throttle) == 0


def test_a_success_starts_anew(throttle, clock):
    failed(throttle, times=PAIR.free - 1)
    throttle.admit("ana", "192.0.2.1")
    throttle.succeeded("ana", "192.0.2.1")
    failed(throttle, times=PAIR.free - 1)
    assert waits(throttle) == 0


def test_failures_are_forgotten_after_a_while(throttle, clock):
    failed(throttle, times=PAIR.free)
    clock.seconds += PAIR.forget_s
    failed(throttle, times=PAIR.free - 1)
    assert waits(throttle) == 0


def test_guesses_that_are_sent_at_once_are_many(throttle):
    for _ in range(PAIR.free):
        throttle.admit("ana", "192.0.2.1")
    with pytest.raises(TooMany):
        throttle.admit("ana", "192.0.2.1")


def test_one_address_that_tries_many_names_waits(throttle):
    for number in range(ADDRESS.free):
        failed(throttle, f"u{number}")
    assert waits(throttle, "another") > 0
    assert waits(throttle, "another", "192.0.2.2") == 0


def test_many_addresses_that_try_one_name_wait_no_longer_than_a_minute(throttle, clock):
    for number in range(NAME.free + 20):
        clock.seconds += 60
        failed(throttle, "ana", f"192.0.2.{number}")
    assert 0 < waits(throttle, "ana", "198.51.100.1") <= 61


def test_nobody_keeps_a_user_out_where_they_have_been_before(throttle, clock):
    throttle.admit("ana", "198.51.100.1")
    throttle.succeeded("ana", "198.51.100.1")
    for number in range(NAME.free):
        failed(throttle, "ana", f"192.0.2.{number}")
        failed(throttle, f"u{number}", "198.51.100.1")
    assert waits(throttle, "ana", "198.51.100.7") > 0
    assert waits(throttle, "eva", "198.51.100.1") > 0
    assert waits(throttle, "ana", "198.51.100.1") == 0


def test_the_name_counts_in_any_case(throttle):
    for name in ("ana", "Ana", "ANA", "aNa", "anA"):
        failed(throttle, name)
    assert waits(throttle) > 0


def test_an_attempt_that_came_to_nothing_does_not_count(throttle):
    for _ in range(50):
        throttle.admit("ana", "192.0.2.1")
        throttle.undecided("ana", "192.0.2.1")
    assert waits(throttle) == 0


def test_a_flood_of_names_and_addresses_fills_no_memory(throttle, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 100)
    for number in range(1000):
        failed(throttle, f"u{number}", f"10.0.{number // 250}.{number % 250}")
    assert len(throttle._pairs._failures) == len(throttle._addresses._failures) == 100


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_what_counts_as_one_client(address, network):
    assert network_of(address) == network


# --- at the login page


async def test_too_many_attempts_are_a_429_that_says_when_to_come_again(server):
    await server.user("ana")
    browser = await server.browser()
    for _ in range(PAIR.free):
        assert (await login(browser, "ana", "wrong password")).status_code == 401
    answer = await login(browser, "ana", PASSWORD)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "try again" in answer.text
    assert not cookie_of(browser)


async def test_an_unknown_name_is_throttled_like_a_known_one(server):
    browser = await server.browser()
    answers = [(await login(browser, "nobody", "wrong password")).status_code for _ in range(PAIR.free + 1)]
    assert answers == [401] * PAIR.free + [429]


async def test_200_guesses_at_once_are_mostly_refused_and_leave_few_entries(server):
    await server.user("ana")
    browser = await server.browser()
    answers = await asyncio.gather(*(login(browser, "ana", f"wrong password {n}") for n in range(200)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) <= PAIR.free
    assert statuses.count(401) + statuses.count(429) == 200
    assert (await server.actions()).count("login.failed") == statuses.count(401)


async def test_somebody_elses_flood_does_not_keep_me_out(server):
    await server.user("ana")
    await server.user("eva")
    flood = await server.browser(address="192.0.2.66")
    for _ in range(20):
        await login(flood, "ana", "wrong password")
    assert (await login(await server.browser(address="198.51.100.1"), "eva")).status_code == 303
    assert (await login(await server.browser(address="198.51.100.2"), "ana")).status_code == 303


async def test_what_is_refused_is_one_entry_for_each_window(store, clock):
    audit = Audit(store, clock)
    attempts = Attempts(audit, clock)
    for number in range(500):
        await attempts.failed(None, "throttled", f"192.0.2.{number % 3}")
    clock.seconds += WINDOW_S
    await attempts.flush()
    (entry,) = await audit.entries()
    assert (entry.action, entry.details["attempts"]) == ("login.throttled", 500)
    assert entry.details["addresses"] == {"192.0.2.0": 167, "192.0.2.1": 167, "192.0.2.2": 166}


async def test_a_flood_from_everywhere_is_counted_once_it_is_one(store, clock):
    audit = Audit(store, clock)
    attempts = Attempts(audit, clock)
    for number in range(SINGLE + 2000):
        await attempts.failed("ana", "wrong-password", f"10.0.{number // 250}.{number % 250}")
    await attempts.flush()
    entries = await audit.entries(limit=500)
    assert len(entries) == SINGLE + 1
    assert entries[-1].details["reasons"] == ["wrong-password: 2000"]
    assert len(entries[-1].details["addresses"]) == 10


async def test_the_next_failure_writes_the_window_that_is_over(store, clock):
    audit = Audit(store, clock)
    attempts = Attempts(audit, clock)
    await attempts.failed(None, "throttled", "192.0.2.1")
    clock.seconds += WINDOW_S
    await attempts.failed("ana", "wrong-password", "192.0.2.1")
    assert [entry.action for entry in await audit.entries()] == ["login.throttled", "login.failed"]


async def test_what_was_counted_is_written_when_the_server_ends(store, clock):
    audit = Audit(store, clock)
    attempts = Attempts(audit, clock)
    async with attempts.recording():
        await attempts.failed(None, "throttled", "192.0.2.1")
    assert [entry.action for entry in await audit.entries()] == ["login.throttled"]
