"""Reading the embedded store: the revisioned log.

`log` has one row for each change of a key: its value, or NULL for a deletion. `current` points each
living key at its last row. A revision's rows follow each other by `id`, in the order of the operations.
Compaction removes rows that no readable revision needs; the row that a living key points at always stays.
"""

# Only the constant list of columns is put into the text of a statement.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from herz.errors import RevisionExpired, StoreCorrupt
from herz.store.base import Changes, Entry, EventType, KeyEvent, Range
from herz.store.keys import encoded, encoded_prefix, prefix_end
from herz.store.sqlite_file import RECOVERY, connect

BATCH_EVENTS: Final = 256
BATCH_BYTES: Final = 8 * 1024 * 1024
"""A watch reads history in batches of about this much, so that a far-behind consumer costs little memory."""

_COLUMNS: Final = "log.id, log.revision, log.key, log.value, log.checksum, log.create_revision, log.version, log.lease"
BEHIND_ALL: Final = b"\xff"  # no UTF-8 text begins with this byte

_Row = tuple[int, int, bytes, bytes | None, int, int, int, int | None]


@contextmanager
def reading(db: sqlite3.Connection) -> Iterator[None]:
    """Everything inside sees one state of the store."""
    db.execute("BEGIN")
    yield
    db.execute("COMMIT")


def position(db: sqlite3.Connection) -> tuple[int, int, str]:
    """Revision, compacted revision and identity."""
    row: tuple[int, int, str] | None = db.execute("SELECT revision, compacted, identity FROM state").fetchone()
    if row is None:
        raise StoreCorrupt("the store has lost its revision", remedy=RECOVERY)
    return row


def _entry(row: _Row) -> Entry:
    _, revision, key, value, checksum, create_revision, version, lease = row
    if checksum != checksum_of(key, value):
        raise StoreCorrupt(
            "a value is not what was written: its checksum differs",
            where=f"{key.decode(errors='replace')}@{revision}",
            remedy=RECOVERY,
        )
    return Entry(key.decode(), value or b"", create_revision, revision, version, lease)


def checksum_of(key: bytes, value: bytes | None) -> int:
    """The CRC-32 of a row."""
    return crc32(value or b"", crc32(key))


def read_key(db: sqlite3.Connection, key: str, revision: int | None) -> Entry | None:
    """The key as of a revision, by default the last one."""
    raw = encoded(key)
    with reading(db):
        return current(db, raw) if _at(db, revision) is None else _latest(db, raw, revision or 0)


def read_range(
    db: sqlite3.Connection, prefix: str, revision: int | None, limit: int | None, after: str | None
) -> Range:
    """The entries under a prefix as of a revision, by default the last one."""
    first = encoded_prefix(prefix)
    end = prefix_end(first) or BEHIND_ALL
    if after is not None:
        first = max(first, encoded(after) + b"\0")
    wanted = -1 if limit is None else limit + 1
    with reading(db):
        past = _at(db, revision)
        if past is None:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM current LEFT JOIN log USING (id) "
                "WHERE current.key >= ? AND current.key < ? ORDER BY current.key LIMIT ?",
                (first, end, wanted),
            ).fetchall()
            if any(row[0] is None for row in rows):
                raise StoreCorrupt("a key points at a value that is not there", remedy=RECOVERY)
        else:
            # SQLite takes the other columns of a group from the row that has the maximum.
            rows = db.execute(
                f"SELECT id, max(revision), {', '.join(_COLUMNS.split(', ')[2:])} FROM log "
                "WHERE key >= ? AND key < ? AND revision <= ? "
                "GROUP BY key HAVING value IS NOT NULL ORDER BY key LIMIT ?",
                (first, end, past, wanted),
            ).fetchall()
        at = past if past is not None else position(db)[0]
    more = limit is not None and len(rows) > limit
    return Range(at, tuple(_entry(row) for row in (rows[:limit] if more else rows)), more)


def _at(db: sqlite3.Connection, revision: int | None) -> int | None:
    """None when `revision` is the present; else the revision itself, checked to be readable."""
    if revision is None:
        return None
    head, compacted, _ = position(db)
    if revision < compacted:
        raise RevisionExpired(
            f"revision {revision} was compacted, history begins at {compacted}", remedy="read the present state"
        )
    if revision > head:
        raise RevisionExpired(
            f"revision {revision} has not happened in this store, which is at {head}: it may be a restored backup",
            remedy="read the present state",
        )
    return None if revision == head else revision


def current(db: sqlite3.Connection, key: bytes) -> Entry | None:
    """The key as it is now."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM current LEFT JOIN log USING (id) WHERE current.key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    if row[0] is None:
        raise StoreCorrupt("a key points at a value that is not there", where=key.decode(), remedy=RECOVERY)
    return _entry(row)


def _latest(db: sqlite3.Connection, key: bytes, revision: int) -> Entry | None:
    """The key as of `revision`, from the log."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM log WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1", (key, revision)
    ).fetchone()
    return None if row is None or row[3] is None else _entry(row)


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole revisions of a prefix. `revision` is the store's when `complete`, else the last one given."""

    identity: str
    revision: int
    complete: bool
    changes: tuple[Changes, ...]


def read_changes(db: sqlite3.Connection, prefix: str, after: int) -> Batch:
    """What happened under a prefix after a revision: all of it, or the beginning of much."""
    first = encoded_prefix(prefix)
    end = prefix_end(first) or BEHIND_ALL
    changes: list[Changes] = []
    events: list[KeyEvent] = []
    count = size = 0
    with reading(db):
        head, compacted, identity = position(db)
        if after < compacted:
            raise RevisionExpired(
                f"the changes after revision {after} were compacted, history begins at {compacted}",
                remedy="read everything again and watch from there",
            )
        if after > head:
            raise RevisionExpired(
                f"the store is at revision {head}, before {after} which was seen already: it may be a restored backup",
                remedy="read everything again and watch from there",
            )
        complete, at = True, after
        rows = db.execute(
            # Left to itself SQLite may walk all keys and sort them, for every batch again.
            f"SELECT {_COLUMNS} FROM log INDEXED BY log_revision "
            "WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, id",
            (after, first, end),
        )
        for row in rows:
            if row[1] != at:
                if events:
                    changes.append(Changes(at, tuple(events)))
                if count >= BATCH_EVENTS or size >= BATCH_BYTES:
                    complete, events = False, []
                    break
                at, events = row[1], []
            entry = _entry(row)
            previous = _latest(db, row[2], row[1] - 1)
            events.append(KeyEvent(EventType.DELETE if row[3] is None else EventType.PUT, entry, previous))
            count += 1
            size += len(entry.value) + (0 if previous is None else len(previous.value))
        if events:
            changes.append(Changes(at, tuple(events)))
        rows.close()
    return Batch(identity, head if complete else at, complete, tuple(changes))


def verify(path: Path) -> tuple[str, ...]:
    """What is wrong with the file, at most twenty lines, empty when it is sound. Reads all of it."""
    try:
        with closing(connect(path, create=False)) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
            return tuple(_damage(db) if found == ["ok"] else found)
    except sqlite3.Error as error:
        return (str(error),)
    except StoreCorrupt as error:
        return (error.what,)


def _damage(db: sqlite3.Connection) -> list[str]:
    """What only the store itself can know to be wrong."""
    found = []
    with reading(db):
        for (key,) in db.execute(
            "SELECT current.key FROM current LEFT JOIN log USING (id) WHERE log.value IS NULL LIMIT 20"
        ):
            found.append(f"{key.decode(errors='replace')}: points at a value that is not there")
        for row in db.execute(f"SELECT {_COLUMNS} FROM log"):
            if row[4] != checksum_of(row[2], row[3]):
                found.append(f"{row[2].decode(errors='replace')}@{row[1]}: the checksum of the value differs")
    return found[:20]
