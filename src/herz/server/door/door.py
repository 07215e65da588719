"""The door of one server: users, roles, sessions, and how people come in."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final, Self

from herz.errors import HerzError
from herz.server.audit import Audit
from herz.server.clock import Clock
from herz.server.door.attempts import Attempts
from herz.server.door.invitations import Invitations
from herz.server.door.logins import Logins
from herz.server.door.passwords import Passwords
from herz.server.door.rights import Rights
from herz.server.door.sessions import Sessions
from herz.server.door.throttle import Throttle
from herz.server.door.users import Users
from herz.server.settings import ServerSettings
from herz.store.base import Store

logger = logging.getLogger("herz")

SWEEP_S: Final = 300.0
"""How often what is over is deleted."""


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """Everything about people. `over` makes it; the command line uses it on the store itself."""

    users: Users
    rights: Rights
    sessions: Sessions
    invitations: Invitations
    logins: Logins
    attempts: Attempts
    passwords: Passwords
    throttle: Throttle

    @classmethod
    def over(cls, store: Store, audit: Audit, clock: Clock, settings: ServerSettings) -> Self:
        """The door over a store. Call it where the event loop runs."""
        passwords, rights = Passwords(settings.argon2), Rights(store, audit)
        users = Users(store, audit, clock, passwords, rights)
        sessions = Sessions(store, audit, clock, settings, users, rights)
        throttle, attempts = Throttle(clock), Attempts(audit, clock)
        return cls(
            users=users,
            rights=rights,
            sessions=sessions,
            invitations=Invitations(store, audit, clock, users),
            logins=Logins(users, sessions, passwords, throttle, attempts),
            attempts=attempts,
            passwords=passwords,
            throttle=throttle,
        )

    async def sweep(self) -> None:
        """Delete sessions and invitations that are over, now and again, until cancelled."""
        while True:
            try:
                await self.sessions.sweep()
                await self.invitations.sweep()
            except HerzError as error:
                logger.warning("herz: what is over could not be deleted: %s", error)
            await asyncio.sleep(SWEEP_S)
