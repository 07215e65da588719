"""Tokens: who may do what in which application, and until when; their secrets are never kept.

A token is `herz_` and 256 random bits. Stored is its sha256, under an id made of the digest's first digits: nobody can
guess 256 bits, so the digest needs no salt and no slow hash, and finding a token needs no comparison with each of them.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from herz.errors import UsageError
from herz.release.record import Record, encode
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.problems import not_found
from herz.server.stored import stored
from herz.store.base import Compare, Delete, Put, Store, Txn
from herz.store.plane import TOKENS, checked_name

PREFIX: Final = "herz_"
_ID_DIGITS: Final = 16
_NAME_LENGTH: Final = 128


class Scope(StrEnum):
    """What a token may do. Each of them lets read what it is about; `admin` holds all others."""

    READ = "read"
    REPORT = "report"
    """Say what an instance runs."""
    EDIT = "edit"
    """Write drafts and schemas."""
    RELEASE = "release"
    """Publish, roll back, and ask instances to build."""
    ROLLOUT = "rollout"
    APPROVE = "approve"
    ADMIN = "admin"


class Grant(Record, frozen=True, kw_only=True):
    """One scope in one application, or in all of them (`*`)."""

    app: str
    scope: Scope

    def __str__(self) -> str:
        return f"{self.app}:{self.scope.value}"

    @classmethod
    def parse(cls, text: str) -> Grant:
        """The grant that `pay:release` or `*:read` means."""
        app, colon, scope = text.partition(":")
        if not colon or scope not in list(Scope):
            raise UsageError(
                f"{text!r} is no grant", remedy=f"write APPLICATION:SCOPE or *:SCOPE; scopes are {', '.join(Scope)}"
            )
        return cls(app="*" if app == "*" else checked_name(app, "an application"), scope=Scope(scope))


class Token(Record, frozen=True, kw_only=True):
    """A token as it is stored. `sha256` is the hex digest of its text."""

    id: str
    name: str
    grants: tuple[Grant, ...]
    created: datetime
    sha256: str
    expires: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now

    def matches(self, text: str) -> bool:
        """Whether `text` is this token, in a time that tells nothing about it."""
        return hmac.compare_digest(_digest(text), self.sha256)


def id_of(text: str) -> str:
    """The id under which the token `text` is stored, if it is."""
    return _digest(text)[:_ID_DIGITS]


class Tokens:
    """The tokens in a store. Every change is in the audit log."""

    def __init__(self, store: Store, audit: Audit, clock: Clock) -> None:
        self._store, self._audit, self._clock = store, audit, clock

    async def create(
        self, name: str, grants: Sequence[Grant], *, by: By, expires: datetime | None = None
    ) -> tuple[str, Token]:
        """A new token, its text first: it is told once, and kept nowhere."""
        if not name.strip() or len(name) > _NAME_LENGTH or not name.isprintable():
            raise UsageError(f"a token cannot be called {name!r}", remedy="say in a few words whose it is")
        if not grants:
            raise UsageError("a token without a grant is of no use", remedy="grant it something, as pay:read")
        now = self._clock.now()
        if expires is not None and expires.tzinfo is None:
            raise UsageError(f"{expires} names no time zone", remedy="write 2026-01-31T12:00:00Z")
        if expires is not None and expires <= now:
            raise UsageError(f"{expires.isoformat()} is over already", remedy="choose a later time")
        text = PREFIX + urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        token = Token(
            id=id_of(text), name=name, grants=tuple(grants), created=now, sha256=_digest(text), expires=expires
        )
        key = _key(token.id)
        done = await self._audit.commit(
            Txn((Compare.absent(key),), (Put(key, encode(token)),)),
            by,
            "token.created",
            f"token {token.id}",
            details={"name": name, "grants": _told(grants), "expires": expires.isoformat() if expires else None},
        )
        if not done.succeeded:
            raise UsageError("this token's id is taken", remedy="try again")
        return text, token

    async def all(self) -> tuple[Token, ...]:
        """Every token, expired ones too, in the order of their ids."""
        found: list[Token] = []
        after: str | None = None
        while True:
            page = await self._store.range(TOKENS, limit=1000, after=after)
            found += [stored(entry, Token) for entry in page.entries]
            if not page.more:
                return tuple(found)
            after = page.entries[-1].key

    async def get(self, id: str) -> Token | None:
        """The token of this id."""
        entry = await self._store.get(_key(id))
        return None if entry is None else stored(entry, Token)

    async def find(self, text: str) -> Token | None:
        """The token whose text this is, None when there is none."""
        token = await self.get(id_of(text))
        return token if token is not None and token.matches(text) else None

    async def revoke(self, id: str, *, by: By) -> Token:
        """End a token; what it was."""
        token = await self.get(id)
        if token is None:
            raise not_found(f"there is no token {id}", remedy="list them: herz token list")
        key = _key(id)
        await self._audit.commit(
            Txn((Compare(key, "create_revision", "!=", 0),), (Delete(key),)),
            by,
            "token.revoked",
            f"token {id}",
            details={"name": token.name},
        )
        return token


def _key(id: str) -> str:
    return TOKENS + checked_name(id, "a token")


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _told(grants: Iterable[Grant]) -> list[str]:
    return [str(grant) for grant in grants]
