"""How records become JSON and back: exact fields, nothing unknown kept, a clear error for anything else."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from herz.errors import DocumentMalformed

R = TypeVar("R")


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A value that is written to a store or sent over the wire. Unknown fields of newer versions are ignored."""


def encode(record: Record) -> bytes:
    """The JSON of a record; equal records have equal bytes."""
    return msgspec.json.encode(record, order="deterministic")


def decode(data: bytes | str, kind: type[R], where: str) -> R:
    """The record in `data`; `DocumentMalformed` with the field at fault and `where` when it is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # ValidationError is one of them
        raise DocumentMalformed(
            f"not a {kind.__name__.lower()}: {error}", where=where, remedy="write it with a Herz of this version"
        ) from error
