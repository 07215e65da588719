"""Records as they lie in the store: what cannot be read there is damage, not a mistake of whoever asks."""

from __future__ import annotations

from typing import TypeVar

from herz.errors import DocumentMalformed, StoreCorrupt
from herz.release.record import decode
from herz.store.base import Entry

R = TypeVar("R")


def stored(entry: Entry, kind: type[R]) -> R:
    """The record in `entry`; `StoreCorrupt` with the key when it is none."""
    where = f"{entry.key}@{entry.mod_revision}"
    try:
        return decode(entry.value, kind, where)
    except DocumentMalformed as error:
        raise StoreCorrupt(
            f"what is stored is damaged: {error.what}",
            where=where,
            remedy="restore the store from a backup, or write it anew; everything else still works",
        ) from error


def revision_of(entry: Entry | None) -> int:
    """The revision that last wrote the key, 0 where there is none."""
    return 0 if entry is None else entry.mod_revision
