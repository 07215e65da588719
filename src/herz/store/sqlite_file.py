"""The embedded store's file: making it, opening it, and saying what is wrong with it.

The file is an SQLite database in WAL mode (https://www.sqlite.org/wal.html), which needs shared memory:
one machine, no network file system.

* `synchronous=FULL`: a commit is on the disk before it is acknowledged. NORMAL would survive `kill -9`
  too, but a power cut could take back what another machine has already been told. Configuration is
  written rarely, and the sync costs some 0.3 ms on a solid-state disk.
* Each value carries a CRC-32, for SQLite checks the shape of its pages but not what is inside.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import uuid
from pathlib import Path
from typing import Final
from urllib.parse import quote

from herz.errors import HerzError, SourceDenied, SourceUnavailable, StoreCorrupt, StoreError, StoreFull

APPLICATION_ID: Final = 0x4865727A  # "Herz", in the file's header
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL, revision INTEGER NOT NULL, compacted INTEGER NOT NULL
);
CREATE TABLE log (
    id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, key BLOB NOT NULL, value BLOB, checksum INTEGER NOT NULL,
    create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER,
    UNIQUE (key, revision)
);
CREATE INDEX log_revision ON log (revision);
CREATE TABLE current (key BLOB PRIMARY KEY, id INTEGER NOT NULL, lease INTEGER) WITHOUT ROWID;
CREATE INDEX current_lease ON current (lease) WHERE lease IS NOT NULL;
CREATE TABLE lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_s REAL NOT NULL, expires_at REAL NOT NULL, origin TEXT NOT NULL
);
"""

RECOVERY: Final = (
    "stop the writers, keep a copy of the file with its -wal and -shm, then restore a backup or save what can be "
    "read with: sqlite3 FILE .recover | sqlite3 NEW"
)


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the store at `path`, making it with mode 0600 when there is none and `create` is set.

    The connection is in autocommit mode, may be handed between threads, and gives up at once when the file
    is locked. `SourceUnavailable` when there is nothing to open, `SourceDenied` when we may not,
    `StoreCorrupt` when it is damaged, `StoreError` when it is something else. An existing file is never
    overwritten.
    """
    if create:
        _create(path)
    _look(path)
    address = f"file:{quote(str(path))}?mode=rw"
    try:
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=0.0)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    try:
        _prepare(db, path, create=create)
    except BaseException:
        db.close()
        raise
    return db


_creating = threading.Lock()


def _create(path: Path) -> None:
    try:
        # Under a lock, for closing this descriptor drops what another thread has locked in the file meanwhile.
        with _creating:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except FileNotFoundError as error:
        raise SourceUnavailable(
            "the folder of the store does not exist", where=str(path), remedy=f"make it: mkdir -p {path.parent}"
        ) from error
    except PermissionError as error:
        raise SourceDenied(
            f"the store cannot be made here: {error.strerror}",
            where=str(path),
            remedy="grant write access to the folder",
        ) from error
    except OSError as error:
        raise os_error(error, path) from error


def _look(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise SourceUnavailable(
            "there is no store", where=str(path), remedy="check the path, or write a first key, which makes it"
        ) from error
    except OSError as error:
        raise os_error(error, path) from error
    if stat.S_ISDIR(mode):
        raise SourceUnavailable("a folder stands where the store should be", where=str(path))
    if not stat.S_ISREG(mode):
        raise SourceUnavailable("this is not a regular file, so not a store", where=str(path))
    # Asked, not tried: closing a descriptor would drop the locks that this process holds on the file.
    if not os.access(path, os.R_OK):
        raise SourceDenied("the store may not be read", where=str(path), remedy="grant access to its file")


def _prepare(db: sqlite3.Connection, path: Path, *, create: bool) -> None:
    # Locked files are left to the caller, who tries again; everything else is final.
    application, version, tables = _marks(db)
    if application == 0 and version == 0 and tables == 0:
        if not create:
            raise SourceUnavailable(
                "the file is empty, it holds no store",
                where=str(path),
                remedy="restore it from a backup, or write a first key, which makes a new store",
            )
        _initialise(db)
        application, version, tables = _marks(db)
    if application != APPLICATION_ID:
        raise StoreError(
            "this is an SQLite database, but not a store of Herz", where=str(path), remedy="name another file"
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"a newer version of Herz wrote this store (schema {version}, this one knows up to {SCHEMA_VERSION})",
            where=str(path),
            remedy="upgrade Herz here",
        )
    if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves the data in the drive's cache
    db.execute("PRAGMA journal_size_limit = 16777216")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA trusted_schema = OFF")
    _plausible(db, path)


def _marks(db: sqlite3.Connection) -> tuple[int, int, int]:
    db.execute("BEGIN")  # all three of one moment: another process may be making the store just now
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables: int = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    db.execute("COMMIT")
    return application, version, tables


def _initialise(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    try:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:  # else another process was quicker
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO state VALUES (1, ?, 0, 0)", (uuid.uuid4().hex,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _plausible(db: sqlite3.Connection, path: Path) -> None:
    try:
        row = db.execute(
            "SELECT revision, compacted, (SELECT coalesce(max(revision), 0) FROM log) FROM state WHERE id = 1"
        ).fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        raise StoreCorrupt(f"a table is missing: {error}", where=str(path), remedy=RECOVERY) from error
    if row is None or not row[2] <= row[0] or not row[1] <= row[0]:
        raise StoreCorrupt("the revision and the log contradict each other", where=str(path), remedy=RECOVERY)


def busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds a lock, so that the same again may succeed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: sqlite3.Error, path: Path) -> HerzError:
    """What an error of SQLite means to whoever runs the store."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = str(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return SourceUnavailable(
            "the store is locked by another process for too long",
            where=where,
            remedy="find the process that holds a transaction open: fuser " + where,
        )
    if code == sqlite3.SQLITE_NOTADB:
        return StoreCorrupt("this is not an SQLite file, or its header is damaged", where=where, remedy=RECOVERY)
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreCorrupt(f"the store is damaged: {error}", where=where, remedy=RECOVERY)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull("the disk is full; nothing was written", where=where, remedy="make room, then write again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return SourceDenied(
            "the store may not be written", where=where, remedy="grant write access to the file and its folder"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        if path.exists() and not os.access(path.parent, os.W_OK):
            return SourceDenied(
                "the store cannot be opened: its folder is read-only, and the -shm file beside it must be written",
                where=where,
                remedy="grant write access to the folder",
            )
        return SourceUnavailable(f"the store cannot be opened: {error}", where=where)
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"the disk failed ({error.sqlite_errorname}), and what was being written is not acknowledged",
            where=where,
            remedy="look at free space, quotas and the system's log; read before writing again",
        )
    return StoreError(f"SQLite failed: {error}", where=where)


def os_error(error: OSError, path: Path) -> HerzError:
    """What an error of the operating system means to whoever runs the store."""
    where = str(path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SourceDenied(
            f"the store may not be opened: {error.strerror}", where=str(path), remedy="grant access to it"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull("the disk is full; nothing was written", where=str(path), remedy="make room, then write again")
    return SourceUnavailable(f"the store cannot be opened: {error.strerror}", where=where)
