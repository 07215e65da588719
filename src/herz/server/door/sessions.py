"""Sessions in the store: opened by a login, found by their cookie at any server, ended at once.

A server believes what it read of a session, its user and roles for `token_cache_s`; after that every request and every
open stream asks the store again. So disabling a user, changing a role or ending a session is felt that soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from herz.release.record import encode
from herz.server.access import Caller
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.door.rights import Rights
from herz.server.door.session import Session, Step, digest, id_in, new_cookie, rights_of, shown, step
from herz.server.door.user import User
from herz.server.door.users import Users
from herz.server.problems import Problem, not_found
from herz.server.settings import ServerSettings
from herz.server.sized import Sized
from herz.server.stored import stored
from herz.server.tokens import Grant
from herz.store.base import Compare, Delete, Operation, Put, Store, Txn
from herz.store.plane import SESSIONS, session_key, user_key

_KEPT: Final = 4096
_AGENT_LENGTH: Final = 200
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A session that is good, whose it is, and what they may."""

    session: Session
    user: User
    grants: tuple[Grant, ...]
    revision: int

    @property
    def caller(self) -> Caller:
        """The user as handlers know them."""
        return Caller(self.user.name, self.grants, None, self.session.expires, self.session.id)


@dataclass(frozen=True, slots=True)
class Entered:
    """Who comes in with a cookie, and the one they are to have from now on, if it is another one."""

    found: Found
    cookie: str | None = None


class Sessions:
    """The sessions in a store, as one server sees them."""

    def __init__(
        self, store: Store, audit: Audit, clock: Clock, settings: ServerSettings, users: Users, rights: Rights
    ) -> None:
        self._store, self._audit, self._clock, self._settings = store, audit, clock, settings
        self._users, self._rights = users, rights
        self._known: Sized[str, tuple[float, Found]] = Sized(_KEPT, lambda _: 1)

    async def open(
        self, user: User, at: int, *, way: str, address: str, agent: str, groups: tuple[str, ...] = ()
    ) -> tuple[str, Session] | None:
        """A session of `user`, who was as of revision `at`, its cookie first; None when they were changed meanwhile.

        None for a disabled one as well.
        """
        if user.disabled:
            return None
        now = self._clock.now()
        id, cookie = new_cookie()
        bindings, _ = await self._rights.read()
        session = Session(
            id=id,
            user=user.name,
            stamp=user.stamp,
            sha256=digest(cookie),
            created=now,
            seen=now,
            issued=now,
            expires=now + timedelta(seconds=self._settings.session_s),
            way=way,
            groups=groups,
            rights=rights_of(bindings.grants(user.name, groups)),
            agent=_plain(agent),
            address=address,
        )
        key = session_key(id)
        done = await self._audit.commit(
            Txn((Compare.absent(key), Compare.unchanged(user_key(user.name), at)), (Put(key, encode(session)),)),
            By(user.name, f"session:{id[:8]}"),
            "login.succeeded",
            f"user {user.name}",
            details={"way": way, "address": address, "agent": session.agent},
        )
        return (cookie, session) if done.succeeded else None

    async def enter(self, cookie: str, *, used: bool = True) -> Entered | None:
        """Who shows `cookie`, None where it is good for nothing (any more). `used` is False for a page's own asking."""
        id = id_in(cookie)
        if id is None:
            return None
        fresh = self._fresh(id)
        if fresh is not None:
            now = self._clock.now()
            if not fresh.session.ended(now, self._settings) and shown(fresh.session, cookie, now):
                made = self._step(fresh, cookie, used)
                if made.session == fresh.session:
                    return Entered(fresh)
        while True:
            found = await self._read(id)
            if found is None or not shown(found.session, cookie, self._clock.now()):
                return None
            made = self._step(found, cookie, used)
            if made.session == found.session:
                return Entered(found)
            key = session_key(id)
            txn = Txn((Compare.unchanged(key, found.revision),), (Put(key, encode(made.session)),))
            done = await self._store.txn(txn)
            if done.succeeded:
                found = Found(made.session, found.user, found.grants, done.revision)
                self._remember(found)
                return Entered(found, made.cookie)  # else another request of this session was quicker: look again

    async def check(self, caller: Caller) -> Caller:
        """`caller` with what they may now; `Problem` 401 once the session has ended."""
        id = caller.session or ""
        found = self._fresh(id)
        if found is None or found.session.ended(self._clock.now(), self._settings):
            found = await self._read(id)
        if found is None:
            raise Problem(401, "login-needed", "this session has ended", remedy="log in at /console/login")
        return found.caller

    async def of(self, user: str) -> tuple[Session, ...]:
        """The sessions of a user that are good, those used last first."""
        now, found = self._clock.now(), await self._users.find(user)
        if found is None:
            return ()
        mine = [
            session
            for session, _ in await self._all()
            if session.user == user and session.stamp == found[0].stamp and not session.ended(now, self._settings)
        ]
        return tuple(sorted(mine, key=lambda one: one.seen, reverse=True))

    async def end(self, id: str, *, by: By, user: str | None = None, action: str = "session.ended") -> None:
        """End a session at once; that of `user`, where one is named. `Problem` 404 where there is none."""
        key = session_key(id)
        entry = await self._store.get(key)
        session = None if entry is None else stored(entry, Session)
        if session is None or user not in (None, session.user):
            raise not_found("there is no such session", remedy="look at the list again")
        await self._audit.commit(
            Txn((Compare(key, "create_revision", "!=", 0),), (Delete(key),)),
            by,
            action,
            f"user {session.user}",
            details={"session": f"session:{id[:8]}"},
        )
        self._known.drop(id)

    async def renew(self, id: str, user: User) -> str | None:
        """Another cookie for a session that goes on though its user has a new stamp; the one before is good no more."""
        key = session_key(id)
        entry = await self._store.get(key)
        if entry is None:
            return None
        _, cookie = new_cookie(id)
        session = msgspec.structs.replace(
            stored(entry, Session),
            stamp=user.stamp,
            sha256=digest(cookie),
            pending="",
            before="",
            before_until=None,
            issued=self._clock.now(),
        )
        txn = Txn((Compare.unchanged(key, entry.mod_revision),), (Put(key, encode(session)),))
        self._known.drop(id)
        return cookie if (await self._store.txn(txn)).succeeded else None

    async def sweep(self) -> int:
        """Delete the sessions that have ended; how many they were."""
        now, stamps = self._clock.now(), {user.name: user.stamp for user in await self._users.all()}
        gone = 0
        for session, revision in await self._all():
            if session.ended(now, self._settings) or stamps.get(session.user) != session.stamp:
                key = session_key(session.id)
                then: tuple[Operation, ...] = (Delete(key),)
                gone += (await self._store.txn(Txn((Compare.unchanged(key, revision),), then))).succeeded
        return gone

    def _step(self, found: Found, cookie: str, used: bool) -> Step:
        rights = rights_of(found.grants)
        return step(found.session, cookie, self._clock.now(), self._settings, rights, used=used)

    def _fresh(self, id: str) -> Found | None:
        known = self._known.get(id)
        if known is None or self._clock.monotonic() - known[0] >= self._settings.token_cache_s:
            return None
        return known[1]

    async def _read(self, id: str) -> Found | None:
        """The session as it is now, None unless it is good."""
        entry = await self._store.get(session_key(id))
        session = None if entry is None else stored(entry, Session)
        if entry is None or session is None or session.ended(self._clock.now(), self._settings):
            self._known.drop(id)
            return None
        known = await self._users.find(session.user)
        if known is None or known[0].disabled or known[0].stamp != session.stamp:
            self._known.drop(id)
            return None
        bindings, _ = await self._rights.read()
        found = Found(session, known[0], bindings.grants(session.user, session.groups), entry.mod_revision)
        self._remember(found)
        return found

    def _remember(self, found: Found) -> None:
        self._known.put(found.session.id, (self._clock.monotonic(), found))

    async def _all(self) -> list[tuple[Session, int]]:
        found: list[tuple[Session, int]] = []
        after: str | None = None
        while True:
            page = await self._store.range(SESSIONS, limit=_PAGE, after=after)
            found += [(stored(entry, Session), entry.mod_revision) for entry in page.entries]
            if not page.more:
                return found
            after = page.entries[-1].key


def _plain(agent: str) -> str:
    """What a browser calls itself, as a list may show it."""
    return "".join(letter for letter in agent[:_AGENT_LENGTH] if letter.isprintable())
