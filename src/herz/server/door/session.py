"""A session as the store holds it, and what may become of it. Pure: no store, no clock.

A session keeps its id; its secret is changed now and then. The new secret is only told in an answer that may never
arrive, so it replaces the old one when it is first shown, and from then on the old one is good for a moment more: for
the requests of other tabs that are under way. A secret that nobody has shown is replaced by another one.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec

from herz.release.record import Record
from herz.server.settings import ServerSettings
from herz.server.tokens import Grant

ID_DIGITS: Final = 16
COOKIE_LENGTH: Final = ID_DIGITS + 1 + 43
SEEN_PART: Final = 20
"""The time of the last use is written when it is older than this part of the time that a session may be idle."""


class Session(Record, frozen=True, kw_only=True):
    """One login. Digests are of whole cookies; `rights` is one of what the user might when it last changed.

    `stamp` is the user's at the login: another one there ends the session.
    """

    id: str
    user: str
    stamp: str
    sha256: str
    created: datetime
    seen: datetime
    issued: datetime
    expires: datetime
    way: str
    pending: str = ""
    before: str = ""
    before_until: datetime | None = None
    groups: tuple[str, ...] = ()
    rights: str = ""
    agent: str = ""
    address: str = ""

    def ended(self, now: datetime, settings: ServerSettings) -> bool:
        """Whether its time is over."""
        return now >= self.expires or now - self.seen >= timedelta(seconds=settings.session_idle_s)


@dataclass(frozen=True, slots=True)
class Step:
    """What a request makes of a session: the record to write, if it differs, and the cookie to set, if any."""

    session: Session
    cookie: str | None = None


def new_cookie(id: str | None = None) -> tuple[str, str]:
    """The id of a session and a cookie for it: the id, and 256 random bits that are kept nowhere."""
    id = secrets.token_hex(ID_DIGITS // 2) if id is None else id
    return id, f"{id}.{secrets.token_urlsafe(32)}"


def id_in(cookie: str) -> str | None:
    """The id that a cookie names; None where it is no cookie of ours."""
    id, dot, _ = cookie.partition(".")
    usable = len(cookie) == COOKIE_LENGTH and dot and len(id) == ID_DIGITS and set(id) <= set("0123456789abcdef")
    return id if usable else None


def digest(cookie: str) -> str:
    """What is kept of a cookie."""
    return sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()


def rights_of(grants: tuple[Grant, ...]) -> str:
    """A short digest of what somebody may."""
    return sha256(" ".join(map(str, grants)).encode()).hexdigest()[:16]


def shown(session: Session, cookie: str, now: datetime) -> bool:
    """Whether the cookie is good for the session at `now`."""
    given = digest(cookie)
    if hmac.compare_digest(given, session.sha256):
        return True
    if session.pending and hmac.compare_digest(given, session.pending):
        return True
    alive = session.before_until is not None and now < session.before_until
    return alive and hmac.compare_digest(given, session.before)


def step(session: Session, cookie: str, now: datetime, settings: ServerSettings, rights: str, *, used: bool) -> Step:
    """What a request with a good cookie makes of the session. `used` is False for what a page asks by itself."""
    grace = timedelta(seconds=settings.session_grace_s)
    given, after, told = digest(cookie), session, None
    if session.pending and given == session.pending:
        after = msgspec.structs.replace(
            after, sha256=given, pending="", before=session.sha256, before_until=now + grace
        )
    elif given == session.sha256 and _due(session, now, settings, rights):
        _, told = new_cookie(session.id)
        after = msgspec.structs.replace(after, pending=digest(told), issued=now, rights=rights)
    if used and now - session.seen >= timedelta(seconds=settings.session_idle_s / SEEN_PART):
        after = msgspec.structs.replace(after, seen=now)
    return Step(after, told)


def _due(session: Session, now: datetime, settings: ServerSettings, rights: str) -> bool:
    age_s = (now - session.issued).total_seconds()
    if session.pending:
        return age_s >= settings.session_grace_s
    return age_s >= settings.session_rotate_s or session.rights != rights
