"""A user as the store holds them."""

from __future__ import annotations

import secrets
from datetime import datetime
from hashlib import sha256

from herz.release.record import Record


class Identity(Record, frozen=True, kw_only=True):
    """How a provider knows somebody: for ever the same, unlike names and addresses."""

    issuer: str
    subject: str

    @property
    def digest(self) -> str:
        """What it is found by."""
        return sha256(f"{self.issuer}\0{self.subject}".encode("utf-8", "surrogatepass")).hexdigest()


class User(Record, frozen=True, kw_only=True):
    """One person. `stamp` is another one after each change that ends their sessions.

    `hash` is the argon2id hash of the password in PHC form, None where there is none. `groups` are those that the
    provider told at the last login.
    """

    name: str
    created: datetime
    stamp: str
    hash: str | None = None
    identity: Identity | None = None
    groups: tuple[str, ...] = ()
    disabled: bool = False
    must_change: bool = False

    @property
    def enters(self) -> bool:
        """Whether they can log in at all."""
        return not self.disabled and (self.hash is not None or self.identity is not None)

    def __repr__(self) -> str:
        return f"User({self.name!r})"  # nothing of the hash


def new_stamp() -> str:
    """One that no session was opened with."""
    return secrets.token_hex(8)
