"""Passwords: which are taken, how they are kept, and that many at once cost no more than a few."""

from __future__ import annotations

import asyncio

import pytest

from herz.errors import UsageError
from herz.server.door import passwords as module
from herz.server.door.passwords import COMMON, Passwords, checked
from herz.server.problems import Problem
from herz.server.settings import ServerSettings

from .conftest import CHEAP, PASSWORD


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(CHEAP)


@pytest.mark.parametrize(
    "password",
    ["", "x" * 11, "x" * 1025, "aaaaaaaaaaaaaa", "password1234", "PASSWORD1234", "averylongname", "\ud800" * 12],
)
def test_what_is_too_easy_is_refused(password):
    with pytest.raises(UsageError):
        checked(password, "AVeryLongName")


@pytest.mark.parametrize(
    "password", ["correct horse battery", "密码是十二个字符以上的句子", "x" * 500 + "y", "a\x00bcdefghijklmn"]
)
def test_any_other_long_one_is_taken(password):
    assert checked(password, "ana") == password


def test_the_common_ones_are_long_enough_to_need_refusing():
    assert all(len(one) >= module.SHORTEST for one in COMMON)


async def test_a_hash_is_argon2id_and_differs_each_time(passwords):
    hashes = {await passwords.hash(PASSWORD) for _ in range(3)}
    assert len(hashes) == 3
    assert all(one.startswith("$argon2id$v=19$") for one in hashes)


async def test_the_right_password_verifies_and_no_other(passwords):
    hash = await passwords.hash(PASSWORD)
    assert await passwords.verify(hash, PASSWORD)
    for wrong in ("", PASSWORD + " ", PASSWORD.upper(), "x" * 5000, "\ud800"):
        assert not await passwords.verify(hash, wrong)


async def test_without_a_hash_nothing_verifies(passwords):
    for password in (PASSWORD, "", "\0"):
        assert not await passwords.verify(None, password)


@pytest.mark.parametrize("hash", ["", "x", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA", "$2b$12$abcdefghijklmnopqrstuv"])
async def test_a_damaged_hash_verifies_nothing(passwords, hash, caplog):
    assert not await passwords.verify(hash, PASSWORD)
    assert not await passwords.verify(hash, "")


async def test_a_hash_is_weak_once_more_is_asked_for(passwords):
    hash = await passwords.hash(PASSWORD)
    assert not passwords.weak(hash)
    assert Passwords((16, 1, 1)).weak(hash)
    assert Passwords((8, 2, 1)).weak(hash)
    assert not passwords.weak(await Passwords((16, 2, 1)).hash(PASSWORD))


def test_by_default_it_costs_what_rfc_9106_asks_of_little_memory():
    assert ServerSettings().argon2 == (64 * 1024, 3, 4)


async def test_only_a_few_are_computed_at_once_and_only_some_may_wait(monkeypatch):
    monkeypatch.setattr(module, "WAITING", 5)
    slow = Passwords((8192, 2, 1))
    done = await asyncio.gather(*(slow.hash(PASSWORD) for _ in range(12)), return_exceptions=True)
    refused = [one for one in done if isinstance(one, Problem)]
    assert len(refused) == 7
    assert {(one.status, one.kind) for one in refused} == {(503, "busy")}
    assert await slow.hash(PASSWORD)


async def test_who_gives_up_makes_room_for_the_next(monkeypatch):
    monkeypatch.setattr(module, "WAITING", 1)
    slow = Passwords((8192, 2, 1))
    task = asyncio.create_task(slow.hash(PASSWORD))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await slow.hash(PASSWORD)


async def test_what_nobody_waits_for_any_more_still_counts_until_it_is_done():
    slow = Passwords((16_384, 3, 1))
    tasks = [asyncio.create_task(slow.hash(PASSWORD)) for _ in range(module.LANES)]
    await asyncio.sleep(0)
    assert slow._turn.locked()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert slow._turn.locked()
    assert await slow.hash(PASSWORD)
    assert not slow._turn.locked()
