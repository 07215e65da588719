"""Writing the embedded store: transactions, leases and compaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from herz.errors import LeaseLost
from herz.store.base import Compare, Delete, DeletePrefix, Entry, Get, Operation, Put, Txn, TxnResult
from herz.store.keys import encoded, encoded_prefix, prefix_end
from herz.store.sqlite_log import BEHIND_ALL, checksum_of, current, position


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """Everything inside happens at once or not at all; no other process writes meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    yield
    db.execute("COMMIT")


class Writer:
    """The writes of one SQLite transaction. Each `one_revision` block is one revision, or none if it writes nothing."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.revision, self.compacted, _ = position(db)
        self._wrote = False

    @contextmanager
    def one_revision(self) -> Iterator[None]:
        """What is written inside shares the next revision."""
        self.revision += 1
        self._wrote = False
        yield
        if self._wrote:
            self._db.execute("UPDATE state SET revision = ?", (self.revision,))
        else:
            self.revision -= 1

    def txn(self, txn: Txn) -> TxnResult:
        """Compare, then run one of the two branches."""
        succeeded = all(self._holds(compare) for compare in txn.compares)
        with self.one_revision():
            results = tuple(self._do(operation) for operation in (txn.then if succeeded else txn.otherwise))
        return TxnResult(succeeded, self.revision, results)

    def _holds(self, compare: Compare) -> bool:
        entry = current(self._db, encoded(compare.key))
        if compare.target == "value":
            if entry is None:
                return False
            return _related(entry.value, compare.relation, compare.operand)
        actual = 0 if entry is None else getattr(entry, compare.target) or 0
        return _related(actual, compare.relation, compare.operand)

    def _do(self, operation: Operation) -> tuple[Entry, ...]:
        match operation:
            case Get():
                entry = current(self._db, encoded(operation.key))
                return () if entry is None else (entry,)
            case Put():
                return self._put(operation)
            case Delete():
                return self._delete(encoded(operation.key))
            case DeletePrefix():
                first = encoded_prefix(operation.prefix)
                keys = self._db.execute(
                    "SELECT key FROM current WHERE key >= ? AND key < ? ORDER BY key",
                    (first, prefix_end(first) or BEHIND_ALL),
                ).fetchall()
                return tuple(entry for (key,) in keys for entry in self._delete(key))

    def _put(self, put: Put) -> tuple[Entry, ...]:
        key = encoded(put.key)
        if put.lease is not None and not self._db.execute("SELECT 1 FROM lease WHERE id = ?", (put.lease,)).fetchone():
            raise lease_lost(put.lease)
        previous = current(self._db, key)
        created, version = (self.revision, 1) if previous is None else (previous.create_revision, previous.version + 1)
        row_id = self._append(key, put.value, created, version, put.lease)
        self._db.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (key, row_id, put.lease))
        return () if previous is None else (previous,)

    def _delete(self, key: bytes) -> tuple[Entry, ...]:
        previous = current(self._db, key)
        if previous is None:
            return ()
        self._append(key, None, 0, 0, None)
        self._db.execute("DELETE FROM current WHERE key = ?", (key,))
        return (previous,)

    def _append(self, key: bytes, value: bytes | None, created: int, version: int, lease: int | None) -> int | None:
        self._wrote = True
        return self._db.execute(
            "INSERT INTO log (revision, key, value, checksum, create_revision, version, lease) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.revision, key, value, checksum_of(key, value), created, version, lease),
        ).lastrowid

    def grant(self, ttl_s: float, now: float, origin: str) -> int:
        """A new lease; numbers are never used again."""
        return (
            self._db.execute(
                "INSERT INTO lease (ttl_s, expires_at, origin) VALUES (?, ?, ?)", (ttl_s, now + ttl_s, origin)
            ).lastrowid
            or 0
        )

    def prolong(self, lease: int, now: float) -> float | None:
        """Start a lease's time anew and return it; None when the lease is gone."""
        row = self._db.execute(
            "UPDATE lease SET expires_at = ? + ttl_s WHERE id = ? RETURNING ttl_s", (now, lease)
        ).fetchone()
        return None if row is None else float(row[0])

    def end_lease(self, lease: int) -> bool:
        """Forget a lease and delete its keys in one revision; False when it was gone already."""
        if self._db.execute("DELETE FROM lease WHERE id = ?", (lease,)).rowcount == 0:
            return False
        keys = self._db.execute("SELECT key FROM current WHERE lease = ? ORDER BY key", (lease,)).fetchall()
        with self.one_revision():
            for (key,) in keys:
                self._delete(key)
        return True

    def sweep(self, now: float, origin: str) -> None:
        """End the leases that have expired, each in a revision of its own.

        No lease may live longer than its time from now: a deadline further away comes from a clock that was
        turned back since, and one of another origin from before the last boot. Both begin their time anew.
        """
        self._db.execute(
            "UPDATE lease SET expires_at = ? + ttl_s, origin = ? WHERE origin <> ? OR expires_at > ? + ttl_s",
            (now, origin, origin, now),
        )
        expired = self._db.execute(
            "SELECT id FROM lease WHERE expires_at <= ? ORDER BY expires_at, id", (now,)
        ).fetchall()
        for (lease,) in expired:
            self.end_lease(lease)

    def compact(self, revision: int) -> None:
        """Forget what only revisions before `revision` need. Costs what was written since the last compaction."""
        if revision <= self.compacted:
            return
        span = (self.compacted, revision)
        self._db.execute(
            "DELETE FROM log WHERE id IN (SELECT older.id FROM log AS newer JOIN log AS older ON older.key = newer.key "
            "AND older.revision < newer.revision WHERE newer.revision > ? AND newer.revision <= ?)",
            span,
        )
        self._db.execute("DELETE FROM log WHERE revision > ? AND revision <= ? AND value IS NULL", span)
        self._db.execute("UPDATE state SET compacted = ?", (revision,))
        self.compacted = revision


def _related(actual: object, relation: str, operand: object) -> bool:
    match relation:
        case "=":
            return actual == operand
        case "!=":
            return actual != operand
        case "<":
            return actual < operand  # type: ignore[operator,no-any-return]  # both int or both bytes, see base.check
        case _:
            return actual > operand  # type: ignore[operator,no-any-return]


def lease_lost(lease: int) -> LeaseLost:
    """The error for a lease that is gone."""
    return LeaseLost(f"lease {lease} has expired or was revoked", remedy="grant a new one and write its keys again")


def next_expiry(db: sqlite3.Connection, now: float, origin: str) -> float | None:
    """Seconds until a lease must be swept, 0 when one must be now, None when there is none."""
    row = db.execute(
        "SELECT min(CASE WHEN origin = ? AND expires_at <= ? + ttl_s THEN expires_at ELSE ? END) FROM lease",
        (origin, now, now),
    ).fetchone()
    return None if row[0] is None else max(0.0, row[0] - now)
