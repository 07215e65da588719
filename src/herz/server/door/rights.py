"""Roles: what people may do in which application, bound to users and to groups of their provider.

All bindings are one record, so every change of rights compares its revision: two changes at once, on any two servers,
cannot together take the last admin away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from herz.errors import Conflict, UsageError
from herz.release.record import Record, encode
from herz.server.audit import Audit, By
from herz.server.problems import Problem, not_found
from herz.server.stored import revision_of, stored
from herz.server.tokens import Grant, Scope
from herz.store.base import Compare, Put, Store, Txn
from herz.store.plane import ROLES, checked_name, checked_user

GROUP: Final = "group:"
MOST: Final = 5_000
"""Bindings that there may be; they are read and written as one."""
GROUP_LENGTH: Final = 256


class Role(StrEnum):
    """What somebody does with an application."""

    VIEWER = "viewer"
    EDITOR = "editor"
    RELEASER = "releaser"
    APPROVER = "approver"
    ADMIN = "admin"


SCOPES: Final = {
    Role.VIEWER: (Scope.READ,),
    Role.EDITOR: (Scope.READ, Scope.EDIT),
    Role.RELEASER: (Scope.READ, Scope.EDIT, Scope.RELEASE, Scope.ROLLOUT),
    Role.APPROVER: (Scope.READ, Scope.APPROVE),
    Role.ADMIN: (Scope.ADMIN,),
}
"""What each role allows."""


class Binding(Record, frozen=True, kw_only=True):
    """One role of a user, or of a group (`group:sre`), in one application, or in all of them (`*`)."""

    subject: str
    app: str
    role: Role

    def __str__(self) -> str:
        return f"{self.app}:{self.role.value}"

    @classmethod
    def parse(cls, subject: str, text: str) -> Binding:
        """The binding of `subject` that `pay:editor` or `*:viewer` means; `UsageError` when it means none."""
        app, colon, role = text.partition(":")
        if not colon or role not in list(Role):
            raise UsageError(
                f"{text[:200]!r} is no role", remedy=f"write APPLICATION:ROLE or *:ROLE; roles are {', '.join(Role)}"
            )
        return cls(
            subject=checked_subject(subject),
            app="*" if app == "*" else checked_name(app, "an application"),
            role=Role(role),
        )


class Bindings(Record, frozen=True, kw_only=True):
    """All of them, in order."""

    bindings: tuple[Binding, ...] = ()

    def of(self, user: str, groups: Iterable[str] = ()) -> tuple[Binding, ...]:
        """Those that a user has, by name or by a group."""
        subjects = {user, *(GROUP + group for group in groups)}
        return tuple(one for one in self.bindings if one.subject in subjects)

    def grants(self, user: str, groups: Iterable[str] = ()) -> tuple[Grant, ...]:
        """What they allow, each once and in order."""
        found = {(one.app, scope) for one in self.of(user, groups) for scope in SCOPES[one.role]}
        return tuple(Grant(app=app, scope=scope) for app, scope in sorted(found))

    def admin(self, user: str, groups: Iterable[str] = ()) -> bool:
        """Whether they may everything everywhere."""
        return any(one.app == "*" and one.role is Role.ADMIN for one in self.of(user, groups))

    def with_(self, added: Sequence[Binding]) -> Bindings:
        """These and further ones."""
        known = {*self.bindings, *added}
        return Bindings(bindings=tuple(sorted(known, key=lambda one: (one.subject, one.app, one.role))))

    def without(self, gone: Iterable[Binding]) -> Bindings:
        """These without others."""
        removed = set(gone)
        return Bindings(bindings=tuple(one for one in self.bindings if one not in removed))


def checked_subject(subject: str) -> str:
    """The name of a user or `group:…`, as bindings hold it; `UsageError` when it is neither."""
    if not subject.startswith(GROUP):
        return checked_user(subject)
    group = subject.removeprefix(GROUP)
    if not group.strip() or len(group) > GROUP_LENGTH or not group.isprintable():
        raise UsageError(f"{subject[:40]!r} is no group", remedy="write group:NAME, as the provider calls it")
    return subject


class Rights:
    """The bindings in a store. Every change is in the audit log."""

    def __init__(self, store: Store, audit: Audit) -> None:
        self._store, self._audit = store, audit

    async def read(self) -> tuple[Bindings, int]:
        """All bindings, and the revision that last changed anything about rights."""
        entry = await self._store.get(ROLES)
        return (Bindings() if entry is None else stored(entry, Bindings)), revision_of(entry)

    async def write(
        self,
        after: Bindings,
        revision: int,
        by: By,
        action: str,
        binding: Binding,
        *,
        compares: Sequence[Compare] = (),
        forced: bool = False,
    ) -> bool:
        """Write all bindings, unless rights were changed since `revision`, or `compares` fail: then False."""
        done = await self._audit.commit(
            Txn((*compares, Compare.unchanged(ROLES, revision)), (Put(ROLES, encode(after)),)),
            by,
            action,
            target_of(binding.subject),
            details={"role": binding.role.value, "app": binding.app},
            forced=forced,
        )
        return done.succeeded


def target_of(subject: str) -> str:
    """What the audit log calls a user or a group."""
    return f"group {subject.removeprefix(GROUP)}" if subject.startswith(GROUP) else f"user {subject}"


def no_such_role(binding: Binding) -> Problem:
    """There is nothing to revoke."""
    return not_found(f"{binding.subject} has no role {binding}", remedy="see what there is: herz role list")


def too_many() -> Problem:
    """There are as many bindings as there may be."""
    return Problem(409, "too-many-roles", f"there may be {MOST:,} roles", remedy="give roles to groups, not to each")


def contended() -> Conflict:
    """Others change rights all the time."""
    return Conflict("others change rights all the time", key=ROLES, remedy="try again")
