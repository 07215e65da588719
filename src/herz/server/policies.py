"""Policies: which layers of a namespace need approval, and by how many; kept beside its draft."""

from __future__ import annotations

import msgspec

from herz.release.approval import Policy
from herz.release.record import encode
from herz.server.audit import Audit, By
from herz.server.problems import not_found
from herz.server.stored import revision_of, stored
from herz.store.base import Compare, Delete, Put, Store, Txn
from herz.store.plane import place, policy_key


class Policies:
    """The policies in a store."""

    def __init__(self, store: Store, audit: Audit) -> None:
        self._store, self._audit = store, audit

    async def get(self, app: str, namespace: str) -> Policy | None:
        """The policy, None where there is none."""
        return (await self.current(app, namespace))[0]

    async def current(self, app: str, namespace: str) -> tuple[Policy | None, Compare]:
        """The policy, and the condition that it is still this one."""
        key = policy_key(app, namespace)
        entry = await self._store.get(key)
        return None if entry is None else stored(entry, Policy), Compare.unchanged(key, revision_of(entry))

    async def put(self, app: str, namespace: str, policy: Policy, *, by: By) -> None:
        """Ask for approval as `policy` says from now on. `UsageError` when it makes no sense."""
        await self._audit.commit(
            Txn(then=(Put(policy_key(app, namespace), encode(policy.checked())),)),
            by,
            "policy.written",
            place(app, namespace),
            details=msgspec.to_builtins(policy),
        )

    async def delete(self, app: str, namespace: str, *, by: By) -> None:
        """Ask for no approval any more; a `Problem` 404 where none was asked for."""
        key = policy_key(app, namespace)
        result = await self._audit.commit(
            Txn((Compare(key, "create_revision", "!=", 0),), (Delete(key),)),
            by,
            "policy.deleted",
            place(app, namespace),
        )
        if not result.succeeded:
            raise not_found(f"{place(app, namespace)} has no policy")
