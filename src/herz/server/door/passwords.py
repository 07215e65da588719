"""Passwords: which are taken, and their argon2id hashes, computed beside the event loop and only a few at a time.

A hash costs 64 MiB and a tenth of a second on purpose. So at most `LANES` are computed at once, `WAITING` more may
wait, and whoever comes then is asked to come again: logins cannot take the memory of the server away.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import unicodedata
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from herz.errors import UsageError
from herz.server.problems import Problem

logger = logging.getLogger("herz")
T = TypeVar("T")

SHORTEST: Final = 12
LONGEST: Final = 1024
LANES: Final = 2
WAITING: Final = 256
_FIRST_TRIED: Final = """
123456789012 1234567890123 12345678901234 123456789123 111111111111 000000000000 123123123123 112233445566
121212121212 123451234512 1q2w3e4r5t6y 1qaz2wsx3edc qwertyuiop12 qwertyuiop123 qwertyuiopas qwertyqwerty
qwerty123456 qwerty1234567 asdfghjkl123 asdfasdfasdf zaq12wsxcde3 abcdefghijkl abcdef123456 abcd12345678
abc123abc123 passwordpassword password1234 password12345 password123456 password123! passw0rd1234 p@ssw0rd1234
changemechangeme changeme1234 changeme12345 letmeinletmein letmein12345 welcome12345 welcome123456 administrator
admin1234567 admin12345678 adminadminadmin iloveyou1234 iloveyouiloveyou sunshine1234 football1234 superman1234
trustno1trustno1 correcthorsebatterystaple
"""
COMMON: Final = frozenset(_FIRST_TRIED.split())


def normalised(password: str) -> str:
    """The form in which passwords are compared, whatever keyboard wrote them (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def checked(password: str, name: str) -> str:
    """`password`, normalised; `UsageError` when it is too easy or too long for the user `name`."""
    if len(password) > LONGEST:
        raise UsageError(f"a password may have {LONGEST:,} characters", remedy="choose a shorter one")
    password = normalised(password)
    small = password.casefold()
    if len(password) < SHORTEST:
        raise UsageError(
            f"a password needs {SHORTEST} characters or more", remedy="choose a longer one, as a few words"
        )
    if small == name.casefold() or small in COMMON or len(set(small)) == 1:
        raise UsageError("this password is among the first that anybody would try", remedy="choose another one")
    _bytes(password)
    return password


class Passwords:
    """Hashes and verifies. One for each server."""

    def __init__(self, parameters: tuple[int, int, int]) -> None:
        memory, passes, lanes = parameters
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=lanes)
        self._turn = asyncio.Semaphore(LANES)
        self._waiting = 0
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The PHC string of a password that `checked` has let through."""
        return await self._beside(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, hash: str | None, password: str) -> bool:
        """Whether this is the password. Without a hash the answer is no, and takes the same time."""
        text = _decodable(password)
        decoy = hash is None or text is None

        def verified() -> bool:
            if self._decoy is None:
                self._decoy = self._hasher.hash(secrets.token_bytes(16))
            try:
                return self._hasher.verify(self._decoy if hash is None else hash, text or b"\0")
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError):
                logger.error("a user's password hash is damaged: set a new password")
                return False

        return await self._beside(verified) and not decoy

    def weak(self, hash: str) -> bool:
        """Whether the hash was made with less than is asked for today."""
        made, wanted = extract_parameters(hash), self._hasher
        return made.memory_cost < wanted.memory_cost or made.time_cost < wanted.time_cost

    async def _beside(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise Problem(
                503, "busy", "too many people log in at the moment", remedy="try again", headers={"retry-after": "5"}
            )
        self._waiting += 1
        try:
            await self._turn.acquire()
            computed = asyncio.ensure_future(asyncio.to_thread(work))
            computed.add_done_callback(lambda _: self._turn.release())  # not before, though nobody may wait any more
            return await asyncio.shield(computed)
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    found = _decodable(password)
    if found is None:
        raise UsageError("this password holds what is no character", remedy="choose another one")
    return found


def _decodable(password: str) -> bytes | None:
    if len(password) > LONGEST:
        return None
    try:
        return normalised(password).encode()
    except UnicodeEncodeError:
        return None
