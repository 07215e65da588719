"""The configuration of one application in a store, with a history that can be read and rolled back.

Every change writes its values, one record of who, when and why, and the counter of records, in one
transaction. The record's revision is that of the store: the number that `explain` shows behind a value
(`key@revision`), that `history` lists, and that `rollback` takes. History lies in keys, so the store may compact
its old revisions at any time; a rollback writes the old values as a new revision, and loses nothing either.

Values. Text is stored as its UTF-8 bytes, without quotes. Numbers, booleans and lists are stored as JSON. All are
read back as text: what a value is, is decided where it is bound to a type, as in every key-value store. So
`5` and `"5"` are the same bytes, and `"null"` is how null is written (None deletes).

Secrets. What `secret` names never stands in a record: before and after are kept under `/history/<app>/sealed/`,
which only `rollback` reads, so a record prints and serialises safely. They are not encrypted: whoever may read the
store (with SQLite: its file, mode 0600) can read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from herz.errors import Conflict, KeyConflict, RevisionExpired, StoreCorrupt, UsageError
from herz.model.key import join, split
from herz.model.secret import Secret, SecretKeys
from herz.store.base import Compare, Delete, Entry, Get, Operation, Put, Store, Txn
from herz.store.names import config_key, config_name, config_prefix, head_name, record_name
from herz.store.record import Change, Record, Sealed, masked, read_record, read_sealed, write_record, write_sealed
from herz.store.text import Value, holds_secret, stored

_ATTEMPTS: Final = 64
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as it is stored. A secret one is a `Secret`."""

    key: str
    value: str | Secret
    revision: int


class Journal:
    """The configuration of `app` in `store`: read it, change it, see who changed it, take it back.

    `secret` tells whether a key holds a secret, by default as `SecretKeys` does. `wall` gives the time written
    into records, in seconds since 1970. Every method raises the errors of `Store` besides its own.
    """

    def __init__(
        self,
        store: Store,
        app: str,
        *,
        secret: Callable[[str], bool] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        known = SecretKeys()
        self.app = app
        self.prefix = config_prefix(app)
        self._store = store
        self._secret = secret if secret is not None else (lambda key: known.holds(split(key)))
        self._wall = wall

    async def get(self, key: str) -> Setting | None:
        """The value of one key, None when there is none."""
        entry = await self._store.get(config_name(self.app, key))
        return None if entry is None else self._setting(entry)

    async def settings(self, *, revision: int | None = None) -> dict[str, Setting]:
        """All values by their keys, as of one revision of the store, by default now."""
        entries: list[Entry] = []
        after: str | None = None
        while True:
            page = await self._store.range(self.prefix, revision=revision, limit=1000, after=after)
            entries += page.entries
            if not page.more:
                return {setting.key: setting for setting in map(self._setting, entries)}
            revision, after = page.revision, page.entries[-1].key

    async def revision(self) -> int:
        """The store's revision of the last change of this application, 0 when there was none."""
        head = await self._store.get(head_name(self.app))
        return 0 if head is None else head.mod_revision

    async def set(
        self, changes: Mapping[str, Value], *, author: str, message: str = "", expect: int | None = None
    ) -> int:
        """Write values, delete those that are None, and record it, all in one revision, which is returned.

        With `expect`, a revision that the caller has seen, nothing is written and `Conflict` is raised when the
        application was changed after it. Without, the change is applied to whatever is there. What is so already
        is left out; when nothing is left nothing is written, and the last revision is returned. `KeyConflict`
        when a key would be both a value and a table.
        """
        if not author:
            raise UsageError("a change needs an author", remedy="say who makes it, for example your user name")
        wanted = {join(split(key)): stored(key, value) for key, value in changes.items()}
        if len(wanted) < len(changes):
            raise UsageError("one key is written in two ways in this change", remedy="name it once")
        for key, value in changes.items():
            if holds_secret(value) and not self._secret(key):
                # Whoever reads the key knows it by its name only, and would show the value.
                raise UsageError(
                    f"{key} is given a secret, but its name does not tell",
                    remedy="end its name with password, token or secret, or put it under `secrets`",
                )
        return await self._write(wanted, frozenset(), author, message, expect, None)

    async def history(self, key: str | None = None, limit: int | None = None) -> tuple[Record, ...]:
        """The records, the newest first, at most `limit`; with `key`, those that changed it or keys below it."""
        head = await self._store.get(head_name(self.app))
        number, found = _number(head), list[Record]()
        wanted = None if key is None else split(key)
        while number > 0 and (limit is None or len(found) < limit):
            first = max(1, number - _PAGE + 1)
            for record in reversed(await self._records(first, number)):
                if wanted is None or any(split(change.key)[: len(wanted)] == wanted for change in record.changes):
                    found.append(self._masked(record))
            number = first - 1
        return tuple(found[:limit])

    async def rollback(self, to: int, *, author: str, message: str = "", expect: int | None = None) -> int:
        """Bring back every value as it was at the store's revision `to`, as a new revision, which is returned.

        Only what was changed through a journal comes back. `UsageError` when `to` has not happened, or lies
        before the first record; `RevisionExpired` when the records back to it were pruned. `expect` as in `set`.
        """
        for _ in range(_ATTEMPTS):
            head = await self._store.get(head_name(self.app))
            self._check_expected(head, expect)
            await self._check_target(to, head)
            undone: dict[str, str | None] = {}
            hidden: AbstractSet[str] = frozenset()
            for record in await self._back_to(to, _number(head)):
                sealed = await self._sealed(record) if any(change.secret for change in record.changes) else {}
                hidden |= sealed.keys()
                for change in record.changes:
                    undone[change.key] = sealed[change.key][0] if change.secret else change.before
            wanted = {key: None if text is None else text.encode() for key, text in undone.items()}
            text = message or f"rollback to revision {to}"
            try:
                # A record written since `head` was read would not be undone, so there must be none.
                return await self._write(wanted, hidden, author, text, 0 if head is None else head.mod_revision, to)
            except Conflict:
                continue
        raise self._busy()

    async def prune(self, keep: int) -> int:
        """Delete all but the last `keep` records, secret parts included; how many were deleted."""
        if keep < 1:
            raise UsageError(f"cannot keep {keep} records", remedy="keep at least one")
        last = _number(await self._store.get(head_name(self.app))) - keep
        # Oldest first, and never the head: what is left is always a whole end of the history.
        size = self._store.limits.operations // 2
        deleted = 0
        page = await self._store.range(_records_prefix(self.app), limit=size)
        while page.entries:
            numbers = [n for n in (int(entry.key.rpartition("/")[2]) for entry in page.entries) if n <= last]
            if not numbers:
                break
            names = [record_name(self.app, n, sealed=sealed) for n in numbers for sealed in (False, True)]
            await self._store.txn(Txn(then=[Delete(name) for name in names]))
            deleted += len(numbers)
            page = await self._store.range(_records_prefix(self.app), limit=size)
        return deleted

    # --- writing

    async def _write(
        self,
        wanted: Mapping[str, bytes | None],
        hidden: AbstractSet[str],
        author: str,
        message: str,
        expect: int | None,
        rollback_to: int | None,
    ) -> int:
        for _ in range(_ATTEMPTS):
            head, present = await self._read(wanted)
            last = 0 if head is None else head.mod_revision
            self._check_expected(head, expect)
            changed = {
                key: value
                for key, value in wanted.items()
                if value != (None if present[key] is None else present[key].value)  # type: ignore[union-attr]
            }
            if not changed:
                return last
            await self._check_tables(changed)
            number = _number(head) + 1
            compares = [Compare.unchanged(head_name(self.app), last)]
            operations: list[Operation] = [Put(head_name(self.app), b"%d" % number)]
            listed: list[Change] = []
            sealed: dict[str, Sealed] = {}
            for key, value in changed.items():
                name, entry = config_name(self.app, key), present[key]
                compares.append(Compare.unchanged(name, 0 if entry is None else entry.mod_revision))
                operations.append(Delete(name) if value is None else Put(name, value))
                before, after = None if entry is None else _text(entry), None if value is None else value.decode()
                change = Change(key, before, after)
                if key in hidden or self._secret(key):
                    sealed[key] = (before, after)
                    change = masked(change)
                listed.append(change)
            record = Record(0, number, author, message, self._now(), tuple(listed), rollback_to)
            operations.append(Put(record_name(self.app, number), write_record(record)))
            if sealed:
                operations.append(Put(record_name(self.app, number, sealed=True), write_sealed(sealed)))
            result = await self._store.txn(Txn(compares, operations))
            if result.succeeded:
                return result.revision
            # Somebody was quicker; look again at what is there now.
        raise self._busy()

    async def _read(self, wanted: Mapping[str, object]) -> tuple[Entry | None, dict[str, Entry | None]]:
        """The head and the present entries. The comparisons of the write prove that they belong together."""
        head = await self._store.get(head_name(self.app))
        present: dict[str, Entry | None] = {}
        keys = list(wanted)
        step = self._store.limits.operations
        for start in range(0, len(keys), step):
            part = keys[start : start + step]
            read = await self._store.txn(Txn(then=[Get(config_name(self.app, key)) for key in part]))
            for key, entries in zip(part, read.results, strict=True):
                present[key] = entries[0] if entries else None
        return head, present

    async def _check_tables(self, changed: Mapping[str, bytes | None]) -> None:
        """Refuse a value above or below another one: it would make the whole layer unreadable."""
        written = {split(key): value is not None for key, value in changed.items()}
        asked: dict[tuple[str, ...], bool] = dict(written)
        for path in (path for path, there in written.items() if there):
            key = join(path)
            for length in range(1, len(path)):
                above = path[:length]
                if above not in asked:
                    asked[above] = await self._store.get(config_name(self.app, join(above))) is not None
                if asked[above]:
                    raise KeyConflict(
                        f"{key} cannot be written, for {join(above)} is a value",
                        where=config_name(self.app, join(above)),
                        remedy=f"delete {join(above)} in the same change, or choose another name",
                    )
            below = await self._store.range(config_name(self.app, key) + "/", limit=len(changed) + 1)
            for entry in below.entries:
                if written.get(split(config_key(self.app, entry.key)), True):
                    raise KeyConflict(
                        f"{key} cannot be a value, for there are values below it",
                        where=entry.key,
                        remedy="delete them in the same change, or choose another name",
                    )

    # --- reading history

    async def _records(self, first: int, last: int) -> list[Record]:
        page = await self._store.range(
            _records_prefix(self.app), limit=last - first + 1, after=record_name(self.app, first - 1)
        )
        return [record for record in map(read_record, page.entries) if record.number <= last]

    async def _back_to(self, to: int, number: int) -> list[Record]:
        """The records after revision `to`, the newest first; all of them must still be there."""
        found: list[Record] = []
        while number > 0:
            first = max(1, number - _PAGE + 1)
            records = await self._records(first, number)
            found += [record for record in reversed(records) if record.revision > to]
            if any(record.revision <= to for record in records):
                return found
            if len(records) < number - first + 1:
                raise RevisionExpired(
                    f"the history of {self.app} was pruned and does not reach back to revision {to}",
                    remedy="choose a revision that `herz history` lists",
                )
            number = first - 1
        if found:
            raise UsageError(
                f"{self.app} has no configuration at revision {to}: its first change is revision {found[-1].revision}",
                remedy="choose a revision that `herz history` lists, or delete the keys if that is meant",
            )
        return found

    def _check_expected(self, head: Entry | None, expect: int | None) -> None:
        if expect is not None and head is not None and head.mod_revision > expect:
            raise Conflict(
                f"{self.app} was changed by revision {head.mod_revision}, after revision {expect} which was expected",
                key=self.prefix,
                expected=expect,
                actual=head.mod_revision,
                remedy="look at the history, then try again with the new revision",
            )

    async def _check_target(self, to: int, head: Entry | None) -> None:
        if head is None or to < head.mod_revision:
            return
        now = (await self._store.status()).revision
        if to > now:
            raise UsageError(
                f"revision {to} has not happened yet, the store is at {now}",
                remedy="choose a revision that `herz history` lists",
            )

    async def _sealed(self, record: Record) -> dict[str, Sealed]:
        name = record_name(self.app, record.number, sealed=True)
        entry = await self._store.get(name)
        if entry is None:
            raise StoreCorrupt(
                f"the secret values of revision {record.revision} are missing",
                where=name,
                remedy="roll back to a later revision, and set the secrets by hand",
            )
        return read_sealed(entry)

    def _masked(self, record: Record) -> Record:
        """The record with the values masked of what has become known as a secret since it was written."""
        if not any(self._secret(change.key) and not change.secret for change in record.changes):
            return record
        return replace(
            record,
            changes=tuple(masked(change) if self._secret(change.key) else change for change in record.changes),
        )

    def _setting(self, entry: Entry) -> Setting:
        key = config_key(self.app, entry.key)
        text = _text(entry)
        return Setting(key, Secret(text) if self._secret(key) else text, entry.mod_revision)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)

    def _busy(self) -> Conflict:
        return Conflict(
            f"{self.app} is changed by others all the time; gave up after {_ATTEMPTS} attempts",
            key=self.prefix,
            remedy="try again",
        )


def _records_prefix(app: str) -> str:
    return record_name(app, 0).rpartition("/")[0] + "/"


def _number(head: Entry | None) -> int:
    if head is None:
        return 0
    try:
        return int(head.value)
    except ValueError:
        raise StoreCorrupt(
            "the counter of the history is not a number",
            where=f"{head.key}@{head.mod_revision}",
            remedy="write the number of the last record there",
        ) from None


def _text(entry: Entry) -> str:
    try:
        return entry.value.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt(
            "a configuration value is not UTF-8 text", where=f"{entry.key}@{entry.mod_revision}", remedy="write it anew"
        ) from error
