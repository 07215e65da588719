"""Users in a store: made, changed and removed, each with its entry in the audit log.

What could take the last admin away (removing, disabling, revoking) is decided on all users and roles as of one
revision of the rights, and raises that revision: so two admins cannot remove each other at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from herz.errors import UsageError
from herz.release.record import encode
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.door.passwords import Passwords, checked
from herz.server.door.rights import GROUP, MOST, Binding, Bindings, Rights, contended, no_such_role, target_of, too_many
from herz.server.door.user import Identity, User, new_stamp
from herz.server.problems import Problem, not_found
from herz.server.stored import stored
from herz.store.base import Compare, Delete, Operation, Put, Store, Txn
from herz.store.plane import ROLES, USERS, checked_user, identity_key, user_key

_ATTEMPTS: Final = 20
_PAGE: Final = 1000


class Users:
    """The users in a store."""

    def __init__(self, store: Store, audit: Audit, clock: Clock, passwords: Passwords, rights: Rights) -> None:
        self._store, self._audit, self._clock = store, audit, clock
        self._passwords, self._rights = passwords, rights

    async def all(self) -> tuple[User, ...]:
        """Every user, in the order of their names."""
        found: list[User] = []
        after: str | None = None
        while True:
            page = await self._store.range(USERS, limit=_PAGE, after=after)
            found += [stored(entry, User) for entry in page.entries]
            if not page.more:
                return tuple(found)
            after = page.entries[-1].key

    async def find(self, name: str) -> tuple[User, int] | None:
        """The user of this name, and the revision that last changed them; None for a name that is none."""
        try:
            key = user_key(name)
        except UsageError:
            return None
        entry = await self._store.get(key)
        return None if entry is None else (stored(entry, User), entry.mod_revision)

    async def get(self, name: str) -> tuple[User, int]:
        """The same; a `Problem` 404 where there is none."""
        found = await self.find(name)
        if found is None:
            raise not_found(f"there is no user {name[:130]}", remedy="see who there is: herz user list")
        return found

    async def known_as(self, identity: Identity) -> tuple[User, int] | None:
        """The user whom a provider knows so."""
        entry = await self._store.get(identity_key(identity.digest))
        return None if entry is None else await self.find(entry.value.decode("utf-8", "replace"))

    async def hashed(self, password: str, name: str) -> str:
        """The hash of a new password for `name`; `UsageError` when it is too easy."""
        return await self._passwords.hash(checked(password, name))

    async def add(
        self,
        name: str,
        *,
        by: By,
        password: str | None = None,
        must_change: bool = False,
        identity: Identity | None = None,
        groups: Sequence[str] = (),
        roles: Sequence[Binding] = (),
    ) -> User:
        """A new user, with roles; `Problem` 409 when there is such a one."""
        name = checked_user(name)
        user = User(
            name=name,
            created=self._clock.now(),
            stamp=new_stamp(),
            hash=None if password is None else await self.hashed(password, name),
            must_change=must_change,
            identity=identity,
            groups=tuple(groups),
        )
        await self.insert(user, by=by, roles=roles)
        return user

    async def insert(
        self,
        user: User,
        *,
        by: By,
        roles: Sequence[Binding] = (),
        compares: Sequence[Compare] = (),
        then: Sequence[Operation] = (),
        check: Callable[[Bindings], Awaitable[None]] | None = None,
        refused: Callable[[], Problem] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a new user, their roles and whatever goes with them in one transaction.

        `check` looks at the roles that there are before. `Problem` 409 when there is such a user, `refused` when
        `compares` fail.
        """
        compares, then = [*compares, Compare.absent(user_key(user.name))], list(then)
        if user.identity is not None:
            key = identity_key(user.identity.digest)
            compares.append(Compare.absent(key))
            then.append(Put(key, user.name.encode()))
        for _ in range(_ATTEMPTS):
            before, revision = await self._rights.read()
            if check is not None:
                await check(before)
            after = before.with_(roles)
            done = await self._audit.commit(
                Txn(
                    (*compares, Compare.unchanged(ROLES, revision)),
                    (*then, Put(user_key(user.name), encode(user)), Put(ROLES, encode(after))),
                ),
                by,
                "user.created",
                target_of(user.name),
                details={
                    "roles": [str(one) for one in roles],
                    **({} if user.identity is None else {"issuer": user.identity.issuer}),
                    **(details or {}),
                },
            )
            if done.succeeded:
                return
            if await self.find(user.name) is not None:
                raise Problem(409, "name-taken", f"there is a user {user.name} already", remedy="choose another name")
            if (await self._rights.read())[1] == revision:
                raise (
                    Problem(409, "conflict", "somebody was quicker", remedy="look again") if not refused else refused()
                )
        raise contended()

    async def set_password(
        self,
        name: str,
        password: str,
        *,
        by: By,
        must_change: bool = False,
        compares: Sequence[Compare] = (),
        then: Sequence[Operation] = (),
        refused: Callable[[], Problem] | None = None,
        stamp: str | None = None,
    ) -> User:
        """Give a user another password, which ends all their sessions; `refused` when their stamp is not `stamp`."""
        hash = await self.hashed(password, checked_user(name))

        def changed(user: User) -> User:
            if stamp not in (None, user.stamp) and refused is not None:
                raise refused()
            return msgspec.structs.replace(user, hash=hash, must_change=must_change, stamp=new_stamp())

        return await self._change(name, changed, by, "user.password", compares=compares, then=then, refused=refused)

    async def disable(self, name: str, *, by: By, force: bool = False) -> User:
        """Let a user in no more. `Problem` 409 for the last admin, unless by `force`."""

        def changed(user: User) -> User:
            return msgspec.structs.replace(user, disabled=True, stamp=new_stamp())

        return await self._change(name, changed, by, "user.disabled", force=force)

    async def enable(self, name: str, *, by: By) -> User:
        """Let a user in again."""

        def changed(user: User) -> User:
            return msgspec.structs.replace(user, disabled=False, stamp=new_stamp())

        return await self._change(name, changed, by, "user.enabled")

    async def _change(
        self,
        name: str,
        changed: Callable[[User], User],
        by: By,
        action: str,
        *,
        force: bool = False,
        compares: Sequence[Compare] = (),
        then: Sequence[Operation] = (),
        refused: Callable[[], Problem] | None = None,
    ) -> User:
        name = checked_user(name)
        for _ in range(_ATTEMPTS):
            user, at = await self.get(name)
            after = changed(user)
            bindings, revision = await self._rights.read()
            if not force and user.enters and not after.enters:
                _check_admins(bindings, await self.all(), bindings, without=name)
            done = await self._audit.commit(
                Txn(
                    (*compares, Compare.unchanged(user_key(name), at), Compare.unchanged(ROLES, revision)),
                    (*then, Put(user_key(name), encode(after)), Put(ROLES, encode(bindings))),
                ),
                by,
                action,
                target_of(name),
                forced=force,
            )
            if done.succeeded:
                return after
            if (
                refused is not None
                and (await self._rights.read())[1] == revision
                and await self.get(name) == (user, at)
            ):
                raise refused()
        raise contended()

    async def replace(self, user: User, at: int) -> bool:
        """Write what is no change of rights (a stronger hash, the groups of a login), unless `user` was changed."""
        key = user_key(user.name)
        return (await self._store.txn(Txn((Compare.unchanged(key, at),), (Put(key, encode(user)),)))).succeeded

    async def remove(self, name: str, *, by: By, force: bool = False) -> None:
        """Remove a user with all roles. `Problem` 409 for the last admin, unless by `force`."""
        name = checked_user(name)
        for _ in range(_ATTEMPTS):
            user, at = await self.get(name)
            before, revision = await self._rights.read()
            after = before.without(one for one in before.bindings if one.subject == name)
            if not force:
                _check_admins(before, await self.all(), after, without=name)
            then: list[Operation] = [Delete(user_key(name)), Put(ROLES, encode(after))]
            if user.identity is not None:
                then.append(Delete(identity_key(user.identity.digest)))
            done = await self._audit.commit(
                Txn((Compare.unchanged(user_key(name), at), Compare.unchanged(ROLES, revision)), then),
                by,
                "user.removed",
                target_of(name),
                details={"roles": [str(one) for one in before.of(name)]},
                forced=force,
            )
            if done.succeeded:
                return
        raise contended()

    async def grant(self, binding: Binding, *, by: By) -> None:
        """Give a role; nothing happens where it is given. `Problem` 404 for a user who is not there.

        Nobody can be given a role ahead of time: whoever took that name later would have it.
        """
        compares: list[Compare] = []
        if not binding.subject.startswith(GROUP):
            compares.append(Compare(user_key(binding.subject), "create_revision", "!=", 0))
        for _ in range(_ATTEMPTS):
            before, revision = await self._rights.read()
            if not binding.subject.startswith(GROUP):
                await self.get(binding.subject)
            after = before.with_([binding])
            if after == before:
                return
            if len(after.bindings) > MOST:
                raise too_many()
            if await self._rights.write(after, revision, by, "role.granted", binding, compares=compares):
                return
        raise contended()

    async def revoke(self, binding: Binding, *, by: By, force: bool = False) -> None:
        """Take a role away. `Problem` 404 where there is no such one, 409 for the last admin's, unless by `force`."""
        for _ in range(_ATTEMPTS):
            before, revision = await self._rights.read()
            if binding not in before.bindings:
                raise no_such_role(binding)
            after = before.without([binding])
            if not force:
                _check_admins(before, await self.all(), after)
            if await self._rights.write(after, revision, by, "role.revoked", binding, forced=force):
                return
        raise contended()


def admins(bindings: Bindings, users: Sequence[User]) -> tuple[str, ...]:
    """Who may everything and can log in."""
    return tuple(user.name for user in users if user.enters and bindings.admin(user.name, user.groups))


def _check_admins(before: Bindings, users: Sequence[User], after: Bindings, without: str | None = None) -> None:
    if admins(before, users) and not admins(after, [user for user in users if user.name != without]):
        raise Problem(
            409,
            "last-admin",
            "nobody would be left who may everything",
            remedy="make another user an admin first (herz role grant NAME '*:admin'), who can log in",
        )


def entry_of(user: User) -> dict[str, Any]:
    """A user as lists show them: nothing of the hash."""
    return {
        "name": user.name,
        "created": user.created.isoformat(),
        "disabled": user.disabled,
        "password": user.hash is not None,
        "must_change": user.must_change,
        "provider": None if user.identity is None else user.identity.issuer,
        "groups": list(user.groups),
    }
