"""Logging in with a password, and changing it. Whoever fails learns nothing of why."""

from __future__ import annotations

from typing import Final

import msgspec

from herz.errors import HerzError, UsageError
from herz.server.access import Caller
from herz.server.door.attempts import Attempts
from herz.server.door.passwords import Passwords, normalised
from herz.server.door.session import Session
from herz.server.door.sessions import Sessions
from herz.server.door.throttle import Throttle, TooMany
from herz.server.door.user import User
from herz.server.door.users import Users
from herz.server.problems import Problem

_ATTEMPTS: Final = 3


class LoginRefused(Problem):
    """Name and password do not belong together, or the user is not let in: which of it, only the audit log tells."""

    def __init__(self) -> None:
        super().__init__(
            401,
            "login-refused",
            "this user name and password do not let anybody in",
            remedy="look at both again; an admin can send you a link for a new password",
        )


class Logins:
    """Logins of one server."""

    def __init__(
        self, users: Users, sessions: Sessions, passwords: Passwords, throttle: Throttle, attempts: Attempts
    ) -> None:
        self._users, self._sessions, self._passwords = users, sessions, passwords
        self._throttle, self._attempts = throttle, attempts

    async def login(self, name: str, password: str, *, address: str, agent: str) -> tuple[str, Session, User]:
        """A session and its cookie for who has this name and password.

        `LoginRefused` otherwise, `TooMany` after too many of those; both are audited.
        """
        name = name.strip()
        for _ in range(_ATTEMPTS):
            user, at = await self._proved(name, password, address)
            if user.hash is not None and self._passwords.weak(user.hash):
                stronger = msgspec.structs.replace(user, hash=await self._passwords.hash(normalised(password)))
                await self._users.replace(stronger, at)
                user, at = await self._users.get(user.name)
            opened = await self._sessions.open(user, at, way="password", address=address, agent=agent)
            if opened is not None:
                return *opened, user
        raise LoginRefused()  # somebody changes this user all the time

    async def change(self, caller: Caller, old: str, new: str, *, address: str) -> str:
        """Give the caller another password, and end their other sessions; the cookie that they have from now on."""
        user, _ = await self._proved(caller.name, old, address)
        if normalised(old) == normalised(new):
            raise UsageError("this is the password that you have", remedy="choose another one")
        changed = await self._users.set_password(user.name, new, by=caller.by)
        cookie = await self._sessions.renew(caller.session or "", changed)
        if cookie is None:
            raise Problem(401, "login-needed", "the password is changed, and this session has ended")
        return cookie

    async def _proved(self, name: str, password: str, address: str) -> tuple[User, int]:
        try:
            self._throttle.admit(name, address)
        except TooMany:
            await self._attempts.failed(None, "throttled", address)
            raise
        try:
            found = await self._users.find(name)
            user = None if found is None else found[0]
            right = await self._passwords.verify(None if user is None else user.hash, password)
        except BaseException as error:
            self._throttle.undecided(name, address)
            if isinstance(error, HerzError) and not isinstance(error, Problem):
                raise Problem(
                    503,
                    "store-unavailable",
                    "nobody can log in at the moment: the store does not answer",
                    remedy="try again; your password was not looked at",
                    headers={"retry-after": "2"},
                ) from error
            raise
        if right and found is not None and not found[0].disabled:
            self._throttle.succeeded(name, address)
            return found
        self._throttle.failed(address)
        await self._attempts.failed(None if user is None else user.name, _reason(user, right), address)
        raise LoginRefused()


def _reason(user: User | None, right: bool) -> str:
    if user is None:
        return "unknown-user"
    if user.disabled:
        return "disabled"
    return "no-password" if user.hash is None else "wrong-password" if not right else "refused"
