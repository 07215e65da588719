"""Invitations: a link, good once and for a day, by which somebody chooses a password and comes in.

The code is 256 random bits, kept as its sha256. It stands behind the `#` of the link, which browsers send to nobody:
not into the log of a proxy, nor as a referrer. The first admin's link is one without a user: it makes one, and only
as long as there is no admin.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from herz.errors import UsageError
from herz.release.record import Record, encode
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.door.rights import Binding, Bindings, Role
from herz.server.door.session import digest
from herz.server.door.user import User, new_stamp
from herz.server.door.users import Users, admins
from herz.server.problems import Problem
from herz.server.stored import stored
from herz.store.base import Compare, Delete, Put, Store, Txn
from herz.store.plane import INVITATIONS, checked_user, invitation_key

GOOD: Final = timedelta(hours=24)
_ID_DIGITS: Final = 16
_PAGE: Final = 1000
_MOST: Final = 100


class Invitation(Record, frozen=True, kw_only=True):
    """As it is stored. Without a `user` it is the first admin's.

    `stamp` is the user's: another password, or being disabled, ends the invitation too.
    """

    id: str
    sha256: str
    expires: datetime
    user: str | None = None
    stamp: str = ""


class Invitations:
    """The invitations in a store."""

    def __init__(self, store: Store, audit: Audit, clock: Clock, users: Users) -> None:
        self._store, self._audit, self._clock, self._users = store, audit, clock, users

    async def create(self, user: str | None, *, by: By) -> str:
        """A new code: for a user who is there, or for the first admin. It is told once.

        A user has one at a time: the one before is good no more.
        """
        stamp, before = "", list[Delete]()
        if user is not None:
            known, _ = await self._users.get(user)
            user, stamp = known.name, known.stamp
            page = await self._store.range(INVITATIONS, limit=_PAGE)
            before = [Delete(entry.key) for entry in page.entries if stored(entry, Invitation).user == user]
        code = secrets.token_urlsafe(32)
        invitation = Invitation(
            id=digest(code)[:_ID_DIGITS],
            sha256=digest(code),
            expires=self._clock.now() + GOOD,
            user=user,
            stamp=stamp,
        )
        await self._audit.commit(
            Txn(then=(*before[:_MOST], Put(invitation_key(invitation.id), encode(invitation)))),
            by,
            "user.invited",
            "the first admin" if user is None else f"user {user}",
            details={"expires": invitation.expires.isoformat()},
        )
        return code

    async def find(self, code: str) -> Invitation:
        """The invitation of this code; a `Problem` 410 where it is used, over, or none."""
        entry = await self._store.get(invitation_key(digest(code)[:_ID_DIGITS]))
        invitation = None if entry is None else stored(entry, Invitation)
        if invitation is None or invitation.sha256 != digest(code) or invitation.expires <= self._clock.now():
            raise used_up()
        return invitation

    async def accept(self, code: str, name: str, password: str, *, address: str) -> User:
        """Give the user this password, and use the invitation up, both in one transaction.

        `Problem` 410 where the code is good no more, `UsageError` for a password or a name that is not taken.
        """
        invitation, name = await self.find(code), checked_user(name)
        if invitation.user is None:
            return await self._first(invitation, name, password, address)
        if invitation.user != name:
            raise UsageError("this invitation is for another user", remedy="open the link as it was given to you")
        key = invitation_key(invitation.id)
        return await self._users.set_password(
            name,
            password,
            by=By(name, f"invitation:{invitation.id[:8]}"),
            compares=(Compare(key, "create_revision", "!=", 0),),
            then=(Delete(key),),
            refused=used_up,
            stamp=invitation.stamp,
        )

    async def _first(self, invitation: Invitation, name: str, password: str, address: str) -> User:
        key = invitation_key(invitation.id)

        async def no_admin(bindings: Bindings) -> None:
            if admins(bindings, await self._users.all()):  # as of now: somebody may have taken another first link
                raise used_up()

        user = User(
            name=name,
            created=self._clock.now(),
            stamp=new_stamp(),
            hash=await self._users.hashed(password, name),
        )
        await self._users.insert(
            user,
            by=By(name, f"invitation:{invitation.id[:8]}"),
            roles=[Binding(subject=name, app="*", role=Role.ADMIN)],
            compares=(Compare(key, "create_revision", "!=", 0),),
            then=(Delete(key),),
            check=no_admin,
            refused=used_up,
            details={"address": address},
        )
        return user

    async def sweep(self) -> int:
        """Delete invitations that are over, each with its entry in the audit log; how many they were."""
        page, gone, now = await self._store.range(INVITATIONS, limit=_PAGE), 0, self._clock.now()
        for entry in page.entries:
            invitation = stored(entry, Invitation)
            if invitation.expires <= now:
                done = await self._audit.commit(
                    Txn((Compare.unchanged(entry.key, entry.mod_revision),), (Delete(entry.key),)),
                    By("herz serve"),
                    "invitation.expired",
                    "the first admin" if invitation.user is None else f"user {invitation.user}",
                )
                gone += done.succeeded
        return gone


def link(base: str, code: str, user: str | None) -> str:
    """The address that an invitation is handed on by."""
    named = "" if user is None else f"?name={quote(user, safe='')}"
    return f"{base.rstrip('/')}/console/welcome{named}#{code}"


def used_up() -> Problem:
    """The invitation is good no more."""
    return Problem(
        410, "invitation-over", "this invitation was used, or its time is over", remedy="ask an admin for a new one"
    )
