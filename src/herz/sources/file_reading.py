"""Reading one file whole, while others may be writing it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import time
from dataclasses import dataclass
from typing import Final, NamedTuple

from herz.errors import DocumentTooLarge, HerzError, SourceDenied, SourceUnavailable

_ATTEMPTS: Final = 4
_TICK_NS: Final = 50_000_000
_BLOCK: Final = 1 << 30
"""What Linux reads at most in one call is a little less than 2 GiB."""


class Signature(NamedTuple):
    """What stat says of a file; it changes with nearly every change of the content."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of a file, and whether somebody was writing it meanwhile (None: the system does not tell)."""

    signature: Signature
    data: bytes
    busy: bool | None


def signature_of(path: str) -> Signature | None:
    """What stat says of the file that `path` leads to; None where there is none."""
    try:
        return _signature(os.stat(path))
    except OSError:
        return None


def recent(signature: Signature) -> bool:
    """Whether the file changed so lately that another change might leave this very signature ("racily clean" in git).

    Kernels before 6.13 stamp files by the timer's tick, 1 to 10 ms.
    """
    return time.time_ns() - max(signature.mtime_ns, signature.ctime_ns) < _TICK_NS


def _signature(found: os.stat_result) -> Signature:
    return Signature(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_whole(path: str, *, max_bytes: int, place: str) -> Reading | None:
    """The content of `path`, of one moment as far as the system can tell; None where there is no file.

    The file is compared before and after, and read again when it changed. `SourceDenied` when it may
    not be read, `DocumentTooLarge` above `max_bytes` (told by its size, before it is in memory),
    `SourceUnavailable` for what is no regular file and for failing media.
    """
    try:
        # A pipe would block the open until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise unreadable(error, place) from error
    try:
        return _read(descriptor, max_bytes, place)
    except OSError as error:
        raise unreadable(error, place) from error
    finally:
        os.close(descriptor)


def _read(descriptor: int, max_bytes: int, place: str) -> Reading:
    data, after = b"", _checked(descriptor, max_bytes, place)
    for _ in range(_ATTEMPTS):
        before, busy = after, being_written(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        data = _bytes(descriptor, before.size + 1)
        after = _checked(descriptor, max_bytes, place)
        if after == before and len(data) == after.size:
            # A writer that came between is told by the second answer, one that came and went by the signature.
            return Reading(after, data, busy if busy else being_written(descriptor))
    return Reading(after, data, True)


def _checked(descriptor: int, max_bytes: int, place: str) -> Signature:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise SourceUnavailable("not a regular file", where=place, remedy="name a file or a folder of files")
    if found.st_size > max_bytes:
        raise DocumentTooLarge(
            f"{found.st_size} bytes, more than the {max_bytes} allowed",
            where=place,
            remedy="split the file, or raise the limit",
        )
    return _signature(found)


def _bytes(descriptor: int, count: int) -> bytes:
    """Up to `count` bytes, from where the descriptor stands; in one block, for joining them would hold the GIL."""
    blocks: list[bytes] = []
    while count > 0 and (block := os.read(descriptor, min(count, _BLOCK))):
        blocks.append(block)
        count -= len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def unreadable(error: OSError, place: str) -> HerzError:
    """The error that says what an `OSError` on reading `place` means."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return SourceDenied(f"may not be read: {reason}", where=place, remedy="give this process read permission")
    return SourceUnavailable(f"cannot be read: {reason}", where=place, remedy="check the file and its file system")


if sys.platform == "linux":
    import fcntl

    _F_SETSIG: Final = 10

    def being_written(descriptor: int) -> bool | None:
        """Whether any process of this machine has the file open for writing; None where that cannot be told.

        Linux grants a read lease only on a file that nobody writes (fcntl(2), F_SETLEASE), and only to
        the file's owner. The lease is given back at once. A writer that opens the file in between waits
        those microseconds, and we are sent a signal: SIGURG, which is ignored unless somebody asked for
        it, in place of SIGIO, which would end the process.
        """
        try:
            fcntl.fcntl(descriptor, _F_SETSIG, int(signal.SIGURG))
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False

else:  # pragma: no cover - leases are Linux's

    def being_written(descriptor: int) -> bool | None:
        """Whether somebody has the file open for writing: this system does not tell."""
        return None
